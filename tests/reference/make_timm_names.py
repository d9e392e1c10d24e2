"""Writes zoo/compat/names.txt, the public names of timm's modules, and timm_names.csv, what zoo answers to each.

Run with timm 1.0.31 installed: `python tests/reference/make_timm_names.py`. Of the table only the columns that say what
zoo has change from one version of zoo to the next.
"""
from __future__ import annotations

import csv
import importlib
import inspect
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
PACKAGES = ('', 'data', 'layers', 'loss', 'models', 'optim', 'scheduler', 'task', 'utils')


def public_names(module: ModuleType, own: bool) -> list[str]:
    """The public names of a module that are no modules; with `own` only those that it defines itself."""
    found = {name: value for name, value in vars(module).items() if not name.startswith('_')
             and not inspect.ismodule(value) and getattr(value, '__module__', '') not in ('typing', '__future__')}
    if own:
        found = {name: value for name, value in found.items()
                 if callable(value) and getattr(value, '__module__', '') == module.__name__}
    return sorted(found)


def of_timm() -> tuple[dict[str, list[str]], dict[tuple[str, str], str]]:
    """Module -> its names, and (module, name) -> its signature as `timm_names.describe` writes it."""
    import timm
    from timm_names import describe
    warnings.simplefilter('ignore')
    paths = [found.name.removeprefix('timm.') for found in pkgutil.walk_packages(timm.__path__, 'timm.')]
    names, signatures = {}, {}
    for path in sorted({'', *paths}):
        network = path.startswith('models.') and not path.startswith(('models._', 'models.layers'))
        names[path] = []
        if path in PACKAGES or network:
            module = importlib.import_module(f'timm.{path}'.rstrip('.'))
            names[path] = public_names(module, own=network)
            signatures |= {(path, name): describe(getattr(module, name)) for name in names[path]}
    elsewhere = {name for path, found in names.items() if path.startswith('models.') for name in found}
    names['models'] = [name for name in names['models'] if name not in elsewhere or not is_network(name)] + sorted(
        name for name in names['models'] if name in elsewhere and is_network(name))
    return names, signatures


def is_network(name: str) -> bool:
    """Whether a name is that of one of timm's networks, of today's or a former one."""
    import timm.models
    return timm.models.is_model(name) or name in timm.models.get_deprecated_models()


def main() -> None:
    """Writes both files."""
    names, signatures = of_timm()
    for name in [name for name in sys.modules if name == 'timm' or name.startswith('timm.')]:
        del sys.modules[name]
    text = ['# The public names of timm 1.0.31, by module. Written by tests/reference/make_timm_names.py.']
    text += [f'{path}: {" ".join(found)}'.strip() for path, found in names.items()]
    import zoo.compat
    (Path(zoo.compat.__file__).parent / 'names.txt').write_text('\n'.join(text) + '\n')
    from timm_names import answer
    with open(HERE / 'timm_names.csv', 'w', newline='') as file:
        writer: Any = csv.writer(file, lineterminator='\n')
        writer.writerow(('module', 'name', 'parameters', 'answer', 'without'))
        for (path, name), parameters in signatures.items():
            writer.writerow((path, name, parameters, *answer(path, name, parameters)))


if __name__ == '__main__':
    main()

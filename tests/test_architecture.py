"""The rules of the house: who imports whom, how long files are, what the project may not speak of."""
from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ZOO = ROOT / 'zoo'
FILES = sorted(ZOO.rglob('*.py'))

# part -> the parts it may import at all; 'name' is zoo/name.py or zoo/name/
MAY_IMPORT = {
    'spec': set(),
    'lazy': {'spec'},
    'blocks': {'spec'},
    'catalog': {'spec'},
    'registry': {'catalog', 'spec'},
    'layers': {'blocks', 'lazy', 'spec'},
    'contract': {'layers', 'spec'},
    'models': {'lazy', 'contract', 'layers', 'blocks', 'spec'},
    'features': {'contract', 'spec'},
    'outputs': {'contract', 'layers'},
    'pretrained': {'lazy', 'spec'},
    'factory': {'catalog', 'contract', 'features', 'memory', 'pretrained', 'registry', 'data', 'spec'},
    'own': {'blocks', 'factory', 'features', 'registry', 'spec'},
    'profiling': set(),
    'memory': set(),
    'data': {'lazy', 'spec'},
    'compat': {'blocks', 'data', 'factory', 'features', 'layers', 'models', 'pretrained', 'publishing', 'registry', 'spec',
               'train'},                     # and nothing imports compat
    'dense': {'contract', 'data', 'evaluation', 'factory', 'features', 'pretrained', 'spec'},
    'tables': {'spec'},
    'runtime': {'lazy', 'spec'},
    'export': {'lazy', 'data', 'dense', 'layers', 'profiling', 'runtime', 'spec'},
    'benchmarking': {'factory', 'registry', 'runtime', 'spec'},
    'evaluation': {'data', 'layers', 'lazy', 'spec'},
    'optimizing': {'benchmarking', 'data', 'evaluation', 'export', 'memory', 'runtime', 'spec'},
    'publishing': {'data', 'pretrained', 'spec'},
    'train': {'lazy', 'data', 'dense', 'evaluation', 'factory', 'pretrained', 'profiling', 'spec'},
    'cli': {'dense', 'data', 'evaluation', 'memory', 'registry', 'spec', 'benchmarking', 'export', 'optimizing',
            'runtime', 'tables', 'train'},
    '__main__': {'cli'},
    '__init__': {'lazy'},                                        # everything else by name, when first used
}


def part(path: Path) -> str:
    relative = path.relative_to(ZOO)
    return relative.parts[0].removesuffix('.py')


def imported_parts(path: Path) -> dict[str, bool]:
    """The parts of zoo that a file imports -> whether it does so when it is imported itself."""
    found: dict[str, bool] = {}
    package = ('zoo', *path.relative_to(ZOO).parts[:-1])
    tree = ast.parse(path.read_text())
    top_level = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module or '').split('.')) if node.module else base
            names = [module] if len(module) > 1 else [(*module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split('.')) for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == 'zoo' and len(name) > 1:
                found[name[1]] = found.get(name[1], False) or id(node) in top_level
    return found


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ZOO)))
def test_imports_follow_the_plan(path):
    allowed = MAY_IMPORT[part(path)] | {part(path)}
    surplus = {name for name in imported_parts(path) if name not in allowed and (ZOO / name).exists() or
               (name not in allowed and (ZOO / f'{name}.py').exists())}
    assert not surplus


def test_the_plan_allows_no_import_that_nothing_needs():
    needed = {}
    for path in FILES:
        needed.setdefault(part(path), set()).update(imported_parts(path))
    assert {name: surplus for name, allowed in MAY_IMPORT.items() if (surplus := allowed - needed[name])} == {}


def test_nothing_of_zoo_knows_of_compat():
    assert not [path for path in FILES if part(path) != 'compat' and 'compat' in imported_parts(path)]
    assert not [path for path in FILES if part(path) != 'compat' and 'meta_path' in path.read_text()]


def test_lazy_edges_are_lazy():
    assert not imported_parts(ZOO / 'factory.py').get('models') and not imported_parts(ZOO / 'factory.py')['data']


@pytest.mark.parametrize('path', sorted((ZOO / 'models').glob('*.py')), ids=lambda p: p.name)
def test_model_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 450


def test_the_core_can_be_read_in_one_sitting():
    core = [*ZOO.glob('*.py'), *(ZOO / 'pretrained').glob('*.py')]
    assert sum(len(path.read_text().splitlines()) for path in core) <= 3560


def test_no_code_branches_on_a_models_name():
    import zoo
    names = set(zoo.list_models())
    for path in FILES:
        if part(path) in ('catalog', 'cli'):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
                assert not constants & names, path


def test_every_public_function_says_what_it_is():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                members = [m for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith('_')]
                inherited = {'forward', 'train', 'extra_repr', 'branch', 'run_stem', 'run_stage', 'maps_of', 'prefix_of',
                             'normalise', 'pre_head', 'init_weights', 'fit', 'adapt_state', 'forward_head',
                             'reset_pool', 'build', 'restore', 'save', 'session'}
                assert node.name.startswith('_') or ast.get_docstring(node), f'{path}: {node.name}'
                for member in members:
                    assert ast.get_docstring(member) or member.name in inherited, f'{path}: {node.name}.{member.name}'
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
                assert ast.get_docstring(node), f'{path}: {node.name}'


def test_every_signature_is_typed():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ('self', 'cls')]
                assert not untyped and (node.returns or node.name == '__init__'), f'{path}: {node.name} {untyped}'


def test_tracked_files_name_no_path_of_a_machine():
    try:
        listed = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        listed = [str(p.relative_to(ROOT)) for p in FILES]
    for name in listed:
        path = ROOT / name
        if path.suffix in ('.py', '.md', '.cfg', '.toml', '.yaml', '.txt', '.csv') and path.is_file():
            text = path.read_text(errors='ignore')
            for word in ('/' + 'root/', '/' + 'work/', '/home' + '/'):
                assert word not in text, f'{name} names {word}'

"""zoo: image models for PyTorch. A string names a network and its trained weights; one call builds it.

Public names are resolved when first used, so that `import zoo` costs next to nothing and imports no torch.
"""
from __future__ import annotations

import importlib
from typing import Any

__version__ = '0.1.0'

_PUBLIC = {
    'registry': ('list_models', 'list_pretrained', 'list_modules', 'is_model', 'is_model_pretrained',
                 'is_model_in_modules', 'get_arch_name', 'get_pretrained_cfg', 'get_pretrained_cfg_value',
                 'register_family', 'split_model_name_tag', 'unregister_family'),
    'factory': ('create_model', 'model_entrypoint'),
    'optimizing': ('load_optimized', 'optimize'),
    'own': ('build_model', 'scale_model'),
    'spec': ('Family', 'PretrainedCfg'),
    'profiling': ('profile',),
    'pretrained': ('convert',),
    'outputs': ('forward_outputs',),
    'export': ('export_model',),
    'runtime': ('load_exported',),
    'publishing': ('push_to_hf_hub', 'save_for_hf'),
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}
_MODULES = ('benchmarking', 'blocks', 'catalog', 'compat', 'data', 'dense', 'evaluation', 'export', 'features', 'layers',
            'models', 'optimizing', 'pretrained', 'publishing', 'runtime', 'tables', 'train')
__all__ = [*_WHERE, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f'.{_WHERE[name]}', __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f'.{name}', __name__)
    from .spec import unknown
    raise AttributeError(unknown('Name zoo.', name, __all__))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


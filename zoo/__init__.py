"""zoo: image models for PyTorch. A string names a network and its trained weights; one call builds it.

Public names are resolved when first used, so that `import zoo` costs next to nothing and imports no torch.
"""
from __future__ import annotations

from .lazy import lazy_names

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
_MODULES = ('benchmarking', 'blocks', 'catalog', 'compat', 'data', 'dense', 'evaluation', 'export', 'features', 'layers',
            'models', 'optimizing', 'pretrained', 'publishing', 'runtime', 'tables', 'train')
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC, _MODULES)

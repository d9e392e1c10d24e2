"""Where timm's names lie in zoo. Standard library only."""
from __future__ import annotations

# A package of timm, and with it each of its modules -> the modules of zoo whose public names it has, the first wins;
# 'layers.*' is what any module of zoo.layers defines. The modules of networks have those of zoo.models of the same name
# before them, and all others what zoo has under the same path: timm.data.transforms is zoo.data.transforms first.
PLACES = {
    '': ('', 'compat.layers'),
    'data': ('compat.data', 'data'),
    'layers': ('compat.layers', 'layers', 'layers.*'),
    'loss': ('compat.loss',),
    'models': ('compat.models',),
    'optim': ('compat.optim',),
    'scheduler': ('compat.scheduler',),
    'task': (),
    'utils': ('compat.utils',),
}

# A module of timm -> the modules of zoo that come before all others.
INSTEAD = {
    'models.efficientnet': ('compat.efficientnet',),
    'models._efficientnet_builder': ('compat.efficientnet',),
    'models.efficientnet_builder': ('compat.efficientnet',),
    'data.auto_augment': ('data.augment',),
    'data.distributed_sampler': ('compat.sampler',),
    'data.mixup': ('data.augment',),
    'data.random_erasing': ('data.augment',),
}

# Modules of timm.models that are about all networks, and those whose name begins with '_'.
HELPERS = ('efficientnet_blocks', 'efficientnet_builder', 'factory', 'features', 'fx_features', 'helpers', 'hub',
           'registry')

# Classes and functions of networks that zoo does not have: programs that import them can be imported.
ABSENT = {
    'models.davit': 'checkpoint_filter_fn',
    'models.fastvit': 'checkpoint_filter_fn',
    'models.focalnet': 'checkpoint_filter_fn',
    'models.mvitv2': 'checkpoint_filter_fn',
    'models.pvt_v2': 'checkpoint_filter_fn',
    'models.vision_transformer_hybrid': 'checkpoint_filter_fn',
}

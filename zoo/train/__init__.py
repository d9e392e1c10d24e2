"""Training: recipes, augmentation's partners (losses, optimizers, schedules), checkpoints, the loop.

Public names are resolved when first used: reading a recipe imports no torch.
"""
from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    'recipe': ('Recipe', 'ModelPart', 'DataPart', 'AugmentPart', 'DensePart', 'LossPart', 'DistillPart',
               'OptimizerPart', 'SchedulePart', 'EmaPart', 'RunPart'),
    'reading': ('read_recipe', 'write_recipe'),
    'shipped': ('list_recipes',),
    'plan': ('dry_run',),
    'optim': ('create_optimizer_v2', 'list_optimizers', 'Lamb', 'Muon', 'NAdamW', 'RMSpropTF', 'lookahead'),
    'groups': ('param_groups_layer_decay', 'param_groups_weight_decay'),
    'schedules': ('Schedule',),
    'losses': ('create_loss',),
    'clip': ('clip_gradients',),
    'exact_norm': ('exact_batch_norm',),
    'distill': ('Distillation', 'create_distillation'),
    'ema': ('ModelEma',),
    'sync_bn': ('convert_sync_batchnorm',),
    'trainer': ('Trainer', 'train'),
    'progress': ('Result',),
    'saved': ('load_trained', 'trained_record'),
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f'.{_WHERE[name]}', __name__), name)
        globals()[name] = value
        return value
    from ..spec import unknown
    raise AttributeError(unknown('Name zoo.train.', name, __all__))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

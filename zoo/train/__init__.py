"""Training: recipes, augmentation's partners (losses, optimizers, schedules), checkpoints, the loop.

Public names are resolved when first used: reading a recipe imports no torch.
"""
from __future__ import annotations

from ..lazy import lazy_names

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
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC)

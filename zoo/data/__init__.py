"""What happens to an image before the network, and what the network's outputs are called.

Public names are resolved when first used: `import zoo.data` imports neither torch nor torchvision, and reading
settings or class names keeps it so.
"""
from __future__ import annotations

from ..lazy import lazy_names

_PUBLIC = {
    'augment': ('AugMixAugment', 'AugmentOp', 'AutoAugment', 'Mixup', 'NaFlexMixup', 'RandAugment',
                'RandomErasing', 'RepeatAugSampler', 'SplitTransform', 'augment_and_mix_transform', 'auto_augment_policy',
                'auto_augment_transform', 'create_augment', 'rand_augment_ops', 'rand_augment_transform'),
    'config': ('resolve_data_config', 'resolve_model_data_config'),
    'constants': ('CROP_MODES', 'DEFAULT_CROP_MODE', 'DEFAULT_CROP_PCT', 'IMAGENET_DEFAULT_MEAN',
                  'IMAGENET_DEFAULT_STD', 'IMAGENET_DPN_MEAN', 'IMAGENET_DPN_STD', 'IMAGENET_INCEPTION_MEAN',
                  'IMAGENET_INCEPTION_STD', 'INTERPOLATIONS', 'OPENAI_CLIP_MEAN', 'OPENAI_CLIP_STD'),
    'images': ('convert_image', 'load_image'),
    'labels': ('ImageNetInfo', 'imagenet_labels', 'infer_imagenet_subset', 'labels_for'),
    'patches': ('Patchify', 'RandomResizedCropToSequence', 'ResizeToSequence', 'pack_patches'),
    'sources': ('ImageSource', 'ImageStream', 'create_dataset', 'digest_of'),
    'transforms_factory': ('create_transform',),
}
_MODULES = (*_PUBLIC, 'transforms')
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC, _MODULES)

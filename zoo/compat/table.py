"""Which names of timm lie where in zoo. Standard library only."""
from __future__ import annotations

# Modules: timm.<key> is zoo.<value>. What is not here but in zoo under timm's name is that: timm.data.config.
PLACES = {
    'layers.activations': 'compat.layers',
    'layers.attention_pool2d': 'compat.attention_pool',
    'layers.create_act': 'compat.layers',
    'layers.create_conv2d': 'compat.layers',
    'layers.helpers': 'compat.layers',
    'layers.mlp': 'compat.layers',
    'layers.pool2d_same': 'compat.layers',
    'layers.weight_init': 'compat.layers',
    'models.layers': 'layers',
    'models._factory': 'models',
    'models._helpers': 'models',
    'models._manipulate': 'models',
    'models._registry': 'models',
    'models.efficientnet': 'compat.efficientnet',
    'models.factory': 'models',
    'models.helpers': 'models',
    'models.registry': 'models',
    'models.fastvit': 'compat.absent',
    'models.resnet': 'compat.absent',
    'models.sknet': 'compat.absent',
    'models.swin_transformer': 'compat.absent',
    'models.vision_transformer': 'compat.absent',
    'models.vision_transformer_hybrid': 'compat.absent',
    'data.auto_augment': 'data.augment',
    'data.dataset': 'compat.datasets',
    'data.dataset_factory': 'compat.datasets',
    'data.distributed_sampler': 'compat.sampler',
    'data.imagenet_info': 'data.labels',
    'data.mixup': 'data.augment',
    'data.random_erasing': 'data.augment',
    'loss': 'compat.loss',
    'loss.asymmetric_loss': 'compat.loss',
    'loss.binary_cross_entropy': 'compat.loss',
    'loss.cross_entropy': 'compat.loss',
    'loss.jsd': 'compat.loss',
    'optim': 'compat.optim',
    'optim._optim_factory': 'compat.optim',
    'optim.lamb': 'compat.optim',
    'optim.muon': 'compat.optim',
    'optim.nadamw': 'compat.optim',
    'optim.optim_factory': 'compat.optim',
    'optim.rmsprop_tf': 'compat.optim',
    'scheduler': 'compat.scheduler',
    'scheduler.scheduler_factory': 'compat.scheduler',
    'utils': 'compat.utils',
    'utils.model': 'compat.utils',
}


def _where(places: dict[str, str]) -> dict[str, str]:
    return {name: place for place, names in places.items() for name in names.split()}


# Names: what timm has in a package, and zoo has in another module than its own package of that name.
EXTRA = {
    '': {},
    'layers': _where({
        'layers.mlp': 'GlobalResponseNormMlp Mlp',
        'layers.patch_embed': 'PatchEmbed',
        'layers.positions': 'resample_abs_pos_embed resample_patch_embed',
        'compat.layers': 'Swish create_act_layer create_conv2d create_pool2d make_divisible to_1tuple to_2tuple '
                         'to_3tuple to_4tuple to_ntuple trunc_normal_',
        'compat.attention_pool': 'AttentionPool2d RotAttentionPool2d',
        'compat.utils': 'freeze_batch_norm_2d unfreeze_batch_norm_2d',
        'train.sync_bn': 'convert_sync_batchnorm',
        'layers.scale': 'LayerScale LayerScale2d',
    }),
    'models': _where({
        'factory': 'create_model model_entrypoint',
        'registry': 'get_arch_name get_pretrained_cfg get_pretrained_cfg_value is_model is_model_in_modules '
                    'is_model_pretrained list_models list_modules list_pretrained '
                    'split_model_name_tag',
        'spec': 'PretrainedCfg',
        'compat.manipulate': 'adapt_input_conv checkpoint_seq load_checkpoint load_state_dict named_apply',
        'train.groups': 'group_modules group_parameters',
        'compat.efficientnet': 'EfficientNet',
        'models.mobilenetv3': 'MobileNetV3',
        'models.efficientformer': 'EfficientFormer',
        'models.efficientformer_v2': 'EfficientFormerV2',
        'compat.absent': 'VisionTransformer',
    }),
    'data': _where({'compat.sampler': 'OrderedDistributedSampler',
                    'compat.datasets': 'ImageDataset IterableImageDataset'}),
}

# Classes and functions of networks that zoo does not have: programs that import them can be imported.
ABSENT = {
    'layers': 'resample_abs_pos_embed resample_patch_embed',
    'models': 'VisionTransformer',
    'models.fastvit': 'checkpoint_filter_fn',
    'models.resnet': 'ResNet',
    'models.sknet': 'SelectiveKernelBasic SelectiveKernelBottleneck',
    'models.swin_transformer': 'WindowAttention',
    'models.vision_transformer': 'Attention Block VisionTransformer',
    'models.vision_transformer_hybrid': 'checkpoint_filter_fn',
}

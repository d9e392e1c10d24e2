"""Rows of CoAtNet (arXiv:2106.04803, Table 3), MaxViT (arXiv:2204.01697, Table 1) and networks between them that timm's
author trained: 'rw' of his own details, 'rmlp' with biases from a small network, 'next' and 'maxxvit' of ConvNeXt
blocks, 'pm' with both kinds of windows side by side; 'tf' has the weights of MaxViT's authors.

Rows only; the networks are zoo/models/maxxvit.py and zoo/models/coatnet.py.
"""
from ..spec import HALF, IMAGENET_MEAN, IMAGENET_STD, Family

PICO = dict(embed_dim=(32, 64, 128, 256), depths=(2, 2, 5, 2), stem_width=(24, 32))
NANO = dict(embed_dim=(64, 128, 256, 512), depths=(1, 2, 3, 1), stem_width=(32, 64))
TINY = NANO | dict(depths=(2, 2, 5, 2))
SMALL = dict(embed_dim=(96, 192, 384, 768), depths=(2, 2, 5, 2), stem_width=(32, 64))
BASE = SMALL | dict(depths=(2, 6, 14, 2))
COAT_NANO = NANO | dict(depths=(3, 4, 6, 3))
COAT_0 = BASE | dict(depths=(2, 3, 7, 2))
LARGE = dict(embed_dim=(128, 256, 512, 1024), depths=(2, 6, 14, 2), stem_width=(64, 128))
XLARGE = dict(embed_dim=(192, 384, 768, 1536), depths=(2, 6, 14, 2), stem_width=(96, 192))

# how blocks differ from the papers' CoAtNet, which MaxxVitCfg's own values are
RW = dict(conv_expand_output=False, conv_act_layer='silu', transformer_expand_first=False)
BEFORE = dict(conv_pre_norm_act=True, conv_output_bias=False)                  # activation before the first convolution
RELU = BEFORE | dict(conv_attn_act_layer='relu')
EARLY = RELU | dict(conv_attn_early=True, transformer_shortcut_bias=False)
POOLED = dict(conv_stride_mode='pool')
RMLP = dict(transformer_rel_pos_type='mlp')
SCALED = dict(transformer_init_values=1e-6)
MAX = dict(block_type=('M',) * 4)
RW_MAX = RW | MAX | dict(conv_output_bias=False, conv_attn_ratio=1 / 16)
NEXT = RW | dict(conv_block_type='convnext', conv_act_layer='gelu', conv_norm_layer='layernorm2d',
                 conv_norm_layer_cl='layernorm', conv_norm_eps=1e-6)
XX = NEXT | MAX | SCALED
XX_V2 = XX | dict(transformer_no_block_attn=True)
TF = MAX | dict(stem_bias=True, conv_padding='same', conv_act_layer='gelu_tanh', conv_norm_eps=1e-3,
                transformer_rel_pos_type='bias_tf', transformer_head_first=False, transformer_act_layer='gelu_tanh',
                transformer_norm_eps=1e-5)
TF_TINY = TF | TINY | dict(stem_width=64, head_hidden_size=512)
TF_SMALL = TF | SMALL | dict(stem_width=64, head_hidden_size=768)
TF_BASE = TF | BASE | dict(stem_width=64, head_hidden_size=768)
TF_LARGE = TF | LARGE | dict(stem_width=128, head_hidden_size=1024)
TF_XLARGE = TF | XLARGE | dict(stem_width=192, head_hidden_size=1536)

IMAGENET = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD)
NONE, NONE_256 = dict(hf_hub_id=None), dict(size=256, hf_hub_id=None)
IN12K, IN21K = dict(num_classes=11821), dict(num_classes=21843)
SQUASH_384, SQUASH_512 = (dict(size=size, crop_pct=1.0, crop_mode='squash') for size in (384, 512))

FAMILIES = (Family(
    model='maxxvit.MaxxVit',
    data=dict(fixed_input_size=True, crop_pct=0.95, mean=HALF, std=HALF, pool=32, first_conv='stem.conv1',
              classifier='head.fc', license='apache-2.0'),
    variants={
        'coatnet_0_224': COAT_0 | dict(depths=(2, 3, 5, 2), stem_width=64, head_hidden_size=768),
        'coatnet_0_rw_224': RW | EARLY | POOLED | COAT_0,
        'coatnet_1_224': BASE | dict(stem_width=64, head_hidden_size=768),
        'coatnet_1_rw_224': RW | EARLY | BASE,
        'coatnet_2_224': LARGE | dict(stem_width=128, head_hidden_size=1024),
        'coatnet_2_rw_224': RW | BEFORE | LARGE,
        'coatnet_3_224': XLARGE | dict(stem_width=192, head_hidden_size=1536),
        'coatnet_3_rw_224': RW | BEFORE | SCALED | XLARGE,
        'coatnet_4_224': XLARGE | dict(depths=(2, 12, 28, 2), stem_width=192, head_hidden_size=1536),
        'coatnet_5_224': dict(embed_dim=(256, 512, 1280, 2048), depths=(2, 12, 28, 2), stem_width=192,
            head_hidden_size=2048),
        'coatnet_bn_0_rw_224': RW | EARLY | COAT_0 | dict(transformer_norm_layer='batchnorm2d'),
        'coatnet_nano_cc_224': RW | RELU | POOLED | COAT_NANO | dict(block_type=('C', 'C', ('C', 'T'), ('C', 'T'))),
        'coatnet_nano_rw_224': RW | POOLED | COAT_NANO,
        'coatnet_pico_rw_224': RW | NANO | dict(depths=(2, 3, 5, 2)),
        'coatnet_rmlp_0_rw_224': RW | RELU | RMLP | COAT_0,
        'coatnet_rmlp_1_rw2_224': RW | RELU | RMLP | BASE,
        'coatnet_rmlp_1_rw_224': RW | EARLY | POOLED | RMLP | BASE | dict(conv_pool_type='max',
            transformer_pool_type='max', transformer_rel_pos_dim=384),
        'coatnet_rmlp_2_rw_224': RW | BEFORE | RMLP | SCALED | LARGE,
        'coatnet_rmlp_2_rw_384': RW | BEFORE | RMLP | SCALED | LARGE,
        'coatnet_rmlp_3_rw_224': RW | BEFORE | RMLP | SCALED | XLARGE,
        'coatnet_rmlp_nano_rw_224': RW | RMLP | COAT_NANO | dict(transformer_rel_pos_dim=384),
        'coatnext_nano_rw_224': NEXT | COAT_NANO | dict(conv_init_values=1e-5, weight_init='normal'),
        'maxvit_base_tf_224': TF_BASE,
        'maxvit_base_tf_384': TF_BASE,
        'maxvit_base_tf_512': TF_BASE,
        'maxvit_large_tf_224': TF_LARGE,
        'maxvit_large_tf_384': TF_LARGE,
        'maxvit_large_tf_512': TF_LARGE,
        'maxvit_nano_rw_256': RW_MAX | NANO,
        'maxvit_pico_rw_256': RW_MAX | PICO,
        'maxvit_rmlp_base_rw_224': RW_MAX | RMLP | BASE | dict(head_hidden_size=768),
        'maxvit_rmlp_base_rw_384': RW_MAX | RMLP | BASE | dict(head_hidden_size=768),
        'maxvit_rmlp_nano_rw_256': RW_MAX | RMLP | NANO,
        'maxvit_rmlp_pico_rw_256': RW_MAX | RMLP | PICO,
        'maxvit_rmlp_small_rw_224': RW_MAX | RMLP | SCALED | SMALL,
        'maxvit_rmlp_small_rw_256': RW_MAX | RMLP | SCALED | SMALL,
        'maxvit_rmlp_tiny_rw_256': RW_MAX | RMLP | TINY,
        'maxvit_small_tf_224': TF_SMALL,
        'maxvit_small_tf_384': TF_SMALL,
        'maxvit_small_tf_512': TF_SMALL,
        'maxvit_tiny_pm_256': RW_MAX | TINY | dict(block_type=('PM',) * 4),
        'maxvit_tiny_rw_224': RW_MAX | TINY,
        'maxvit_tiny_rw_256': RW_MAX | TINY,
        'maxvit_tiny_tf_224': TF_TINY,
        'maxvit_tiny_tf_384': TF_TINY,
        'maxvit_tiny_tf_512': TF_TINY,
        'maxvit_xlarge_tf_224': TF_XLARGE,
        'maxvit_xlarge_tf_384': TF_XLARGE,
        'maxvit_xlarge_tf_512': TF_XLARGE,
        'maxxvit_rmlp_nano_rw_256': XX | RMLP | NANO | dict(weight_init='normal'),
        'maxxvit_rmlp_small_rw_256': XX | RMLP | SMALL | dict(stem_width=(48, 96)),
        'maxxvit_rmlp_tiny_rw_256': XX | RMLP | TINY,
        'maxxvitv2_nano_rw_256': XX_V2 | SMALL | dict(depths=(1, 2, 3, 1), stem_width=(48, 96), weight_init='normal'),
        'maxxvitv2_rmlp_base_rw_224': XX_V2 | RMLP | LARGE | dict(depths=(2, 6, 12, 2)),
        'maxxvitv2_rmlp_base_rw_384': XX_V2 | RMLP | LARGE | dict(depths=(2, 6, 12, 2)),
        'maxxvitv2_rmlp_large_rw_224': XX_V2 | RMLP | dict(embed_dim=(160, 320, 640, 1280), depths=(2, 6, 16, 2),
            stem_width=(80, 160), head_hidden_size=1280),
        'test_coatnet': RW | POOLED | dict(embed_dim=(32, 64, 96, 128), depths=(1, 1, 2, 1), stem_width=(16, 32)),
        'test_maxvit': RW_MAX | dict(embed_dim=(32, 64, 96, 128), depths=(1, 1, 1, 1), stem_width=(16, 32)),
    },
    weights={
        'coatnet_0_224.untrained': NONE,
        'coatnet_0_rw_224.sw_in1k': dict(),
        'coatnet_1_224.untrained': NONE,
        'coatnet_1_rw_224.sw_in1k': dict(),
        'coatnet_2_224.untrained': NONE,
        'coatnet_2_rw_224.sw_in12k_ft_in1k': dict(),
        'coatnet_2_rw_224.sw_in12k': IN12K,
        'coatnet_3_224.untrained': NONE,
        'coatnet_3_rw_224.sw_in12k': IN12K,
        'coatnet_4_224.untrained': NONE,
        'coatnet_5_224.untrained': NONE,
        'coatnet_bn_0_rw_224.sw_in1k': IMAGENET,
        'coatnet_nano_cc_224.untrained': NONE,
        'coatnet_nano_rw_224.sw_in1k': dict(crop_pct=0.9),
        'coatnet_pico_rw_224.untrained': NONE,
        'coatnet_rmlp_0_rw_224.untrained': NONE,
        'coatnet_rmlp_1_rw2_224.sw_in12k_ft_in1k': dict(),
        'coatnet_rmlp_1_rw2_224.sw_in12k': IN12K,
        'coatnet_rmlp_1_rw_224.sw_in1k': dict(),
        'coatnet_rmlp_2_rw_224.sw_in12k_ft_in1k': dict(),
        'coatnet_rmlp_2_rw_224.sw_in1k': dict(),
        'coatnet_rmlp_2_rw_224.sw_in12k': IN12K,
        'coatnet_rmlp_2_rw_384.sw_in12k_ft_in1k': SQUASH_384,
        'coatnet_rmlp_3_rw_224.untrained': NONE,
        'coatnet_rmlp_nano_rw_224.sw_in1k': dict(crop_pct=0.9),
        'coatnext_nano_rw_224.sw_in1k': dict(crop_pct=0.9),
        'maxvit_base_tf_224.in1k': IMAGENET,
        'maxvit_base_tf_224.in21k': IN21K,
        'maxvit_base_tf_384.in1k': SQUASH_384,
        'maxvit_base_tf_384.in21k_ft_in1k': SQUASH_384,
        'maxvit_base_tf_512.in1k': SQUASH_512,
        'maxvit_base_tf_512.in21k_ft_in1k': SQUASH_512,
        'maxvit_large_tf_224.in1k': IMAGENET,
        'maxvit_large_tf_224.in21k': IN21K,
        'maxvit_large_tf_384.in1k': SQUASH_384,
        'maxvit_large_tf_384.in21k_ft_in1k': SQUASH_384,
        'maxvit_large_tf_512.in1k': SQUASH_512,
        'maxvit_large_tf_512.in21k_ft_in1k': SQUASH_512 | dict(pool_size=(7, 7)),
        'maxvit_nano_rw_256.sw_in1k': dict(size=256),
        'maxvit_pico_rw_256.untrained': NONE_256,
        'maxvit_rmlp_base_rw_224.sw_in12k_ft_in1k': dict(),
        'maxvit_rmlp_base_rw_224.sw_in12k': IN12K,
        'maxvit_rmlp_base_rw_384.sw_in12k_ft_in1k': SQUASH_384,
        'maxvit_rmlp_nano_rw_256.sw_in1k': dict(size=256),
        'maxvit_rmlp_pico_rw_256.sw_in1k': dict(size=256),
        'maxvit_rmlp_small_rw_224.sw_in1k': dict(crop_pct=0.9),
        'maxvit_rmlp_small_rw_256.untrained': NONE_256,
        'maxvit_rmlp_tiny_rw_256.sw_in1k': dict(size=256),
        'maxvit_small_tf_224.in1k': IMAGENET,
        'maxvit_small_tf_384.in1k': SQUASH_384,
        'maxvit_small_tf_512.in1k': SQUASH_512,
        'maxvit_tiny_pm_256.untrained': NONE_256,
        'maxvit_tiny_rw_224.sw_in1k': dict(),
        'maxvit_tiny_rw_256.untrained': NONE_256,
        'maxvit_tiny_tf_224.in1k': IMAGENET,
        'maxvit_tiny_tf_384.in1k': SQUASH_384,
        'maxvit_tiny_tf_512.in1k': SQUASH_512,
        'maxvit_xlarge_tf_224.in21k': IN21K,
        'maxvit_xlarge_tf_384.in21k_ft_in1k': SQUASH_384,
        'maxvit_xlarge_tf_512.in21k_ft_in1k': SQUASH_512,
        'maxxvit_rmlp_nano_rw_256.sw_in1k': dict(size=256),
        'maxxvit_rmlp_small_rw_256.sw_in1k': dict(size=256),
        'maxxvit_rmlp_tiny_rw_256.untrained': NONE_256,
        'maxxvitv2_nano_rw_256.sw_in1k': dict(size=256),
        'maxxvitv2_rmlp_base_rw_224.sw_in12k_ft_in1k': dict(),
        'maxxvitv2_rmlp_base_rw_224.sw_in12k': IN12K,
        'maxxvitv2_rmlp_base_rw_384.sw_in12k_ft_in1k': SQUASH_384,
        'maxxvitv2_rmlp_large_rw_224.untrained': NONE,
        'test_coatnet.untrained': dict(size=160, hf_hub_id=None),
        'test_maxvit.untrained': dict(size=160, hf_hub_id=None),
    },
),)

"""Rows of hybrid vision transformers (arXiv:2010.11929, section 3.1; AugReg, arXiv:2106.10270, Table 2) and of
MobileCLIP-B (arXiv:2311.17049). The network is zoo/models/vision_transformer_hybrid.py; a row without a width is of
ViT-Base. r and a number is a ResNet V2 of so many convolutions, s its reduction.
"""
from ..spec import HALF, IMAGENET_MEAN, IMAGENET_STD, Family

DATA = dict(fixed_input_size=True, crop_pct=0.9, mean=HALF, std=HALF, first_conv='patch_embed.backbone.stem.conv',
            classifier='head', license='apache-2.0')
PAPER = dict(preact=False, stem_type='same', conv_layer='std_conv2d_same', conv_eps=1e-8)
R26_S32 = dict(embed_layer=dict(backbone='resnetv2', args=PAPER | dict(layers=(2, 2, 2, 2))))
R50_S32 = dict(embed_layer=dict(backbone='resnetv2', args=PAPER | dict(layers=(3, 4, 6, 3))))
R50_S16 = dict(embed_layer=dict(backbone='resnetv2', args=PAPER | dict(layers=(3, 4, 9))))
R_S4 = dict(embed_layer=dict(backbone='resnetv2_stem', args=PAPER))
RESNET_D = dict(block='bottleneck', stem_type='deep', stem_width=32, avg_down=True)
RESNET26D = dict(embed_layer=dict(backbone='resnet', args=RESNET_D | dict(layers=(2, 2, 2, 2))))
RESNET50D = dict(embed_layer=dict(backbone='resnet', args=RESNET_D | dict(layers=(3, 4, 6, 3))))
RESNET50D_S16 = dict(embed_layer=dict(backbone='resnet', args=RESNET_D | dict(layers=(3, 4, 6, 3), last=3)))
MCI = dict(embed_layer=dict(backbone='conv_stem', proj=False, args=dict(
    channels=(192, 192, 768), kernel_size=(4, 2, 2), stride=(4, 2, 2), padding='valid', act_layer='gelu')))

TINY = dict(embed_dim=192, depth=12, num_heads=3, patch_size=8)
SMALL = dict(embed_dim=384, depth=12, num_heads=6)
SHALLOW = dict(embed_dim=768, depth=8, num_heads=8, mlp_ratio=3.0)
LARGE = dict(embed_dim=1024, depth=24, num_heads=16)

IN21K = dict(num_classes=21843)
PIXELS_384 = dict(size=384, crop_pct=1.0)
STEM_ALONE = dict(first_conv='patch_embed.backbone.conv')
OF_RESNET = dict(first_conv='patch_embed.backbone.conv1.0', mean=IMAGENET_MEAN, std=IMAGENET_STD)
MOBILE_CLIP = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), num_classes=512, first_conv='patch_embed.backbone.0.conv',
                   license='apple-amlr')

FAMILIES = (Family(
    model='vision_transformer_hybrid.HybridVisionTransformer',
    args=dict(patch_size=1),
    data=DATA,
    variants={
        'vit_base_mci_224': MCI | dict(no_embed_class=True),
        'vit_base_r26_s32_224': R26_S32,
        'vit_base_r50_s16_224': R50_S16,
        'vit_base_r50_s16_384': R50_S16,
        'vit_base_resnet26d_224': RESNET26D,
        'vit_base_resnet50d_224': RESNET50D,
        'vit_large_r50_s32_224': LARGE | R50_S32,
        'vit_large_r50_s32_384': LARGE | R50_S32,
        'vit_small_r26_s32_224': SMALL | R26_S32,
        'vit_small_r26_s32_384': SMALL | R26_S32,
        'vit_small_resnet26d_224': SHALLOW | RESNET26D,
        'vit_small_resnet50d_s16_224': SHALLOW | RESNET50D_S16,
        'vit_tiny_r_s16_p8_224': TINY | R_S4,
        'vit_tiny_r_s16_p8_384': TINY | R_S4,
    },
    weights={
        'vit_base_mci_224.apple_mclip_lt': MOBILE_CLIP | dict(hf_hub_id='apple/mobileclip_b_lt_timm'),
        'vit_base_mci_224.apple_mclip': MOBILE_CLIP | dict(hf_hub_id='apple/mobileclip_b_timm'),
        'vit_base_mci_224.apple_mclip2_dfndr2b': MOBILE_CLIP,
        'vit_base_r26_s32_224.untrained': dict(),
        'vit_base_r50_s16_224.orig_in21k': dict(num_classes=0),
        'vit_base_r50_s16_384.orig_in21k_ft_in1k': PIXELS_384,
        'vit_base_resnet26d_224.untrained': OF_RESNET,
        'vit_base_resnet50d_224.untrained': OF_RESNET,
        'vit_large_r50_s32_224.augreg_in21k_ft_in1k': dict(),
        'vit_large_r50_s32_224.augreg_in21k': IN21K,
        'vit_large_r50_s32_384.augreg_in21k_ft_in1k': PIXELS_384,
        'vit_small_r26_s32_224.augreg_in21k_ft_in1k': dict(),
        'vit_small_r26_s32_224.augreg_in21k': IN21K,
        'vit_small_r26_s32_384.augreg_in21k_ft_in1k': PIXELS_384,
        'vit_small_resnet26d_224.untrained': OF_RESNET,
        'vit_small_resnet50d_s16_224.untrained': OF_RESNET,
        'vit_tiny_r_s16_p8_224.augreg_in21k_ft_in1k': STEM_ALONE,
        'vit_tiny_r_s16_p8_224.augreg_in21k': STEM_ALONE | IN21K,
        'vit_tiny_r_s16_p8_384.augreg_in21k_ft_in1k': STEM_ALONE | PIXELS_384,
    },
    former={
        **{f'{name}_in21k': f'{name}.augreg_in21k' for name in (
            'vit_tiny_r_s16_p8_224', 'vit_small_r26_s32_224', 'vit_large_r50_s32_224')},
        'vit_base_r50_s16_224_in21k': 'vit_base_r50_s16_224.orig_in21k',
        'vit_base_resnet50_224_in21k': 'vit_base_r50_s16_224.orig_in21k',
        'vit_base_resnet50_384': 'vit_base_r50_s16_384.orig_in21k_ft_in1k',
    },
),)

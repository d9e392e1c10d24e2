"""Rows of ViTamin (arXiv:2404.02132), vision towers of CLIP; the network is zoo/models/vitamin.py. A width is that of the
tokens; the classifier makes what images and texts are compared by.
"""
from ..spec import CLIP_MEAN, CLIP_STD, Family

SMALL = dict(embed_dim=384, depth=14, num_heads=6, embed_layer=dict(
    backbone='mbconv', proj=False, args=dict(embed_dim=(64, 128, 384), depths=(2, 4), stem_width=64)))
BASE = dict(embed_dim=768, depth=14, num_heads=12, embed_layer=dict(
    backbone='mbconv', proj=False, args=dict(embed_dim=(128, 256, 768), depths=(2, 4), stem_width=128)))
LARGE = dict(embed_dim=1024, depth=31, num_heads=16, embed_layer=dict(
    backbone='mbconv', proj=False, args=dict(embed_dim=(160, 320, 1024), depths=(2, 4), stem_width=160)))
XLARGE = dict(embed_dim=1152, depth=32, num_heads=16, pos_embed='none', embed_layer=dict(
    backbone='mbconv', proj=False, args=dict(embed_dim=(192, 384, 1152), depths=(2, 4), stem_width=192)))

PIXELS_224 = dict(crop_pct=0.9)
TO_1024 = dict(num_classes=1024)
TO_1152 = dict(num_classes=1152)

FAMILIES = (Family(
    model='vitamin.ViTamin',
    args=dict(patch_size=1, mlp_layer='geglu', mlp_ratio=2.0, class_token=False, global_pool='avg'),
    data=dict(fixed_input_size=True, crop_pct=1.0, mean=CLIP_MEAN, std=CLIP_STD, num_classes=768,
              first_conv='patch_embed.backbone.stem.conv1', classifier='head', license='mit'),
    variants={
        'vitamin_base_224': BASE,
        'vitamin_large2_224': LARGE,
        'vitamin_large2_256': LARGE,
        'vitamin_large2_336': LARGE,
        'vitamin_large2_384': LARGE,
        'vitamin_large_224': LARGE,
        'vitamin_large_256': LARGE,
        'vitamin_large_336': LARGE,
        'vitamin_large_384': LARGE,
        'vitamin_small_224': SMALL,
        'vitamin_xlarge_256': XLARGE,
        'vitamin_xlarge_336': XLARGE,
        'vitamin_xlarge_384': XLARGE,
    },
    weights={
        'vitamin_base_224.datacomp1b_clip_ltt': PIXELS_224 | dict(hf_hub_id='jienengchen/ViTamin-B-LTT'),
        'vitamin_base_224.datacomp1b_clip': PIXELS_224 | dict(hf_hub_id='jienengchen/ViTamin-B'),
        'vitamin_large2_224.datacomp1b_clip': PIXELS_224 | TO_1024 | dict(hf_hub_id='jienengchen/ViTamin-L2-224px'),
        'vitamin_large2_256.datacomp1b_clip': TO_1024 | dict(size=256, hf_hub_id='jienengchen/ViTamin-L2-256px'),
        'vitamin_large2_336.datacomp1b_clip': TO_1024 | dict(size=336, hf_hub_id='jienengchen/ViTamin-L2-336px'),
        'vitamin_large2_384.datacomp1b_clip': TO_1024 | dict(size=384, hf_hub_id='jienengchen/ViTamin-L2-384px'),
        'vitamin_large_224.datacomp1b_clip': PIXELS_224 | dict(hf_hub_id='jienengchen/ViTamin-L-224px'),
        'vitamin_large_256.datacomp1b_clip': dict(size=256, hf_hub_id='jienengchen/ViTamin-L-256px'),
        'vitamin_large_336.datacomp1b_clip': dict(size=336, hf_hub_id='jienengchen/ViTamin-L-336px'),
        'vitamin_large_384.datacomp1b_clip': dict(size=384, hf_hub_id='jienengchen/ViTamin-L-384px'),
        'vitamin_small_224.datacomp1b_clip_ltt': PIXELS_224 | dict(hf_hub_id='jienengchen/ViTamin-S-LTT'),
        'vitamin_small_224.datacomp1b_clip': PIXELS_224 | dict(num_classes=384, hf_hub_id='jienengchen/ViTamin-S'),
        'vitamin_xlarge_256.datacomp1b_clip': TO_1152 | dict(size=256, hf_hub_id='jienengchen/ViTamin-XL-256px'),
        'vitamin_xlarge_336.datacomp1b_clip': TO_1152 | dict(size=336, hf_hub_id='jienengchen/ViTamin-XL-336px'),
        'vitamin_xlarge_384.datacomp1b_clip': TO_1152 | dict(size=384, hf_hub_id='jienengchen/ViTamin-XL-384px'),
    },
),)

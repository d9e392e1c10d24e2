"""Rows of the image encoder of DeepSeek-V4's models with vision: alone ('_enc'), and under a classifier that pools its
map, or what it merges of it ('_align').

Rows only; the network is zoo/models/deepseek_vit.py.
"""
from ..spec import HALF, Family

DATA = dict(size=546, min_input_size=(3, 126, 126), crop_pct=1.0, crop_mode='border', mean=HALF, std=HALF,
    num_classes=0, license='mit')
CLASSIFIER = DATA | dict(first_conv='encoder.patch_embed.proj', classifier='head')
NETWORK = dict(embed_dim=1024, depth=32, num_heads=16, mlp_ratio=2.75)

FLASH = dict(origin_url='https://huggingface.co/deepseek-ai/DeepSeek-V4.1-Flash')
VISION_EXP = dict(size=392, origin_url='https://huggingface.co/deepseek-ai/DeepSeek-V4-Flash-Vision-Exp')
W4096 = dict(args=dict(out_features=4096))                                      # the width of its language model

FAMILIES = (Family(
    model='deepseek_vit.DeepseekVitClassifier',
    data=CLASSIFIER,
    variants={
        'deepseek_vit_412m': NETWORK,
    },
    weights={
        'deepseek_vit_412m.deepseek_v4_1_flash': FLASH,
        'deepseek_vit_412m.deepseek_v4_flash_vision_exp': VISION_EXP,
    },
), Family(
    model='deepseek_vit.DeepseekVitClassifier',
    data=CLASSIFIER,
    args=dict(encoder_pool='align'),
    variants={
        'deepseek_vit_412m_align': NETWORK | dict(out_features=5120),
    },
    weights={
        'deepseek_vit_412m_align.deepseek_v4_1_flash': FLASH,
        'deepseek_vit_412m_align.deepseek_v4_flash_vision_exp': VISION_EXP | W4096,
    },
), Family(
    model='deepseek_vit.DeepseekVitEncoder',
    data=DATA | dict(first_conv='patch_embed.proj'),
    variants={
        'deepseek_vit_412m_enc': NETWORK | dict(out_features=5120),
    },
    weights={
        'deepseek_vit_412m_enc.deepseek_v4_1_flash': FLASH,
        'deepseek_vit_412m_enc.deepseek_v4_flash_vision_exp': VISION_EXP | W4096,
    },
))

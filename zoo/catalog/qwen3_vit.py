"""Rows of the image encoders of Qwen3-VL (arXiv:2511.21631) and Qwen 3.5: alone ('_enc'), and under a classifier that
pools their map, or what they merge of it ('_merge').

Rows only; the network is zoo/models/qwen3_vit.py.
"""
from ..spec import HALF, Family

ORIGIN = 'https://huggingface.co/Qwen/'
DATA = dict(size=768, crop_pct=1.0, crop_mode='squash', mean=HALF, std=HALF, num_classes=0, license='apache-2.0')
CLASSIFIER = DATA | dict(first_conv='encoder.patch_embed.proj', classifier='head')

SMALL = dict(embed_dim=768, depth=12, num_heads=12, mlp_ratio=4.0)
MEDIUM = dict(embed_dim=1024, depth=24, num_heads=16, mlp_ratio=4.0)
LARGE = dict(embed_dim=1152, depth=27, num_heads=16, mlp_ratio=4304 / 1152)

# the widths of the language models
W2048 = dict(args=dict(out_features=2048))
W2560 = dict(args=dict(out_features=2560))
W4096 = dict(args=dict(out_features=4096))

SMALL_0_8B = dict(origin_url=ORIGIN + 'Qwen3.5-0.8B')
MEDIUM_2B = dict(origin_url=ORIGIN + 'Qwen3.5-2B')
MEDIUM_4B = dict(origin_url=ORIGIN + 'Qwen3.5-4B')
MEDIUM_VL_4B = dict(origin_url=ORIGIN + 'Qwen3-VL-4B-Instruct')
MEDIUM_DRIVE = dict(origin_url=ORIGIN + 'Qwen-Drive-1.0-4B')
LARGE_3_8_27B = dict(origin_url=ORIGIN + 'Qwen3.8-27B')
LARGE_FLASH = dict(origin_url=ORIGIN + 'Qwen3.8-Flash-Next', license='qwen-community-1.0')
LARGE_27B = dict(origin_url=ORIGIN + 'Qwen3.5-27B')
LARGE_9B = dict(origin_url=ORIGIN + 'Qwen3.5-9B')
LARGE_VL_8B = dict(origin_url=ORIGIN + 'Qwen3-VL-8B-Instruct')
LARGE_VL_32B = dict(origin_url=ORIGIN + 'Qwen3-VL-32B-Instruct')
LARGE_VL_30B = dict(origin_url=ORIGIN + 'Qwen3-VL-30B-A3B-Instruct')
LARGE_VL_235B = dict(origin_url=ORIGIN + 'Qwen3-VL-235B-A22B-Instruct')

FAMILIES = (Family(
    model='qwen3_vit.Qwen3VitClassifier',
    data=CLASSIFIER,
    variants={
        'qwen3_vit_88m': SMALL,
        'qwen3_vit_306m': MEDIUM,
        'qwen3_vit_416m': LARGE,
    },
    weights={
        'qwen3_vit_88m.qwen3_5_0_8b': SMALL_0_8B,
        'qwen3_vit_306m.qwen3_5_2b': MEDIUM_2B,
        'qwen3_vit_306m.qwen3_5_4b': MEDIUM_4B,
        'qwen3_vit_306m.qwen3_vl_4b': MEDIUM_VL_4B,
        'qwen3_vit_306m.qwen_drive_1_0_4b': MEDIUM_DRIVE,
        'qwen3_vit_416m.qwen3_8_27b': LARGE_3_8_27B,
        'qwen3_vit_416m.qwen3_8_flash_next': LARGE_FLASH,
        'qwen3_vit_416m.qwen3_5_27b': LARGE_27B,
        'qwen3_vit_416m.qwen3_5_9b': LARGE_9B,
        'qwen3_vit_416m.qwen3_vl_8b': LARGE_VL_8B,
        'qwen3_vit_416m.qwen3_vl_32b': LARGE_VL_32B,
        'qwen3_vit_416m.qwen3_vl_30b_a3b': LARGE_VL_30B,
        'qwen3_vit_416m.qwen3_vl_235b_a22b': LARGE_VL_235B,
    },
), Family(
    model='qwen3_vit.Qwen3VitClassifier',
    args=dict(encoder_pool='merge'),
    data=CLASSIFIER,
    variants={
        'qwen3_vit_88m_merge': SMALL | dict(out_features=1024),
        'qwen3_vit_306m_merge': MEDIUM | dict(out_features=2048),
        'qwen3_vit_416m_merge': LARGE | dict(out_features=5120),
    },
    weights={
        'qwen3_vit_88m_merge.qwen3_5_0_8b': SMALL_0_8B,
        'qwen3_vit_306m_merge.qwen3_5_2b': MEDIUM_2B,
        'qwen3_vit_306m_merge.qwen3_5_4b': MEDIUM_4B | W2560,
        'qwen3_vit_306m_merge.qwen3_vl_4b': MEDIUM_VL_4B | W2560,
        'qwen3_vit_306m_merge.qwen_drive_1_0_4b': MEDIUM_DRIVE | W2560,
        'qwen3_vit_416m_merge.qwen3_8_27b': LARGE_3_8_27B,
        'qwen3_vit_416m_merge.qwen3_8_flash_next': LARGE_FLASH | W2560,
        'qwen3_vit_416m_merge.qwen3_5_27b': LARGE_27B,
        'qwen3_vit_416m_merge.qwen3_5_9b': LARGE_9B | W4096,
        'qwen3_vit_416m_merge.qwen3_vl_8b': LARGE_VL_8B | W4096,
        'qwen3_vit_416m_merge.qwen3_vl_32b': LARGE_VL_32B,
        'qwen3_vit_416m_merge.qwen3_vl_30b_a3b': LARGE_VL_30B | W2048,
        'qwen3_vit_416m_merge.qwen3_vl_235b_a22b': LARGE_VL_235B | W4096,
    },
), Family(
    model='qwen3_vit.Qwen3VitEncoder',
    data=DATA | dict(first_conv='patch_embed.proj'),
    variants={
        'qwen3_vit_88m_enc': SMALL | dict(out_features=1024),
        'qwen3_vit_306m_enc': MEDIUM | dict(out_features=2048),
        'qwen3_vit_416m_enc': LARGE | dict(out_features=5120),
    },
    weights={
        'qwen3_vit_88m_enc.qwen3_5_0_8b': SMALL_0_8B,
        'qwen3_vit_306m_enc.qwen3_5_2b': MEDIUM_2B,
        'qwen3_vit_306m_enc.qwen3_5_4b': MEDIUM_4B | W2560,
        'qwen3_vit_306m_enc.qwen3_vl_4b': MEDIUM_VL_4B | W2560,
        'qwen3_vit_306m_enc.qwen_drive_1_0_4b': MEDIUM_DRIVE | W2560,
        'qwen3_vit_416m_enc.qwen3_8_27b': LARGE_3_8_27B,
        'qwen3_vit_416m_enc.qwen3_8_flash_next': LARGE_FLASH | W2560,
        'qwen3_vit_416m_enc.qwen3_5_27b': LARGE_27B,
        'qwen3_vit_416m_enc.qwen3_5_9b': LARGE_9B | W4096,
        'qwen3_vit_416m_enc.qwen3_vl_8b': LARGE_VL_8B | W4096,
        'qwen3_vit_416m_enc.qwen3_vl_32b': LARGE_VL_32B,
        'qwen3_vit_416m_enc.qwen3_vl_30b_a3b': LARGE_VL_30B | W2048,
        'qwen3_vit_416m_enc.qwen3_vl_235b_a22b': LARGE_VL_235B | W4096,
    },
))

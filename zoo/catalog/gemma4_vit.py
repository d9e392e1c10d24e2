"""Rows of the image encoders of Gemma 4: alone ('_enc'), and under a classifier that pools their patches.

Rows only; the network is zoo/models/gemma4_vit.py.
"""
from ..spec import Family

DATA = dict(size=768, min_input_size=(3, 96, 96), crop_pct=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    num_classes=0, classifier='head', license='apache-2.0')
SMALL = dict(embed_dim=768, depth=16, num_heads=12, head_dim=64, intermediate_size=3072, use_clipped_linears=True)
LARGE = dict(embed_dim=1152, depth=27, num_heads=16, head_dim=72, intermediate_size=4304, standardize=True)

FAMILIES = (Family(
    model='gemma4_vit.Gemma4VitClassifier',
    data=DATA | dict(first_conv='encoder.patch_embed.input_proj'),
    variants={
        'gemma4_vit_167m': SMALL,
        'gemma4_vit_570m': LARGE,
    },
    weights={
        'gemma4_vit_167m.gemma4_e4b_it': dict(),
        'gemma4_vit_570m.gemma4_31b_it': dict(),
    },
), Family(
    model='gemma4_vit.Gemma4VitEncoder',
    data=DATA | dict(first_conv='patch_embed.input_proj'),
    variants={
        'gemma4_vit_167m_enc': SMALL,
        'gemma4_vit_570m_enc': LARGE,
    },
    weights={
        'gemma4_vit_167m_enc.gemma4_e4b_it': dict(),
        'gemma4_vit_570m_enc.gemma4_31b_it': dict(),
    },
))

"""Rows of Twins (arXiv:2104.13840, Tables 1 and 2): Twins-PCPVT and Twins-SVT.

Rows only; the network is zoo/models/twins.py.
"""
from ..spec import Family

PCPVT = dict(embed_dims=(64, 128, 320, 512), num_heads=(1, 2, 5, 8), mlp_ratios=(8, 8, 4, 4))
SVT = dict(mlp_ratios=(4, 4, 4, 4), wss=(7, 7, 7, 7))

FAMILIES = (Family(
    model='twins.Twins',
    args=dict(sr_ratios=(8, 4, 2, 1)),
    data=dict(fixed_input_size=True, crop_pct=0.9, first_conv='patch_embeds.0.proj', classifier='head',
              license='apache-2.0'),
    variants={
        'twins_pcpvt_base': dict(depths=(3, 4, 18, 3), **PCPVT),
        'twins_pcpvt_large': dict(depths=(3, 8, 27, 3), **PCPVT),
        'twins_pcpvt_small': dict(depths=(3, 4, 6, 3), **PCPVT),
        'twins_svt_base': dict(depths=(2, 2, 18, 2), embed_dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24), **SVT),
        'twins_svt_large': dict(depths=(2, 2, 18, 2), embed_dims=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32),
                                **SVT),
        'twins_svt_small': dict(depths=(2, 2, 10, 4), embed_dims=(64, 128, 256, 512), num_heads=(2, 4, 8, 16), **SVT),
    },
    weights={
        'twins_pcpvt_base.in1k': dict(),
        'twins_pcpvt_large.in1k': dict(),
        'twins_pcpvt_small.in1k': dict(),
        'twins_svt_base.in1k': dict(),
        'twins_svt_large.in1k': dict(),
        'twins_svt_small.in1k': dict(),
    },
),)

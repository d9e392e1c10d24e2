"""Rows of NesT, nested hierarchical transformers (arXiv:2105.12723).

Rows only; the network is zoo/models/nest.py.
"""
from ..spec import Family

TINY = dict(embed_dims=(96, 192, 384), num_heads=(3, 6, 12), depths=(2, 2, 8))
SMALL = dict(embed_dims=(96, 192, 384), num_heads=(3, 6, 12), depths=(2, 2, 20))
BASE = dict(embed_dims=(128, 256, 512), num_heads=(4, 8, 16), depths=(2, 2, 20))

FAMILIES = (Family(
    model='nest.Nest',
    data=dict(fixed_input_size=True, pool_size=[14, 14], first_conv='patch_embed.proj', classifier='head',
              license='apache-2.0'),
    variants={
        'nest_base': BASE,
        'nest_base_jx': BASE | dict(pad_type='same'),
        'nest_small': SMALL,
        'nest_small_jx': SMALL | dict(pad_type='same'),
        'nest_tiny': TINY,
        'nest_tiny_jx': TINY | dict(pad_type='same'),
    },
    weights={
        'nest_base.untrained': dict(hf_hub_id=None),
        'nest_base_jx.goog_in1k': dict(),
        'nest_small.untrained': dict(hf_hub_id=None),
        'nest_small_jx.goog_in1k': dict(),
        'nest_tiny.untrained': dict(hf_hub_id=None),
        'nest_tiny_jx.goog_in1k': dict(),
    },
    former={f'jx_nest_{size}': f'nest_{size}_jx' for size in ('base', 'small', 'tiny')},
),)

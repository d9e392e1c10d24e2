"""Rows of NaFlexViT: vision transformers that take images in their own aspect ratio and size, after NaViT
(arXiv:2307.06304); the vision half of SigLIP 2 NaFlex (arXiv:2502.14786) and RADIO (arXiv:2412.07679) among them. The
network is zoo/models/naflexvit.py; a row without a size is of ViT-Base."""
from ..spec import CLIP_MEAN, CLIP_STD, HALF, Family

MODEL = 'naflexvit.NaFlexVit'
LAYERS = dict(first_conv='embeds.proj', classifier='head', crop_pct=1.0)
NONE = dict(hf_hub_id=None)

LARGE = dict(embed_dim=1024, depth=24, num_heads=16)
HUGE = dict(embed_dim=1280, depth=32, num_heads=16)
GIANT = dict(embed_dim=1536, depth=40, num_heads=24)
SO400M = dict(embed_dim=1152, depth=27, num_heads=16)
SO150M2 = dict(embed_dim=832, depth=21, num_heads=13, mlp_ratio=34 / 13, qkv_bias=False, reg_tokens=1)
GAP = dict(global_pool='avg', fc_norm=True)
PRESERVING = dict(pos_embed_ar_preserving=True)
CORNERS = dict(pos_embed_align_corners=True)
SCALED = dict(init_values=1e-5)

FAMILIES = (Family(
    model=MODEL,
    args=SCALED,
    data=LAYERS | dict(size=384, mean=HALF, std=HALF, license='apache-2.0'),
    variants={
        'naflexvit_base_patch16_gap': GAP | dict(reg_tokens=4),
        'naflexvit_base_patch16_map': dict(reg_tokens=1),
        'naflexvit_base_patch16_par_gap': GAP | PRESERVING | dict(reg_tokens=4),
        'naflexvit_base_patch16_parfac_gap': GAP | PRESERVING | dict(reg_tokens=4, pos_embed='factorized'),
        'naflexvit_so150m2_patch16_reg1_gap': SO150M2 | GAP,
        'naflexvit_so150m2_patch16_reg1_map': SO150M2,
    },
    weights={
        'naflexvit_base_patch16_gap.e300_s576_in1k': {},
        'naflexvit_base_patch16_map.untrained': NONE,
        'naflexvit_base_patch16_par_gap.e300_s576_in1k': {},
        'naflexvit_base_patch16_parfac_gap.e300_s576_in1k': {},
        'naflexvit_so150m2_patch16_reg1_gap.untrained': NONE,
        'naflexvit_so150m2_patch16_reg1_map.untrained': NONE,
    },
), Family(
    # SigLIP 2, arXiv:2502.14786
    model=MODEL,
    args=dict(act_layer='gelu_tanh', pos_embed_interp_mode='bilinear'),
    data=LAYERS | dict(size=384, mean=HALF, std=HALF, license='apache-2.0', num_classes=0),
    variants={
        'naflexvit_base_patch16_siglip': {},
        'naflexvit_so400m_patch16_siglip': SO400M | dict(mlp_ratio=3.7362),
    },
    weights={
        'naflexvit_base_patch16_siglip.v2_webli': {},
        'naflexvit_so400m_patch16_siglip.v2_webli': {},
    },
), Family(
    # RADIO, arXiv:2412.07679
    model=MODEL,
    args=PRESERVING | dict(class_token=True, global_pool='token', final_norm=False, pos_embed_grid_size=(128, 128),
                           pos_embed_interp_mode='bilinear', pos_embed_antialias=False),
    data=LAYERS | dict(size=512, mean=CLIP_MEAN, std=CLIP_STD, license='nvidia-open-model-license', num_classes=0,
        paper_ids='arXiv:2412.07679', origin_url='https://github.com/NVlabs/RADIO'),
    variants={
        'naflexvit_base_patch16_radio_v3': SCALED | CORNERS | dict(reg_tokens=7),
        'naflexvit_giant_patch16_radio_v3': GIANT | dict(reg_tokens=7),
        'naflexvit_huge_patch16_radio_v3': HUGE | CORNERS | dict(reg_tokens=7),
        'naflexvit_huge_patch16_radio_v4': HUGE | dict(reg_tokens=9),
        'naflexvit_large_patch16_radio_v3': LARGE | SCALED | dict(reg_tokens=7),
        'naflexvit_so400m_patch16_radio_v4': SO400M | dict(mlp_ratio=4304 / 1152, reg_tokens=9),
    },
    weights={
        'naflexvit_base_patch16_radio_v3.c_radio': {},
        'naflexvit_giant_patch16_radio_v3.c_radio': {},
        'naflexvit_huge_patch16_radio_v3.c_radio': {},
        'naflexvit_huge_patch16_radio_v4.c_radio': dict(paper_ids='arXiv:2601.17237'),
        'naflexvit_large_patch16_radio_v3.c_radio': {},
        'naflexvit_so400m_patch16_radio_v4.c_radio': dict(paper_ids='arXiv:2601.17237'),
    },
))

"""Rows of vision transformers with relative positions. The network is zoo/models/vision_transformer_relpos.py; a row
without a size is of ViT-Base, with patches of 16 pixels."""
from ..spec import HALF, Family

SMALL = dict(embed_dim=384, num_heads=6)
MEDIUM = dict(embed_dim=512, num_heads=8)
PLUS = dict(embed_dim=896, num_heads=14)
RES_POST_NORM = dict(block_fn='ResPostRelPosBlock')
CLASS_TOKEN = dict(class_token=True, global_pool='token')

FAMILIES = (Family(
    model='vision_transformer_relpos.VisionTransformerRelPos',
    args=dict(qkv_bias=False),
    data=dict(fixed_input_size=True, crop_pct=0.9, mean=HALF, std=HALF, first_conv='patch_embed.proj',
              classifier='head', license='apache-2.0'),
    variants={
        'test_vit_relpos': dict(embed_dim=96, depth=9, num_heads=3, mlp_ratio=2, fc_norm=True),
        'vit_relpos_base_patch16_224': dict(fc_norm=True),
        'vit_relpos_base_patch16_cls_224': CLASS_TOKEN,
        'vit_relpos_base_patch16_clsgap_224': dict(class_token=True, fc_norm=True),
        'vit_relpos_base_patch16_plus_240': PLUS | dict(qkv_bias=True),
        'vit_relpos_base_patch16_rpn_224': RES_POST_NORM,
        'vit_relpos_base_patch32_plus_rpn_256': PLUS | RES_POST_NORM | dict(qkv_bias=True, patch_size=32),
        'vit_relpos_medium_patch16_224': MEDIUM | dict(fc_norm=True),
        'vit_relpos_medium_patch16_cls_224': MEDIUM | CLASS_TOKEN | dict(rel_pos_dim=256),
        'vit_relpos_medium_patch16_rpn_224': MEDIUM | RES_POST_NORM,
        'vit_relpos_small_patch16_224': SMALL | dict(fc_norm=True),
        'vit_relpos_small_patch16_rpn_224': SMALL | RES_POST_NORM,
        'vit_srelpos_medium_patch16_224': MEDIUM | dict(rel_pos_dim=512, shared_rel_pos=True),
        'vit_srelpos_small_patch16_224': SMALL | dict(rel_pos_dim=384, shared_rel_pos=True),
    },
    weights={
        'test_vit_relpos.untrained': dict(size=160, crop_pct=0.95),
        'vit_relpos_base_patch16_224.sw_in1k': {},
        'vit_relpos_base_patch16_cls_224.untrained': {},
        'vit_relpos_base_patch16_clsgap_224.sw_in1k': {},
        'vit_relpos_base_patch16_plus_240.untrained': dict(size=240),
        'vit_relpos_base_patch16_rpn_224.untrained': {},
        'vit_relpos_base_patch32_plus_rpn_256.sw_in1k': dict(size=256),
        'vit_relpos_medium_patch16_224.sw_in1k': {},
        'vit_relpos_medium_patch16_cls_224.sw_in1k': {},
        'vit_relpos_medium_patch16_rpn_224.sw_in1k': {},
        'vit_relpos_small_patch16_224.sw_in1k': {},
        'vit_relpos_small_patch16_rpn_224.untrained': {},
        'vit_srelpos_medium_patch16_224.sw_in1k': {},
        'vit_srelpos_small_patch16_224.sw_in1k': {},
    },
),)

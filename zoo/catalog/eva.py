"""Rows of EVA (arXiv:2211.07636, arXiv:2303.11331) and of other vision transformers that rotate queries and keys:
Perception Encoder, RoPE-ViT, DINOv3, Sapiens 2. The network is zoo/models/eva.py."""
from ..spec import CLIP_MEAN, CLIP_STD, HALF, Family

MODEL = 'eva.Eva'
LAYERS = dict(fixed_input_size=True, crop_pct=1.0, num_classes=0, first_conv='patch_embed.proj', classifier='head',
    license='mit')
APACHE = dict(license='apache-2.0')
CLIP = dict(mean=CLIP_MEAN, std=CLIP_STD)
INCEPTION = dict(mean=HALF, std=HALF)
SATELLITE = dict(mean=(0.43, 0.411, 0.296), std=(0.213, 0.156, 0.143))

TINY = dict(embed_dim=192, depth=12, num_heads=3)
SMALL = dict(embed_dim=384, depth=12, num_heads=6)
MEDIUM = dict(embed_dim=512, depth=12, num_heads=8)
BETWIXT = dict(embed_dim=640, depth=12, num_heads=10)
BASE = dict(embed_dim=768, depth=12, num_heads=12)
LARGE = dict(embed_dim=1024, depth=24, num_heads=16)
HUGE = dict(embed_dim=1280, depth=32, num_heads=16)
HUGE_PLUS = dict(embed_dim=1280, depth=32, num_heads=20)
GIANT = dict(embed_dim=1536, depth=40, num_heads=24)

EVA02 = dict(patch_size=14, mlp_ratio=8 / 3, swiglu_mlp=True, use_rot_pos_emb=True, ref_feat_shape=(16, 16))
SUB_NORM = dict(qkv_fused=False, scale_mlp=True)
CLIP_TOWER = SUB_NORM | dict(scale_attn_inner=True, global_pool='token')
PE = dict(attn_type='rope', use_rot_pos_emb=True, rope_grid_indexing='xy', use_pre_transformer_norm=True, norm_eps=1e-5)
PE_LARGE = dict(patch_size=14, rope_grid_offset=1.0)
PE_GIGANTIC = dict(patch_size=14, embed_dim=1536, num_heads=16, mlp_ratio=35 / 6, class_token=False,
    ref_feat_shape=(32, 32))
AXIAL = dict(rope_temperature=100.0)
MIXED = dict(rope_temperature=10.0, rope_type='mixed')
POSITIONS = dict(no_embed_class=True, use_abs_pos_emb=True)
REGISTERS = dict(init_values=1e-5, class_token=False, num_reg_tokens=1, use_rot_pos_emb=True, use_abs_pos_emb=False,
    ref_feat_shape=(16, 16))
GATED = dict(swiglu_mlp=True, swiglu_align_to=8)
ROTATED = dict(rope_type='dinov3', rope_temperature=100.0, rope_rotate_half=True, use_rot_pos_emb=True,
    use_abs_pos_emb=False, dynamic_img_size=True, use_fc_norm=False)
DINOV3 = ROTATED | dict(qkv_bias=False, init_values=1e-5, num_reg_tokens=4, norm_eps=1e-5)
SAPIENS = ROTATED | dict(img_size=(1024, 768), attn_type='rope', qkv_fused=False, qk_norm=True, global_pool='token',
    swiglu_mlp=True, init_values=1.0, attn_only_layer_scale=True, rope_rescale_coords=2.0, num_reg_tokens=8,
    norm_layer='rmsnorm')

FAMILIES = (Family(
    # EVA, arXiv:2211.07636
    model=MODEL,
    args=dict(patch_size=14, embed_dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11),
    data=LAYERS,
    variants={
        'eva_giant_patch14_224': {},
        'eva_giant_patch14_336': {},
        'eva_giant_patch14_560': {},
        'eva_giant_patch14_clip_224': dict(global_pool='token'),
    },
    weights={
        'eva_giant_patch14_224.clip_ft_in1k': CLIP | dict(crop_pct=0.9, num_classes=1000),
        'eva_giant_patch14_336.clip_ft_in1k': CLIP | dict(size=336, crop_mode='squash', num_classes=1000),
        'eva_giant_patch14_336.m30m_ft_in22k_in1k': dict(size=336, crop_mode='squash', num_classes=1000),
        'eva_giant_patch14_560.m30m_ft_in22k_in1k': dict(size=560, crop_mode='squash', num_classes=1000),
        'eva_giant_patch14_clip_224.laion400m': CLIP | dict(crop_pct=0.9, num_classes=1024),
        'eva_giant_patch14_clip_224.merged2b': CLIP | dict(crop_pct=0.9, num_classes=1024),
    },
), Family(
    # EVA-02, arXiv:2303.11331, Table 2; EVA-CLIP, arXiv:2303.15389
    model=MODEL,
    args=EVA02,
    data=LAYERS | CLIP,
    variants={
        'eva02_base_patch14_224': BASE | SUB_NORM,
        'eva02_base_patch14_448': BASE | SUB_NORM,
        'eva02_base_patch16_clip_224': BASE | CLIP_TOWER | dict(patch_size=16),
        'eva02_large_patch14_224': LARGE | SUB_NORM,
        'eva02_large_patch14_448': LARGE | SUB_NORM,
        'eva02_large_patch14_clip_224': LARGE | CLIP_TOWER,
        'eva02_large_patch14_clip_336': LARGE | CLIP_TOWER,
        'eva02_small_patch14_224': SMALL,
        'eva02_small_patch14_336': SMALL,
        'eva02_tiny_patch14_224': TINY,
        'eva02_tiny_patch14_336': TINY,
    },
    weights={
        'eva02_base_patch14_224.mim_in22k': dict(crop_pct=0.9),
        'eva02_base_patch14_448.mim_in22k_ft_in22k_in1k': dict(size=448, crop_mode='squash', num_classes=1000),
        'eva02_base_patch14_448.mim_in22k_ft_in1k': dict(size=448, num_classes=1000),
        'eva02_base_patch14_448.mim_in22k_ft_in22k': dict(size=448, crop_mode='squash', num_classes=21841),
        'eva02_base_patch16_clip_224.merged2b': dict(crop_pct=0.9, num_classes=512),
        'eva02_large_patch14_224.mim_in22k': dict(crop_pct=0.9),
        'eva02_large_patch14_224.mim_m38m': dict(crop_pct=0.9),
        'eva02_large_patch14_448.mim_in22k_ft_in22k_in1k': dict(size=448, crop_mode='squash', num_classes=1000),
        'eva02_large_patch14_448.mim_m38m_ft_in22k_in1k': dict(size=448, crop_mode='squash', num_classes=1000),
        'eva02_large_patch14_448.mim_in22k_ft_in1k': dict(size=448, num_classes=1000),
        'eva02_large_patch14_448.mim_m38m_ft_in1k': dict(size=448, num_classes=1000),
        'eva02_large_patch14_448.mim_in22k_ft_in22k': dict(size=448, crop_mode='squash', num_classes=21841),
        'eva02_large_patch14_448.mim_m38m_ft_in22k': dict(size=448, crop_mode='squash', num_classes=21841),
        'eva02_large_patch14_clip_224.merged2b': dict(crop_pct=0.9, num_classes=768),
        'eva02_large_patch14_clip_336.merged2b': dict(size=336, num_classes=768),
        'eva02_small_patch14_224.mim_in22k': dict(crop_pct=0.9),
        'eva02_small_patch14_336.mim_in22k_ft_in1k': dict(size=336, num_classes=1000),
        'eva02_tiny_patch14_224.mim_in22k': dict(crop_pct=0.9),
        'eva02_tiny_patch14_336.mim_in22k_ft_in1k': dict(size=336, num_classes=1000),
    },
), Family(
    # EVA-02 CLIP, arXiv:2303.15389: the largest, without rotation
    model=MODEL,
    data=LAYERS | CLIP,
    variants={
        'eva02_enormous_patch14_clip_224': dict(patch_size=14, embed_dim=1792, depth=64, num_heads=16, mlp_ratio=60 / 7,
            use_post_norm=True, global_pool='token'),
    },
    weights={
        'eva02_enormous_patch14_clip_224.laion2b': dict(crop_pct=0.9, num_classes=1024),
        'eva02_enormous_patch14_clip_224.laion2b_plus': dict(crop_pct=0.9, num_classes=1024),
        'eva02_enormous_patch14_clip_224.pretrain': dict(crop_pct=0.9, hf_hub_id=None),
    },
), Family(
    # Perception Encoder, arXiv:2504.13181: for zero-shot classification
    model=MODEL,
    args=PE | dict(global_pool='map', attn_pool_num_heads=8, attn_pool_mlp_ratio=4.0),
    data=LAYERS | INCEPTION | APACHE,
    variants={
        'vit_pe_core_base_patch16_224': BASE | dict(ref_feat_shape=(14, 14), rope_grid_offset=1.0),
        'vit_pe_core_gigantic_patch14_448': PE_GIGANTIC | dict(depth=50),
        'vit_pe_core_large_patch14_336': LARGE | dict(patch_size=14, ref_feat_shape=(24, 24), rope_grid_offset=1.0),
        'vit_pe_core_small_patch16_384': SMALL | dict(ref_feat_shape=(24, 24), rope_grid_offset=1.0),
        'vit_pe_core_tiny_patch16_384': TINY | dict(ref_feat_shape=(24, 24), rope_grid_offset=1.0),
    },
    weights={
        'vit_pe_core_base_patch16_224.fb': dict(num_classes=1024),
        'vit_pe_core_gigantic_patch14_448.fb': dict(size=448, num_classes=1280),
        'vit_pe_core_large_patch14_336.fb': dict(size=336, num_classes=1024),
        'vit_pe_core_small_patch16_384.fb': dict(size=384, num_classes=512),
        'vit_pe_core_tiny_patch16_384.fb': dict(size=384, num_classes=512),
    },
), Family(
    # Perception Encoder, arXiv:2504.13181: for language models and for dense prediction
    model=MODEL,
    args=PE | dict(use_post_transformer_norm=False, use_fc_norm=False, ref_feat_shape=(32, 32)),
    data=LAYERS | INCEPTION | APACHE,
    variants={
        'vit_pe_lang_gigantic_patch14_448': PE_GIGANTIC | dict(depth=47, init_values=0.1),
        'vit_pe_lang_large_patch14_448': LARGE | PE_LARGE | dict(depth=23, init_values=0.1),
        'vit_pe_spatial_base_patch16_512': BASE | dict(rope_grid_offset=1.0),
        'vit_pe_spatial_gigantic_patch14_448': PE_GIGANTIC | dict(depth=50, init_values=0.1),
        'vit_pe_spatial_large_patch14_448': LARGE | PE_LARGE,
        'vit_pe_spatial_small_patch16_512': SMALL | dict(rope_grid_offset=1.0),
        'vit_pe_spatial_tiny_patch16_512': TINY | dict(rope_grid_offset=1.0),
    },
    weights={
        'vit_pe_lang_gigantic_patch14_448.fb': dict(size=448),
        'vit_pe_lang_gigantic_patch14_448.fb_tiling': dict(size=448),
        'vit_pe_lang_large_patch14_448.fb': dict(size=448),
        'vit_pe_lang_large_patch14_448.fb_tiling': dict(size=448),
        'vit_pe_spatial_base_patch16_512.fb': dict(size=512),
        'vit_pe_spatial_gigantic_patch14_448.fb': dict(size=448),
        'vit_pe_spatial_large_patch14_448.fb': dict(size=448),
        'vit_pe_spatial_small_patch16_512.fb': dict(size=512),
        'vit_pe_spatial_tiny_patch16_512.fb': dict(size=512),
    },
), Family(
    # RoPE-ViT, arXiv:2403.13298
    model=MODEL,
    args=dict(attn_type='rope', init_values=1e-5, global_pool='token', use_abs_pos_emb=False, use_rot_pos_emb=True,
        rope_grid_indexing='xy'),
    data=LAYERS | APACHE | dict(crop_pct=0.9, num_classes=1000),
    variants={
        'vit_base_patch16_rope_224': BASE | AXIAL | dict(use_fc_norm=False),
        'vit_base_patch16_rope_ape_224': BASE | AXIAL | POSITIONS,
        'vit_base_patch16_rope_mixed_224': BASE | MIXED,
        'vit_base_patch16_rope_mixed_ape_224': BASE | MIXED | POSITIONS,
        'vit_large_patch16_rope_224': LARGE | AXIAL,
        'vit_large_patch16_rope_ape_224': LARGE | AXIAL | POSITIONS,
        'vit_large_patch16_rope_mixed_224': LARGE | MIXED,
        'vit_large_patch16_rope_mixed_ape_224': LARGE | MIXED | POSITIONS,
        'vit_small_patch16_rope_224': SMALL | AXIAL,
        'vit_small_patch16_rope_ape_224': SMALL | AXIAL | POSITIONS,
        'vit_small_patch16_rope_mixed_224': SMALL | MIXED,
        'vit_small_patch16_rope_mixed_ape_224': SMALL | MIXED | POSITIONS,
    },
    weights={
        'vit_base_patch16_rope_224.naver_in1k': {},
        'vit_base_patch16_rope_ape_224.naver_in1k': {},
        'vit_base_patch16_rope_mixed_224.naver_in1k': {},
        'vit_base_patch16_rope_mixed_ape_224.naver_in1k': {},
        'vit_large_patch16_rope_224.naver_in1k': {},
        'vit_large_patch16_rope_ape_224.naver_in1k': {},
        'vit_large_patch16_rope_mixed_224.naver_in1k': {},
        'vit_large_patch16_rope_mixed_ape_224.naver_in1k': {},
        'vit_small_patch16_rope_224.naver_in1k': {},
        'vit_small_patch16_rope_ape_224.naver_in1k': {},
        'vit_small_patch16_rope_mixed_224.naver_in1k': {},
        'vit_small_patch16_rope_mixed_ape_224.naver_in1k': {},
    },
), Family(
    # Registers in place of a class token, trained at https://huggingface.co/timm
    model=MODEL,
    args=REGISTERS,
    data=LAYERS | INCEPTION | dict(size=256, crop_pct=0.95, num_classes=1000),
    variants={
        'vit_base_patch16_rope_reg1_gap_256': BASE,
        'vit_betwixt_patch16_rope_reg4_gap_256': BETWIXT | dict(num_reg_tokens=4),
        'vit_medium_patch16_rope_reg1_gap_256': MEDIUM,
        'vit_mediumd_patch16_rope_reg1_gap_256': MEDIUM | dict(depth=20, qkv_bias=False),
    },
    weights={
        'vit_base_patch16_rope_reg1_gap_256.sbb_in1k': {},
        'vit_betwixt_patch16_rope_reg4_gap_256.sbb_in1k': CLIP,
        'vit_medium_patch16_rope_reg1_gap_256.sbb_in1k': {},
        'vit_mediumd_patch16_rope_reg1_gap_256.sbb_in1k': {},
    },
), Family(
    # DINOv3, arXiv:2508.10104; EUPE, which learned from it
    model=MODEL,
    args=DINOV3,
    data=LAYERS | dict(size=256, license='dinov3-license'),
    variants={
        'vit_7b_patch16_dinov3': dict(embed_dim=4096, depth=40, num_heads=32, mlp_ratio=2, swiglu_mlp=True,
            swiglu_align_to=64),
        'vit_base_patch16_dinov3': BASE,
        'vit_base_patch16_dinov3_qkvb': BASE | dict(qkv_bias=True),
        'vit_huge_plus_patch16_dinov3': HUGE_PLUS | GATED,
        'vit_huge_plus_patch16_dinov3_qkvb': HUGE_PLUS | GATED | dict(qkv_bias=True),
        'vit_large_patch16_dinov3': LARGE,
        'vit_large_patch16_dinov3_qkvb': LARGE | dict(qkv_bias=True),
        'vit_small_patch16_dinov3': SMALL,
        'vit_small_patch16_dinov3_qkvb': SMALL | dict(qkv_bias=True),
        'vit_small_plus_patch16_dinov3': SMALL | GATED,
        'vit_small_plus_patch16_dinov3_qkvb': SMALL | GATED | dict(qkv_bias=True),
        'vit_tiny_patch16_dinov3_qkvb': TINY | dict(qkv_bias=True),
    },
    weights={
        'vit_7b_patch16_dinov3.lvd1689m': {},
        'vit_7b_patch16_dinov3.sat493m': SATELLITE,
        'vit_base_patch16_dinov3.lvd1689m': {},
        'vit_base_patch16_dinov3_qkvb.lvd1689m': {},
        'vit_base_patch16_dinov3_qkvb.eupe_lvd1689m': dict(license='fair-noncommercial-research-license'),
        'vit_huge_plus_patch16_dinov3.lvd1689m': {},
        'vit_huge_plus_patch16_dinov3_qkvb.lvd1689m': {},
        'vit_large_patch16_dinov3.lvd1689m': {},
        'vit_large_patch16_dinov3.sat493m': SATELLITE,
        'vit_large_patch16_dinov3_qkvb.lvd1689m': {},
        'vit_large_patch16_dinov3_qkvb.sat493m': SATELLITE,
        'vit_small_patch16_dinov3.lvd1689m': {},
        'vit_small_patch16_dinov3_qkvb.lvd1689m': {},
        'vit_small_patch16_dinov3_qkvb.eupe_lvd1689m': dict(license='fair-noncommercial-research-license'),
        'vit_small_plus_patch16_dinov3.lvd1689m': {},
        'vit_small_plus_patch16_dinov3_qkvb.lvd1689m': {},
        'vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m': dict(license='fair-noncommercial-research-license'),
    },
), Family(
    # LingBot-Vision, arXiv:2607.05247
    model=MODEL,
    args=DINOV3 | dict(global_pool='token'),
    data=LAYERS | APACHE | dict(size=512, interpolation='bilinear', crop_mode='squash', paper_ids='arXiv:2607.05247',
        origin_url='https://github.com/robbyant/lingbot-vision'),
    variants={
        'vit_base_patch16_lingbot': BASE | dict(qkv_bias=True),
        'vit_giant_patch16_lingbot': GIANT | GATED | dict(mlp_ratio=8 / 3),
        'vit_large_patch16_lingbot': LARGE | dict(qkv_bias=True),
        'vit_small_patch16_lingbot': SMALL | dict(qkv_bias=True),
    },
    weights={
        'vit_base_patch16_lingbot.robbyant': dict(hf_hub_id='belfner/vit_base_patch16_lingbot.robbyant'),
        'vit_giant_patch16_lingbot.robbyant': dict(hf_hub_id='belfner/vit_giant_patch16_lingbot.robbyant'),
        'vit_large_patch16_lingbot.robbyant': dict(hf_hub_id='belfner/vit_large_patch16_lingbot.robbyant'),
        'vit_small_patch16_lingbot.robbyant': dict(hf_hub_id='belfner/vit_small_patch16_lingbot.robbyant'),
    },
), Family(
    # Sapiens 2, arXiv:2604.21681
    model=MODEL,
    args=SAPIENS,
    data=LAYERS | dict(input_size=(3, 1024, 768), fixed_input_size=False, min_input_size=(3, 256, 192),
        interpolation='bilinear', crop_mode='squash', license='sapiens2-license', paper_ids='arXiv:2604.21681',
        origin_url='https://github.com/facebookresearch/sapiens2'),
    variants={
        'vit_5b_patch16_sapiens2': dict(embed_dim=2432, depth=56, num_heads=32,
            num_kv_heads=(32,) * 8 + (16,) * 40 + (32,) * 8),
        'vit_base_patch16_sapiens2': BASE | dict(num_kv_heads=(12,) * 12),
        'vit_giant_patch16_sapiens2': GIANT | dict(num_kv_heads=(24,) * 8 + (12,) * 24 + (24,) * 8),
        'vit_huge_patch16_sapiens2': HUGE | dict(num_kv_heads=(16,) * 8 + (8,) * 16 + (16,) * 8),
        'vit_large_patch16_sapiens2': LARGE | dict(num_kv_heads=(16,) * 8 + (8,) * 8 + (16,) * 8),
    },
    weights={
        'vit_5b_patch16_sapiens2.fb': {},
        'vit_base_patch16_sapiens2.fb': {},
        'vit_giant_patch16_sapiens2.fb': {},
        'vit_huge_patch16_sapiens2.fb': {},
        'vit_large_patch16_sapiens2.fb': {},
    },
),)

"""Rows of MobileNetV3 (arXiv:1905.02244, Tables 1 and 2) and its kin: LCNet, FBNetV3, MobileNetV4.

Rows only; the network is zoo/models/mobilenetv3.py and the notation of the blocks zoo/blocks.py. Where published
weights came from TensorFlow, the variant pads as TensorFlow does and its batch normalisation has eps 1e-3: `TF`.
"""
from ..spec import HALF, Family

MODEL = 'mobilenetv3.MobileNetV3'
LAYERS = dict(pool=32, first_conv='conv_stem', classifier='classifier', license='apache-2.0')
TF = dict(bn_eps=1e-3, pad_type='same')
INCEPTION = dict(mean=HALF, std=HALF)
MIIL = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), origin_url='https://github.com/Alibaba-MIIL/ImageNet21K',
            paper_ids='arXiv:2104.10972v4')
SE = dict(se_gate='hard_sigmoid', se_act='relu')

# MobileNetV3, Table 1; without squeeze-and-excitation, hard swish and 5x5 kernels: minimal
LARGE = (
    'ds_r1_k3_s1_e1_c16_nre',
    'ir_r1_k3_s2_e4_c24_nre ir_r1_k3_s1_e3_c24_nre',
    'ir_r3_k5_s2_e3_c40_se0.25_nre',
    'ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80',
    'ir_r2_k3_s1_e6_c112_se0.25',
    'ir_r3_k5_s2_e6_c160_se0.25',
    'cn_r1_k1_s1_c960',
)
LARGE_MINIMAL = (
    'ds_r1_k3_s1_e1_c16',
    'ir_r1_k3_s2_e4_c24 ir_r1_k3_s1_e3_c24',
    'ir_r3_k3_s2_e3_c40',
    'ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80',
    'ir_r2_k3_s1_e6_c112',
    'ir_r3_k3_s2_e6_c160',
    'cn_r1_k1_s1_c960',
)
LARGE_RW = (
    'ds_r1_k3_s1_e1_c16_nre_noskip',
    'ir_r1_k3_s2_e4_c24_nre ir_r1_k3_s1_e3_c24_nre',
    'ir_r3_k5_s2_e3_c40_se0.25_nre',
    'ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80',
    'ir_r2_k3_s1_e6_c112_se0.25',
    'ir_r3_k5_s2_e6_c160_se0.25',
    'cn_r1_k1_s1_c960',
)
# MobileNetV3, Table 2
SMALL = (
    'ds_r1_k3_s2_e1_c16_se0.25_nre',
    'ir_r1_k3_s2_e4.5_c24_nre ir_r1_k3_s1_e3.67_c24_nre',
    'ir_r1_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25',
    'ir_r2_k5_s1_e3_c48_se0.25',
    'ir_r3_k5_s2_e6_c96_se0.25',
    'cn_r1_k1_s1_c576',
)
SMALL_MINIMAL = (
    'ds_r1_k3_s2_e1_c16',
    'ir_r1_k3_s2_e4.5_c24 ir_r1_k3_s1_e3.67_c24',
    'ir_r1_k3_s2_e4_c40 ir_r2_k3_s1_e6_c40',
    'ir_r2_k3_s1_e3_c48',
    'ir_r3_k3_s2_e6_c96',
    'cn_r1_k1_s1_c576',
)
# PP-LCNet, arXiv:2109.15099, Table 2
LCNET = (
    'dsa_r1_k3_s1_c32',
    'dsa_r2_k3_s2_c64',
    'dsa_r2_k3_s2_c128',
    'dsa_r1_k3_s2_c256 dsa_r1_k5_s1_c256',
    'dsa_r4_k5_s1_c256',
    'dsa_r2_k5_s2_c512_se0.25',
)
# FBNetV3, arXiv:2006.02049
FBNET_B = (
    'ds_r2_k3_s1_e1_c16',
    'ir_r1_k5_s2_e4_c24 ir_r3_k5_s1_e2_c24',
    'ir_r1_k5_s2_e5_c40_se0.25 ir_r4_k5_s1_e3_c40_se0.25',
    'ir_r1_k5_s2_e5_c72 ir_r4_k3_s1_e3_c72',
    'ir_r1_k3_s1_e5_c120_se0.25 ir_r5_k5_s1_e3_c120_se0.25',
    'ir_r1_k3_s2_e6_c184_se0.25 ir_r5_k5_s1_e4_c184_se0.25 ir_r1_k5_s1_e6_c224_se0.25',
    'cn_r1_k1_s1_c1344',
)
FBNET_D = (
    'ds_r2_k3_s1_e1_c16',
    'ir_r1_k3_s2_e5_c24 ir_r5_k3_s1_e2_c24',
    'ir_r1_k5_s2_e4_c40_se0.25 ir_r4_k3_s1_e3_c40_se0.25',
    'ir_r1_k3_s2_e5_c72 ir_r4_k3_s1_e3_c72',
    'ir_r1_k3_s1_e5_c128_se0.25 ir_r6_k5_s1_e3_c128_se0.25',
    'ir_r1_k3_s2_e6_c208_se0.25 ir_r5_k5_s1_e5_c208_se0.25 ir_r1_k5_s1_e6_c240_se0.25',
    'cn_r1_k1_s1_c1440',
)
FBNET_G = (
    'ds_r3_k3_s1_e1_c24',
    'ir_r1_k5_s2_e4_c40 ir_r4_k5_s1_e2_c40',
    'ir_r1_k5_s2_e4_c56_se0.25 ir_r4_k5_s1_e3_c56_se0.25',
    'ir_r1_k5_s2_e5_c104 ir_r4_k3_s1_e3_c104',
    'ir_r1_k3_s1_e5_c160_se0.25 ir_r8_k5_s1_e3_c160_se0.25',
    'ir_r1_k3_s2_e6_c264_se0.25 ir_r6_k5_s1_e5_c264_se0.25 ir_r2_k5_s1_e6_c288_se0.25',
    'cn_r1_k1_s1_c1728',
)
# MobileNetV4, arXiv:2404.10518, Appendix D
V4_SMALL = (
    'cn_r1_k3_s2_e1_c32 cn_r1_k1_s1_e1_c32',
    'cn_r1_k3_s2_e1_c96 cn_r1_k1_s1_e1_c64',
    'uir_r1_a5_k5_s2_e3_c96 uir_r4_a0_k3_s1_e2_c96 uir_r1_a3_k0_s1_e4_c96',
    'uir_r1_a3_k3_s2_e6_c128 uir_r1_a5_k5_s1_e4_c128 uir_r1_a0_k5_s1_e4_c128 uir_r1_a0_k5_s1_e3_c128 '
    'uir_r2_a0_k3_s1_e4_c128',
    'cn_r1_k1_s1_c960',
)
V4_MEDIUM = (
    'er_r1_k3_s2_e4_c48',
    'uir_r1_a3_k5_s2_e4_c80 uir_r1_a3_k3_s1_e2_c80',
    'uir_r1_a3_k5_s2_e6_c160 uir_r2_a3_k3_s1_e4_c160 uir_r1_a3_k5_s1_e4_c160 uir_r1_a3_k3_s1_e4_c160 '
    'uir_r1_a3_k0_s1_e4_c160 uir_r1_a0_k0_s1_e2_c160 uir_r1_a3_k0_s1_e4_c160',
    'uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256 uir_r1_a0_k0_s1_e4_c256 '
    'uir_r1_a3_k0_s1_e4_c256 uir_r1_a3_k5_s1_e2_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a0_k0_s1_e4_c256 '
    'uir_r1_a5_k0_s1_e2_c256',
    'cn_r1_k1_s1_c960',
)
V4_LARGE = (
    'er_r1_k3_s2_e4_c48',
    'uir_r1_a3_k5_s2_e4_c96 uir_r1_a3_k3_s1_e4_c96',
    'uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192 uir_r5_a5_k3_s1_e4_c192 '
    'uir_r1_a3_k0_s1_e4_c192',
    'uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r2_a5_k0_s1_e4_c512 '
    'uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512 uir_r3_a5_k0_s1_e4_c512',
    'cn_r1_k1_s1_c960',
)
V4_HYBRID_MEDIUM = (
    'er_r1_k3_s2_e4_c48',
    'uir_r1_a3_k5_s2_e4_c80 uir_r1_a3_k3_s1_e2_c80',
    'uir_r1_a3_k5_s2_e6_c160 uir_r1_a0_k0_s1_e2_c160 uir_r1_a3_k3_s1_e4_c160 uir_r1_a3_k5_s1_e4_c160 '
    'mqa_r1_k3_h4_s1_v2_d64_c160 uir_r1_a3_k3_s1_e4_c160 mqa_r1_k3_h4_s1_v2_d64_c160 uir_r1_a3_k0_s1_e4_c160 '
    'mqa_r1_k3_h4_s1_v2_d64_c160 uir_r1_a3_k3_s1_e4_c160 mqa_r1_k3_h4_s1_v2_d64_c160 uir_r1_a3_k0_s1_e4_c160',
    'uir_r1_a5_k5_s2_e6_c256 uir_r1_a5_k5_s1_e4_c256 uir_r2_a3_k5_s1_e4_c256 uir_r1_a0_k0_s1_e2_c256 '
    'uir_r1_a3_k5_s1_e2_c256 uir_r1_a0_k0_s1_e2_c256 uir_r1_a0_k0_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 '
    'uir_r1_a3_k0_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 uir_r1_a5_k5_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 '
    'uir_r1_a5_k0_s1_e4_c256 mqa_r1_k3_h4_s1_d64_c256 uir_r1_a5_k0_s1_e4_c256',
    'cn_r1_k1_s1_c960',
)
V4_HYBRID_LARGE = (
    'er_r1_k3_s2_e4_c48',
    'uir_r1_a3_k5_s2_e4_c96 uir_r1_a3_k3_s1_e4_c96',
    'uir_r1_a3_k5_s2_e4_c192 uir_r3_a3_k3_s1_e4_c192 uir_r1_a3_k5_s1_e4_c192 uir_r2_a5_k3_s1_e4_c192 '
    'mqa_r1_k3_h8_s1_v2_d48_c192 uir_r1_a5_k3_s1_e4_c192 mqa_r1_k3_h8_s1_v2_d48_c192 uir_r1_a5_k3_s1_e4_c192 '
    'mqa_r1_k3_h8_s1_v2_d48_c192 uir_r1_a5_k3_s1_e4_c192 mqa_r1_k3_h8_s1_v2_d48_c192 uir_r1_a3_k0_s1_e4_c192',
    'uir_r4_a5_k5_s2_e4_c512 uir_r1_a5_k0_s1_e4_c512 uir_r1_a5_k3_s1_e4_c512 uir_r2_a5_k0_s1_e4_c512 '
    'uir_r1_a5_k3_s1_e4_c512 uir_r1_a5_k5_s1_e4_c512 mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512 '
    'mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512 mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512 '
    'mqa_r1_k3_h8_s1_d64_c512 uir_r1_a5_k0_s1_e4_c512',
    'cn_r1_k1_s1_c960',
)

FAMILIES = (Family(
    model=MODEL,
    args=dict(blocks=LARGE, se_divisor=8, **SE),
    data=LAYERS | dict(paper_ids='arXiv:1905.02244'),
    variants={
        'mobilenetv3_large_075': dict(width=0.75),
        'mobilenetv3_large_100': {},
        'mobilenetv3_large_150d': dict(width=1.5, depth=1.2),
        'tf_mobilenetv3_large_075': TF | dict(width=0.75),
        'tf_mobilenetv3_large_100': TF,
        'tf_mobilenetv3_large_minimal_100': TF | dict(blocks=LARGE_MINIMAL, act_layer='relu'),
    },
    weights={
        'mobilenetv3_large_075.untrained': dict(interpolation='bilinear'),
        'mobilenetv3_large_100.ra_in1k': dict(url='v0.1-weights/mobilenetv3_large_100_ra-f55367f5.pth'),
        'mobilenetv3_large_100.ra4_e3600_r224_in1k': INCEPTION | dict(test_size=256, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv3_large_100.miil_in21k_ft_in1k': MIIL | dict(interpolation='bilinear',
            url='v0.1-tresnet/mobilenetv3_large_100_1k_miil_78_0-66471c13.pth'),
        'mobilenetv3_large_100.miil_in21k': MIIL | dict(interpolation='bilinear', num_classes=11221,
            url='v0.1-tresnet/mobilenetv3_large_100_in21k_miil-d71cc17b.pth'),
        'mobilenetv3_large_150d.ra4_e3600_r256_in1k': INCEPTION | dict(size=256, test_size=320, crop_pct=0.95,
            test_crop_pct=1.0, interpolation='bilinear'),
        'tf_mobilenetv3_large_075.in1k': INCEPTION | dict(interpolation='bilinear',
            url='v0.1-weights/tf_mobilenetv3_large_075-150ee8b0.pth'),
        'tf_mobilenetv3_large_100.in1k': INCEPTION | dict(interpolation='bilinear',
            url='v0.1-weights/tf_mobilenetv3_large_100-427764d5.pth'),
        'tf_mobilenetv3_large_minimal_100.in1k': INCEPTION | dict(interpolation='bilinear',
            url='v0.1-weights/tf_mobilenetv3_large_minimal_100-8596ae28.pth'),
    },
    former={
        'mobilenetv3_large_100_miil': 'mobilenetv3_large_100.miil_in21k_ft_in1k',
        'mobilenetv3_large_100_miil_in21k': 'mobilenetv3_large_100.miil_in21k',
    },
), Family(
    model=MODEL,
    args=dict(blocks=SMALL, head_size=1024, se_divisor=8, **SE),
    data=LAYERS | dict(paper_ids='arXiv:1905.02244'),
    variants={
        'mobilenetv3_small_050': dict(width=0.5, fix_stem=True),
        'mobilenetv3_small_075': dict(width=0.75),
        'mobilenetv3_small_100': {},
        'tf_mobilenetv3_small_075': TF | dict(width=0.75),
        'tf_mobilenetv3_small_100': TF,
        'tf_mobilenetv3_small_minimal_100': TF | dict(blocks=SMALL_MINIMAL, act_layer='relu'),
    },
    weights={
        'mobilenetv3_small_050.lamb_in1k': dict(url='v0.1-weights/mobilenetv3_small_050_lambc-4b7bbe87.pth'),
        'mobilenetv3_small_075.lamb_in1k': dict(url='v0.1-weights/mobilenetv3_small_075_lambc-384766db.pth'),
        'mobilenetv3_small_100.lamb_in1k': dict(url='v0.1-weights/mobilenetv3_small_100_lamb-266a294c.pth'),
        'tf_mobilenetv3_small_075.in1k': INCEPTION | dict(interpolation='bilinear',
            url='v0.1-weights/tf_mobilenetv3_small_075-da427f52.pth'),
        'tf_mobilenetv3_small_100.in1k': INCEPTION | dict(interpolation='bilinear',
            url='v0.1-weights/tf_mobilenetv3_small_100-37f49e2b.pth'),
        'tf_mobilenetv3_small_minimal_100.in1k': INCEPTION | dict(interpolation='bilinear',
            url='v0.1-weights/tf_mobilenetv3_small_minimal_100-922a7843.pth'),
    },
), Family(
    model=MODEL,
    args=dict(blocks=LARGE_RW, head_bias=False, bn_eps=1e-3, se_gate='hard_sigmoid'),
    data=LAYERS | dict(paper_ids='arXiv:1905.02244'),
    variants={
        'mobilenetv3_rw': {},
    },
    weights={
        'mobilenetv3_rw.rmsp_in1k': dict(url='v0.1-weights/mobilenetv3_100-35495452.pth'),
    },
), Family(
    model=MODEL,
    args=dict(blocks=LCNET, **SE),
    data=LAYERS | dict(paper_ids='arXiv:2109.15099'),
    variants={
        'lcnet_035': dict(width=0.35),
        'lcnet_050': dict(width=0.5),
        'lcnet_075': dict(width=0.75),
        'lcnet_100': {},
        'lcnet_150': dict(width=1.5),
    },
    weights={
        'lcnet_035.untrained': dict(interpolation='bilinear'),
        'lcnet_050.ra2_in1k': dict(url='v0.1-weights/lcnet_050-f447553b.pth'),
        'lcnet_075.ra2_in1k': dict(url='v0.1-weights/lcnet_075-318cad2c.pth'),
        'lcnet_100.ra2_in1k': dict(url='v0.1-weights/lcnet_100-a929038c.pth'),
        'lcnet_150.untrained': dict(interpolation='bilinear'),
    },
), Family(
    model=MODEL,
    args=dict(head_size=1984, head_bias=False, round_limit=0.95, se_divisor=8, se_from_expanded=False,
              se_gate='hard_sigmoid'),
    data=LAYERS | dict(paper_ids='arXiv:2006.02049'),
    variants={
        'fbnetv3_b': dict(blocks=FBNET_B),
        'fbnetv3_d': dict(blocks=FBNET_D, stem_size=24),
        'fbnetv3_g': dict(blocks=FBNET_G, stem_size=32),
    },
    weights={
        'fbnetv3_b.ra2_in1k': dict(test_size=256, crop_pct=0.95, interpolation='bilinear',
            url='v0.1-weights/fbnetv3_b_224-ead5d2a1.pth'),
        'fbnetv3_d.ra2_in1k': dict(test_size=256, crop_pct=0.95, interpolation='bilinear',
            url='v0.1-weights/fbnetv3_d_224-c98bce42.pth'),
        'fbnetv3_g.ra2_in1k': dict(size=240, test_size=288, crop_pct=0.95, interpolation='bilinear',
            url='v0.1-weights/fbnetv3_g_240-0b1df83b.pth'),
    },
), Family(
    model=MODEL,
    args=dict(stem_size=32, head_bias=False, head_norm=True, act_layer='relu'),
    data=LAYERS | dict(paper_ids='arXiv:2404.10518'),
    variants={
        'mobilenetv4_conv_small_035': dict(blocks=V4_SMALL, width=0.35, fix_stem=True),
        'mobilenetv4_conv_small_050': dict(blocks=V4_SMALL, width=0.5, fix_stem=True),
        'mobilenetv4_conv_small': dict(blocks=V4_SMALL),
        'mobilenetv4_conv_medium': dict(blocks=V4_MEDIUM),
        'mobilenetv4_conv_large': dict(blocks=V4_LARGE, stem_size=24),
        'mobilenetv4_conv_aa_medium': dict(blocks=V4_MEDIUM, aa_layer='avg'),
        'mobilenetv4_conv_blur_medium': dict(blocks=V4_MEDIUM, aa_layer='blurpc'),
        'mobilenetv4_conv_aa_large': dict(blocks=V4_LARGE, stem_size=24, aa_layer='avg'),
        'mobilenetv4_hybrid_medium': dict(blocks=V4_HYBRID_MEDIUM, layer_scale=1e-5),
        'mobilenetv4_hybrid_medium_075': dict(blocks=V4_HYBRID_MEDIUM, width=0.75, fix_stem=True, layer_scale=1e-5),
        'mobilenetv4_hybrid_large': dict(blocks=V4_HYBRID_LARGE, stem_size=24, act_layer='gelu', layer_scale=1e-5),
        'mobilenetv4_hybrid_large_075': dict(blocks=V4_HYBRID_LARGE, width=0.75, stem_size=24, fix_stem=True,
            act_layer='gelu', layer_scale=1e-5),
    },
    weights={
        'mobilenetv4_conv_aa_large.e230_r448_in12k_ft_in1k': dict(size=448, test_size=544, crop_pct=0.95,
            test_crop_pct=1.0),
        'mobilenetv4_conv_aa_large.e230_r384_in12k_ft_in1k': dict(size=384, test_size=480, crop_pct=0.95,
            test_crop_pct=1.0),
        'mobilenetv4_conv_aa_large.e600_r384_in1k': dict(size=384, test_size=480, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_conv_aa_large.e230_r384_in12k': dict(size=384, test_size=448, crop_pct=0.95, test_crop_pct=1.0,
            num_classes=11821),
        'mobilenetv4_conv_aa_medium.untrained': dict(size=256, crop_pct=0.95),
        'mobilenetv4_conv_blur_medium.e500_r224_in1k': dict(test_size=256, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_conv_large.e600_r384_in1k': dict(size=384, test_size=448, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_conv_large.e500_r256_in1k': dict(size=256, test_size=320, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_conv_medium.e500_r256_in1k': dict(size=256, test_size=320, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_conv_medium.e500_r224_in1k': dict(test_size=256, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_conv_medium.e250_r384_in12k_ft_in1k': dict(size=384, crop_pct=0.95),
        'mobilenetv4_conv_medium.e180_r384_in12k': dict(size=384, crop_pct=1.0, num_classes=11821),
        'mobilenetv4_conv_medium.e180_ad_r384_in12k': dict(size=384, crop_pct=1.0, num_classes=11821),
        'mobilenetv4_conv_medium.e250_r384_in12k': dict(size=384, crop_pct=1.0, num_classes=11821),
        'mobilenetv4_conv_small.e2400_r224_in1k': dict(test_size=256, test_crop_pct=0.95),
        'mobilenetv4_conv_small.e1200_r224_in1k': dict(test_size=256, test_crop_pct=0.95),
        'mobilenetv4_conv_small.e3600_r256_in1k': INCEPTION | dict(size=256, test_size=320, crop_pct=0.95,
            test_crop_pct=1.0),
        'mobilenetv4_conv_small_035.untrained': INCEPTION | dict(test_size=256, test_crop_pct=0.95),
        'mobilenetv4_conv_small_050.e3000_r224_in1k': INCEPTION | dict(test_size=256, test_crop_pct=0.95),
        'mobilenetv4_hybrid_large.ix_e600_r384_in1k': dict(size=384, test_size=448, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_hybrid_large.e600_r384_in1k': dict(size=384, test_size=448, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_hybrid_large_075.untrained': dict(size=256, crop_pct=0.95),
        'mobilenetv4_hybrid_medium.e200_r256_in12k_ft_in1k': dict(size=256, test_size=320, crop_pct=0.95,
            test_crop_pct=1.0),
        'mobilenetv4_hybrid_medium.ix_e550_r256_in1k': dict(size=256, test_size=320, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_hybrid_medium.ix_e550_r384_in1k': dict(size=384, test_size=448, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_hybrid_medium.e500_r224_in1k': dict(test_size=256, crop_pct=0.95, test_crop_pct=1.0),
        'mobilenetv4_hybrid_medium.e200_r256_in12k': dict(size=256, test_size=320, crop_pct=0.95, test_crop_pct=1.0,
            num_classes=11821),
        'mobilenetv4_hybrid_medium_075.untrained': dict(crop_pct=0.95),
    },
),)

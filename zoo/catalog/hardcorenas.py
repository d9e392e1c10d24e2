"""Rows of HardCoRe-NAS, arXiv:2102.11646. The network is zoo/models/hardcorenas.py."""
from ..spec import Family

MODEL = 'hardcorenas.HardCoReNAS'
LAYERS = dict(pool=32, first_conv='conv_stem', classifier='classifier', license='apache-2.0')

A = (
    'ds_r1_k3_s1_e1_c16_nre',
    'ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25',
    'ir_r1_k5_s2_e3_c40_nre ir_r1_k5_s1_e6_c40_nre_se0.25',
    'ir_r1_k5_s2_e6_c80_se0.25 ir_r1_k5_s1_e6_c80_se0.25',
    'ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25',
    'ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25',
    'cn_r1_k1_s1_c960',
)
B = (
    'ds_r1_k3_s1_e1_c16_nre',
    'ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25 ir_r1_k3_s1_e3_c24_nre',
    'ir_r1_k5_s2_e3_c40_nre ir_r1_k5_s1_e3_c40_nre ir_r1_k5_s1_e3_c40_nre',
    'ir_r1_k5_s2_e3_c80 ir_r1_k5_s1_e3_c80 ir_r1_k3_s1_e3_c80 ir_r1_k3_s1_e3_c80',
    'ir_r1_k5_s1_e3_c112 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112',
    'ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e3_c192_se0.25',
    'cn_r1_k1_s1_c960',
)
C = (
    'ds_r1_k3_s1_e1_c16_nre',
    'ir_r1_k5_s2_e3_c24_nre ir_r1_k5_s1_e3_c24_nre_se0.25',
    'ir_r1_k5_s2_e3_c40_nre ir_r1_k5_s1_e3_c40_nre ir_r1_k5_s1_e3_c40_nre ir_r1_k5_s1_e3_c40_nre',
    'ir_r1_k5_s2_e4_c80 ir_r1_k5_s1_e6_c80_se0.25 ir_r1_k3_s1_e3_c80 ir_r1_k3_s1_e3_c80',
    'ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112 ir_r1_k3_s1_e3_c112',
    'ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e3_c192_se0.25',
    'cn_r1_k1_s1_c960',
)
D = (
    'ds_r1_k3_s1_e1_c16_nre',
    'ir_r1_k5_s2_e3_c24_nre_se0.25 ir_r1_k5_s1_e3_c24_nre_se0.25',
    'ir_r1_k5_s2_e3_c40_nre_se0.25 ir_r1_k5_s1_e4_c40_nre_se0.25 ir_r1_k3_s1_e3_c40_nre_se0.25',
    'ir_r1_k5_s2_e4_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25',
    'ir_r1_k3_s1_e4_c112_se0.25 ir_r1_k5_s1_e4_c112_se0.25 ir_r1_k3_s1_e3_c112_se0.25 ir_r1_k5_s1_e3_c112_se0.25',
    'ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25',
    'cn_r1_k1_s1_c960',
)
E = (
    'ds_r1_k3_s1_e1_c16_nre',
    'ir_r1_k5_s2_e3_c24_nre_se0.25 ir_r1_k5_s1_e3_c24_nre_se0.25',
    'ir_r1_k5_s2_e6_c40_nre_se0.25 ir_r1_k5_s1_e4_c40_nre_se0.25 ir_r1_k5_s1_e4_c40_nre_se0.25 '
    'ir_r1_k3_s1_e3_c40_nre_se0.25',
    'ir_r1_k5_s2_e4_c80_se0.25 ir_r1_k3_s1_e6_c80_se0.25',
    'ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e3_c112_se0.25',
    'ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25',
    'cn_r1_k1_s1_c960',
)
F = (
    'ds_r1_k3_s1_e1_c16_nre',
    'ir_r1_k5_s2_e3_c24_nre_se0.25 ir_r1_k5_s1_e3_c24_nre_se0.25',
    'ir_r1_k5_s2_e6_c40_nre_se0.25 ir_r1_k5_s1_e6_c40_nre_se0.25',
    'ir_r1_k5_s2_e6_c80_se0.25 ir_r1_k5_s1_e6_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25 ir_r1_k3_s1_e3_c80_se0.25',
    'ir_r1_k3_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k5_s1_e6_c112_se0.25 ir_r1_k3_s1_e3_c112_se0.25',
    'ir_r1_k5_s2_e6_c192_se0.25 ir_r1_k5_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25 ir_r1_k3_s1_e6_c192_se0.25',
    'cn_r1_k1_s1_c960',
)

FAMILIES = (Family(
    model=MODEL,
    args=dict(stem_size=32, se_gate='hard_sigmoid', se_act='relu', se_divisor=8),
    data=LAYERS | dict(paper_ids='arXiv:2102.11646'),
    variants={
        'hardcorenas_a': dict(blocks=A),
        'hardcorenas_b': dict(blocks=B),
        'hardcorenas_c': dict(blocks=C),
        'hardcorenas_d': dict(blocks=D),
        'hardcorenas_e': dict(blocks=E),
        'hardcorenas_f': dict(blocks=F),
    },
    weights={
        'hardcorenas_a.miil_green_in1k': dict(interpolation='bilinear'),
        'hardcorenas_b.miil_green_in1k': dict(interpolation='bilinear'),
        'hardcorenas_c.miil_green_in1k': dict(interpolation='bilinear'),
        'hardcorenas_d.miil_green_in1k': dict(interpolation='bilinear'),
        'hardcorenas_e.miil_green_in1k': dict(interpolation='bilinear'),
        'hardcorenas_f.miil_green_in1k': dict(interpolation='bilinear'),
    },
),)

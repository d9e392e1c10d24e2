"""Rows of PP-HGNet and PP-HGNetV2 (PaddleClas).

Rows only; the network is zoo/models/hgnet.py.
"""
from ..spec import Family

V1 = dict(stem_type='v1', light_block=(False,) * 4, kernel_size=(3,) * 4)
V2 = dict(stem_type='v2', light_block=(False, False, True, True), kernel_size=(3, 3, 5, 5))
LAB = dict(use_lab=True)
LARGE = V2 | dict(layer_num=(6,) * 4)
THREE = dict(block_num=(1, 1, 3, 1))

FIRST = dict(first_conv='stem.stem.0.conv')                                                   # of V1

FAMILIES = (Family(
    model='hgnet.HighPerfGpuNet',
    data=dict(test_size=288, crop_pct=0.965, test_crop_pct=1.0, pool=32, first_conv='stem.stem1.conv',
              classifier='head.fc', license='apache-2.0'),
    variants={
        'hgnet_base': V1 | dict(stem_chs=(96, 96, 160), mid_chs=(192, 224, 256, 288), out_chs=(320, 640, 960, 1280),
                                block_num=(1, 2, 3, 2), layer_num=(7,) * 4),
        'hgnet_small': V1 | dict(stem_chs=(64, 64, 128), mid_chs=(128, 160, 192, 224), out_chs=(256, 512, 768, 1024),
                                 block_num=(1, 1, 2, 1), layer_num=(6,) * 4),
        'hgnet_tiny': V1 | dict(stem_chs=(48, 48, 96), mid_chs=(96, 128, 160, 192), out_chs=(224, 448, 512, 768),
                                block_num=(1, 1, 2, 1), layer_num=(5,) * 4),
        'hgnetv2_b0': V2 | LAB | dict(stem_chs=(16, 16), mid_chs=(16, 32, 64, 128), out_chs=(64, 256, 512, 1024)),
        'hgnetv2_b1': V2 | LAB | dict(stem_chs=(24, 32), mid_chs=(32, 48, 96, 192), out_chs=(64, 256, 512, 1024)),
        'hgnetv2_b2': V2 | LAB | THREE | dict(stem_chs=(24, 32), mid_chs=(32, 64, 128, 256), out_chs=(96, 384, 768, 1536),
                                              layer_num=(4,) * 4),
        'hgnetv2_b3': V2 | LAB | THREE | dict(stem_chs=(24, 32), mid_chs=(32, 64, 128, 256), out_chs=(128, 512, 1024, 2048),
                                              layer_num=(5,) * 4),
        'hgnetv2_b4': LARGE | THREE | dict(stem_chs=(32, 48), mid_chs=(48, 96, 192, 384), out_chs=(128, 512, 1024, 2048)),
        'hgnetv2_b5': LARGE | dict(stem_chs=(32, 64), mid_chs=(64, 128, 256, 512), out_chs=(128, 512, 1024, 2048),
                                   block_num=(1, 2, 5, 2)),
        'hgnetv2_b6': LARGE | dict(stem_chs=(48, 96), mid_chs=(96, 192, 384, 768), out_chs=(192, 512, 1024, 2048),
                                   block_num=(2, 3, 6, 3)),
    },
    weights={
        'hgnet_base.ssld_in1k': FIRST,
        'hgnet_small.paddle_in1k': FIRST,
        'hgnet_small.ssld_in1k': FIRST,
        'hgnet_tiny.paddle_in1k': FIRST,
        'hgnet_tiny.ssld_in1k': FIRST,
        'hgnetv2_b0.ssld_stage2_ft_in1k': dict(),
        'hgnetv2_b0.ssld_stage1_in22k_in1k': dict(),
        'hgnetv2_b1.ssld_stage2_ft_in1k': dict(),
        'hgnetv2_b1.ssld_stage1_in22k_in1k': dict(),
        'hgnetv2_b2.ssld_stage2_ft_in1k': dict(),
        'hgnetv2_b2.ssld_stage1_in22k_in1k': dict(),
        'hgnetv2_b3.ssld_stage2_ft_in1k': dict(),
        'hgnetv2_b3.ssld_stage1_in22k_in1k': dict(),
        'hgnetv2_b4.ssld_stage2_ft_in1k': dict(),
        'hgnetv2_b4.ssld_stage1_in22k_in1k': dict(),
        'hgnetv2_b5.ssld_stage2_ft_in1k': dict(),
        'hgnetv2_b5.ssld_stage1_in22k_in1k': dict(),
        'hgnetv2_b6.ssld_stage2_ft_in1k': dict(),
        'hgnetv2_b6.ssld_stage1_in22k_in1k': dict(),
    },
),)

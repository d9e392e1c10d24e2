"""Rows of RegNet (arXiv:2003.13678, Tables 8 and 9, and SEER's larger ones, arXiv:2103.01988); Z is of arXiv:2103.06877, V
normalises before it convolves.

Rows only; the network is zoo/models/regnet.py. The number is that of multiply-adds in units of ten million; 'tv' are as
torchvision rounds their widths.
"""
from ..spec import Family

MODEL = 'regnet.RegNet'
DATA = dict(pool=32, first_conv='stem.conv', classifier='head.fc', license='mit',
            origin_url='https://github.com/facebookresearch/pycls')

# how networks are built
TV = dict(group_min_ratio=0.9)
Y = dict(se_ratio=0.25)
V = Y | dict(preact=True, act_layer='silu')
Z = Y | dict(bottle_ratio=4.0, downsample=None, linear_out=True, act_layer='silu', zero_init_last=False)
X004 = dict(depth=22, w0=24, wa=24.48, wm=2.54, group_size=16)
Y008 = dict(depth=14, w0=56, wa=38.84, wm=2.4, group_size=16)
Y040 = dict(depth=22, w0=96, wa=31.41, wm=2.24, group_size=64)
Y064 = dict(depth=25, w0=112, wa=33.22, wm=2.27, group_size=72)
Y080 = dict(depth=17, w0=192, wa=76.82, wm=2.19, group_size=56)
Z040 = dict(depth=28, w0=48, wa=14.5, wm=2.226, group_size=8)

# what sets of weights share
TIMM = dict(license='apache-2.0', origin_url=None)
RA = TIMM | dict(test_size=288, crop_pct=0.95, test_crop_pct=1.0)
IN12K = RA | dict(num_classes=11821)
TORCHVISION = dict(crop_pct=0.965, license='bsd-3-clause', origin_url='https://github.com/pytorch/vision')
SWAG = TORCHVISION | dict(license='cc-by-nc-4.0')
SWAG_384 = SWAG | dict(size=384, crop_pct=1.0)
SEER = dict(crop_pct=0.965, num_classes=0, license='seer-license', origin_url='https://github.com/facebookresearch/vissl')
SEER_384 = SEER | dict(size=384, crop_pct=1.0, num_classes=1000)
Z_DATA = TIMM | dict(size=256, test_size=320, crop_pct=1.0, test_crop_pct=1.0)

FAMILIES = (Family(
    model=MODEL,
    data=DATA,
    variants={
        'regnetv_040': Y040 | V,
        'regnetv_064': Y064 | V | dict(downsample='avg'),
        'regnetx_002': dict(depth=13, w0=24, wa=36.44, wm=2.49, group_size=8),
        'regnetx_004': X004,
        'regnetx_004_tv': X004 | TV,
        'regnetx_006': dict(depth=16, w0=48, wa=36.97, wm=2.24, group_size=24),
        'regnetx_008': dict(depth=16, w0=56, wa=35.73, wm=2.28, group_size=16),
        'regnetx_016': dict(depth=18, w0=80, wa=34.01, wm=2.25, group_size=24),
        'regnetx_032': dict(depth=25, w0=88, wa=26.31, wm=2.25, group_size=48),
        'regnetx_040': dict(depth=23, w0=96, wa=38.65, wm=2.43, group_size=40),
        'regnetx_064': dict(depth=17, w0=184, wa=60.83, wm=2.07, group_size=56),
        'regnetx_080': dict(depth=23, w0=80, wa=49.56, wm=2.88, group_size=120),
        'regnetx_120': dict(depth=19, w0=168, wa=73.36, wm=2.37, group_size=112),
        'regnetx_160': dict(depth=22, w0=216, wa=55.59, wm=2.1, group_size=128),
        'regnetx_320': dict(depth=23, w0=320, wa=69.86, wm=2.0, group_size=168),
        'regnety_002': dict(depth=13, w0=24, wa=36.44, wm=2.49, group_size=8) | Y,
        'regnety_004': dict(depth=16, w0=48, wa=27.89, wm=2.09, group_size=8) | Y,
        'regnety_006': dict(depth=15, w0=48, wa=32.54, wm=2.32, group_size=16) | Y,
        'regnety_008': Y008 | Y,
        'regnety_008_tv': Y008 | Y | TV,
        'regnety_016': dict(depth=27, w0=48, wa=20.71, wm=2.65, group_size=24) | Y,
        'regnety_032': dict(depth=21, w0=80, wa=42.63, wm=2.66, group_size=24) | Y,
        'regnety_040': Y040 | Y,
        'regnety_040_sgn': Y040 | Y | dict(act_layer='silu', norm_layer='groupnorm', norm_kwargs=dict(group_size=16)),
        'regnety_064': Y064 | Y,
        'regnety_080': Y080 | Y,
        'regnety_080_tv': Y080 | Y | TV,
        'regnety_120': dict(depth=19, w0=168, wa=73.36, wm=2.37, group_size=112) | Y,
        'regnety_160': dict(depth=18, w0=200, wa=106.23, wm=2.48, group_size=112) | Y,
        'regnety_320': dict(depth=20, w0=232, wa=115.89, wm=2.53, group_size=232) | Y,
        'regnety_640': dict(depth=20, w0=352, wa=147.48, wm=2.4, group_size=328) | Y,
        'regnety_1280': dict(depth=27, w0=456, wa=160.83, wm=2.52, group_size=264) | Y,
        'regnety_2560': dict(depth=27, w0=640, wa=230.83, wm=2.53, group_size=373) | Y,
        'regnetz_005': dict(depth=21, w0=16, wa=10.7, wm=2.51, group_size=4) | Z | dict(num_features=1024),
        'regnetz_040': Z040 | Z,
        'regnetz_040_h': Z040 | Z | dict(num_features=1536),
    },
    weights={
        'regnetv_040.ra3_in1k': RA | dict(first_conv='stem'),
        'regnetv_064.ra3_in1k': RA | dict(first_conv='stem'),
        'regnetx_002.pycls_in1k': dict(),
        'regnetx_004.pycls_in1k': dict(),
        'regnetx_004_tv.tv2_in1k': TORCHVISION,
        'regnetx_006.pycls_in1k': dict(),
        'regnetx_008.tv2_in1k': TORCHVISION,
        'regnetx_008.pycls_in1k': dict(),
        'regnetx_016.tv2_in1k': TORCHVISION,
        'regnetx_016.pycls_in1k': dict(),
        'regnetx_032.tv2_in1k': TORCHVISION,
        'regnetx_032.pycls_in1k': dict(),
        'regnetx_040.pycls_in1k': dict(),
        'regnetx_064.pycls_in1k': dict(),
        'regnetx_080.tv2_in1k': TORCHVISION,
        'regnetx_080.pycls_in1k': dict(),
        'regnetx_120.pycls_in1k': dict(),
        'regnetx_160.tv2_in1k': TORCHVISION,
        'regnetx_160.pycls_in1k': dict(),
        'regnetx_320.tv2_in1k': TORCHVISION,
        'regnetx_320.pycls_in1k': dict(),
        'regnety_002.pycls_in1k': dict(),
        'regnety_004.tv2_in1k': TORCHVISION,
        'regnety_004.pycls_in1k': dict(),
        'regnety_006.pycls_in1k': dict(),
        'regnety_008.pycls_in1k': dict(),
        'regnety_008_tv.tv2_in1k': TORCHVISION,
        'regnety_016.tv2_in1k': TORCHVISION,
        'regnety_016.pycls_in1k': dict(),
        'regnety_032.ra_in1k': RA,
        'regnety_032.tv2_in1k': TORCHVISION,
        'regnety_032.pycls_in1k': dict(),
        'regnety_040.ra3_in1k': RA,
        'regnety_040.pycls_in1k': dict(),
        'regnety_040_sgn.untrained': RA,
        'regnety_064.ra3_in1k': RA,
        'regnety_064.pycls_in1k': dict(),
        'regnety_080.ra3_in1k': RA,
        'regnety_080.pycls_in1k': dict(),
        'regnety_080_tv.tv2_in1k': TORCHVISION,
        'regnety_120.sw_in12k_ft_in1k': RA,
        'regnety_120.sw_in12k': IN12K,
        'regnety_120.pycls_in1k': dict(),
        'regnety_160.sw_in12k_ft_in1k': RA,
        'regnety_160.lion_in12k_ft_in1k': RA,
        'regnety_160.sw_in12k': IN12K,
        'regnety_160.deit_in1k': RA,
        'regnety_160.tv2_in1k': TORCHVISION,
        'regnety_160.swag_ft_in1k': SWAG_384,
        'regnety_160.swag_lc_in1k': SWAG,
        'regnety_160.pycls_in1k': dict(),
        'regnety_320.tv2_in1k': TORCHVISION,
        'regnety_320.swag_ft_in1k': SWAG_384,
        'regnety_320.swag_lc_in1k': SWAG,
        'regnety_320.seer_ft_in1k': SEER_384,
        'regnety_320.seer': SEER,
        'regnety_320.pycls_in1k': dict(),
        'regnety_640.seer_ft_in1k': SEER_384,
        'regnety_640.seer': SEER,
        'regnety_1280.swag_ft_in1k': SWAG_384,
        'regnety_1280.swag_lc_in1k': SWAG,
        'regnety_1280.seer_ft_in1k': SEER_384,
        'regnety_1280.seer': SEER,
        'regnety_2560.seer_ft_in1k': SEER_384,
        'regnetz_005.untrained': RA,
        'regnetz_040.ra3_in1k': Z_DATA,
        'regnetz_040_h.ra3_in1k': Z_DATA,
    },
    former={'regnetz_040h': 'regnetz_040_h'},
),)

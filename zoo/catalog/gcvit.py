"""Rows of Global Context ViT (arXiv:2206.09959).

Rows only; the network is zoo/models/gcvit.py.
"""
from ..spec import Family

WIDE = dict(mlp_ratio=2, layer_scale=1e-5)
WEIGHTS = 'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights-morevit/'

FAMILIES = (Family(
    model='gcvit.GlobalContextVit',
    args=dict(depths=(3, 4, 19, 5), num_heads=(2, 4, 8, 16)),
    data=dict(hf_hub_id=None, fixed_input_size=True, crop_pct=0.875, pool=32, first_conv='stem.conv1',
              classifier='head.fc', license='apache-2.0'),
    variants={
        'gcvit_base': dict(num_heads=(4, 8, 16, 32), embed_dim=128, **WIDE),
        'gcvit_small': dict(num_heads=(3, 6, 12, 24), embed_dim=96, **WIDE),
        'gcvit_tiny': dict(),
        'gcvit_xtiny': dict(depths=(3, 4, 6, 5)),
        'gcvit_xxtiny': dict(depths=(2, 2, 6, 2)),
    },
    weights={
        'gcvit_base.in1k': dict(url=f'{WEIGHTS}gcvit_base_224_nvidia-f009139b.pth'),
        'gcvit_small.in1k': dict(url=f'{WEIGHTS}gcvit_small_224_nvidia-4e98afa2.pth'),
        'gcvit_tiny.in1k': dict(url=f'{WEIGHTS}gcvit_tiny_224_nvidia-ac783954.pth'),
        'gcvit_xtiny.in1k': dict(url=f'{WEIGHTS}gcvit_xtiny_224_nvidia-274b92b7.pth'),
        'gcvit_xxtiny.in1k': dict(url=f'{WEIGHTS}gcvit_xxtiny_224_nvidia-d1d86009.pth'),
    },
),)

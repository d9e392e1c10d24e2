"""RDNet beside timm's: every option, stems, sizes that floor."""
from __future__ import annotations

import pytest
import torch
from beside_timm import compare_options
from conftest import relative_error

import zoo
from zoo.models import rdnet

SMALL = dict(num_init_features=16, growth_rates=(8, 16, 16, 24), num_blocks_list=(2, 1, 2, 1),
             block_type=('Block', 'BlockESE', 'Block', 'BlockESE'), is_downsample_block=(None, True, False, True))
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(bottleneck_width_ratio=2.0), dict(transition_compression_ratio=0.7), dict(ls_init_value=0.0),
    dict(stem_type='overlap'), dict(stem_type='overlap_tiered'), dict(patch_size=2), dict(conv_bias=False),
    dict(act_layer='silu'), dict(norm_eps=1e-3), dict(head_norm_first=True), dict(drop_rate=0.1, drop_path_rate=0.2),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('rdnet_tiny', **SMALL | options)
    rates = [[getattr(module.drop_path, 'drop_prob', 0) for name, module in m.named_modules()
              if name.rpartition('.')[2].startswith('dense_block')] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match="stem_type 'patches' is not known.*'patch'"):
        zoo.create_model('rdnet_tiny', stem_type='patches')
    with pytest.raises(ValueError, match="block_type 'BlockSE' is not known.*'BlockESE'"):
        rdnet.DenseBlock(block_type='BlockSE')
    with pytest.raises(ValueError, match='growth_rates 7'):
        zoo.create_model('rdnet_tiny', num_blocks_list=(1, 1))


def test_what_fresh_blocks_join_is_small():
    model = zoo.create_model('rdnet_tiny', **SMALL).eval()
    assert all(float(block.gamma.detach().max()) == pytest.approx(1e-6) for block in model.modules()
               if isinstance(block, rdnet.DenseBlock))

"""NASNet and PNASNet beside timm's: every option, cells, maps of any size, and what is kept of other cells."""
from __future__ import annotations

import gc
import importlib
import weakref

import pytest
import timm
import torch
from beside_timm import compare_options, on_meta, pair
from conftest import randomize, relative_error

import zoo
from structures import short
from zoo.layers.pool import SameMaxPool2d
from zoo.models import nasnet, pnasnet
from zoo.models.cellnet import Cell, FittedCell

theirs_nasnet, theirs_pnasnet = (importlib.import_module(f'timm.models.{name}') for name in ('nasnet', 'pnasnet'))

NAMES = ['nasnetalarge', 'pnasnet5large']
SMALL = short('nasnetalarge')
OPTIONS = [dict(num_classes=3, in_chans=1), dict(pad_type='', global_pool='catavgmax'),
           *(pytest.param(options, marks=pytest.mark.slow) for options in (
               {}, dict(num_classes=0, global_pool=''), dict(drop_rate=0.1), dict(stem_size=24, num_features=192)))]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    """timm says of maps how wide they are in the network of its paper, and gives others."""
    ours, theirs = pair('nasnetalarge', torch.float64, **SMALL | options)
    image = torch.rand(2, options.get('in_chans', 3), 73, 66, dtype=torch.float64) * 2 - 1
    maps, features = ours.eval().forward_intermediates(image)[::-1]
    their_maps, their_features = theirs.eval().forward_intermediates(image)[::-1]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(maps, their_maps, strict=True))
    assert relative_error(features, their_features) < 1e-5
    for pre_logits in (False, True):
        assert relative_error(*(m.forward_head(features, pre_logits=pre_logits) for m in (ours, theirs))) < 1e-5
    assert [f['num_chs'] for f in ours.feature_info] == [m.shape[1] for m in maps]
    assert (ours.num_features, ours.head_hidden_size) == (theirs.num_features, theirs.head_hidden_size)
    if not options.get('drop_rate'):
        assert relative_error(ours.train()(image), theirs.train()(image)) < 1e-5


@pytest.mark.slow                                           # timm's has no option that would make it small
@pytest.mark.parametrize('options', [dict(pad_type=''), dict(num_classes=0, global_pool=''), dict(in_chans=1, global_pool='max')],
                         ids=str)
@pytest.mark.parametrize('name', NAMES)
def test_options_of_whole_networks_equal_timms(name, options):
    compare_options(name, **options)


PADS = ['', 'same']
CELLS = {                   # ours and timm's of the same, by (channels before, channels, width, pad_type)
    'normal': lambda p, c, w, pad: (FittedCell(nasnet.NORMAL, p, c, w), theirs_nasnet.NormalCell(p, w, c, w)),
    'first': lambda p, c, w, pad: (nasnet.FirstCell(nasnet.NORMAL, p, c, w), theirs_nasnet.FirstCell(p, w // 2, c, w)),
    'reduction': lambda p, c, w, pad: (FittedCell(nasnet.REDUCTION, p, c, w, 2, pad),
                                       theirs_nasnet.ReductionCell0(p, w, c, w, pad)),
    'pnas stem': lambda p, c, w, pad: (Cell(pnasnet.CELL, c, c, w, 2, pad), theirs_pnasnet.CellStem0(c, w, c, w, pad)),
    'pnas': lambda p, c, w, pad: (FittedCell(pnasnet.CELL, p, c, w), theirs_pnasnet.Cell(p, w, c, w)),
    'pnas reduction': lambda p, c, w, pad: (FittedCell(pnasnet.CELL, p, c, w, 2, pad),
                                            theirs_pnasnet.Cell(p, w, c, w, pad, is_reduction=True)),
    'pnas halving': lambda p, c, w, pad: (pnasnet.HalvingCell(pnasnet.CELL, p, c, w),
                                          theirs_pnasnet.Cell(p, w, c, w, match_prev_layer_dims=True)),
}


@pytest.mark.in_turn
@pytest.mark.parametrize('pad', PADS)
@pytest.mark.parametrize('kind', CELLS)
def test_cells_equal_timms(kind, pad):
    ours, theirs = (cell.double().eval() for cell in CELLS[kind](10, 12, 8, pad))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.randn(2, 12, 13, 10, dtype=torch.float64)
    side = (26, 19) if kind in ('first', 'pnas halving') else (13, 10)
    prev = x if kind == 'pnas stem' else torch.randn(2, 10, *side, dtype=torch.float64)
    given = {'pnas stem': (x,), 'normal': (x, prev), 'first': (x, prev), 'reduction': (x, prev)}.get(kind, (prev, x))
    assert relative_error(ours(prev, x), theirs(*given)) < 1e-10


def test_a_row_of_cells_has_the_weights_of_timms():
    """That PNASNet's cells, compared above, stand in the same order and are as wide."""
    with torch.device('meta'):
        ours, theirs = (library.create_model('pnasnet5large').state_dict() for library in (zoo, timm))
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize('pad_type', PADS)
@torch.inference_mode()
def test_sizes_are_those_of_images_less_what_the_stem_leaves_out(pad_type):
    model = zoo.create_model('nasnetalarge', features_only=True, pad_type=pad_type, **SMALL).eval()
    for size in ((93, 70), (64, 65), (35, 34), (33, 1), (2, 3)):
        maps = model(torch.rand(1, 3, *size))
        assert [m.shape[2:] for m in maps] == model.feature_info.map_sizes(size)
    assert model.feature_info.get_dicts()[1]['rounding'] == 'ceil of 2 pixels less'


def test_a_backbone_has_the_cells_that_its_maps_need_alone():
    model = zoo.create_model('nasnetalarge', features_only=True, out_indices=(2, 0), **SMALL).eval()
    assert {key.partition('.')[0] for key in model.state_dict()} == {
        'conv0', 'cell_stem_0', 'cell_stem_1', *(f'cell_{number}' for number in range(6))}
    x = torch.rand(1, 3, 64, 64)
    whole, _ = pair('nasnetalarge', **SMALL)
    model.load_state_dict(whole.state_dict(), strict=False)
    maps = whole.eval().forward_intermediates(x, intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(model(x), (maps[2], maps[0]), strict=True))
    assert whole.prune_intermediate_layers([2]) == [2]
    assert torch.equal(whole.forward_features(x), maps[2])


@torch.inference_mode()
def test_maps_of_earlier_cells_are_let_go():
    """No more of the cells' maps than two and the one in the making are there at once."""
    model = zoo.create_model('nasnetalarge', **SMALL).eval()
    alive: dict[str, weakref.ref] = {}
    most = []

    def look(name):
        def hook(module, args, out):
            most.append(sum(ref() is not None for ref in alive.values()))
            alive[name] = weakref.ref(out)
        return hook

    for name, module in model.named_modules():
        if isinstance(module, Cell):
            module.register_forward_hook(look(name))
    gc.disable()
    model(torch.rand(1, 3, 64, 64))
    gc.enable()
    assert len(most) == 22 and max(most) <= 4           # two before this stage, two in it


def test_layers_are_cells():
    layers = on_meta('pnasnet5large').layer_names()
    assert len(layers) == 15 and layers[3] == ['cell_0'] and layers[-1][0] == 'cell_11'


@pytest.mark.parametrize('options, message', [
    (dict(output_stride=16), 'output_stride is 32, since .* not 16'), (dict(pad_type='valid'), "pad_type.*'valid'"),
    (dict(num_features=100), 'num_features is a multiple of 96, .* not 100')], ids=str)
def test_what_cannot_be_built_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        on_meta('nasnetalarge', **options)


def test_zeros_around_a_map_count_where_padding_is_tensorflows():
    """As in Keras, see test_foreign_keras.py."""
    pools = [part for part in zoo.create_model('nasnetalarge', device='meta', zeros_count=True).modules()
             if isinstance(part, SameMaxPool2d)]
    below = -torch.ones(1, 1, 3, 3)
    assert len(pools) == 8 and all(pool(below).amax() == 0 for pool in pools)
    with pytest.raises(ValueError, match="pad_type='same'"):
        zoo.create_model('nasnetalarge', device='meta', zeros_count=True, pad_type='')

"""The table of timm's public names, reference/timm_names.csv, holds; and every name says what it is."""
from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest
import timm_names
import torch
from torch import nn

import zoo
from zoo.compat import modules
from zoo.compat.table import ABSENT, PLACES

ROWS = timm_names.rows()
MODULES = sorted({row['module'] for row in ROWS})


@pytest.fixture
def timm() -> Iterator[Any]:
    """zoo as timm."""
    with zoo.compat.install_as_timm():
        yield importlib.import_module('timm')


@pytest.mark.parametrize('module', MODULES)
def test_every_name_of_timm_has_the_answer_of_the_table(module: str) -> None:
    """Where it fails because more names are there, tests/reference/make_timm_names.py writes the table anew."""
    for row in ROWS:
        if row['module'] == module:
            found = timm_names.answer(module, row['name'], row['parameters'])
            assert found == (row['answer'], row['without']), row['name']


def test_the_table_is_whole() -> None:
    assert {row['answer'] for row in ROWS} == {'ours', 'made otherwise', 'not here yet'}
    assert set(PLACES) <= set(MODULES) and len(ROWS) == len({(row['module'], row['name']) for row in ROWS}) > 4000
    for module in MODULES:
        assert set(modules.known()[module]) == {row['name'] for row in ROWS if row['module'] == module}
    counts = Counter(row['answer'] for row in ROWS if not row['module'].startswith('models'))
    assert counts['ours'] > counts['made otherwise'] * 3


def test_every_network_of_zoo_has_its_function_in_its_module_and_in_models(timm: Any) -> None:
    names = {(row['module'], row['name']) for row in ROWS}
    for name in zoo.list_models():
        family = zoo.registry.resolve(name)[0]
        own = importlib.import_module(f'timm.models.{family.module}')      # timm.models may have a function of that name
        for module in (timm.models, own):
            assert isinstance(getattr(module, name), FunctionType), name
        assert {(f'models.{family.module}', name), ('models', name)} <= names, name
        assert not hasattr(timm.models.efficientnet if family.module != 'efficientnet' else timm.models.resnet, name)


def test_entry_functions_build(timm: Any) -> None:
    from timm.models import resnet18
    from timm.models.vision_transformer import Mlp, VisionTransformer, _cfg, vit_tiny_patch16_224
    with torch.device('meta'):
        assert resnet18(num_classes=5).fc.out_features == 5
        model = vit_tiny_patch16_224(pretrained=False, img_size=32)
    assert isinstance(model, VisionTransformer) and isinstance(model.blocks[0].mlp, Mlp)
    assert _cfg(url='a')['num_classes'] == 1000 and vit_tiny_patch16_224.__name__ == 'vit_tiny_patch16_224'
    with pytest.warns(DeprecationWarning, match='tf_efficientnet_b0'), torch.device('meta'):
        timm.models.tf_efficientnet_b0_ns()


def test_what_can_only_be_imported_is_nowhere_ours() -> None:
    for path, names in ABSENT.items():
        for name in names.split():
            assert timm_names.answer(path, name, '')[0] == 'not here yet', f'{path}.{name} is zoo\'s now'


def flat(value: Any) -> list[float]:
    return [number for part in value for number in flat(part)] if isinstance(value, (list, tuple)) else [value]


def test_layers_by_timms_names_are_timms(timm: Any) -> None:
    ours = timm.layers
    zoo.compat.uninstall_as_timm()
    real = pytest.importorskip('timm.layers')
    x = torch.randn(2, 16, 5, 5, generator=torch.Generator().manual_seed(0))
    for make in (lambda m: m.LayerNorm2d(16), lambda m: m.GroupNorm(16, 4), lambda m: m.GroupNorm1(16),
                 lambda m: m.BatchNormAct2d(16), lambda m: m.BatchNormAct2d(16, act_layer='silu', inplace=False),
                 lambda m: m.ConvNormAct(16, 8, 3, 2), lambda m: m.ConvNormAct(16, 8, apply_act=False),
                 lambda m: m.SqueezeExcite(16), lambda m: m.SelectAdaptivePool2d(pool_type='catavgmax', flatten=True),
                 lambda m: m.SelectAdaptivePool2d(pool_type='avg'),
                 lambda m: m.SelectAdaptivePool2d(pool_type='fastmax', flatten=True),
                 lambda m: m.SelectAdaptivePool2d(), lambda m: m.PReLU(),
                 lambda m: m.create_norm_layer('layernorm2d', 16), lambda m: m.Tanh(),
                 lambda m: m.Sigmoid(), lambda m: m.GELU(),
                 lambda m: m.create_act_layer('hard_swish'), lambda m: m.get_act_fn('mish')):
        a, b = make(ours), make(real)
        if isinstance(b, nn.Module):
            a.load_state_dict(b.state_dict())
            a, b = a.eval(), b.eval()
        assert torch.allclose(a(x.clone()), b(x.clone()), atol=1e-6), b
    for call in (lambda m: m.calculate_drop_path_rates(0.3, [2, 3, 2]), lambda m: m.calculate_drop_path_rates(0.3, 4),
                 lambda m: m.calculate_drop_path_rates(0.3, [2, 3, 2], stagewise=True), lambda m: m.extend_tuple((1, 2), 4),
                 lambda m: m.get_padding(5, 2, 1), lambda m: m.get_same_padding(9, 3, 2, 1)):
        assert flat(call(ours)) == pytest.approx(flat(call(real)), abs=1e-6)
    for fill in (lambda m, t: m.lecun_normal_(t), lambda m, t: m.trunc_normal_tf_(t, std=0.5),
                 lambda m, t: m.variance_scaling_(t, 2.0, 'fan_out'),
                 lambda m, t: m.variance_scaling_(t, 1.0, 'fan_avg', 'uniform')):
        drawn = []
        for m in (ours, real):
            torch.manual_seed(0)
            drawn.append(torch.empty(200, 300))
            fill(m, drawn[-1])
        assert abs(drawn[0].std() / drawn[1].std() - 1) < 0.01 and abs(drawn[0].abs().max() / drawn[1].abs().max() - 1) < 0.2


def test_utilities_are_timms(timm: Any, tmp_path: Any) -> None:
    import argparse
    ours = timm.utils
    zoo.compat.uninstall_as_timm()
    real = pytest.importorskip('timm.utils')
    output, target = torch.randn(20, 7, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 7
    assert ours.accuracy(output, target, (1, 5, 9)) == real.accuracy(output, target, (1, 5, 9))
    for utils in (ours, real):
        meter, parser = utils.AverageMeter(), argparse.ArgumentParser()
        meter.update(2.0, 3)
        meter.update(4.0)
        utils.add_bool_arg(parser, 'a-b', default=True)
        parser.add_argument('--k', nargs='*', action=utils.ParseKwargs)
        found = parser.parse_args('--no-a-b --k x=1.5 y=(2,3) z=word'.split())
        assert (meter.avg, meter.val, meter.count) == (2.5, 4.0, 4) and found.a_b is False
        assert found.k == {'x': 1.5, 'y': (2, 3), 'z': 'word'}
        assert utils.natural_key('b10a2') == ['b', 10, 'a', 2, '']
        wrapped = nn.parallel.DataParallel(nn.Linear(2, 3))
        assert list(utils.get_state_dict(wrapped)) == ['weight', 'bias']
        folder = [utils.get_outdir(str(tmp_path / str(id(utils))), 'run', inc=True) for _ in range(2)]
        assert folder[0].endswith('run') and folder[1].endswith('run-1')
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
        utils.freeze(network, ['1'])
        assert [p.requires_grad for p in network.parameters()] == [True, True]
        assert not isinstance(network[1][0], nn.BatchNorm2d)
        utils.unfreeze(network)
        assert all(p.requires_grad for p in network.parameters()) and isinstance(network[1][0], nn.BatchNorm2d)

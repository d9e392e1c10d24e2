"""Users' own networks: listed, created, recorded, loaded and exported by name, with timm's decorator and without."""
from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import zoo
from zoo.contract import ImageModel, Parts
from zoo.spec import Family


class Plain(nn.Module):
    """A network that knows nothing of zoo."""

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, width: int = 8) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv, self.head = nn.Conv2d(in_chans, width, 3, 2), nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)))


class Small(ImageModel):
    """A network of zoo's base."""

    parts: ClassVar[Parts] = Parts(stem=('stem',), stages=('stages.*',), classifier=('head',))

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, width: int = 8, global_pool: str = 'avg') -> None:
        super().__init__()
        self.in_chans, self.num_features = in_chans, 2 * width
        self.stem = nn.Conv2d(in_chans, width, 3, 2, 1)
        self.stages = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1))
        self.token = nn.Parameter(torch.full((1,), 7.0))                     # what no rule of zoo's draws
        self.feature_info = [dict(num_chs=width, reduction=4, module='stages.0', stage=1),
                             dict(num_chs=2 * width, reduction=8, module='stages.1', stage=2)]
        self.build_head(2 * width, num_classes, global_pool)


ROWS = {'size': 32, 'first_conv': 'stem', 'classifier': 'head', 'num_classes': 10}


@pytest.fixture
def families(tmp_path: Path) -> Iterator[list[Family]]:
    """Both networks by name, with weights in a file; forgotten afterwards."""
    files = {}
    for kind in (Plain, Small):
        torch.save(kind(num_classes=10).state_dict(), tmp_path / f'{kind.__name__}.pth')
        files[kind] = str(tmp_path / f'{kind.__name__}.pth')
    made = [Family('mine.Plain', {'plain_8': {}, 'Plain_16': {'width': 16}}, {
                'plain_8.first': {'size': 32, 'first_conv': 'conv', 'classifier': 'head', 'num_classes': 10,
                                  'file': files[Plain]}, 'plain_8.second': {}}, network=Plain, former={'plane': 'plain_8'}),
            Family('mine.Small', {'small_8': {}}, {'small_8': {**ROWS, 'file': files[Small]}}, network=Small)]
    for family in made:
        zoo.register_family(family)
    yield made
    for family in made:
        zoo.unregister_family(family)


def test_they_are_listed_and_found(families: list[Family]) -> None:
    assert zoo.list_models('plain*') == ['plain_8'] and {'Plain_16', 'small_8'} <= set(zoo.list_models())
    assert zoo.list_models(module='mine') == ['plain_8', 'Plain_16', 'small_8'] and 'mine' in zoo.list_modules()
    assert zoo.list_pretrained('*_8') == ['plain_8.first', 'small_8'] or 'plain_8.first' in zoo.list_pretrained('*_8')
    assert zoo.is_model_pretrained('plain_8') and not zoo.is_model_pretrained('plain_8.second')
    assert zoo.get_pretrained_cfg('small_8').input_size == (3, 32, 32)
    assert zoo.get_pretrained_cfg('plain_8.second').hf_hub_id is None
    with pytest.raises(ValueError, match="'plain_9'.*'plain_8'"):
        zoo.create_model('plain_9')


@pytest.mark.parametrize('name, options', [('plain_8', {}), ('plain_8', {'num_classes': 3}), ('small_8', {'in_chans': 1}),
                                           ('small_8', {'num_classes': 3})])
def test_they_are_created_with_and_without_weights(name: str, options: dict[str, int], families: list[Family]) -> None:
    for pretrained in (False, True):
        model = zoo.create_model(name, pretrained=pretrained, **options)
        assert model(torch.zeros(2, options.get('in_chans', 3), 32, 32)).shape == (2, options.get('num_classes', 10))
        assert model.pretrained_cfg['architecture'] == name and not any(p.isnan().any() for p in model.parameters())
        assert getattr(model, 'token', torch.tensor(7.0)).item() == 7
    if not options:
        state = torch.load(zoo.get_pretrained_cfg(name).file, weights_only=True)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with pytest.raises(TypeError, match="'widht'.*'width'"):
        zoo.create_model(name, widht=4)


def test_they_are_exported_and_taken_apart_as_zoos_own(families: list[Family]) -> None:
    x = torch.rand(1, 3, 32, 32)
    for name in ('plain_8', 'Plain_16', 'small_8'):
        model = zoo.create_model(name).eval()
        assert torch.allclose(torch.export.export(model, (x,)).module()(x), model(x), atol=1e-6)
        assert zoo.data.resolve_model_data_config(model)['input_size'][1:] in ((32, 32), (224, 224))
    backbone = zoo.create_model('small_8', features_only=True, out_indices=(1, 0))
    assert [m.shape[1] for m in backbone(x)] == [16, 8] == backbone.feature_info.channels()
    with pytest.raises(TypeError, match='ImageModel, and Plain is none'):
        zoo.create_model('plain_8', features_only=True)
    with pytest.warns(DeprecationWarning):
        zoo.create_model('plane')


def test_what_cannot_be_registered_is_refused(families: list[Family]) -> None:
    with pytest.raises(ValueError, match='network='):
        zoo.register_family(Family('mine.X', {'x': {}}, {}))
    with pytest.raises(ValueError, match=r"without '\.'"):
        zoo.register_family(Family('mine.X', {'x.y': {}}, {}, network=Plain))
    with pytest.raises(ValueError, match="'xx'.*'x'"):
        zoo.register_family(Family('mine.X', {'x': {}}, {'xx.tag': {}}, network=Plain))
    again = Family('mine.Again', {'resnet18': {}}, {}, network=Plain)
    with pytest.warns(UserWarning, match="'resnet18' was known"):
        zoo.register_family(again)
    assert isinstance(zoo.create_model('resnet18'), Plain)
    zoo.unregister_family(again)
    assert isinstance(zoo.create_model('resnet18', num_classes=1), zoo.models.resnet.ResNet)
    with pytest.raises(ValueError, match='not registered'):
        zoo.unregister_family(again)


# --- as programs written for timm do it

PROGRAM = '''
import torch
from torch import nn
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.registry import register_model as same
from timm.models.vision_transformer import VisionTransformer, _cfg
assert same is register_model

default_cfgs = generate_default_cfgs({
    'mine_tiny.untrained': _cfg(),
    'mine_tiny.in1k': _cfg(file=FILE, num_classes=10, input_size=(3, 32, 32), classifier='head', first_conv='patch_embed.proj'),
    'mine_plain.a': dict(file=PLAIN, num_classes=10, first_conv='conv', classifier='head', custom_load=False),
})


class Mine(VisionTransformer):
    def __init__(self, **options):
        super().__init__(**options)
        self.extra = nn.Parameter(torch.full((1,), 3.0))


@register_model
def mine_tiny(pretrained=False, **kwargs):
    arguments = dict(patch_size=16, embed_dim=24, depth=2, num_heads=2, img_size=32)
    return build_model_with_cfg(Mine, 'mine_tiny', pretrained, **dict(arguments, **kwargs))


@register_model
def mine_plain(pretrained=False, **kwargs):
    return build_model_with_cfg(Plain, 'mine_plain', pretrained, pretrained_filter_fn=lambda state: state, **kwargs)


@register_model
def mine_old(pretrained=False, **kwargs):
    for name in ('pretrained_cfg', 'pretrained_cfg_overlay', 'cache_dir'):
        kwargs.pop(name, None)
    model = Mine(patch_size=16, embed_dim=24, depth=1, num_heads=2, img_size=32, **kwargs)
    model.default_cfg = _cfg(input_size=(3, 32, 32))
    return model
'''


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Any]:
    """A module that registers three networks with zoo as timm."""
    before = len(zoo.registry._added)
    torch.save(Plain(num_classes=10).state_dict(), tmp_path / 'plain.pth')
    module = types.ModuleType('package_of_a_user.mine')
    module.__dict__.update(FILE=str(tmp_path / 'mine.pth'), PLAIN=str(tmp_path / 'plain.pth'), Plain=Plain)
    sys.modules[module.__name__] = module
    with zoo.compat.install_as_timm():
        exec(PROGRAM, module.__dict__)
        torch.save(module.mine_tiny(num_classes=10).state_dict(), module.FILE)
        yield importlib_timm()
    del sys.modules[module.__name__]
    for family in zoo.registry._added[before:]:
        zoo.unregister_family(family)


def importlib_timm() -> Any:
    import timm
    return timm


def test_registered_with_timms_decorator_they_are_as_zoos_own(program: Any) -> None:
    timm, x = program, torch.rand(1, 3, 32, 32)
    assert timm.list_models(module='mine') == ['mine_old', 'mine_plain', 'mine_tiny'] == zoo.list_models('mine_*')
    assert timm.models.get_pretrained_cfg('mine_tiny').tag == 'in1k' and zoo.is_model_pretrained('mine_tiny')
    assert zoo.list_pretrained('mine*') == ['mine_plain.a', 'mine_tiny.in1k']
    for create in (timm.create_model, zoo.create_model):
        for name in zoo.list_models('mine_*'):
            model = create(name, num_classes=4, drop_rate=0.1 if name != 'mine_plain' else None).eval()
            assert model(x).shape == (1, 4) and model.pretrained_cfg['num_classes'] in (10, 1000)
            assert getattr(model, 'extra', torch.tensor(3.0)).item() == 3
            assert torch.allclose(torch.export.export(model, (x,)).module()(x), model(x), atol=1e-5)
    for name in ('mine_tiny', 'mine_plain.a', 'mine_tiny.in1k'):
        model = timm.create_model(name, pretrained=True)
        state = torch.load(model.pretrained_cfg['file'], weights_only=True)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert timm.create_model(name, pretrained=True, num_classes=3).head.out_features == 3
    assert timm.data.resolve_model_data_config(zoo.create_model('mine_tiny'))['input_size'] == (3, 32, 32)
    maps = timm.create_model('mine_tiny', features_only=True, out_indices=(0, 1))(x)
    assert [tuple(m.shape) for m in maps] == [(1, 24, 2, 2)] * 2
    assert timm.models.model_entrypoint('mine_tiny')(num_classes=2)(x).shape == (1, 2)
    with pytest.raises(ValueError, match='names no place'):
        timm.create_model('mine_tiny.untrained', pretrained=True)


def test_former_names_of_a_users_networks(program: Any) -> None:
    timm = program
    timm.models.register_model_deprecations('package_of_a_user.mine', {'mine_teeny': 'mine_tiny.in1k'})
    with pytest.warns(DeprecationWarning, match='mine_tiny'):
        assert timm.create_model('mine_teeny').pretrained_cfg['tag'] == 'in1k'
    with pytest.raises(ValueError, match="'mine_none'"):
        timm.models.register_model_deprecations('mine', {'mine_none': 'mine_huge'})
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not zoo.list_models('mine_teeny')

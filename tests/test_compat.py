"""zoo in timm's place: what programs written for timm import is there, and does what timm's does."""
from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import randomize, relative_error
from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN

import zoo
from zoo.compat import manipulate, table, utils
from zoo.layers.attention_pool_map import AttentionPool2d, RotAttentionPool2d
from zoo.compat.efficientnet import EfficientNet, decode_arch_def, round_channels
from zoo.compat.layers import create_act_layer, create_conv2d, create_pool2d, make_divisible, to_2tuple, to_ntuple
from zoo.compat.modules import is_module, known, module
from zoo.compat.sampler import OrderedDistributedSampler
from zoo.layers import Mlp
from zoo.train import groups, optim

ROOT = Path(__file__).parent.parent
NAMES = ('efficientnet_b0', 'mobilenetv3_small_100', 'mobilenetv4_conv_small', 'hardcorenas_a', 'efficientformer_l1',
         'efficientformerv2_s0')


@pytest.fixture
def timm():
    """zoo under timm's name, taken back afterwards."""
    with zoo.compat.install_as_timm():
        yield importlib.import_module('timm')


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- installing

def test_no_file_of_timm_is_read_and_its_modules_are_not_zoos_own():
    assert in_a_new_process('''
import sys, zoo
zoo.compat.install_as_timm()
import timm, timm.data.config, timm.layers, timm.models.layers, timm.optim, timm.utils
assert 'torch' not in sys.modules
from timm.layers.activations import Swish
from timm.layers.create_conv2d import create_conv2d
from timm.models.efficientnet import EfficientNet, decode_arch_def
from timm.models.mobilenetv3 import MobileNetV3
assert timm.layers.create_conv2d is create_conv2d
assert zoo.layers.__spec__.name == 'zoo.layers' and MobileNetV3.__module__ == 'zoo.models.mobilenetv3'
assert zoo.models.efficientnet.EfficientNet is EfficientNet.__mro__[1]
assert not any(hasattr(part, 'install_as_timm') or hasattr(part, 'create_conv2d') for part in (zoo, zoo.layers))
print([m for m in sys.modules.values() if '/timm/' in (getattr(m, '__file__', None) or '')])
''') == '[]'


def test_zoo_alone_does_nothing_about_timm():
    assert in_a_new_process('''
import sys
before = list(sys.meta_path)
import zoo, zoo.layers, zoo.models, zoo.data, zoo.train
assert sys.meta_path == before and not [name for name in sys.modules if name.startswith(('zoo.compat', 'timm'))]
with zoo.compat.install_as_timm():
    assert len(sys.meta_path) == len(before) + 1
print(sys.meta_path == before)
''') == 'True'


def test_installing_imports_no_torch():
    in_a_new_process('import sys, zoo; zoo.compat.install_as_timm(); import timm; assert "torch" not in sys.modules; '
                     'assert timm.__version__ == zoo.__version__')


def test_a_timm_that_was_imported_is_set_aside_and_comes_back(monkeypatch):
    real, inner = type(sys)('timm'), type(sys)('timm.layers')
    for name in [name for name in sys.modules if name.partition('.')[0] == 'timm']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'timm', real)
    monkeypatch.setitem(sys.modules, 'timm.layers', inner)
    before = set(sys.modules)
    with zoo.compat.install_as_timm():
        zoo.compat.install_as_timm()                                   # a second time changes nothing
        assert importlib.import_module('timm') is module('')
        assert importlib.import_module('timm.layers').DropPath is zoo.layers.DropPath
        assert importlib.import_module('timm.models.vision_transformer').Attention
    assert sys.modules['timm'] is real and sys.modules['timm.layers'] is inner
    assert {name for name in sys.modules if name.startswith('timm.')} == {'timm.layers'}
    assert before <= set(sys.modules)
    zoo.compat.uninstall_as_timm()
    assert sys.modules['timm'] is real


def test_the_finder_leaves_everything_else_alone():
    with zoo.compat.install_as_timm():
        finder = next(f for f in sys.meta_path if type(f).__name__ == 'TimmFinder')
        assert finder.find_spec('timm.layers').loader is finder and finder.find_spec('torch') is None
        assert finder.find_spec('timmy.layers') is None and finder.find_spec('zoo.layers') is None


# --- what is there

@pytest.mark.parametrize('package', [path for path in table.PLACES if path])
def test_every_module_is_there_also_as_an_attribute(package, timm):
    for path in known():
        if not is_module(path) or path.partition('.')[0] != package:
            continue
        found = importlib.import_module(f'timm.{path}')
        assert isinstance(found, ModuleType) and found.__all__ is not None
        reached = functools.reduce(getattr, path.split('.'), timm)     # as transformers and torch-pruning do
        assert reached is found or callable(reached)                   # layers.create_conv2d is a function, as in timm


@pytest.mark.parametrize('where', table.ABSENT)
def test_what_zoo_lacks_can_be_imported_and_subclassed_but_says_so_when_used(where, timm):
    module = importlib.import_module(f'timm.{where}')
    for name in table.ABSENT[where].split():
        class Mine(getattr(module, name)):
            pass
        for use in (getattr(module, name), Mine):
            with pytest.raises(NotImplementedError, match=rf'zoo has no {name} yet, which stands in timm\.{where}'):
                use(3, layers=[1])


def test_names_that_are_nowhere_are_errors_that_help(timm):
    with pytest.raises(ModuleNotFoundError, match='zoo, installed as timm, has no timm.models.swinny'):
        importlib.import_module('timm.models.swinny')
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('timm.layers.drop.inner')
    for module, name, near in ((timm, 'creat_model', 'create_model'), (timm.layers, 'to_2tupel', 'to_2tuple'),
                               (timm.models, 'load_checkpoints', 'load_checkpoint'),
                               (timm.data, 'create_transforms', 'create_transform')):
        with pytest.raises(AttributeError, match=f'{name}.*{near}'):
            getattr(module, name)
    for place in ('timm.layers', 'timm.layers.drop', 'timm.models.layers'):
        with pytest.raises(ImportError, match="no timm.*DropPaths.*'DropPath'"):
            exec(f'from {place} import DropPaths')


@pytest.mark.parametrize('statement, near', [
    ('from timm.layers import NonLocalAttn', ''), ('import timm.models.xcit', ''),
    ('from timm.models import coat_mini', ''),
    ('from timm.models.mobilenetv3 import MobileNetV3Features', 'MobileNetV3'),
    ('from timm.optim import Adafactor', '')])
def test_what_timm_has_and_zoo_not_yet_is_told_from_what_nobody_has(statement, near, timm):
    with pytest.raises(ImportError, match=f'timm has timm.*, zoo not yet.*{near}'):
        exec(statement)
    with pytest.raises(AttributeError, match='timm has timm.layers.NonLocalAttn, zoo not yet'):
        timm.layers.NonLocalAttn
    assert not hasattr(timm.layers, 'NonLocalAttn') and not hasattr(timm.models, 'xcit')


@pytest.mark.parametrize('keywords', [
    dict(pretrained=False, num_classes=5, in_chans=1, drop_rate=0.1, drop_path_rate=0.1, global_pool='max'),
    dict(features_only=True, out_indices=(1, 2), output_stride=16, in_chans=4),
    dict(checkpoint_path='', exportable=True, scriptable=None, pretrained_cfg=dict(input_size=(3, 64, 64))),
])
def test_the_keywords_of_create_model(keywords, timm):
    model = timm.create_model('tf_efficientnet_lite0', **keywords)
    assert model.default_cfg['input_size'][1:] == (64, 64) or 'pretrained_cfg' not in keywords
    assert model(torch.zeros(1, keywords.get('in_chans', 3), 64, 64)) is not None
    with pytest.raises(TypeError, match='patch_drop_rate'):
        timm.create_model('tf_efficientnet_lite0', patch_drop_rate=0.1)


# --- feature maps

@pytest.mark.parametrize('name', NAMES)
def test_return_layers_choose_the_maps_that_come_out(name):
    options = dict(img_size=64) if 'former' in name else {}
    model = randomize(zoo.create_model(name, features_only=True, out_indices=(3, 1), **options)).eval()
    x = torch.rand(1, 3, 64, 64)
    late, early = model(x)
    chosen = model.return_layers
    assert list(chosen.values()) == ['3', '1'] and list(chosen) == model.feature_info.module_name()
    model.return_layers = {feature['module']: str(feature['index']) for feature in model.feature_info.info}
    every = model(x)
    assert len(every) == 4                                  # the stages after the last one wanted are not there
    assert torch.equal(every[1], early) and torch.equal(every[3], late)
    model.return_layers = chosen
    assert torch.equal(model(x)[0], late) and model.feature_info.out_indices == (3, 1)
    with pytest.raises(ValueError, match='stages.9'):
        model.return_layers = {'stages.9': '0'}


@pytest.mark.parametrize('name', NAMES[:4])
def test_torchvisions_feature_pyramid(name):
    model = zoo.create_model(name)
    whole = BackboneWithFPN(model, {'blocks': 'last'}, [model.feature_info[-1]['num_chs']], 16)
    x = torch.rand(2, 3, 64, 64)
    assert [tuple(m.shape) for m in whole.eval()(x).values()] == [(2, 16, 2, 2), (2, 16, 1, 1)]
    features = model.feature_info[1:]
    stages = OrderedDict(stem=nn.Sequential(model.conv_stem, model.bn1, model.act1))
    stages |= {f'blocks{i}': stage for i, stage in enumerate(model.blocks)}
    layers = {feature['module'].replace('.', ''): str(i) for i, feature in enumerate(features)}
    pyramid = BackboneWithFPN(nn.Sequential(stages), layers, [f['num_chs'] for f in features], 16).eval()
    found = pyramid(x)
    assert list(found) == [*layers.values(), 'pool']
    assert [m.shape[-1] for m in found.values()][:-1] == [64 // f['reduction'] for f in features]
    backbone = zoo.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    backbone.load_state_dict(model.state_dict(), strict=False)
    body = pyramid.body(x)
    assert all(torch.equal(a, b) for a, b in zip(body.values(), backbone(x), strict=True))


# --- functions and layers, beside timm's

@pytest.fixture
def real():
    for part in ('layers', 'models', 'optim'):
        pytest.importorskip(f'timm.{part}')
    return sys.modules['timm']


@pytest.mark.parametrize('padding', ['', 'same', 'valid', 1])
@pytest.mark.parametrize('kernel, stride', [(3, 2), (2, 2), (3, 1), (5, 2)])
def test_pools_and_convolutions_are_timms(padding, kernel, stride, real):
    x = torch.randn(2, 4, 19, 16, generator=torch.Generator().manual_seed(0))
    for kind in ('max', 'avg'):
        ours, theirs = (f(kind, kernel, stride, padding=padding) for f in (create_pool2d, real.layers.create_pool2d))
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    for options in ({}, dict(depthwise=True, bias=True), dict(groups=2, dilation=2)):
        ours, theirs = (f(4, 8, kernel, stride=stride, padding=padding, **options)
                        for f in (create_conv2d, real.layers.create_conv2d))
        ours.load_state_dict(theirs.state_dict())
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def test_pools_and_convolutions_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="'maxx'.*'max'"):
        create_pool2d('maxx', 2)
    with pytest.raises(ValueError, match='pad_type'):
        create_conv2d(4, 4, 3, padding='full')
    with pytest.raises(ValueError, match='no bias'):
        create_conv2d(4, 4, [3, 5], bias=True)
    assert create_conv2d(4, 8, [3, 5], padding='same')(torch.zeros(1, 4, 7, 7)).shape == (1, 8, 7, 7)


@pytest.mark.parametrize('width', [None, 0, 24])
@pytest.mark.parametrize('grid', [(7, 7), (5, 9)])
def test_attention_pools_are_timms(width, grid, real):
    x = torch.randn(2, 128, *grid, generator=torch.Generator().manual_seed(0))
    for ours, theirs in ((AttentionPool2d, real.layers.AttentionPool2d),
                         (RotAttentionPool2d, real.layers.RotAttentionPool2d)):
        pool, other = randomize(ours(128, out_features=width)), theirs(128, out_features=width)
        other.load_state_dict(pool.state_dict())
        assert relative_error(pool(x), other(x)) < 1e-5
    with pytest.raises(ValueError, match='100 features cannot be shared by 3 heads'):
        AttentionPool2d(100, num_heads=3)


def test_mlp_is_timms(real):
    options = dict(hidden_features=12, out_features=5, bias=(True, False), norm_layer=nn.LayerNorm)
    ours, theirs = Mlp(8, **options), real.layers.Mlp(8, **options)
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.randn(2, 3, 8)
    assert torch.allclose(ours(x), theirs(x))
    assert Mlp(8, use_conv=True)(torch.zeros(1, 8, 4, 4)).shape == (1, 8, 4, 4)


def test_small_functions():
    assert to_2tuple(3) == (3, 3) and to_2tuple([1, 2]) == (1, 2) and to_ntuple(3)('ab') == ('ab',) * 3
    assert make_divisible(37) == 40 and make_divisible(3, 8, 16) == 16 and make_divisible(11, 8) == 16
    assert round_channels(32, 1.1) == 32 and round_channels(37, 0) == 37 and round_channels(1280, 1.1, 8, None) == 1408
    assert create_act_layer('relu', inplace=False).inplace is False and create_act_layer('relu').inplace is True


@pytest.mark.parametrize('name', NAMES)
def test_layers_of_parameters_and_optimizer_groups_are_timms(name, real):
    model = zoo.create_model(name)
    for coarse in (False, True):
        matcher = model.group_matcher(coarse)
        assert groups.group_parameters(model, matcher) == real.models.group_parameters(model, matcher)
        for reverse in (False, True):
            ours, theirs = (f(model, matcher, reverse=reverse) for f in
                            (groups.group_modules, real.models.group_modules))
            assert ours.keys() == theirs.keys()
            assert all(v == theirs[k] if reverse else set(v) == set(theirs[k]) for k, v in ours.items())
    without = model.no_weight_decay()

    def flat(groups):
        return {id(p): (group['weight_decay'], group.get('lr_scale')) for group in groups for p in group['params']}
    for ours, theirs in ((optim.param_groups_layer_decay, real.optim.param_groups_layer_decay),
                         (optim.param_groups_weight_decay, real.optim.param_groups_weight_decay)):
        options = dict(weight_decay=0.05, no_weight_decay_list=without)
        assert flat(ours(model, **options)) == flat(theirs(model, **options))


@pytest.mark.parametrize('name', [name for name, (cls, _) in optim.OPTIMIZERS.items() if not isinstance(cls, str) and
                                  name not in ('asgd', 'muon', 'nmuon')])       # timm has none, or a later variant
def test_optimizers_step_as_timms(name, real):
    ends = []
    for create in (optim.create_optimizer_v2, real.optim.create_optimizer_v2):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).double()
        optimizer = create(model, name, lr=0.01, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(6, 4).double()).square().mean().backward()
            optimizer.step()
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert relative_error(*ends) < 1e-10


def test_optimizers_say_what_they_do_not_know():
    model = zoo.create_model('mobilenetv3_small_100', num_classes=2)
    with pytest.raises(ValueError, match="'adamww'.*'adamw'"):
        optim.create_optimizer_v2(model, 'adamww')
    with pytest.raises(TypeError, match='betas'):
        optim.create_optimizer_v2(model, 'sgd', lr=0.1, betas=(0.9, 0.99))
    with pytest.raises(ValueError, match='layer_decay needs a network'):
        optim.create_optimizer_v2(model.parameters(), 'sgd', lr=0.1, layer_decay=0.5)
    groups = optim.create_optimizer_v2(model, 'adamw', lr=0.1, weight_decay=0.1, layer_decay=0.5).param_groups
    assert max(g['lr'] for g in groups) == 0.1 and min(g['lr'] for g in groups) < 0.001


@pytest.mark.parametrize('in_chans', [1, 2, 3, 5])
def test_first_convolutions_are_adapted_as_timms(in_chans, real):
    weight = torch.randn(4, 3, 3, 3)
    ours = manipulate.adapt_input_conv(in_chans, weight)
    assert torch.allclose(ours, real.models.adapt_input_conv(in_chans, weight), atol=1e-6)
    with pytest.raises(ValueError, match='not for 7'):
        manipulate.adapt_input_conv(in_chans, torch.zeros(1, 7, 3, 3))


def test_checkpoint_seq_gives_the_same_gradients():
    layers = [nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(5)]
    x = torch.randn(3, 4)
    gradients = []
    for run in (lambda: nn.Sequential(*layers)(x), lambda: manipulate.checkpoint_seq(layers, x, every=2),
                lambda: manipulate.checkpoint_seq([layers[:3], layers[3:]], x, flatten=True, skip_last=True)):
        for layer in layers:
            layer.zero_grad()
        run().sum().backward()
        gradients.append(layers[0][0].weight.grad.clone())
    assert torch.allclose(gradients[0], gradients[1]) and torch.allclose(gradients[0], gradients[2])


def test_named_apply_visits_children_first():
    seen = []
    manipulate.named_apply(lambda module, name: seen.append(name), nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU()),
                           include_root=True)
    assert seen == ['0.0', '0', '1', '']


def test_load_checkpoint(tmp_path):
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    torch.save({'state_dict': nn.Linear(2, 3).state_dict(), 'state_dict_ema': source.state_dict()}, tmp_path / 'a.pth')
    manipulate.load_checkpoint(target, tmp_path / 'a.pth')
    assert torch.equal(target.weight, source.weight)
    manipulate.load_checkpoint(target, tmp_path / 'a.pth', use_ema=False)
    assert not torch.equal(target.weight, source.weight)
    left = manipulate.load_checkpoint(target, tmp_path / 'a.pth', strict=False,
                                      filter_fn=lambda state, model: {'bias': state['bias'] + 1})
    assert left.missing_keys == ['weight'] and torch.equal(target.bias, source.bias + 1)
    with pytest.raises(RuntimeError, match='Missing key'):
        manipulate.load_checkpoint(nn.BatchNorm1d(3), tmp_path / 'a.pth')


@pytest.mark.parametrize('replicas', [1, 2, 3, 7])
def test_ordered_distributed_sampler_covers_everything_in_order(replicas):
    samplers = [OrderedDistributedSampler(range(5), replicas, rank) for rank in range(replicas)]
    parts = [list(sampler) for sampler in samplers]
    assert {len(part) for part in parts} == {len(samplers[0])}
    interleaved = [i for group in zip(*parts) for i in group]
    assert interleaved[:5] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match='rank is 0 to'):
        OrderedDistributedSampler(range(5), replicas, replicas)


@pytest.mark.parametrize('name', NAMES[:3])
def test_freezing_batch_normalisation_and_back(name):
    model = randomize(zoo.create_model(name)).eval()
    x = torch.rand(2, 3, 64, 64)
    logits, names = model(x), set(model.state_dict())
    assert utils.freeze_batch_norm_2d(model) is model
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert relative_error(model(x), logits) < 1e-5
    assert names - set(model.state_dict()) == {key for key in names if key.endswith('num_batches_tracked')}
    utils.unfreeze_batch_norm_2d(model)
    assert set(model.state_dict()) == names and relative_error(model(x), logits) < 1e-5
    assert isinstance(utils.freeze_batch_norm_2d(nn.BatchNorm2d(3)), utils.FrozenBatchNorm2d)


# --- EfficientNet from timm's arguments

B0 = ['ds_r1_k3_s1_e1_c16_se0.25', 'ir_r2_k3_s2_e6_c24_se0.25', 'ir_r2_k5_s2_e6_c40_se0.25',
      'ir_r3_k3_s2_e6_c80_se0.25', 'ir_r3_k5_s1_e6_c112_se0.25', 'ir_r4_k5_s2_e6_c192_se0.25',
      'ir_r1_k3_s1_e6_c320_se0.25']


@pytest.mark.parametrize('name, width, depth', [('efficientnet_b0', 1.0, 1.0), ('efficientnet_b3', 1.2, 1.4)])
def test_efficientnet_from_timms_arguments_is_the_network_of_that_name(name, width, depth):
    model = EfficientNet(decode_arch_def([[stage] for stage in B0], depth), act_layer=nn.SiLU,
                         num_features=round_channels(1280, width, 8, None),
                         round_chs_fn=lambda channels: round_channels(channels, width))
    other = zoo.create_model(name)
    model.load_state_dict(randomize(other).state_dict())
    x = torch.rand(2, 3, 64, 64)
    assert torch.allclose(model.eval()(x), other.eval()(x), atol=1e-5)
    activated = other.act1(other.bn1(other.conv_stem(x)))
    assert torch.allclose(model.bn1(model.conv_stem(x)), activated, atol=1e-6)          # as smp takes it apart
    frozen = utils.freeze_batch_norm_2d(model)
    assert torch.allclose(frozen.bn1(frozen.conv_stem(x)), activated, atol=1e-5)
    utils.unfreeze_batch_norm_2d(model)
    assert set(model.state_dict()) == set(other.state_dict())
    assert torch.allclose(model(x), other(x), atol=1e-4)


def test_efficientnet_from_timms_arguments_keeps_ends_and_refuses_the_unknown():
    lite = decode_arch_def([['ds_r2_k3_s1_e1_c16'], ['ir_r2_k3_s2_e6_c24'], ['ir_r2_k3_s2_e6_c40']], 1.5,
                           fix_first_last=True)
    assert [len(stage) for stage in lite] == [2, 3, 2]
    with pytest.raises(ValueError, match='2 depth multipliers for 1 stages'):
        decode_arch_def([['ds_r2_k3_s1_e1_c16']], [1.0, 2.0])
    with pytest.raises(TypeError, match='act_lyer'):
        EfficientNet(lite, act_lyer='relu')

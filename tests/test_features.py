"""Backbones: what `feature_info` says is what comes out, over the whole registry."""
from __future__ import annotations

import copy
import itertools
import math
import pickle
from functools import cache, partial

import pytest
import timm
import torch
from torch import nn
from torch.export import Dim

import zoo
from conftest import architectures, randomize, relative_error
from beside_timm import on_meta, options_of
from structures import FORTNIGHT, MODEST, NAMES, STRUCTURES, classes, in_turn, network_class, share, short
from zoo.features import FeatureInfo, FeatureNet

SIZES = [(224, 224), (256, 192), (227, 301)]
SMALL = 'test_efficientnet'
V1, V2 = 'efficientformer_l1', 'efficientformerv2_s0'
ARCHITECTURES = architectures()


STRIDED = [name for name in STRUCTURES if options_of(name).get('output_stride') == 'int']


@cache
@torch.inference_mode(False)                                        # whichever test asks first
def _noise(power: int) -> torch.Tensor:
    return torch.randn(24_000_000, generator=torch.Generator().manual_seed(power)) * 2.0 ** power


def give_weights(model: nn.Module) -> nn.Module:
    """Random weights of sensible scale for a network without memory: views of a few tensors, which cost nothing."""
    state = {}
    for number, (name, value) in enumerate(model.state_dict().items()):
        if value.ndim > 1 and value.is_floating_point():
            start = 104_729 * 64 * number % 4_000_000                       # aligned as fresh tensors are
            power = -round(math.log2(value[0].numel()) / 2)
            noise = _noise(power)
            while len(noise) < start + value.numel():
                noise = torch.cat([noise, noise])
            state[name] = noise[start:start + value.numel()].view(value.shape)
        else:
            state[name] = torch.empty_like(value, device='cpu')
    small = nn.ParameterDict({name.replace('.', '/'): nn.Parameter(value, False)
                              for name, value in state.items() if value.ndim < 2 and value.is_floating_point()})
    randomize(small)
    return take_weights(model, state)


def take_weights(model: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    """Gives a network without memory the tensors of `state` themselves; it may lack some layers, no more."""
    missing, _ = model.load_state_dict(state, strict=False, assign=True)
    assert not missing
    for module in model.modules():
        for key, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, key, torch.empty_like(buffer, device='cpu'))
        if hasattr(module, 'reset_constants'):
            module.reset_constants()
    model.set_input_size(dynamic_img_size=True)
    return model.eval()


def images(size: tuple[int, int], batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(4)) * 2 - 1


def activations(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The logits, and the maps on the way: where they are maps already, what comes out of the submodules that
    `feature_info` names."""
    seen = {}
    handles = [model.get_submodule(info['module']).register_forward_hook(
        lambda m, i, o, key=info['module']: seen.__setitem__(key, o)) for info in model.feature_info
        if info['module'] in dict(model.named_modules())]
    logits = model(x)
    for handle in handles:
        handle.remove()
    maps = model.forward_intermediates(x, intermediates_only=True)
    for info, found in zip(model.feature_info, maps, strict=True):
        hooked = seen.get(info['module'])
        if isinstance(hooked, torch.Tensor):
            assert torch.equal(found, as_map(hooked, model, found, info['stage'], x))
    return logits, maps


def as_map(output: torch.Tensor, model: nn.Module, found: torch.Tensor, step: int, x: torch.Tensor) -> torch.Tensor:
    """What a submodule gives in a step for images `x`, as a map (B, C, H, W) of the size of the one `found`; tokens
    without the prefix, and those in an order of the network's own by its own means."""
    if output.ndim == 4:
        return output if output.shape == found.shape else output.permute(0, 3, 1, 2)
    if hasattr(model, 'reroll'):
        return model.reroll(output, step, x.shape[2:])
    return output[:, model.num_prefix_tokens:].transpose(1, 2).unflatten(2, found.shape[2:])


def selections(count: int) -> list[tuple[int, ...]]:
    """Every subset of the indices, or of some where they are many, in an order and with signs that vary from one to the
    next, and some with repeats."""
    chosen = []
    some = range(count) if count < 8 else (0, 1, count // 2, count - 2, count - 1)
    for size in range(1, len(some) + 1):
        for number, subset in enumerate(itertools.combinations(some, size)):
            turned = (subset[number % size:] + subset[:number % size])[::(-1) ** number]
            chosen.append(tuple(i - count if (i + number) % 3 == 0 else i for i in turned))
    return chosen + [(count - 1, 0, -1), (0, 0)]


def backbone_of(model: nn.Module, name: str, out_indices: tuple[int, ...], **options) -> FeatureNet:
    """The backbone of that name with the weights of the classifier, of which it holds those it needs."""
    backbone = take_weights(on_meta(name, features_only=True, out_indices=out_indices, **options), model.state_dict())
    last = max(i % len(model.feature_info) for i in out_indices)
    keys, stage = list(backbone.state_dict()), model.feature_info[last]['stage']
    assert keys == [key for key in model.state_dict() if key in set(keys)]
    assert len(backbone.network.stage_names()) == stage
    assert all(getattr(backbone, key) is child for key, child in backbone.named_children())
    assert not any(key.startswith(f'{layer}.') for key in keys for layer in model.parts.classifier)
    assert len(keys) < len(model.state_dict()) or stage == len(model.stage_names())
    return backbone


def check_maps(maps: list[torch.Tensor], info: FeatureInfo, model: nn.Module, out_indices: tuple[int, ...],
               x: torch.Tensor, expected: list[torch.Tensor]) -> None:
    """The maps are those of the classifier, as described, in the order asked."""
    described = [model.feature_info[i] for i in out_indices]
    assert info.out_indices == tuple(i % len(expected) for i in out_indices)
    assert info.channels() == [d['num_chs'] for d in described] == [m.shape[1] for m in maps]
    assert info.reduction() == [d['reduction'] for d in described]
    assert info.module_name() == [d['module'] for d in described]
    assert [tuple(m.shape[2:]) for m in maps] == info.map_sizes(x.shape[2:])
    for feature, index in zip(maps, out_indices, strict=True):
        assert torch.equal(feature, expected[index])


def reached(maps: list[torch.Tensor]) -> set[int]:
    """Ids of the parameters that a gradient of the maps reaches, found as DistributedDataParallel finds them."""
    found, seen, left = set(), set(), [m.grad_fn for m in maps]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found |= {id(node.variable)} if hasattr(node, 'variable') else set()
            left += [following for following, _ in node.next_functions]
    return found


# --- every network


@pytest.mark.parametrize('name', in_turn([*STRUCTURES]))
def test_maps_are_the_classifiers_own(name):
    model, x = give_weights(on_meta(name, **classes(name, 5), **short(name))), images((65, 97))
    with torch.inference_mode():
        logits, expected = activations(model, x)
        features, maps = model.forward_intermediates(x)
        assert torch.equal(model.forward_head(features), logits)
        assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    count = len(expected)
    assert all(a['reduction'] <= b['reduction'] for a, b in itertools.pairwise(model.feature_info))
    for out_indices in ((-1, 1 - count, 0), (0,)):
        backbone = backbone_of(model, name, out_indices, **short(name))
        with torch.no_grad():                                # with gradients, attention takes another kernel
            check_maps(backbone(x), backbone.feature_info, model, out_indices, x, expected)
        assert reached(backbone(x)) == {id(p) for p in backbone.parameters()}                  # none is left without gradient
        assert len(list(backbone.named_parameters())) == len(list(backbone.named_parameters(remove_duplicate=False)))


@pytest.mark.parametrize('name', in_turn([*STRUCTURES]))
def test_any_selection_runs_no_further_than_it_needs(name):
    model = on_meta(name, **short(name))
    count, stages, ran = len(model.feature_info), len(model.stage_names()), []

    def run(x: torch.Tensor, step: int) -> torch.Tensor:
        ran.append(step)
        return torch.full((1, 2, 3, 4), float(step))

    model.maps_of = lambda state, step: [state] * len(model.feature_info)
    model.run_stem, model.run_stage = partial(run, step=0), lambda number, x: run(x, number + 1)
    model.enter_stage = lambda number, x: x
    model.pre_head = lambda x: x + 100
    for chosen in [*selections(count), None, 1, count]:
        wanted = range(count) if chosen is None else range(count)[-chosen:] if isinstance(chosen, int) else chosen
        numbers = [model.feature_info[i]['stage'] for i in wanted]
        for early in (dict(stop_early=True), dict(intermediates_only=True), dict()):
            ran.clear()
            result = model.forward_intermediates(images((8, 8)), chosen, **early)
            final, maps = (None, result) if 'intermediates_only' in early else result
            assert [m.unique().tolist() for m in maps] == [[number] for number in numbers]
            assert ran == list(range((max(numbers) if early else stages) + 1))
            assert final is None or final.unique().tolist() == [max(numbers) if early else stages + 100]
    for bad in ([count], [-count - 1], [], [0, count], ['1'], [0.5]):
        with pytest.raises(ValueError, match=f'0 to {count - 1}'):
            model.forward_intermediates(images((8, 8)), bad)
        with pytest.raises(ValueError, match=f'0 to {count - 1}'):
            FeatureNet(model, bad)
    for bad in (0, -1, count + 1):
        with pytest.raises(ValueError, match=f'1 to {count}'):
            model.forward_intermediates(images((8, 8)), bad)


def timms(name: str, model: nn.Module, **options) -> nn.Module:
    """timm's network with the same weights."""
    with torch.device('meta'):
        theirs = timm.create_model(name, **options)
    if dict(theirs.named_buffers()).keys() - theirs.state_dict().keys():
        theirs = timm.create_model(name, **options)                         # it alone can fill what no state dict holds
    own = model.state_dict()
    # 'stem_0.conv' and 'model.stem.0.conv' are stem.0.conv
    state = {key: next(own[same] for same in (key, key.replace('_', '.', 1), key.removeprefix('model.')) if same in own)
             for key in theirs.state_dict()}
    theirs.load_state_dict(state if options.get('features_only') else own, assign=True)
    return theirs.eval()


def compare_with_timm(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> int:
    """How many maps were compared: timm's `aa` variants round sizes down, and their maps differ from there on."""
    ours, theirs, x, compared = ours.double(), theirs.double(), x.double(), 0
    try:
        theirs(x)
    except (AssertionError, RuntimeError):                                  # timm's takes no image of this size
        x = images(ours.pretrained_cfg['input_size'][1:]).double()
    pairs = zip(*(m.forward_intermediates(x, intermediates_only=True) if hasattr(m, 'forward_intermediates') else m(x)
                  for m in (ours, theirs)), strict=True)
    for number, (a, b) in enumerate(pairs):
        described, of_timm = ours.feature_info[number], theirs.feature_info[number]
        assert described['num_chs'] == of_timm['num_chs']
        stated = 0.6 < b.shape[-1] * of_timm['reduction'] / x.shape[-1] < 1.7          # TResNet's first map is not as stated
        assert described['reduction'] == of_timm['reduction'] or not stated
        if a.shape != b.shape:
            assert any(b.shape[side] == x.shape[side] // described['reduction'] for side in (2, 3))
            break
        assert relative_error(a, b) < 1e-5
        compared += 1
    return compared


@pytest.mark.slow
@pytest.mark.parametrize('name', share(MODEST, 2 * FORTNIGHT))
@torch.inference_mode()
def test_maps_at_full_sizes(name):
    fitted = on_meta(name).img_size
    model = give_weights(on_meta(name))
    choices = selections(len(model.feature_info))
    for number, size in enumerate(SIZES):
        x, out_indices = images(size), choices[(7 * NAMES.index(name) + 11 * number) % len(choices)]
        expected = activations(model, x)[1]
        backbone = backbone_of(model, name, out_indices)
        check_maps(backbone(x), backbone.feature_info, model, out_indices, x, expected)
    theirs, own = timms(name, model), model.pretrained_cfg['input_size'][1:]
    # a first map whose odd sides timm rounds down is compared at even ones
    assert any(compare_with_timm(model, theirs, images(size)) for size in (fitted or SIZES[2], own))


# --- output_stride


def check_output_stride(name: str, output_stride: int) -> None:
    model, x = give_weights(on_meta(name, output_stride=output_stride)), images((65, 49))
    expected = activations(model, x)[1]
    reductions = [min(int(r), output_stride) for r in ARCHITECTURES[name]['feature_reductions'].split()]
    assert [described['reduction'] for described in model.feature_info] == reductions
    backbone = backbone_of(model, name, (-1, 0, 2), output_stride=output_stride)
    check_maps(backbone(x), backbone.feature_info, model, (-1, 0, 2), x, expected)
    theirs = timms(name, model, features_only=True, output_stride=output_stride)
    assert compare_with_timm(model, theirs, images((64, 48))) == len(expected)


@pytest.mark.parametrize('name', ['efficientnet_b0', 'tf_efficientnetv2_b0', 'mobilenetv4_conv_small', 'lcnet_050'])
@pytest.mark.parametrize('output_stride', [8, 16])
@torch.inference_mode()
def test_output_stride(name, output_stride):
    check_output_stride(name, output_stride)


@pytest.mark.slow
@pytest.mark.parametrize('name', share(STRIDED))
@pytest.mark.parametrize('output_stride', [8, 16])
@torch.inference_mode()
def test_output_stride_of_every_network(name, output_stride):
    check_output_stride(name, output_stride)


@pytest.mark.parametrize('name', in_turn(sorted(set(STRUCTURES) - set(STRIDED))))
def test_a_network_without_output_stride_says_so(name):
    with pytest.raises((TypeError, ValueError), match="option 'output_stride' is not known|output_stride is 32, .* 16"):
        on_meta(name, features_only=True, output_stride=16)


# --- feature_location


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [name for name in STRUCTURES if hasattr(network_class(name), 'feature_location')])
@torch.inference_mode()
def test_inner_maps_are_what_the_modules_named_take_in(name):
    model, x = give_weights(on_meta(name)), images((33, 48))
    options = dict(features_only=True, feature_location='expansion')
    backbone = take_weights(on_meta(name, **options), model.state_dict())
    seen, handles = {}, []
    for f in backbone.feature_info.info:
        module = model.get_submodule(f['module'])
        if f.get('hook_type') == 'forward_pre':
            handles.append(module.register_forward_pre_hook(
                lambda m, i, n=f['module']: seen.__setitem__(n, i[0].clone())))
        else:
            handles.append(module.register_forward_hook(lambda m, i, o, n=f['module']: seen.__setitem__(n, o.clone())))
    model.forward_features(x)
    for f, inner in zip(backbone.feature_info.info, backbone(x), strict=True):
        assert torch.equal(inner, seen[f['module']]) and inner.shape[1] == f['num_chs']
        assert inner.shape[2:] == tuple(math.ceil(side / f['reduction']) for side in x.shape[2:])


@pytest.mark.parametrize('name', ['mobilenetv2_035', 'tf_efficientnetv2_b0', 'lcnet_050', 'hardcorenas_a', 'mixnet_s',
                                  'efficientnet_cc_b0_4e', 'tf_efficientnet_es'])
@torch.inference_mode()
def test_inner_maps_equal_timms(name):
    options = dict(features_only=True, feature_location='expansion', out_indices=(0, 2, 4))
    ours = give_weights(on_meta(name, **options))
    theirs, x = timms(name, ours, **options), images((64, 48))
    for a, b in zip(ours(x), theirs(x), strict=True):
        assert relative_error(a, b) < 1e-5
    for f, of_timm in zip(ours.feature_info.get_dicts(), theirs.feature_info.get_dicts(), strict=True):
        assert {key: f[key] for key in of_timm} | {'module': f['module'].replace('act1', 'bn1')} == of_timm


def test_networks_without_inner_maps_say_so():
    with pytest.raises(ValueError, match='last block of stage 1, MobileAttention, expands no channels'):
        zoo.build_model(['cn_r1_k3_s2_c16', 'ir_r1_k3_s2_e2_c32 mha_r1_h2_d16_c32'], features_only=True,
                        feature_location='expansion')
    with pytest.raises(ValueError, match="networks of block strings; the maps of EfficientFormer .*'bottleneck'"):
        on_meta(V1, features_only=True, feature_location='expansion')


# --- how the maps are returned


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [SMALL, V1, V2])
@pytest.mark.parametrize('kind', ['list', 'dict', 'hook', 'fx', 'getter', 'DICT', FeatureNet], ids=str)
@torch.inference_mode()
def test_every_spelling_of_feature_cls_is_the_same_backbone(name, kind):
    model = give_weights(on_meta(name))
    x, words = images((224, 224)), {'feature_cls': kind, 'out_indices': (3, 1)}
    expected = model.forward_intermediates(x, (3, 1), intermediates_only=True)
    for options in (words, {'feature_cfg': words}, {**words, 'feature_cfg': {'out_indices': (0,)}}):
        backbone = take_weights(on_meta(name, features_only=True, **options), model.state_dict())
        maps = backbone(x)
        if str(kind).lower() == 'dict':
            assert list(maps) == ['3', '1']                         # timm's keys, in the order asked
            maps = list(maps.values())
        assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
        assert backbone.state_dict().keys() <= model.state_dict().keys()


@torch.inference_mode()
def test_maps_by_name():
    x, options = images((64, 64)), dict(features_only=True, out_indices=(3, 1))
    for choice, keys in ((dict(feature_cls='dict'), ['3', '1']), (dict(feature_cls='dict', out_map='module'), None),
                         (dict(feature_cls='hook', return_dict=True), None), (dict(return_dict=True), ['3', '1']),
                         (dict(feature_cls='dict', out_map=['deep', 'fine']), ['deep', 'fine']),
                         (dict(feature_cfg=dict(feature_cls='fx', return_dict=True)), ['3', '1'])):
        backbone = zoo.create_model(SMALL, **options, **choice).eval()
        maps, info = backbone(x), backbone.feature_info
        assert list(maps) == (keys or info.module_name())
        assert [m.shape[1] for m in maps.values()] == info.channels()
    assert zoo.build_model(['ds_r1_k3_s1_e1_c16', 'ir_r1_k3_s2_e2_c24'], features_only=True, out_indices=[1],
                           feature_cls='dict')(x)['1'].shape == (1, 24, 16, 16)


def test_timms_dictionaries_have_the_same_keys():
    for name in (SMALL, 'mobilenetv3_small_050'):
        for cfg in (dict(feature_cls='dict', flatten_sequential=True), dict(feature_cls='hook', return_dict=True),
                    dict(feature_cls='fx', return_dict=True)):
            theirs = timm.create_model(name, features_only=True, feature_cfg=dict(cfg), out_indices=(1, 3)).eval()
            ours = zoo.create_model(name, features_only=True, feature_cfg=cfg, out_indices=(1, 3)).eval()
            assert list(theirs(images((64, 64)))) == list(ours(images((64, 64))))


@pytest.mark.parametrize(('options', 'error', 'message'), [
    (dict(feature_cls='dct'), ValueError, "feature_cls .*'dct'.*Did you mean 'dict'"),
    (dict(feature_cls='getr'), ValueError, "'getter'"),
    (dict(feature_cls=nn.Sequential), ValueError, 'subclass of zoo.features.FeatureNet.*Known: dict, fx'),
    (dict(feature_cfg=dict(flatten_sequential=1)), TypeError, 'flatten_sequential is True or False'),
    (dict(feature_location='expansions'), ValueError, "Did you mean 'expansion'"),
    (dict(feature_cfg=dict(retrun_dict=True)), TypeError, "Did you mean 'return_dict'"),
    (dict(flatten_sequential=True), TypeError, "option 'flatten_sequential'"),
    (dict(feature_cls='dict', out_indices=(1, 1)), ValueError, r"different name for each map.*\['1', '1'\]"),
    (dict(feature_cls='dict', out_map=['a']), ValueError, 'different name for each map.*5 maps'),
    (dict(out_map=list('abcde')), ValueError, 'return_dict=True'),
    (dict(feature_cls='dict', out_map='moduel'), KeyError, "Did you mean 'module'"),
    (dict(output_fmt='NCWH'), ValueError, 'output_fmt'),
    (dict(out_indices=[7]), ValueError, 'Feature index 7 is out of range.*0 to 4'),
    (dict(out_indices=6), ValueError, '1 to 5'),
], ids=str)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        zoo.create_model('efficientnet_b0', features_only=True, **options)


@pytest.mark.parametrize('options', [dict(out_indices=(1,)), dict(feature_cls='dict'), dict(output_fmt='NHWC')])
def test_options_of_backbones_are_for_backbones(options):
    with pytest.raises(TypeError, match=f'{next(iter(options))}: .*features_only=True'):
        zoo.create_model(SMALL, **options)


@torch.inference_mode()
def test_channels_last_maps():
    x = images((64, 48))
    plain = zoo.create_model(SMALL, features_only=True).eval()
    other = zoo.create_model(SMALL, features_only=True, output_fmt='NHWC').eval()
    other.load_state_dict(plain.state_dict())
    assert all(torch.equal(a.permute(0, 2, 3, 1), b) for a, b in zip(plain(x), other(x), strict=True))
    model = zoo.create_model(SMALL).eval()
    maps = [model.forward_intermediates(x, output_fmt=f, intermediates_only=True) for f in ('NCHW', 'NHWC')]
    assert all(torch.equal(a.permute(0, 2, 3, 1), b) for a, b in zip(*maps, strict=True))
    rows = model.forward_intermediates(x, output_fmt='NLC', intermediates_only=True)
    assert all(torch.equal(a.flatten(2).transpose(1, 2), b) for a, b in zip(maps[0], rows, strict=True))
    with pytest.raises(ValueError, match='output_fmt'):
        model.forward_intermediates(x, output_fmt='NCWH')


def test_feature_info_reads_as_timms():
    ours = zoo.create_model('efficientnet_b0', features_only=True, out_indices=(1, 3)).feature_info
    theirs = timm.create_model('efficientnet_b0', features_only=True, out_indices=(1, 3)).feature_info
    for idx in (None, 0, [4, 0]):
        for method in ('channels', 'reduction', 'module_name'):
            assert getattr(ours, method)(idx) == getattr(theirs, method)(idx)
        keys = ['num_chs', 'reduction', 'module', 'index']
        assert ours.get_dicts(keys, idx) == theirs.get_dicts(keys, idx)
    assert len(ours) == len(theirs) == 5 and ours[2]['num_chs'] == theirs[2]['num_chs'] == ours.info[2]['num_chs']
    assert ours.out_indices == theirs.out_indices and [entry['index'] for entry in ours] == [0, 1, 2, 3, 4]
    for wrong in (lambda: ours.get('chanels'), lambda: ours.get_dicts(['num_chn'])):
        with pytest.raises(KeyError, match='is not known'):
            wrong()


@pytest.mark.parametrize('name', [V1, V2])
@torch.inference_mode()
def test_the_last_map_normalised(name):
    model, x = give_weights(on_meta(name)), images((224, 224))
    plain, normed = (model.forward_intermediates(x, norm=norm, intermediates_only=True) for norm in (False, True))
    assert torch.equal(plain[2], normed[2]) and not torch.allclose(plain[3], normed[3])
    theirs = timms(name, model).forward_intermediates(x, norm=True, intermediates_only=True)
    assert relative_error(normed[3], theirs[3]) < 1e-5
    for out_indices, kept in (((3, 0), True), ((2,), False)):
        backbone = backbone_of(model, name, out_indices, norm=True)
        assert any(key.startswith('norm.') for key in backbone.state_dict()) == kept
        assert all(torch.equal(m, normed[i]) for m, i in zip(backbone(x), out_indices, strict=True))


# --- pruning


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [SMALL, 'mobilenetv3_small_050', 'mobilenetv4_conv_small', 'efficientnet_x_b3',
                                  V1, V2])
def test_a_pruned_network_is_as_it_says(name):
    model, x = give_weights(on_meta(name, num_classes=5)), images((224, 224))
    count = len(model.feature_info)
    with torch.inference_mode():
        features, maps = model.forward_intermediates(x)
        for indices, prune_norm, prune_head in itertools.product(([0], [2, 1], 1), (False, True), (False, True)):
            pruned = copy.deepcopy(model)
            chosen = pruned.prune_intermediate_layers(indices, prune_norm, prune_head)
            assert chosen == (indices if isinstance(indices, list) else [count - 1])
            assert len(pruned.feature_info) == max(chosen) + 1
            left = pruned.forward_intermediates(x, intermediates_only=True)
            assert len(left) == max(chosen) + 1 and all(torch.equal(a, b) for a, b in zip(left, maps))
            with pytest.raises(ValueError, match=f'0 to {max(chosen)} '):
                pruned.forward_intermediates(x, [max(chosen) + 1])
            left = pruned.forward_features(x)
            assert left.shape[{3: 2, 4: 1}[left.ndim]] == pruned.num_features
            if indices == 1 and not prune_norm and not prune_head:
                assert torch.equal(left, features) and relative_error(pruned(x), model(x)) < 1e-6
            elif prune_head or indices != 1:
                assert pruned.num_features == pruned.feature_info[-1]['num_chs'] and pruned.num_classes == 0
                assert torch.equal(pruned(x), left)
                pruned.reset_classifier(3, 'avg')               # a new head on what is left
                assert pruned(x).shape == (1, 3)


# --- backbones as modules


def test_backbone_survives_copy_pickle_and_device(image, tmp_path):
    backbone = zoo.create_model(SMALL, features_only=True, out_indices=(3, 1)).eval()
    maps = backbone(image)
    torch.save(backbone, tmp_path / 'backbone.pt')
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone)),
                  torch.load(tmp_path / 'backbone.pt', weights_only=False)):
        assert all(torch.equal(a, b) for a, b in zip(other(image), maps, strict=True))
        assert other.feature_info.channels() == backbone.feature_info.channels()
        with torch.no_grad():
            next(other.parameters()).add_(1)
        assert not torch.equal(other(image)[0], maps[0])                   # its own parameters are what it runs on
        assert torch.equal(backbone(image)[0], maps[0])
    double = copy.deepcopy(backbone).double()
    assert double(image.double())[0].dtype == torch.float64
    assert next(copy.deepcopy(backbone).to('meta').parameters()).is_meta
    backbone.train()
    assert not torch.equal(backbone(image)[0], maps[0]) and backbone.network.training
    assert not backbone.eval().network.training


def test_state_dicts_go_both_ways(image):
    classifier = randomize(zoo.create_model('efficientnet_b0')).eval()
    state = classifier.state_dict()
    backbone = zoo.create_model('efficientnet_b0', features_only=True, out_indices=(2,)).eval()
    own = backbone.state_dict()
    backbone.load_state_dict({key: state[key] for key in own}, strict=True)
    with pytest.raises(RuntimeError, match='conv_head'):
        backbone.load_state_dict(state, strict=True)
    assert torch.equal(backbone(image)[0], classifier.forward_intermediates(image, [2], intermediates_only=True)[0])
    again = zoo.create_model('efficientnet_b0', pretrained=state, features_only=True, out_indices=(2,)).eval()
    assert torch.equal(again(image)[0], backbone(image)[0])
    anew = zoo.create_model('efficientnet_b0').eval()
    missing, unexpected = anew.load_state_dict(backbone.state_dict(), strict=False)
    assert not unexpected and set(missing) <= set(state) - set(own) and 'conv_head.weight' in missing
    assert torch.equal(anew.forward_intermediates(image, [2], intermediates_only=True)[0], backbone(image)[0])


def test_a_backbones_record_is_not_of_classes():
    backbone = zoo.create_model('efficientnet_b0', features_only=True, in_chans=4)
    assert backbone.in_chans == 4 and backbone.labels is None
    theirs = timm.create_model('efficientnet_b0', features_only=True).pretrained_cfg
    for key in ('num_classes', 'classifier'):
        assert key not in backbone.pretrained_cfg and key not in theirs
    assert backbone.pretrained_cfg['mean'] == theirs['mean'] and zoo.data.resolve_model_data_config(backbone)['mean']


@pytest.mark.parametrize('name', [SMALL, 'mobilenetv4_conv_small', V1, V2])
def test_gradients_of_a_backbone_with_checkpointing(name):
    backbone = randomize(zoo.create_model(name, features_only=True, out_indices=(2, 0), dynamic_img_size=True
                                          if name in (V1, V2) else None)).train()
    state, gradients = copy.deepcopy(backbone.state_dict()), []
    for enable in (False, True):
        backbone.load_state_dict(state)
        backbone.zero_grad()
        backbone.set_grad_checkpointing(enable)
        assert backbone.network.grad_checkpointing == enable
        sum(m.square().mean() for m in backbone(images((64, 64), batch=3))).backward()
        assert all(p.grad is not None for p in backbone.parameters())
        gradients.append([p.grad.clone() for p in backbone.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients, strict=True))


@pytest.mark.sweep
@pytest.mark.parametrize(('name', 'options'), [
    ('tf_efficientnet_b0', dict(out_indices=(-1, 2))), ('mobilenetv4_conv_small', dict(feature_cls='dict')),
    ('efficientnet_x_b3', dict(out_indices=(1,), feature_cls='dict')), (V1, dict(norm=True)),
    (V2, dict(out_indices=(1, 3))),
], ids=str)
@torch.no_grad()
def test_backbones_compile_and_export(name, options):
    torch._dynamo.reset()
    backbone = take_weights(on_meta(name, features_only=True, **options), give_weights(on_meta(name)).state_dict())
    sizes = {2: Dim('height', min=64, max=1024), 3: Dim('width', min=64, max=1024)}
    program = torch.export.export(backbone, (images((96, 128)),), dynamic_shapes=(sizes,)).module()
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
    for size in ((64, 64), (227, 301)):
        x = images(size)
        results = [torch.utils._pytree.tree_flatten(part(x)) for part in (backbone, program, compiled)]
        assert results[0][1] == results[1][1] == results[2][1]
        for ours, exported, graph in zip(*(leaves for leaves, _ in results), strict=True):
            assert relative_error(exported, ours) < 1e-5 and relative_error(graph, ours) < 1e-5

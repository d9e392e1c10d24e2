"""What every network offers, over the whole registry."""
from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

import zoo
from conftest import randomize
from beside_timm import on_meta
from structures import STRUCTURES, classes, in_turn, short
from zoo.layers.pool import POOLS


WIDTH = {'NCHW': 1, 'NHWC': 3, 'NLC': 2}                             # where channels lie


@pytest.mark.parametrize('name', in_turn([*STRUCTURES]))
def test_shapes_and_widths(name):
    model = on_meta(name, **classes(name, 7), **short(name))
    model.set_input_size((96, 64), dynamic_img_size=True)
    image = torch.empty(2, 3, 96, 64, device='meta')
    features, as_map = model.forward_map(image)
    assert model.forward_features(image).shape == features.shape and features.shape[0] == 2
    assert features.ndim == len(model.output_fmt) and features.shape[WIDTH[model.output_fmt]] == model.num_features
    assert as_map.shape[:2] == (2, model.num_features) and as_map.ndim == 4
    classifiers = model.get_classifier()
    several = classifiers if isinstance(classifiers, tuple) else (classifiers,)
    assert all(isinstance(c, (nn.Linear, nn.Conv2d)) for c in several)
    assert all(model.get_submodule(name) is c for name, c in zip(model.parts.classifier, several, strict=True))
    if several:
        assert model(image).shape == model.forward_head(features).shape == (2, 7)
        assert model.forward_head(features, pre_logits=True).shape == (2, model.embedding_size)
    else:
        assert model(image).shape == model.forward_head(features).shape
        assert model(image).shape[::model(image).ndim - 1] == (2, model.embedding_size)
    for kind in model.pools if several else POOLS:
        if kind:
            model.reset_classifier(3 if several else 0, kind)
            assert model.num_classes == (3 if several else 0)
            assert model.forward_head(features).shape == (2, model.num_classes or model.embedding_size)
            assert model.forward_head(features, pre_logits=True).shape == (2, model.embedding_size)
    model.reset_classifier(0)
    assert model.forward_head(features).shape == (2, model.embedding_size)
    if '' in model.pools:
        with pytest.raises(ValueError, match="global_pool=''" if several else 'has no classifier'):
            model.reset_classifier(4, '')
        model.reset_classifier(0, '')
        assert model.forward_head(features).ndim == features.ndim
    with pytest.raises(ValueError, match='not -1'):
        model.reset_classifier(-1)
    for kind in {*POOLS, 'average'} - {*model.pools}:
        with pytest.raises(ValueError, match=f'{kind!r}'):
            model.reset_classifier(0, kind)


@pytest.mark.parametrize('name', STRUCTURES)
def test_groups_cover_every_parameter_from_input_to_output(name):
    model = on_meta(name, **classes(name, 3), **short(name))
    names = [key for key, _ in model.named_parameters()]
    for coarse in (False, True):
        matcher = model.group_matcher(coarse)
        patterns = [matcher['stem']] + [pattern for pattern, _ in matcher['blocks']]
        matched = {key: [p for p in patterns if re.search(p, key)] for key in names}
        classifier = [f'{layer}.{kind}' for layer in model.parts.classifier for kind in ('weight', 'bias')]
        assert [key for key in names if not matched[key]] == [key for key in classifier if key in names]
        assert all(len(found) <= 1 for found in matched.values())
    assert len(model.layer_names()) >= len(model.layer_names(coarse=True)) == len(model.stage_names()) + 1
    assert model.no_weight_decay() <= set(names)


@pytest.mark.parametrize('name', in_turn([*STRUCTURES]))
def test_fresh_networks_are_ready_to_train(name):
    model = zoo.create_model(name, **classes(name, 3), **short(name))
    for key, value in model.named_parameters():
        assert value.isfinite().all() and value.abs().max() < 100, key
    for key, value in model.named_buffers():                                    # a bound may be without end
        assert not value.isnan().any() and value[value.isfinite()].abs().lt(1e6).all(), key
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var.eq(1).all() and module.running_mean.eq(0).all()
    model.set_input_size(64, dynamic_img_size=True)
    logits = model.train()(torch.rand(2, 3, 64, 64))
    assert logits.isfinite().all()


@pytest.mark.parametrize('name', ['efficientnet_cc_b0_4e', 'efficientnet_x_b3', 'mixnet_s', 'efficientnetv2_s', 'test_efficientnet_evos'])
def test_gradient_checkpointing_changes_nothing(name, image):
    model = randomize(zoo.create_model(name, num_classes=3, bn_momentum=None)).train()
    state = copy.deepcopy(model.state_dict())
    gradients = []
    for enable in (False, True):
        model.load_state_dict(state)
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(image).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_unknown_options_are_refused_by_name():
    with pytest.raises(TypeError, match="efficientnet_b0: option 'drop_raet'.*'drop_rate'"):
        zoo.create_model('efficientnet_b0', drop_raet=0.1)
    with pytest.raises(ValueError, match="Activation 'silly'"):
        zoo.create_model('efficientnet_b0', act_layer='silly')
    with pytest.raises(ValueError, match="Normalisation 'batchnorm3d'"):
        zoo.create_model('efficientnet_b0', norm_layer='batchnorm3d')
    with pytest.raises(ValueError, match='output_stride is 8, 16 or 32, not 4'):
        zoo.create_model('efficientnet_b0', output_stride=4)
    with pytest.raises(ValueError, match="pad_type is .*'sane'"):
        zoo.create_model('efficientnet_b0', pad_type='sane')
    with pytest.raises(ValueError, match="global_pool 'average'"):
        zoo.create_model('efficientnet_b0', global_pool='average')
    with pytest.raises(ValueError, match='drop_path_rate is a number from 0 to below 1, not 17'):
        zoo.create_model('efficientnet_b0', drop_path_rate=17.0)
    with pytest.raises(ValueError, match="se_layer 'xx'"):
        zoo.create_model('efficientnet_b0', se_layer='xx')
    with pytest.raises(ValueError, match='no published weights.*efficientnet_b6'):
        zoo.create_model('efficientnet_b6', pretrained=True)

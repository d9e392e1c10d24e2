"""Settings of preprocessing: timm's for every combination of what is asked and what the weights say."""
from __future__ import annotations

import argparse
import itertools
import logging
import types

import pytest
import timm.data
import torch
from timm.data import constants as theirs

import zoo.data
from zoo.data import constants as ours
from zoo.data import resolve_data_config, resolve_model_data_config
from zoo.dense.backbone import image_statistics
from zoo.spec import PretrainedCfg

CFGS = [
    {},
    dict(input_size=(3, 320, 300), crop_pct=0.9, crop_mode='squash', mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6),
         interpolation='bilinear', num_classes=7),
    dict(input_size=(3, 64, 64), test_input_size=(3, 96, 80), crop_pct=0.9, test_crop_pct=0.95),
    dict(input_size=(3, 64, 64), test_input_size=None, crop_pct=0.9, test_crop_pct=None, mean=None),
    dict(input_size=[1, 28, 28], mean=[0.2], std=[0.3], crop_mode='border'),
]
SIZES = [{}, dict(img_size=None), dict(img_size=100), dict(input_size=(3, 10, 20)), dict(input_size=[4, 10, 20]),
         dict(in_chans=1), dict(chans=2), dict(in_chans=1, img_size=50), dict(chans=4, img_size=50),
         dict(in_chans=1, chans=2, img_size=9), dict(input_size=(1, 10, 20), img_size=40, in_chans=3)]
STATISTICS = [{}, dict(mean=None, std=None), dict(mean=(0.5,)), dict(std=[0.25]), dict(mean=(0.4,), std=(0.3,)),
              dict(mean=[0.1, 0.2, 0.3], std=(0.4, 0.5, 0.6))]
OTHERS = [{}, dict(crop_pct=0.5), dict(crop_mode='border', interpolation=''), dict(crop_mode=''),
          dict(interpolation='random', crop_pct=None), dict(interpolation='lanczos', crop_mode=None, batch_size=8)]


def plain(config):
    return {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in config.items()}


@pytest.mark.parametrize('cfg', CFGS)
@pytest.mark.parametrize('use_test_size', [False, True])
def test_every_combination_is_timms(cfg, use_test_size):
    model = types.SimpleNamespace(pretrained_cfg=cfg)
    refused = 0
    for parts in itertools.product(SIZES, STATISTICS, OTHERS):
        args = {k: v for part in parts for k, v in part.items()}
        given = dict(args=args, model=model, use_test_size=use_test_size)
        try:
            expected = timm.data.resolve_data_config(**given)
        except AssertionError:           # a mean of three values for one, two or four channels
            refused += 1
            with pytest.raises(ValueError, match='one value for all channels or one for each'):
                resolve_data_config(**given)
            continue
        assert plain(expected) == resolve_data_config(**given) == resolve_model_data_config(**given), args
        assert resolve_data_config(argparse.Namespace(**args), cfg, model, use_test_size) == plain(expected)
    assert refused


def test_where_settings_come_from():
    asked, cfg = dict(crop_pct=0.5), dict(crop_pct=0.6)
    model = types.SimpleNamespace(pretrained_cfg=dict(crop_pct=0.7, mean=(0.1, 0.1, 0.1)))
    for given in [dict(args=asked, pretrained_cfg=cfg, model=model), dict(pretrained_cfg=cfg, model=model),
                  dict(args=asked, model=model), dict(model=model), dict(args=asked),
                  dict(model=types.SimpleNamespace()), dict(args={}, pretrained_cfg={}, model=model)]:
        assert resolve_data_config(**given) == timm.data.resolve_data_config(**given)


def test_a_record_is_as_good_as_a_dictionary():
    record = PretrainedCfg('net', input_size=(3, 96, 96), test_input_size=(3, 128, 128), crop_pct=0.9)
    expected = timm.data.resolve_data_config(pretrained_cfg=record.to_dict(), use_test_size=True)
    assert resolve_data_config({}, record, use_test_size=True) == expected
    assert resolve_model_data_config(types.SimpleNamespace(pretrained_cfg=record), use_test_size=True) == expected
    theirs = timm.get_pretrained_cfg('efficientnet_b4.ra2_in1k')
    assert resolve_data_config({}, theirs) == timm.data.resolve_data_config({}, theirs.to_dict())


def test_one_number_for_all_channels():
    assert resolve_data_config(dict(mean=0.5, std=0.25, input_size=(4, 8, 8)))['mean'] == (0.5,) * 4
    assert resolve_data_config(dict(mean=0.5, std=0.25))['std'] == (0.25,) * 3


@pytest.mark.parametrize('args, message', [
    (dict(img_size=(100, 120)), 'img_size is one positive integer'),
    (dict(img_size='100'), 'img_size is one positive integer'),
    (dict(img_size=0), 'img_size is one positive integer'),
    (dict(input_size=(10, 20)), r'\(channels, height, width\)'),
    (dict(input_size=50), r'\(channels, height, width\)'),
    (dict(input_size=(3, 10, 0)), r'\(channels, height, width\)'),
    (dict(in_chans=0, img_size=10), 'in_chans is a positive integer'),
    (dict(mean=(0.5, 0.5)), 'mean has one value for all channels or one for each of 3; got 2'),
    (dict(mean='half'), 'mean is one number, or one per channel'),
    (dict(std=()), 'std is one number, or one per channel'),
    (dict(std=0), 'std is divided by'),
    (dict(crop_pct=0), 'crop_pct is a positive fraction'),
    (dict(crop_pct='x'), 'crop_pct is a positive fraction'),
    (dict(crop_pct=2), 'at most 1, such as 0.875; got 2'),
    (dict(crop_mode='centre'), "Did you mean 'center'"),
    (dict(interpolation='bicubik'), "Did you mean 'bicubic'"),
])
def test_values_that_cannot_be_used(args, message):
    with pytest.raises(ValueError, match=message):
        resolve_data_config(args, model=types.SimpleNamespace(pretrained_cfg=CFGS[1]))


@pytest.mark.parametrize('given', [{}, dict(args={}), dict(args={}, pretrained_cfg={})])
def test_nothing_to_resolve_from(given):
    with pytest.raises(ValueError, match='all three are missing or empty'):
        resolve_data_config(**given)


def test_verbose_logs_each_setting(caplog):
    with caplog.at_level(logging.INFO, logger='zoo'):
        config = resolve_data_config(dict(crop_pct=0.625), verbose=True)
    assert [r.getMessage().partition(':')[0] for r in caplog.records] == list(config)
    assert 'crop_pct: 0.625' in caplog.text
    caplog.clear()
    resolve_data_config(dict(crop_pct=0.625))
    assert not caplog.records


@pytest.mark.parametrize('name', [n for n in vars(theirs) if n.isupper()])
def test_constants(name):
    assert getattr(ours, name) == getattr(zoo.data, name)
    value = getattr(theirs, name)
    assert getattr(ours, name) == (value if isinstance(value, str) else pytest.approx(value, rel=1e-15))


@pytest.mark.parametrize('name', ['efficientformer_l1', 'efficientformerv2_s0', 'efficientnet_b4'])
@pytest.mark.parametrize('features_only', [False, True])
def test_preprocessing_follows_the_size_a_network_is_set_to(name, features_only):
    with torch.device('meta'):
        model = zoo.create_model(name, in_chans=1, features_only=features_only)
    fixed = model.pretrained_cfg['fixed_input_size']
    model.set_input_size((256, 192))
    for use_test_size in (False, True):
        config = resolve_model_data_config(model, use_test_size=use_test_size)
        assert config['input_size'] == (1, 256, 192)
        model(torch.empty(1, *config['input_size'], device='meta'))
    assert model.default_cfg is model.pretrained_cfg and model.pretrained_cfg['fixed_input_size'] == fixed
    model.set_input_size(dynamic_img_size=True)
    assert not model.pretrained_cfg['fixed_input_size']
    for size in ('256', (1, 2, 3), 0):
        with pytest.raises(ValueError, match='a side in pixels or'):
            model.set_input_size(size)
    assert resolve_model_data_config(model)['input_size'] == (1, 256, 192)


@pytest.mark.parametrize('channels', range(1, 7))
def test_a_network_of_any_channels_has_settings_that_fit(channels):
    model = zoo.create_model('test_efficientnet', in_chans=channels)
    config = resolve_model_data_config(model)
    assert config['input_size'][0] == len(config['mean']) == len(config['std']) == channels
    rgb = resolve_model_data_config(zoo.create_model('test_efficientnet'))['mean']
    average = (sum(rgb) / 3,)
    assert config['mean'] == (average if channels == 1 else (rgb * 2)[:channels])
    assert image_statistics(model) == (list(config['mean']), list(config['std']))
    tensor = zoo.data.create_transform(**config)(torch.rand(channels, 200, 180))
    assert tensor.shape == config['input_size']
    unfitted = {**config, 'mean': rgb, 'std': (0.229, 0.224, 0.225)}
    levels = torch.rand(channels, 200, 180)
    assert torch.equal(zoo.data.create_transform(**unfitted)(levels), zoo.data.create_transform(**config)(levels))
    with pytest.raises(ValueError, match=f'takes images of {channels} channels: create it with in_chans=9'):
        resolve_model_data_config(model, dict(input_size=(9, 32, 32)))

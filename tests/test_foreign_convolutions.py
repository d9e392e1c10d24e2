"""RegNets, DenseNets, VGGs and Inception-v3 that other libraries wrote, both ways: beside the real classes of torchvision and
transformers."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import randomize, relative_error
from torch import Tensor
from torchvision import models as of_torchvision

import zoo
import zoo.data
from zoo.spec import IMAGENET_MEAN as MEAN
from zoo.spec import IMAGENET_STD as STD


def image(side: int = 224) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('theirs, ours', [('regnet_y_400mf', 'regnety_004'), ('regnet_x_400mf', 'regnetx_004_tv'),
                                          ('densenet121', 'densenet121'), ('vgg11', 'vgg11'), ('vgg11_bn', 'vgg11_bn')])
@pytest.mark.parametrize('classes', [7, 0])
def test_torchvisions_both_ways(theirs: str, ours: str, classes: int) -> None:
    peer = randomize(getattr(of_torchvision, theirs)(num_classes=classes or 1000)).eval()
    if not classes and hasattr(peer, 'fc'):
        peer.fc = torch.nn.Identity()
    elif not classes:
        peer.classifier = peer.classifier[:-1] if ours.startswith('vgg') else torch.nn.Identity()
    found = zoo.convert(peer.state_dict())
    assert found.source.startswith('torchvision') and found.architecture == ours
    assert ('num_classes' in found.arguments) == (not classes)
    model = zoo.create_model(ours, pretrained=peer.state_dict(), num_classes=classes).eval()
    with torch.no_grad():
        assert relative_error(model(image()), peer(image())) < 1e-5
    back = zoo.convert(model.state_dict(), 'torchvision').state
    assert back.keys() == peer.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in peer.state_dict().items())


@pytest.mark.parametrize('transforms', [False, True])
def test_torchvisions_inception_both_ways(transforms: bool) -> None:
    """Its auxiliary classifier is for training; with `transform_input` it normalises images anew."""
    peer = randomize(of_torchvision.inception_v3(num_classes=7, init_weights=False, transform_input=transforms)).eval()
    found = zoo.convert(peer.state_dict())
    assert (found.source, found.architecture, found.arguments) == ('torchvision Inception-v3', 'inception_v3', {})
    ours = zoo.create_model('inception_v3', pretrained=peer.state_dict(), num_classes=7).eval()
    x = image(99)
    record = zoo.data.resolve_model_data_config(ours)
    mean, std = (torch.tensor(record[key])[:, None, None] for key in ('mean', 'std'))
    theirs = (x * std + mean - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None] if transforms else x
    with torch.no_grad():
        assert relative_error(ours(x), peer(theirs)) < 1e-5
    back = zoo.convert(ours.state_dict(), 'torchvision')
    assert (back.target, back.architecture) == (found.source, 'inception_v3')
    plain = of_torchvision.inception_v3(num_classes=7, init_weights=False, aux_logits=False, transform_input=transforms).eval()
    plain.load_state_dict(back.state)
    with torch.no_grad():
        assert relative_error(plain(theirs), peer(theirs)) == 0


def test_googlenets_absence_is_said() -> None:
    with torch.device('meta'):
        state = of_torchvision.googlenet(init_weights=False).state_dict()
    for read in (zoo.convert, lambda given: zoo.create_model('inception_v3', pretrained=given)):
        with pytest.raises(ValueError, match="of GoogLeNet.* as timm, has no such network; the nearest is 'inception_v3'"):
            read(state)
    for name in ('googlenet', 'GoogLeNet', 'inception_v1'):
        with pytest.raises(ValueError, match=f"as timm, has no model '{name.lower()}'. The nearest .* is 'inception_v3'"):
            zoo.create_model(name)


CONFIG = dict(hidden_sizes=[24, 56, 152, 368], depths=[1, 1, 4, 7], groups_width=8, num_labels=5)


@pytest.mark.parametrize('kind', ['x', 'y'])
def test_transformers_both_ways(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    peer = randomize(transformers.RegNetForImageClassification(transformers.RegNetConfig(layer_type=kind, **CONFIG))).eval()
    peer.save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert ours.pretrained_cfg['architecture'] == f'regnet{kind}_002' and ours.num_classes == 5
    with torch.no_grad():
        assert relative_error(ours(image()), peer(image()).logits) < 1e-5
    back = zoo.convert(ours.state_dict(), 'transformers').state
    assert all(torch.equal(back[key], value) for key, value in peer.state_dict().items())


@pytest.mark.parametrize('version, options, name', [
    ('', dict(hidden_sizes=[64, 80, 96], neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320], expand_ratio=2.0), 'mobilevit_xxs'),
    ('V2', dict(width_multiplier=0.5), 'mobilevitv2_050'),
])
def test_mobilevits_both_ways(version: str, options: dict[str, object], name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    config = getattr(transformers, f'MobileViT{version}Config')(num_labels=5, **options)
    peer = randomize(getattr(transformers, f'MobileViT{version}ForImageClassification')(config)).eval()
    peer.save_pretrained(tmp_path)
    processor = tmp_path / 'preprocessor_config.json'
    processor.write_text(json.dumps(dict(size=dict(shortest_edge=288), crop_size=256, resample=2)))
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    cfg = ours.pretrained_cfg
    assert (cfg['architecture'], ours.num_classes, ours.drop_rate) == (name, 5, 0.1)
    assert cfg['mean'] == (0, 0, 0) and cfg['std'] == (1, 1, 1) and cfg['input_size'] == (3, 256, 256)
    x = image(128)
    with torch.no_grad():
        assert relative_error(ours(x), peer(x.flip(1)).logits) < 1e-5                   # theirs takes blue first
        rows = x[:, :, :70]                                                             # no whole patches
        if not version:
            assert relative_error(ours(rows), peer(rows.flip(1)).logits) < 1e-5
    back = zoo.convert(ours.state_dict(), f'transformers MobileViT{version}').state
    assert back.keys() == peer.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in peer.state_dict().items())
    base = {key.split('.', 1)[1]: value for key, value in peer.state_dict().items() if 'classifier' not in key}
    assert (found := zoo.convert(base)).architecture == name and found.arguments == {'num_classes': 0}
    processor.write_text(json.dumps(dict(do_flip_channel_order=False)))
    with pytest.raises(ValueError, match='do_flip_channel_order .* is False'):
        zoo.create_model(f'local-dir:{tmp_path}')


@pytest.mark.parametrize('config, words', [
    (dict(model_type='mobilevit', hidden_sizes=[8, 16, 24]), r'hidden_sizes of \[8, 16, 24\] .* of no MobileViT here'),
    (dict(model_type='mobilevit', output_stride=16), 'output_stride is 16'),
    (dict(model_type='mobilevitv2', width_multiplier=0.4), 'width_multiplier 0.4 is not here: mobilevitv2_050'),
])
def test_a_config_of_no_mobilevit_here_is_refused(config: dict[str, object], words: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match=words):
        zoo.create_model(f'local-dir:{tmp_path}')


def test_a_config_of_no_regnet_here_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='regnet', layer_type='y', hidden_sizes=[8, 16, 24, 32])))
    with pytest.raises(ValueError, match=r"\[8, 16, 24, 32\] and layer_type 'y' are of no RegNet here"):
        zoo.create_model(f'local-dir:{tmp_path}')


def test_a_network_that_they_do_not_have_is_refused() -> None:
    with torch.device('meta'):
        model = zoo.create_model('regnetv_040')
    with pytest.raises(ValueError, match="'torchvision RegNet' has no place"):
        zoo.convert(model.state_dict(), 'torchvision RegNet')

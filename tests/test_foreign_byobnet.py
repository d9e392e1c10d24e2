"""CLIP's ResNets, RepVGG and MobileOne in their authors' names, both ways: beside open_clip's own class where it is
installed, and beside timm's reading."""
from __future__ import annotations

import pytest
import timm.models.byobnet as peers
import torch
from beside_timm import on_meta
from conftest import randomize, relative_error

import zoo

CLIP = 'open_clip CLIP ResNet'


def whole_clip() -> dict[str, torch.Tensor]:
    ours = randomize(zoo.create_model('resnet50_clip', num_classes=1024))
    texts = {'text_projection': torch.zeros(3, 1024), 'transformer.resblocks.0.ln_1.weight': torch.zeros(3),
             'positional_embedding': torch.zeros(77, 3), 'logit_scale': torch.zeros(())}
    return zoo.convert(ours.state_dict(), CLIP).state | texts


@torch.no_grad()
def test_clips_resnets_are_read_as_timm_reads_them():
    theirs = whole_clip()
    assert {'visual.conv3.weight', 'visual.layer4.2.bn3.running_var', 'visual.layer1.0.downsample.1.weight',
            'visual.attnpool.positional_embedding', 'visual.attnpool.c_proj.bias'} <= theirs.keys()
    found = zoo.convert(theirs)
    assert (found.source, found.architecture, found.arguments) == (CLIP, 'resnet50_clip', {'num_classes': 1024})
    read = peers.checkpoint_filter_fn(dict(theirs), peers.resnet50_clip(num_classes=1024))
    assert found.state.keys() == read.keys() and all(torch.equal(found.state[key], value) for key, value in read.items())
    x = torch.rand(1, 3, 224, 224)
    model = zoo.create_model('resnet50_clip', num_classes=1024, pretrained=theirs).eval()
    gap = zoo.create_model('resnet50_clip_gap', pretrained=theirs).eval()
    assert torch.equal(gap.forward_features(x), model.forward_features(x))
    alone = zoo.convert(gap.state_dict(), CLIP)
    assert zoo.convert(alone.state).architecture == 'resnet50_clip_gap' and 'visual.conv1.weight' in alone.state


@torch.no_grad()
def test_clips_resnets_give_the_numbers_of_open_clips():
    peer = pytest.importorskip('open_clip.modified_resnet').ModifiedResNet
    theirs = randomize(peer((3, 4, 6, 3), 1024, heads=32, image_size=224, width=64)).eval()
    ours = zoo.create_model('resnet50_clip', num_classes=1024, pretrained=theirs.state_dict()).eval()
    x = torch.rand(2, 3, 224, 224)
    assert relative_error(ours(x), theirs(x)) < 1e-5
    back = {key.removeprefix('visual.'): value for key, value in zoo.convert(ours.state_dict(), CLIP).state.items()}
    theirs.load_state_dict(back)


NETWORKS = [name for name in zoo.list_models(module='byobnet') if name.startswith(('repvgg', 'mobileone'))]


@pytest.mark.in_turn
@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('fused', [False, True])
def test_networks_of_branches_are_known_in_their_authors_names(name, fused):
    model = on_meta(name)
    if fused:
        model.fuse()
    state, layout = model.state_dict(), 'megvii RepVGG' if 'repvgg' in name else 'apple MobileOne'
    theirs = zoo.convert(state, layout).state
    found = zoo.convert(theirs)
    assert (found.source, found.architecture, found.arguments) == (layout, name, {}) and found.state.keys() == state.keys()
    kinds = ('rbr_dense.conv', 'rbr_1x1.bn', 'rbr_identity') if 'repvgg' in name else (
        'rbr_conv.0.conv', 'rbr_scale.bn', 'rbr_skip')
    fused_kinds = ('rbr_reparam',) if 'repvgg' in name else ('reparam_conv',)
    for kind in fused_kinds if fused else kinds:
        assert any(key.startswith(('stage1.', 'stage0.')) and f'.{kind}.' in key for key in theirs)


@torch.no_grad()
def test_weights_of_branches_load_fused_or_not():
    model, x = randomize(zoo.create_model('mobileone_s0', num_classes=1000)).eval(), torch.rand(1, 3, 64, 64)
    theirs = zoo.convert(model.state_dict(), 'apple MobileOne').state
    assert torch.equal(zoo.create_model('mobileone_s0', pretrained=theirs).eval()(x), model(x))
    theirs = zoo.convert(model.fuse().state_dict(), 'apple MobileOne').state
    assert torch.equal(zoo.create_model('mobileone_s0', pretrained=theirs).eval()(x), model(x))

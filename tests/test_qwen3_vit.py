"""Qwen3-VL's image encoders beside timm's: every option, images and maps that squares do not fill, positions, weights."""
from __future__ import annotations

import pytest
import torch
from beside_timm import on_meta, pair
from conftest import randomize, relative_error
from torch import nn
from torch.export import Dim

import zoo
from zoo.models.qwen3_vit import Qwen3VitPatchMerger, resample

ENCODER, MERGED, PLAIN = 'qwen3_vit_88m_enc', 'qwen3_vit_88m_merge', 'qwen3_vit_88m'
TINY = dict(embed_dim=32, depth=3, num_heads=4, mlp_ratio=2.0, img_size=96, pos_embed_grid_size=5)
WIDE = TINY | dict(out_features=24)


def image(*size: int, batch: int = 2, channels: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


def small(name: str, **options: object) -> nn.Module:
    return randomize(zoo.create_model(name, **(TINY if name == PLAIN else WIDE) | options)).eval()


@pytest.mark.parametrize('options', [
    dict(), dict(in_chans=1), dict(patch_size=8), dict(patch_size=(8, 16)), dict(merge_size=1), dict(merge_size=3),
    dict(out_features=0), dict(pos_embed_grid_size=1), dict(pos_embed_grid_size=6), dict(rope_temperature=100.0),
    dict(norm_eps=0.1), dict(act_layer=nn.ReLU), dict(global_pool='avg'), dict(global_pool=''), dict(img_size=(96, 192)),
    dict(proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.3)], ids=str)
@pytest.mark.parametrize('name', [ENCODER, MERGED, PLAIN])
def test_options_equal_timms(name, options):
    extra = {} if name == ENCODER else dict(num_classes=0 if options.get('global_pool') == '' else 5)
    ours, theirs = pair(name, torch.float64, **WIDE | options | extra)
    x = image(96, 192, channels=options.get('in_chans', 3))
    for mode in (False, True):
        ours.train(mode), theirs.train(mode)
        if mode and any('drop' in key for key in options):
            break
        out, wanted = ours(x), theirs(x)
        assert relative_error(out.reshape(wanted.shape), wanted) < 1e-5           # timm's classifier flattens a map
        assert relative_error(ours.forward_features(x), theirs.forward_features(x)) < 1e-5
        maps = [m.forward_intermediates(x, intermediates_only=True) for m in (ours, theirs)]
        assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))
    assert (ours.num_features, ours.head_hidden_size) == (theirs.num_features, theirs.head_hidden_size)
    assert ours.output_fmt == theirs.output_fmt and ours.no_weight_decay() == set(theirs.no_weight_decay())
    rates = [[(getattr(b.drop_path1, 'drop_prob', 0), b.attn.attn_drop.p, b.mlp.drop1.p)
              for b in getattr(m, 'encoder', m).blocks] for m in (ours, theirs)]
    assert rates[0] == [pytest.approx(rate) for rate in rates[1]]


@pytest.mark.parametrize('options', [dict(final_norm=False), dict(encoder_pool='merge'), dict(drop_rate=0.4)], ids=str)
def test_options_of_the_classifier_equal_timms(options):
    ours, theirs = pair(PLAIN, torch.float64, **WIDE | options, num_classes=5)
    x = image(64, 96)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5
    assert ours.drop_rate == theirs.head_drop.p
    assert relative_error(*(m.forward_head(m.forward_features(x), pre_logits=True) for m in (ours, theirs))) < 1e-5


@pytest.mark.parametrize('name', [ENCODER, MERGED, PLAIN])
def test_gradients_equal_timms(name):
    ours, theirs = pair(name, torch.float64, **WIDE)
    grads = []
    for model in (ours, theirs):
        model.train().zero_grad()
        model(image(64, 96)).square().sum().backward()
        grads.append({key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None})
    assert grads[0].keys() == grads[1].keys() and len(grads[0]) > 30
    assert all(relative_error(grads[0][key], value) < 1e-5 for key, value in grads[1].items() if value.norm() > 1e-9)


def test_a_merged_token_is_of_a_square_of_patches():
    merger = randomize(Qwen3VitPatchMerger(8, 2, 5)).double()
    x = torch.rand(1, 3, 4, 8, dtype=torch.float64)
    tokens = merger(x)
    assert tokens.shape == (1, 4, 5)                                                # timm's refuses three rows
    assert torch.allclose(tokens[:, :2], merger(x[:, :2]))
    assert torch.allclose(tokens[:, 1:2], merger(x[:, :2, 2:]))
    normed = torch.cat([merger.norm(x[:, 2:]), torch.zeros(1, 1, 4, 8)], dim=1)     # zeros fill up
    flat = torch.cat([normed[0, 0, 0], normed[0, 0, 1], normed[0, 1, 0], normed[0, 1, 1]])
    assert torch.allclose(tokens[0, 2], merger.fc2(merger.act(merger.fc1(flat))))


@pytest.mark.parametrize('grid', [(5, 5), (3, 8), (1, 1), (12, 7)])
def test_positions_are_interpolated_with_the_corners_in_the_corners(grid):
    from timm.models.qwen3_vit import resample_pos_embed_grid
    positions = torch.rand(1, 25, 4, dtype=torch.float64)
    found = resample(positions, grid).unflatten(1, grid)
    assert torch.equal(found[:, 0, 0], positions[:, 0])
    if min(grid) > 1:
        assert torch.allclose(found[:, -1, -1], positions[:, -1]) and torch.allclose(found[:, 0, -1], positions[:, 4])
    assert torch.allclose(found.flatten(1, 2), resample_pos_embed_grid(positions, 5, grid).reshape(1, -1, 4), atol=1e-6)


def test_images_of_any_size_are_padded():
    for name in (PLAIN, MERGED, ENCODER):
        model = small(name).double()
        x = image(75, 43)
        assert torch.allclose(model(x), model(nn.functional.pad(x, (0, 5, 0, 5))))
    backbone = zoo.create_model(MERGED, features_only=True, **WIDE).eval()
    assert [tuple(m.shape[2:]) for m in backbone(image(75, 43, dtype=torch.float32))] == \
        backbone.feature_info.map_sizes((75, 43)) == [(5, 3)] * 3
    assert not any('merger' in key for key in backbone.state_dict())


def test_merged_tokens_are_a_map():
    model = small(MERGED)
    features, as_map = model.forward_map(image(75, 43, dtype=torch.float32))
    assert features.shape == (2, 6, 24) and as_map.shape == (2, 24, 3, 2)
    assert torch.equal(as_map.flatten(2).transpose(1, 2), features)


def test_pooling_can_be_changed():
    encoder = small(ENCODER)
    x = image(64, 64, dtype=torch.float32)
    features = encoder.forward_features(x)
    for kind, shape in (('avg', (2, 32)), ('', (2, 4, 4, 32)), ('catavgmax', (2, 64)), ('merge', (2, 4, 24))):
        encoder.reset_classifier(0, kind)
        assert encoder.forward_head(features).shape == shape and encoder.global_pool == kind
        assert encoder.embedding_size == shape[-1]
    assert encoder.merger.fc1.weight.std() < 0.03                                  # drawn anew
    model = small(MERGED, num_classes=5)
    for kind in ('max', 'avgmax', 'avg'):
        model.reset_classifier(3, kind)
        assert model(x).shape == (2, 3) and model.global_pool == kind


def test_weights_of_other_positions_and_of_another_head_are_fitted():
    source = small(MERGED, num_classes=5)
    x = image(96, 64, dtype=torch.float32)
    plain = zoo.create_model(PLAIN, **TINY, num_classes=0, pretrained=source.state_dict()).eval()
    assert torch.equal(plain.forward_features(x), source.encoder.forward_features(x))
    alone = {key.removeprefix('encoder.'): value for key, value in source.state_dict().items()}
    for key in ('head.weight', 'head.bias'):
        del alone[key]
    pooled = zoo.create_model(ENCODER, **TINY, global_pool='avg', pretrained=alone).eval()
    assert torch.allclose(pooled(x), plain.forward_features(x).mean((1, 2)), atol=1e-6)
    finer = zoo.create_model(ENCODER, **WIDE | dict(pos_embed_grid_size=9), pretrained=alone).eval()
    assert finer.pos_embed.shape == (1, 81, 32)
    assert torch.equal(finer.pos_embed, resample(source.encoder.pos_embed, (9, 9)))
    alone['pos_embed'] = alone['pos_embed'][:, :7]
    with pytest.raises(ValueError, match='7 positions are of no square grid'):
        zoo.create_model(ENCODER, **WIDE, pretrained=alone)


def test_other_patches_are_fitted():
    for name in (PLAIN, ENCODER):
        model = small(name)
        model.set_input_size((80, 48), patch_size=8)
        assert model.img_size == (80, 48) and {f['reduction'] for f in model.feature_info} == {8}
        assert model.pretrained_cfg['input_size'] == (3, 80, 48)
        built = zoo.create_model(name, **(TINY if name == PLAIN else WIDE) | dict(patch_size=8),
                                 pretrained=small(name).state_dict()).eval()
        x = image(80, 48, dtype=torch.float32)
        assert relative_error(built(x), model(x)) < 1e-5


def test_tags_have_the_width_of_their_language_model():
    from timm.models.qwen3_vit import _resolve_qwen3_out_features as of_timm
    for full in zoo.list_models('qwen3_vit*', pretrained=True):
        name, _, tag = full.partition('.')
        model = on_meta(full, depth=1)
        width = of_timm(name, tag) if name.endswith(('_enc', '_merge')) else model.embed_dim
        assert model.embedding_size == width, full
        assert zoo.create_model(name, depth=1, device='meta', pretrained_cfg=tag).embedding_size == model.embedding_size
    assert on_meta('qwen3_vit_306m_enc.qwen3_5_4b').model_args == dict(out_features=2560)
    assert on_meta('qwen3_vit_306m_enc.qwen3_5_4b', out_features=7).embedding_size == 7


def test_attention_of_every_block_sums_to_one():
    weights = small(PLAIN).forward_attentions(image(64, 96, dtype=torch.float32))
    assert [tuple(w.shape) for w in weights] == [(2, 4, 24, 24)] * 3
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)


@pytest.mark.parametrize('name, options, words', [
    (ENCODER, dict(num_classes=5), 'has no classifier'), (ENCODER, dict(global_pool='mean'), "global_pool 'mean'"),
    (PLAIN, dict(encoder_pool='mrege'), "'mrege'.*'merge'"), (PLAIN, dict(encoder_pool='avg'), "encoder_pool 'avg'"),
    (PLAIN, dict(global_pool='catavgmax'), "'catavgmax'"), (PLAIN, dict(num_heads=16), 'A head of 2 features'),
    (ENCODER, dict(merge_size=0), 'merge_size'), (ENCODER, dict(pos_embed_grid_size=0), 'pos_embed_grid_size')])
def test_what_does_not_fit_is_said(name, options, words):
    with pytest.raises(ValueError, match=words):
        on_meta(name, **TINY | options)


@pytest.mark.parametrize('name', [ENCODER, MERGED])
def test_compiles(name):
    model, x = small(name), image(80, 112, dtype=torch.float32)
    torch._dynamo.reset()
    assert relative_error(torch.compile(model, fullgraph=True, backend='eager')(x), model(x)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('name', [ENCODER, MERGED, PLAIN])
def test_exports_with_any_height_and_width(name):
    model = small(name)
    sides = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(model, (image(96, 144, dtype=torch.float32),), dynamic_shapes=(sides,)).module()
    for size in ((128, 128), (75, 190)):
        other = image(*size, batch=3, dtype=torch.float32)
        assert relative_error(program(other), model(other)) < 1e-5

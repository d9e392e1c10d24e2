"""Language models' image encoders beside timm's: every option, images and maps that squares do not fill, weights."""
from __future__ import annotations

import importlib

import pytest
import timm
import torch
from beside_timm import on_meta, pair
from conftest import randomize, relative_error
from torch import nn
from torch.export import Dim

import zoo
from zoo.models.deepseek_vit import DeepseekVitAligner
from zoo.models.qwen3_vit import Qwen3VitPatchMerger, resample

QWEN, DEEPSEEK, GEMMA, GEMMA_LARGE = 'qwen3_vit_88m', 'deepseek_vit_412m', 'gemma4_vit_167m', 'gemma4_vit_570m'
TINY = dict(embed_dim=32, depth=3, num_heads=4, mlp_ratio=2.0)
TINY_GEMMA = dict(embed_dim=32, depth=3, num_heads=4, head_dim=8, intermediate_size=48, img_size=96,
                  position_embedding_size=20)
# without what merges patches, with it under a classifier, alone -> options that make it small
PLAIN = {QWEN: TINY | dict(img_size=96, pos_embed_grid_size=5),
         DEEPSEEK: TINY | dict(img_size=84, dynamic_img_pad=True), GEMMA: TINY_GEMMA, GEMMA_LARGE: TINY_GEMMA}
WIDE = {name: {} if name.startswith('gemma') else dict(out_features=24) for name in PLAIN}
MERGED = {f'{QWEN}_merge': PLAIN[QWEN] | WIDE[QWEN], f'{DEEPSEEK}_align': PLAIN[DEEPSEEK] | WIDE[DEEPSEEK]}
ENCODERS = {f'{name}_enc': options | WIDE[name] for name, options in PLAIN.items()}
SMALL = PLAIN | MERGED | ENCODERS
SIDES = {QWEN: 2, DEEPSEEK: 3, 'gemma4': 3}                                     # of a square of patches
PATCHES = {QWEN: 16, DEEPSEEK: 14, 'gemma4': 16}
WIDTHS = {QWEN: 24, DEEPSEEK: 24, 'gemma4': 32}                                 # of merged tokens


def image(*size: int, batch: int = 2, channels: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


def small(name: str, **options: object) -> nn.Module:
    return randomize(zoo.create_model(name, **SMALL[name] | options)).eval()


def of(name: str, values: dict[str, int]) -> int:
    """What a family has, of one of its names."""
    return next(value for family, value in values.items() if name.startswith(family))


OPTIONS = [
    dict(), dict(in_chans=1), dict(patch_size=8), dict(patch_size=(8, 16)), dict(norm_eps=0.1), dict(global_pool='avg'),
    dict(global_pool=''), dict(img_size=(84, 168)), dict(proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.3)]
OWN = {QWEN: [dict(out_features=16), dict(rope_temperature=100.0), dict(merge_size=1), dict(merge_size=3),
              dict(out_features=0), dict(pos_embed_grid_size=1), dict(pos_embed_grid_size=6), dict(act_layer=nn.ReLU)],
       DEEPSEEK: [dict(out_features=16), dict(rope_temperature=100.0), dict(downsample_ratio=1),
                  dict(downsample_ratio=2), dict(mlp_ratio=2.7)],
       'gemma4': [dict(num_kv_heads=2), dict(head_dim=16), dict(intermediate_size=20), dict(rope_theta=10.0),
                  dict(position_embedding_size=18), dict(pooling_kernel_size=2), dict(pooling_kernel_size=1),
                  dict(act_layer=nn.ReLU), dict(standardize=True, use_clipped_linears=True)]}


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), [
    (name, options) for name in SMALL for options in [*OPTIONS, *of(name, OWN)]], ids=str)
def test_options_equal_timms(name, options):
    extra = {} if name in ENCODERS else dict(num_classes=0 if options.get('global_pool') == '' else 5)
    ours, theirs = pair(name, torch.float64, **SMALL[name] | options | extra)
    x = image(6 * of(name, PATCHES), 96 * of(name, PATCHES) // 8, channels=options.get('in_chans', 3))
    if 'patch_size' in options:
        x = image(96, 96 if of(name, SIDES) == 2 else 144)
    for mode in (False, True):
        ours.train(mode), theirs.train(mode)
        if mode and any('drop' in key for key in options):
            break
        for out, wanted in ((ours(x), theirs(x)), (ours.forward_features(x), theirs.forward_features(x))):
            assert relative_error(out.reshape(wanted.shape), wanted) < 1e-5     # timm flattens some maps
        for norm in (False, True):
            maps = [m.forward_intermediates(x, norm=norm, intermediates_only=True) for m in (ours, theirs)]
            assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))
    assert (ours.num_features, ours.head_hidden_size) == (theirs.num_features, theirs.head_hidden_size)
    assert ours.no_weight_decay() == set(theirs.no_weight_decay())
    rates = [[getattr(layer, 'drop_prob', getattr(layer, 'p', 0)) for block in getattr(m, 'encoder', m).blocks
              for key, layer in block.named_modules() if 'drop' in key] for m in (ours, theirs)]
    assert rates[0] == [pytest.approx(rate) for rate in rates[1]]


@pytest.mark.parametrize('options', [dict(final_norm=False), dict(drop_rate=0.4)], ids=str)
@pytest.mark.parametrize('name', PLAIN)
def test_options_of_the_classifier_equal_timms(name, options):
    ours, theirs = pair(name, torch.float64, **SMALL[name] | options, num_classes=5)
    x = image(4 * of(name, PATCHES), 6 * of(name, PATCHES))
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5
    assert ours.drop_rate == theirs.head_drop.p
    assert relative_error(*(m.forward_head(m.forward_features(x), pre_logits=True) for m in (ours, theirs))) < 1e-5


@pytest.mark.in_turn
@pytest.mark.parametrize('name', SMALL)
def test_gradients_equal_timms(name):
    ours, theirs = pair(name, torch.float64, **SMALL[name])
    grads = []
    for model in (ours, theirs):
        model.train().zero_grad()
        out = model(image(6 * of(name, PATCHES), 6 * of(name, PATCHES)))
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
        grads.append({key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None})
    assert grads[0].keys() == grads[1].keys() and len(grads[0]) > 20
    assert all(relative_error(grads[0][key], value) < 1e-5 for key, value in grads[1].items() if value.norm() > 1e-9)


# --- what merges patches


def test_qwens_merged_token_is_of_a_square_of_patches():
    merger = randomize(Qwen3VitPatchMerger(8, 2, 5)).double()
    x = torch.rand(1, 3, 4, 8, dtype=torch.float64)
    tokens = merger(x)
    assert tokens.shape == (1, 4, 5)                                                # timm's refuses three rows
    assert torch.allclose(tokens[:, :2], merger(x[:, :2]))
    assert torch.allclose(tokens[:, 1:2], merger(x[:, :2, 2:]))
    normed = torch.cat([merger.norm(x[:, 2:]), torch.zeros(1, 1, 4, 8)], dim=1)     # zeros fill up
    flat = torch.cat([normed[0, 0, 0], normed[0, 0, 1], normed[0, 1, 0], normed[0, 1, 1]])
    assert torch.allclose(tokens[0, 2], merger.fc2(merger.act(merger.fc1(flat))))


@pytest.mark.parametrize('size', [(6, 9), (4, 5), (1, 2)])
def test_deepseeks_aligner_is_timms(size):
    from timm.models.deepseek_vit import DeepseekVitAligner as OfTimm
    theirs = randomize(OfTimm(8, 3, 5)).double()
    ours = DeepseekVitAligner(8, 3, 5).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, *size, 8, dtype=torch.float64)
    assert torch.allclose(ours(x), theirs(x))


@pytest.mark.parametrize('name', MERGED)
def test_merged_tokens_are_a_map(name):
    model, side = small(name), of(name, SIDES)
    size = image(5 * of(name, PATCHES) - 5, 3 * of(name, PATCHES) - 5, dtype=torch.float32)
    features, as_map = model.forward_map(size)
    grid = (-(-5 // side), -(-3 // side))
    assert features.shape == (2, grid[0] * grid[1], 24) and as_map.shape == (2, 24, *grid)
    assert torch.equal(as_map.flatten(2).transpose(1, 2), features)


@pytest.mark.parametrize('name', ENCODERS)
def test_pooling_of_an_encoder_can_be_changed(name):
    encoder, merging = small(name), zoo.create_model(name, device='meta', depth=1).global_pool
    features = encoder.forward_features(image(6 * of(name, PATCHES), 6 * of(name, PATCHES), dtype=torch.float32))
    count = (6 // of(name, SIDES)) ** 2
    for kind, shape in (('avg', (2, 32)), ('', (2, 6, 6, 32)), ('catavgmax', (2, 64)),
                        (merging, (2, count, of(name, WIDTHS)))):
        encoder.reset_classifier(0, kind)
        assert encoder.forward_head(features).shape == shape and encoder.global_pool == kind
        assert encoder.embedding_size == shape[-1]
    assert all(layer.weight.std() < 0.03 for layer in encoder.merger_layer.modules() if isinstance(layer, nn.Linear))


@pytest.mark.parametrize('name', MERGED)
def test_pooling_of_a_classifier_can_be_changed(name):
    model = small(name, num_classes=5)
    for kind in ('max', 'avgmax', 'avg'):
        model.reset_classifier(3, kind)
        assert model(image(64, 64, dtype=torch.float32)).shape == (2, 3) and model.global_pool == kind


# --- Gemma 4


@pytest.mark.parametrize('standardize', [False, True])
def test_gemmas_pooled_tokens_under_a_classifier_equal_timms(standardize):
    options = SMALL[GEMMA] | dict(encoder_pool='soft', standardize=standardize, num_classes=5)
    ours, theirs = pair(GEMMA, torch.float64, **options)
    x = image(96, 144)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5
    features, as_map = ours.forward_map(x)
    assert relative_error(features, theirs.forward_features(x)) < 1e-5 and as_map.shape == (2, 32, 2, 3)


def test_gemmas_linear_layers_clip_where_that_is_on():
    ours, theirs = pair(GEMMA, torch.float64, **SMALL[GEMMA])
    x, results = image(64, 64), []
    for enabled in (True, False, True):
        for model in (ours, theirs):
            model.eval().set_clamp_enabled(enabled)
        results.append(ours(x))
        assert relative_error(results[-1], theirs(x)) < 1e-5
    assert torch.equal(results[0], results[2]) and not torch.allclose(results[0], results[1])
    fresh = zoo.create_model(GEMMA, **SMALL[GEMMA]).eval()
    bounded = fresh(x.float())
    fresh.set_clamp_enabled(False)
    assert torch.equal(fresh(x.float()), bounded)                                   # there are no bounds at first


def test_gemmas_squares_that_a_map_does_not_fill_repeat_its_border():
    model = small(f'{GEMMA}_enc')
    features = torch.rand(1, 4, 3, 32)
    tokens = model.forward_head(features)
    filled = torch.cat([features, features[:, -1:], features[:, -1:]], dim=1)
    assert tokens.shape == (1, 2, 32) and torch.allclose(tokens, model.forward_head(filled))
    assert torch.allclose(tokens[:, 0], features[:, :3].mean((1, 2)) * 32 ** 0.5, atol=1e-6)


def test_gemmas_positions_end():
    with pytest.raises(ValueError, match='21x2 patches: there are positions of 20'):
        small(GEMMA)(image(336, 32, dtype=torch.float32))


def test_gemmas_linear_map_of_patches_takes_other_channels():
    state = small(GEMMA, num_classes=5).state_dict()
    kernel = state['encoder.patch_embed.input_proj.weight'].unflatten(1, (3, 16, 16))
    for channels, wanted in ((1, kernel.sum(1, keepdim=True)), (4, kernel[:, [0, 1, 2, 0]] * 0.75)):
        model = zoo.create_model(GEMMA, **SMALL[GEMMA], num_classes=5, in_chans=channels, pretrained=state)
        assert torch.allclose(model.encoder.patch_embed.kernel, wanted)


@pytest.mark.parametrize('name, published, width', [(GEMMA, 515.9498, 768), (GEMMA_LARGE, 1642.1692, 1152)])
def test_gemmas_positions_are_looked_up(name, published, width):
    """timm multiplies two tables of 10,240 positions by zeros and a one for each of 48 x 48 patches."""
    table = 2 * 48 ** 2 * 10240 * width / 1e9
    assert zoo.profile(on_meta(name), (3, 768, 768)).gmacs == pytest.approx(published - table, abs=3e-4)


@pytest.mark.parametrize('weight_init', ['', 'reset', 'skip'])
def test_gemmas_weights_are_drawn_as_it_is_said(weight_init):
    model = zoo.create_model(GEMMA, **SMALL[GEMMA], num_classes=5, weight_init=weight_init)
    assert (model.encoder.blocks[0].mlp.up_proj.linear.weight.std() > 0.05) == (weight_init == 'skip')


# --- sizes


@pytest.mark.parametrize('name', SMALL)
def test_images_of_any_size_are_padded(name):
    patch = of(name, PATCHES)
    model, x = small(name).double(), image(5 * patch - 5, 3 * patch - 5)
    assert torch.allclose(model(x), model(nn.functional.pad(x, (0, 5, 0, 5))))
    backbone = zoo.create_model(name, features_only=True, **SMALL[name] | (
        dict(dynamic_img_pad=None) if name.startswith(DEEPSEEK) else {})).eval()
    sizes = [tuple(m.shape[2:]) for m in backbone(x.float())]
    assert sizes == backbone.feature_info.map_sizes(x.shape[2:]) == [(5, 3)] * 3
    assert not any('merger' in key or 'aligner' in key for key in backbone.state_dict())


def test_images_are_padded_where_that_is_asked_for():
    model = zoo.create_model(f'{DEEPSEEK}_enc', **SMALL[f'{DEEPSEEK}_enc'] | dict(dynamic_img_pad=False))
    with pytest.raises(ValueError, match='65x42 pixels is of no whole number of patches.*dynamic_img_pad=True'):
        model(image(65, 42, dtype=torch.float32))
    assert model(image(56, 42, dtype=torch.float32)).shape == (2, 2, 24)


@pytest.mark.parametrize('grid', [(5, 5), (3, 8), (1, 1), (12, 7)])
def test_positions_are_interpolated_with_the_corners_in_the_corners(grid):
    from timm.models.qwen3_vit import resample_pos_embed_grid
    positions = torch.rand(1, 25, 4, dtype=torch.float64)
    found = resample(positions, grid).unflatten(1, grid)
    assert torch.equal(found[:, 0, 0], positions[:, 0])
    if min(grid) > 1:
        assert torch.allclose(found[:, -1, -1], positions[:, -1]) and torch.allclose(found[:, 0, -1], positions[:, 4])
    assert torch.allclose(found.flatten(1, 2), resample_pos_embed_grid(positions, 5, grid).reshape(1, -1, 4), atol=1e-6)


@pytest.mark.parametrize('name', SMALL)
def test_other_patches_are_fitted(name):
    model = small(name)
    model.set_input_size((80, 48), patch_size=8)
    assert model.img_size == (80, 48) and {f['reduction'] for f in model.feature_info} == {8}
    assert model.pretrained_cfg['input_size'] == (3, 80, 48)
    built = zoo.create_model(name, **SMALL[name] | dict(patch_size=8), pretrained=small(name).state_dict()).eval()
    x = image(80, 48, dtype=torch.float32)
    assert relative_error(built(x), model(x)) < 1e-5


# --- weights


@pytest.mark.parametrize('merged, plain, encoder', [*zip(MERGED, PLAIN, ENCODERS)])
def test_weights_of_another_head_are_fitted(merged, plain, encoder):
    source, x = small(merged, num_classes=5), image(84, 98, dtype=torch.float32)
    bare = zoo.create_model(plain, **SMALL[plain], num_classes=0, pretrained=source.state_dict()).eval()
    wanted = source.encoder.forward_features(x)
    assert torch.equal(bare.forward_features(x), wanted)
    alone = source.encoder.state_dict()
    pooled = zoo.create_model(encoder, **SMALL[encoder], global_pool='avg', pretrained=alone).eval()
    assert torch.allclose(pooled(x), wanted.mean((1, 2)), atol=1e-6)


def test_positions_of_another_grid_are_fitted():
    name = f'{QWEN}_enc'
    state = small(name).state_dict()
    finer = zoo.create_model(name, **SMALL[name] | dict(pos_embed_grid_size=9), pretrained=state)
    assert finer.pos_embed.shape == (1, 81, 32) and torch.equal(finer.pos_embed, resample(state['pos_embed'], (9, 9)))
    state['pos_embed'] = state['pos_embed'][:, :7]
    with pytest.raises(ValueError, match='7 positions are of no square grid'):
        zoo.create_model(name, **SMALL[name], pretrained=state)


@pytest.mark.in_turn
@pytest.mark.parametrize('full', zoo.list_models(['qwen3_vit*', 'deepseek_vit*', 'gemma4_vit*'], pretrained=True))
def test_tags_are_timms(full):
    name, _, tag = full.partition('.')
    model, theirs = on_meta(full, depth=1), timm.models.get_pretrained_cfg(full)
    module = importlib.import_module(f'timm.models.{zoo.registry.resolve(name)[0].module}')
    of_timm = next((value for key, value in vars(module).items() if key.startswith('_resolve_')), None)
    merges = getattr(model, 'encoder', model).merges
    assert model.embedding_size == (of_timm(name, tag) if merges and of_timm else model.embed_dim)
    assert zoo.create_model(name, depth=1, device='meta', pretrained_cfg=tag).embedding_size == model.embedding_size
    for key, value in zoo.get_pretrained_cfg(full).to_dict().items():
        assert value == getattr(theirs, key), key


def test_a_tags_arguments_are_said_and_give_way():
    assert on_meta('qwen3_vit_306m_enc.qwen3_5_4b').model_args == dict(out_features=2560)
    assert on_meta('qwen3_vit_306m_enc.qwen3_5_4b', out_features=7).embedding_size == 7


def test_a_published_folder_keeps_a_tags_arguments(tmp_path):
    options = {key: value for key, value in SMALL[f'{QWEN}_enc'].items() if key != 'out_features'}
    model = randomize(zoo.create_model('qwen3_vit_306m_enc.qwen3_5_4b', **options)).eval()
    zoo.save_for_hf(model, tmp_path)
    again = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    x = image(64, 64, dtype=torch.float32)
    assert torch.equal(again(x), model(x)) and again(x).shape == (2, 4, 2560)


# --- the rest


@pytest.mark.parametrize('name', PLAIN)
def test_attention_of_every_block_sums_to_one(name):
    weights = small(name).forward_attentions(image(4 * of(name, PATCHES), 6 * of(name, PATCHES), dtype=torch.float32))
    assert [tuple(w.shape) for w in weights] == [(2, 4, 24, 24)] * 3
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)


@pytest.mark.parametrize('name, options, words', [
    (f'{QWEN}_enc', dict(num_classes=5), 'has no classifier'),
    (f'{QWEN}_enc', dict(global_pool='mean'), "global_pool 'mean'"),
    (f'{DEEPSEEK}_enc', dict(num_classes=5), 'has no classifier'),
    (f'{DEEPSEEK}_enc', dict(out_features=0), 'out_features'),
    (QWEN, dict(encoder_pool='mrege'), "'mrege'.*'merge'"), (QWEN, dict(encoder_pool='avg'), "encoder_pool 'avg'"),
    (QWEN, dict(global_pool='catavgmax'), "'catavgmax'"), (QWEN, dict(num_heads=16), 'A head of 2 features'),
    (f'{QWEN}_enc', dict(merge_size=0), 'merge_size'), (QWEN, dict(pos_embed_grid_size=0), 'pos_embed_grid_size'),
    (DEEPSEEK, dict(downsample_ratio=0), 'downsample_ratio'),
    (f'{GEMMA}_enc', dict(num_classes=5), 'has no classifier'),
    (GEMMA, dict(num_kv_heads=3), '4 heads of queries cannot evenly share 3'),
    (GEMMA, dict(weight_init='jax'), "'jax'"),
    (GEMMA, dict(pooling_kernel_size=0), 'pooling_kernel_size'), (GEMMA, dict(encoder_pool='sft'), "'sft'.*'soft'")])
def test_what_does_not_fit_is_said(name, options, words):
    with pytest.raises(ValueError, match=words):
        on_meta(name, **SMALL[name] | options)


@pytest.mark.sweep
@pytest.mark.parametrize('name', [*MERGED, *ENCODERS])
def test_compiles(name):
    model, x = small(name), image(80, 112, dtype=torch.float32)
    torch._dynamo.reset()
    assert relative_error(torch.compile(model, fullgraph=True, backend='eager')(x), model(x)) < 1e-5


@pytest.mark.sweep
@pytest.mark.parametrize('name', SMALL)
def test_exports_with_any_height_and_width(name):
    model = small(name)
    sides = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(model, (image(96, 144, dtype=torch.float32),), dynamic_shapes=(sides,)).module()
    for size in ((128, 128), (75, 190)):
        other = image(*size, batch=1, dtype=torch.float32)
        assert relative_error(program(other), model(other)) < 1e-5

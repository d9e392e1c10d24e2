"""What is special to NaFlexViT: images of any aspect ratio, packed patches under masks, patches of any size, and plain
vision transformers as one; beside timm's wherever that has it."""
from __future__ import annotations

import inspect

import pytest
import timm
import torch
from torch import nn
from torch.export import Dim

import zoo
from beside_timm import of_timm, pair
from conftest import randomize, relative_error
from structures import STRUCTURES, in_turn, network_class, short
from zoo.models.eva import Eva
from zoo.models.naflexvit import NaFlexEmbeds, NaFlexVit, NaFlexVitCfg, batch_patchify, create_attention_mask, global_pool_naflex
from zoo.registry import resolve

NAME = 'naflexvit_base_patch16_map'
SMALL = dict(depth=2, embed_dim=32, num_heads=2, patch_size=4, pos_embed_grid_size=(4, 4), num_classes=5)
GRIDS = [(3, 5), (2, 4), (4, 4), (2, 4)]


def packed(grids=GRIDS, length=18, patch=4, flat=True, dtype=torch.float64):
    """Images of these grids of patches, and the same as packed patches."""
    generator = torch.Generator().manual_seed(5)
    images = [torch.rand(3, rows * patch, columns * patch, generator=generator, dtype=dtype) * 2 - 1 for rows, columns in grids]
    patches = torch.zeros(len(grids), length, patch, patch, 3, dtype=dtype)
    coord = torch.zeros(len(grids), length, 2, dtype=torch.int64)
    valid = torch.zeros(len(grids), length, dtype=torch.bool)
    for number, (image, (rows, columns)) in enumerate(zip(images, grids)):
        count = rows * columns
        patches[number, :count] = image.unflatten(2, (columns, patch)).unflatten(1, (rows, patch)).permute(
            1, 3, 2, 4, 0).flatten(0, 1)
        coord[number, :count] = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        valid[number, :count] = True
    given = dict(patches=patches.flatten(2) if flat else patches, patch_coord=coord, patch_valid=valid)
    return images, given


def small(**options) -> nn.Module:
    return randomize(zoo.create_model(NAME, **SMALL | options).double()).eval()


GAP = dict(global_pool='avg')
OPTIONS = [
    {}, GAP, GAP | dict(fc_norm=False, class_token=True), dict(fc_norm=True),
    dict(global_pool='token', class_token=True), dict(global_pool='max'), dict(global_pool='avgmax', class_token=True),
    GAP | dict(pool_include_prefix=True), dict(pool_include_prefix=True), GAP | dict(final_norm=False), dict(pre_norm=True),
    dict(pos_embed='none'), dict(pos_embed='factorized'), dict(pos_embed='factorized', pos_embed_ar_preserving=True),
    dict(pos_embed_ar_preserving=True), dict(pos_embed_interp_mode='bilinear', pos_embed_align_corners=True),
    dict(pos_embed_antialias=False, pos_embed_grid_size=(3, 6)), dict(pos_embed_use_grid_sample=True),
    dict(pos_embed_use_grid_sample=True, pos_embed_ar_preserving=True, pos_embed_align_corners=True),
    dict(pos_embed='factorized', pos_embed_use_grid_sample=True),
    dict(rope_type='axial'), dict(rope_type='axial', rope_ref_feat_shape=(7, 7), rope_grid_offset=1.0, rope_temperature=50.0),
    dict(rope_type='mixed', rope_grid_indexing='xy'), dict(rope_type='dinov3', rope_rotate_half=True),
    dict(rope_type='mrope', rope_mrope_section=(2, 3, 3)), dict(attn_type='eva'), dict(attn_type='rope', qk_norm=True),
    dict(attn_type='rope', num_kv_heads=(2, 1), qkv_fused=False), dict(attn_gated=True), dict(swiglu_mlp=True),
    dict(swiglu_mlp=True, swiglu_align_to=48, scale_mlp_norm=True), dict(attn_only_layer_scale=True, attn_type='eva'),
    dict(scale_attn_inner_norm=True, scale_mlp_norm=True, qk_norm=True), dict(attn_layer='diff'), dict(embed_norm_layer='layernorm'),
    dict(norm_layer='rmsnorm', act_layer='silu'), dict(proj_bias=False, qkv_bias=False), dict(use_key_only_attn_mask=True),
    dict(attn_pool_num_heads=4, attn_pool_mlp_ratio=2.0), dict(init_values=None, reg_tokens=0),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = pair(NAME, torch.float64, **SMALL | options)
    _, given = packed()
    image = torch.rand(2, 3, 20, 12, dtype=torch.float64)
    for mode in (True, False):
        ours.train(mode), theirs.train(mode)
        assert relative_error(ours(image), theirs(image)) < 1e-5
        assert relative_error(ours(given), theirs(given)) < 1e-5
    assert relative_error(ours.forward_features(image), theirs.forward_features(image)) < 1e-5
    found, wanted = (model.forward_features(**given) for model in (ours, theirs))
    prefix = ours.num_prefix_tokens
    there = torch.cat([given['patch_valid'].new_ones(len(GRIDS), prefix), given['patch_valid']], 1)
    assert torch.equal(found['patch_valid'], given['patch_valid'])
    assert relative_error(found['patches'][there], wanted['patches'][there]) < 1e-5
    assert relative_error(*(model.forward_head(features['patches'], pre_logits=True, patch_valid=features['patch_valid'])
                            for model, features in ((ours, found), (theirs, wanted)))) < 1e-5
    assert (ours.num_prefix_tokens, ours.num_features) == (theirs.num_prefix_tokens, theirs.num_features)


@pytest.mark.parametrize('options', [{}, dict(rope_type='mixed', pos_embed='factorized'), GAP | dict(class_token=True)], ids=str)
def test_gradients_of_packed_patches_equal_timms(options):
    ours, theirs = pair(NAME, torch.float64, **SMALL | options)
    _, given = packed()
    weights = torch.randn(len(GRIDS), 5, dtype=torch.float64)
    gradients = []
    for model in (ours.train(), theirs.train()):
        for parameter in model.parameters():
            parameter.grad = None
        (model(given) * weights).sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()
                          if parameter.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert (gradient - gradients[1][name]).norm() <= 1e-5 * gradients[1][name].norm() + 1e-12, name


def test_the_record_is_timms():
    from timm.models import naflexvit
    assert vars(NaFlexVitCfg()) == vars(naflexvit.NaFlexVitCfg())
    for theirs, ours in ((naflexvit.NaFlexVit, NaFlexVit.__init__), (naflexvit.NaFlexEmbeds, NaFlexEmbeds)):
        names = [name for name in inspect.signature(theirs).parameters if name not in ('device', 'dtype', 'kwargs')]
        assert [name for name in inspect.signature(ours).parameters if name not in ('self', 'options')] == names
    cfg = dict(embed_dim=32, num_heads=2, depth=1, patch_size=4, global_pool='avg')
    ours, theirs = NaFlexVit(NaFlexVitCfg(**cfg), num_classes=3, depth=2), naflexvit.NaFlexVit(
        naflexvit.NaFlexVitCfg(**cfg), num_classes=3, depth=2)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()}


# --- packed patches


@pytest.mark.parametrize('options', [{}, GAP, dict(rope_type='axial'), dict(pos_embed_ar_preserving=True),
                                     dict(embed_proj_type='conv'), dict(patchify_channels_last=False),
                                     dict(input_norm_layer='layernorm'), dict(global_pool='catavgmax', fc_norm=False)], ids=str)
def test_a_packed_image_has_the_logits_of_the_image(options):
    model = small(**options)
    images, given = packed(flat=False)
    if options.get('patchify_channels_last') is False:
        given['patches'] = given['patches'].permute(0, 1, 4, 2, 3)
    alone = torch.cat([model(image[None]) for image in images])
    assert relative_error(model(given), alone) < 1e-6
    assert relative_error(model(given | dict(patches=given['patches'].flatten(2), seq_len=18)), alone) < 1e-6
    assert relative_error(model(given['patches'], given['patch_coord'], given['patch_valid']), alone) < 1e-6


@pytest.mark.parametrize('options', [{}, dict(rope_type='mixed'), GAP, dict(pos_embed='factorized')], ids=str)
def test_neither_order_nor_what_fills_rows_up_matters(options):
    model = small(**options)
    _, given = packed()
    expected = model(given)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(1))
    assert relative_error(model({key: value[:, order] for key, value in given.items()}), expected) < 1e-9
    filled = {key: value.clone() for key, value in given.items()}
    filled['patches'][~filled['patch_valid']], filled['patch_coord'][~filled['patch_valid']] = 7.0, 9
    assert relative_error(model(filled), expected) < 1e-9


def test_without_patch_valid_all_patches_are_there():
    model = small()
    images, given = packed([(3, 4), (2, 6)], 12)
    del given['patch_valid']
    assert relative_error(model(given), torch.cat([model(image[None]) for image in images])) < 1e-6


def test_a_mask_of_the_callers_own_takes_the_place_of_the_one_of_patches():
    ours, theirs = pair(NAME, torch.float64, **SMALL)
    _, given = packed()
    mask = create_attention_mask(given['patch_valid'], 1, dtype=torch.float64)
    mask[..., 2] = -1e9
    found = ours.eval()(given, attn_mask=mask)
    assert relative_error(found, theirs.eval()(given, attn_mask=mask)) < 1e-9
    assert relative_error(found, ours(given | dict(attn_mask=mask))) < 1e-9 and relative_error(found, ours(given)) > 1e-3
    images, given = packed([(3, 5)], 15)                                    # timm's leaves the mask of an image unread
    mask = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    assert relative_error(ours(images[0][None], attn_mask=mask), ours(given, attn_mask=mask)) < 1e-6


def test_attention_never_looks_at_what_fills_rows_up():
    model = small()
    weights = model.forward_attentions(packed()[1])
    assert len(weights) == 2 and weights[0].shape == (4, 2, 19, 19)
    for one in weights:
        assert one[1, :, :9, 9:].eq(0).all() and torch.allclose(one.sum(-1), torch.ones(()).double())


def test_masks_and_pooling_as_functions_equal_timms():
    from timm.models import naflexvit
    _, given = packed()
    valid, tokens = given['patch_valid'], torch.randn(4, 20, 8)
    for options in ({}, dict(num_prefix_tokens=2), dict(symmetric=False), dict(symmetric=False, q_len=3)):
        ours, theirs = (of.create_attention_mask(valid, **options) for of in (zoo.models.naflexvit, naflexvit))
        assert torch.equal(ours.expand(theirs.shape), theirs), options
    for kind in ('token', 'avg', 'max', 'avgmax', ''):
        for prefix in (False, True):
            given = (tokens, valid, kind, 2, prefix)
            assert relative_error(global_pool_naflex(*given), naflexvit.global_pool_naflex(*given)) < 1e-6
    image = torch.rand(2, 3, 10, 9)
    for last in (True, False):
        (ours, grid), (theirs, other) = (of((image), (4, 4), channels_last=last) for of in (
            batch_patchify, naflexvit.batch_patchify))
        assert torch.equal(ours, theirs) and tuple(grid) == tuple(other) == (3, 3)


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [dict(norm=True), dict(indices=[0], stop_early=True), dict(intermediates_only=True),
                                     dict(output_dict=True), dict(output_dict=True, intermediates_only=True)], ids=str)
@pytest.mark.parametrize('prefix', [False, True])
def test_intermediates_equal_timms(options, prefix):
    ours, theirs = (model.eval() for model in pair(NAME, torch.float64, **SMALL))
    options = dict(return_prefix_tokens=prefix, output_fmt='NLC') | options
    for x in (torch.rand(2, 3, 16, 12, dtype=torch.float64), packed()[1]):
        found, wanted = (model.forward_intermediates(x, **options) for model in (ours, theirs))
        if 'stop_early' in options:                     # the first result is of that stage here, of the whole in timm's
            found, wanted = found[1], wanted[1]
        if isinstance(wanted, dict):
            assert found.keys() == wanted.keys()
            found, wanted = (tuple(one[key] for key in sorted(wanted)) for one in (found, wanted))
        _alike(found, wanted, None if isinstance(x, torch.Tensor) else x['patch_valid'])


def _alike(ours, theirs, valid):
    """Compares tensors in lists and tuples; of packed patches those that there are."""
    if isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            _alike(one, other, valid)
        return
    assert ours.shape == theirs.shape
    if valid is not None and theirs.is_floating_point() and theirs.shape[1] >= valid.shape[1]:
        there = torch.cat([valid.new_ones(len(valid), theirs.shape[1] - valid.shape[1]), valid], 1)
        ours, theirs = ours[there], theirs[there]
    assert relative_error(ours.double(), theirs.double()) < 1e-6


def test_a_backbone_gives_tokens_of_packed_patches():
    backbone = zoo.create_model(NAME, features_only=True, **SMALL | dict(depth=3), output_fmt='NLC', out_indices=(0, 2)).double()
    assert [tuple(tokens.shape) for tokens in backbone(packed()[1])] == [(4, 18, 32)] * 2
    maps = zoo.create_model(NAME, features_only=True, **SMALL | dict(depth=3))
    assert [tuple(one.shape) for one in maps(torch.rand(1, 3, 17, 30))] == [(1, 32, 5, 8)] * 3
    with pytest.raises(ValueError, match="make no maps 'NCHW'.*output_fmt='NLC'"):
        maps(packed(dtype=torch.float32)[1])


def test_dropped_patches_are_of_those_that_there_are():
    model = small(patch_drop_rate=0.5, rope_type='axial').train()
    _, given = packed()
    features = model.forward_features(given)
    assert features['patches'].shape[1] == 1 + 9 and features['patch_valid'].shape == (4, 9)
    assert (features['patch_valid'].sum(1) <= given['patch_valid'].sum(1)).all()
    assert model(given).isfinite().all() and model.eval().forward_features(given)['patches'].shape[1] == 19
    with pytest.raises(ValueError, match='With attn_mask no patches can be dropped'):
        model.train()(given, attn_mask=torch.zeros(4, 1, 19, 19))


def test_half_precision_is_near():
    model = small().float()
    _, given = packed(dtype=torch.float32)
    expected = model(given)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert relative_error(model(given).float(), expected) < 0.1
    found = model.bfloat16()(given | dict(patches=given['patches'].bfloat16()))
    assert found.dtype == torch.bfloat16 and relative_error(found.float(), expected) < 0.1


# --- patches of other sizes


@pytest.mark.parametrize('patch', [6, 2])
def test_patches_of_any_size_equal_timms(patch):
    ours, theirs = (model.eval() for model in pair(NAME, torch.float64, **SMALL, enable_patch_interpolator=True))
    assert ours.supports_patch_interpolation and ours.get_patch_size() == (4, 4)
    _, given = packed(patch=patch, flat=False)
    found = ours(given)
    assert relative_error(found, theirs(given)) < 1e-5
    oblong = given | dict(patches=given['patches'][:, :, :, :patch // 2])
    assert relative_error(ours(oblong), theirs(oblong)) < 1e-5
    ours.prewarm_patch_interpolator([patch, (patch, patch // 2)])
    assert torch.equal(ours(given), found) and len(ours.embeds.inverses) == 2
    ours.set_input_size(patch_size=patch)
    assert relative_error(ours(given | dict(patches=given['patches'].flatten(2))), found) < 1e-6
    assert {feature['reduction'] for feature in ours.feature_info} == {patch} and not ours.embeds.inverses


@pytest.mark.parametrize('options', [{}, dict(embed_proj_type='conv'), dict(patchify_channels_last=False)], ids=str)
def test_weights_load_for_other_patches_channels_and_grids(options):
    model = small(**options, enable_patch_interpolator=True)
    images, given = packed(patch=8, flat=False)
    if options.get('patchify_channels_last') is False:
        given['patches'] = given['patches'].permute(0, 1, 4, 2, 3)
    other = zoo.create_model(NAME, pretrained=model.state_dict(), dtype=torch.float64, **SMALL | options | dict(patch_size=8))
    assert relative_error(other.eval()(images[0][None]), model(given)[:1]) < 1e-6
    finer = zoo.create_model(NAME, pretrained=model.state_dict(), dtype=torch.float64,
                             **SMALL | options | dict(pos_embed_grid_size=(2, 5)))
    assert relative_error(finer.embeds.pos_embed[0].flatten(0, 1), model.embeds.positions((2, 5))) < 1e-6
    if options.get('patchify_channels_last', True):
        grey = zoo.create_model(NAME, pretrained=model.state_dict(), in_chans=1, dtype=torch.float64, **SMALL | options).eval()
        image = torch.rand(1, 1, 12, 20, dtype=torch.float64)
        assert relative_error(grey(image), model(image.expand(-1, 3, -1, -1))) < 1e-6
        five = zoo.create_model(NAME, pretrained=model.state_dict(), in_chans=5, **SMALL | options)
        assert five(torch.rand(1, 5, 12, 20)).shape == (1, 5)


def test_factors_load_for_another_grid():
    model = small(pos_embed='factorized')
    other = zoo.create_model(NAME, pretrained=model.state_dict(), dtype=torch.float64,
                             **SMALL | dict(pos_embed='factorized', pos_embed_grid_size=(7, 3)))
    assert relative_error(other.embeds.positions((7, 3)), model.embeds.positions((7, 3))) < 1e-6


# --- plain vision transformers

PLAIN = [name for name in STRUCTURES if network_class(name).__name__ in ('VisionTransformer', 'Eva')]
REFUSED = ('eva02_enormous_patch14_clip_224',)                      # timm's fails too


@pytest.mark.parametrize('name', in_turn([name for name in PLAIN if name not in REFUSED]))
def test_a_plain_network_as_one_has_its_numbers(name):
    """Beside the plain network and, with its weights, timm's. Of RADIO, whose positions are of another table, and of
    networks whose attention pools the prefix, which timm's leaves out, beside one of them."""
    options = short(name) | dict(num_classes=5)
    plain = randomize(zoo.create_model(name, **options).double()).eval()
    flexible = zoo.create_model(name, use_naflex=True, pretrained=plain.state_dict(), dtype=torch.float64, **options).eval()
    image = torch.rand(2, 3, *plain.img_size, dtype=torch.float64)
    assert isinstance(flexible, NaFlexVit)
    if 'radio' not in name:
        assert relative_error(flexible(image), plain(image)) < 1e-6
    if resolve(name)[0].module == 'deit':
        return                                                              # timm's do not take use_naflex
    pooled = plain.global_pool == 'map' and isinstance(plain, Eva) and bool(plain.num_prefix_tokens)
    theirs = of_timm(name, use_naflex=True, **options).double().eval()
    theirs.load_state_dict(flexible.state_dict())
    rows, columns = flexible.embeds.patch_size
    other = torch.rand(1, 3, 5 * rows, 2 * columns, dtype=torch.float64)
    assert (relative_error(flexible(other), theirs(other)) < 1e-6) != pooled


@pytest.mark.parametrize('name', ['test_vit', 'eva02_tiny_patch14_224', 'vit_small_patch16_rope_mixed_224'])
def test_a_plain_network_as_one_takes_options_of_both(name, tmp_path):
    options = dict(use_naflex=True, depth=2, num_classes=3)
    model = zoo.create_model(name, **options, reg_tokens=2, pos_embed_interp_mode='bilinear', dynamic_img_pad=True)
    assert model.num_reg_tokens == 2 and model.embeds.interpolation['mode'] == 'bilinear'
    assert model.pretrained_cfg['first_conv'] == 'embeds.proj' and not model.pretrained_cfg.get('fixed_input_size')
    assert model(torch.rand(1, 3, 70, 45)).shape == (1, 3)
    zoo.publishing.save_for_hf(model, tmp_path)
    again = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True)
    image = torch.rand(1, 3, 64, 96)
    assert isinstance(again, NaFlexVit) and torch.equal(again.eval()(image), model.eval()(image))
    assert type(zoo.create_model(name, use_naflex=False, depth=1)) is network_class(name)
    backbone = zoo.create_model(name, **options | dict(num_classes=None), features_only=True, out_indices=(1,))
    assert backbone(torch.rand(1, 3, 70, 45))[0].shape[0] == 1


@pytest.mark.parametrize('options', [dict(in_chans=1), dict(in_chans=5), dict(patch_size=8), dict(img_size=96)], ids=str)
def test_a_plain_networks_weights_are_fitted_alike(options):
    """To other channels, patches and images, beside the plain network that is built with the same options."""
    plain = randomize(zoo.create_model('vit_tiny_patch16_224', img_size=64, depth=2, num_classes=5))
    options = dict(img_size=64, depth=2, num_classes=5, pretrained=plain.state_dict()) | options
    alone, flexible = (zoo.create_model('vit_tiny_patch16_224', use_naflex=one, **options).eval() for one in (False, True))
    image = torch.rand(1, options.get('in_chans', 3), options['img_size'], options['img_size'])
    assert relative_error(flexible(image), alone(image)) < 1e-5
    assert flexible.pretrained_cfg['input_size'] == alone.pretrained_cfg['input_size']


# --- elsewhere


@pytest.mark.sweep
@pytest.mark.parametrize('options', [
    dict(pos_embed_ar_preserving=True), dict(pos_embed='factorized'), {},
    dict(rope_type='axial', pos_embed_ar_preserving=True)], ids=str)
def test_compiles_and_exports_for_any_size(options):
    model = small(**options, dynamic_img_pad=True).float()
    x, other = torch.rand(2, 3, 14, 27), torch.rand(3, 3, 33, 18)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    assert relative_error(compiled(x), model(x)) < 1e-4
    sizes = {0: Dim('batch', max=64), 2: Dim('height', min=8, max=256), 3: Dim('width', min=8, max=256)}
    exported = torch.export.export(model, (x,), dynamic_shapes=(sizes,)).module()
    assert relative_error(exported(other), model(other)) < 1e-4


@pytest.mark.sweep
@pytest.mark.parametrize('options', [dict(pos_embed='factorized'), dict(pos_embed_use_grid_sample=True)], ids=str)
def test_packed_patches_compile_and_export(options):
    model = small(**options).float()
    (_, given), (_, other) = packed(dtype=torch.float32), packed(GRIDS[:3], 20, dtype=torch.float32)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    assert relative_error(compiled(given), model(given)) < 1e-4
    sizes = {0: Dim('batch', max=64), 1: Dim('length', max=256)}
    exported = torch.export.export(model, (given,), dynamic_shapes=({key: sizes for key in given},)).module()
    assert relative_error(exported(other), model(other)) < 1e-4


@pytest.mark.parametrize(('call', 'words'), [
    (lambda: small(pos_embed='learn'), "pos_embed 'learn' .* 'learned'"),
    (lambda: small(pos_embed_interp_mode='bicubik'), "Did you mean 'bicubic'"),
    (lambda: small(embed_proj_type='liner'), "embed_proj_type 'liner' .* 'linear'"),
    (lambda: small(attn_type='ropes'), "attn_type 'ropes' .* 'rope'"),
    (lambda: small(rope_type='axal'), 'rope_type'),
    (lambda: small(block_fn='Blok'), "block_fn 'Blok' .* 'Block'"),
    (lambda: small(weight_init='jacks'), 'weight_init'),
    (lambda: small(num_kv_heads=1), "no num_kv_heads; attn_type='rope' has"),
    (lambda: small(rope_type='axial', mlp_layer='swiglu'), 'have no mlp_layer'),
    (lambda: small(attn_type='rope', num_kv_heads=(1, 2, 2)), 'one for each of 2 blocks, not 3'),
    (lambda: NaFlexVit(pos_embed_grid_size=None), 'need pos_embed_grid_size'),
    (lambda: small(global_pool='token'), 'this network has none'),
    (lambda: small(global_pool='prr'), 'pooling, not \'prr\''),
    (lambda: small(input_norm_layer='layernorm', enable_patch_interpolator=True), 'no enable_patch_interpolator'),
    (lambda: small()(torch.rand(1, 3, 18, 16).double()), 'of 18x16 pixels .* dynamic_img_pad=True'),
    (lambda: small()(packed()[1]['patches']), 'need patch_coord'),
    (lambda: small()(packed(patch=6, flat=False)[1]), '48 numbers, not of 108.*enable_patch_interpolator=True'),
    (lambda: small().prewarm_patch_interpolator([6]), 'build it with enable_patch_interpolator=True'),
    (lambda: small().set_input_size(dynamic_img_size=False), 'images of any size'),
    (lambda: small(input_norm_layer='layernorm').set_input_size(patch_size=8), 'patches keep their size'),
    (lambda: zoo.create_model('resnet18', use_naflex=True), 'VisionTransformer and Eva, not for ResNet'),
    (lambda: zoo.create_model(REFUSED[0], use_naflex=True), 'no use_post_norm'),
])
def test_errors_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_unknown_option_is_an_error_that_names_the_nearest():
    for call in (lambda: NaFlexVit(pos_embed_mode='x'), lambda: NaFlexVit(NaFlexVitCfg(), pos_embed_interp='x'),
                 lambda: zoo.create_model(NAME, pos_embed_interp='x'),
                 lambda: zoo.create_model('test_vit', use_naflex=True, pos_embed_interp='x')):
        with pytest.raises(TypeError, match='pos_embed'):
            call()


def test_undecayed_parameters_are_timms():
    ours, theirs = zoo.create_model(NAME, **SMALL), timm.create_model(NAME, **SMALL)
    known = theirs.no_weight_decay() & {*dict(theirs.named_parameters())}
    assert ours.no_weight_decay() == known | {'attn_pool.latent'}

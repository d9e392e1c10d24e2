"""CoAtNet and MaxViT beside timm's: every option, images that windows do not divide, biases for other sizes."""
from __future__ import annotations

import pytest
import timm
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch import nn

import zoo
from zoo.layers.relative import RelPosBiasTf
from zoo.models import maxxvit
from zoo.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg

MAX, COAT, TF, NEXT = 'test_maxvit', 'test_coatnet', 'maxvit_tiny_tf_224', 'maxxvit_rmlp_nano_rw_256'
TINY = dict(embed_dim=(32, 32, 64, 64), depths=(1, 1, 1, 1), stem_width=16, img_size=64, head_hidden_size=20)
SMALL = dict(img_size=64, depths=(1, 1, 2, 1))


def image(*size: int, batch: int = 2, channels: int = 3, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1

NEXT_BLOCKS = dict(conv_block_type='convnext', embed_dim=(32, 64, 64, 128))

COMMON = [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(img_size=(64, 96)), dict(head_hidden_size=20), dict(head_hidden_size=20, num_classes=0, in_chans=4),
    dict(stem_width=(8, 32), stem_bias=True), dict(embed_dim=(32, 32, 64, 64)), dict(drop_rate=0.1, drop_path_rate=0.3),
    dict(transformer_attn_drop=0.1, transformer_proj_drop=0.1), dict(weight_init='normal'),
    dict(conv_expand_ratio=2.0), dict(conv_expand_output=True), dict(conv_expand_output=False), dict(conv_kernel_size=5),
    dict(conv_group_size=0), dict(conv_group_size=8), dict(conv_pre_norm_act=True), dict(conv_output_bias=True),
    dict(conv_output_bias=False), dict(conv_stride_mode='pool'), dict(conv_stride_mode='1x1'),
    dict(conv_stride_mode='dw'), dict(conv_pool_type='max'), dict(conv_pool_type='max2'), dict(conv_pool_type='avg'),
    dict(conv_stride_mode='pool', conv_downsample_pool_type='max'), dict(conv_padding='same', conv_pool_type='max'),
    dict(conv_padding='same', conv_pool_type='avg'), dict(conv_attn_early=True), dict(conv_attn_layer='eca'),
    dict(conv_attn_layer=''), dict(conv_attn_layer='gc'), dict(conv_attn_act_layer='gelu'), dict(conv_attn_ratio=0.5),
    dict(conv_act_layer='relu'), dict(conv_norm_layer='layernorm2d'), dict(conv_norm_eps=0.1),
    NEXT_BLOCKS, NEXT_BLOCKS | dict(conv_init_values=None, conv_output_bias=False),
    NEXT_BLOCKS | dict(conv_init_values=0.5, conv_norm_layer='layernorm2d', conv_stride_mode='pool'),
    dict(transformer_dim_head=16), dict(transformer_head_first=False), dict(transformer_head_first=True),
    dict(transformer_expand_ratio=2.0), dict(transformer_expand_first=True), dict(transformer_expand_first=False),
    dict(transformer_shortcut_bias=False), dict(transformer_attn_bias=False), dict(transformer_pool_type='max'),
    dict(transformer_pool_type='max2'), dict(transformer_rel_pos_type='mlp', transformer_rel_pos_dim=24),
    dict(transformer_rel_pos_type='bias_tf'), dict(transformer_rel_pos_type=''), dict(transformer_init_values=0.5),
    dict(transformer_act_layer='silu'), dict(transformer_norm_layer='batchnorm2d'), dict(transformer_norm_eps=0.1),
]
WINDOWS = [
    dict(transformer_partition_ratio=64, img_size=128), dict(transformer_window_size=(2, 2), transformer_grid_size=(1, 2)),
    dict(transformer_no_block_attn=True), dict(transformer_use_nchw_attn=True, transformer_init_values=0.5),
    dict(transformer_use_nchw_attn=True, transformer_head_first=False),
    dict(transformer_norm_layer_cl='rmsnorm'),
]
KINDS = [
    dict(block_type=('C', ('C', 'M'), ('C', 'T'), 'T'), depths=(1, 2, 3, 1)), dict(block_type=('C',) * 4),
    dict(block_type=('PM', 'PM', 'PM', 'T'), embed_dim=(64, 64, 64, 64)),
]


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), [
    *((COAT, options) for options in COMMON), *((MAX, options) for options in COMMON + WINDOWS + KINDS)], ids=str)
def test_options_equal_timms(name, options):
    options = {**SMALL, **options}
    size = options['img_size'] if isinstance(options['img_size'], tuple) else (options['img_size'],) * 2
    ours, theirs = compare_options(name, size, **options)
    rates = [[module.drop_prob for module in m.modules() if getattr(module, 'drop_prob', 0)] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    x = image(*size, channels=options.get('in_chans', 3))
    for norm in (False, True):
        maps = [m.eval().forward_intermediates(x, norm=norm, intermediates_only=True) for m in (ours, theirs)]
        same = [relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True)]
        assert all(same[-1:] if norm else same)                # timm normalises the last map alone


def test_records_are_taken_as_timms():
    import timm.models.maxxvit as theirs

    def record(module) -> object:
        return module.MaxxVitCfg(
            embed_dim=(32, 32, 64, 64), depths=(1, 1, 1, 1), block_type=('C', 'M', 'T', ('C', 'T')), stem_width=8,
            conv_cfg=module.MaxxVitConvCfg(block_type='convnext', downsample_pool_type='', pool_type='max'),
            transformer_cfg=module.MaxxVitTransformerCfg(rel_pos_type='mlp', window_size=(2, 2), grid_size=(2, 2)))

    options = dict(img_size=64, num_classes=3, conv_init_values=0.5, transformer_dim_head=16, depths=(1, 1, 1, 2))
    other = randomize(theirs.MaxxVit(record(theirs), **options)).eval()
    ours = MaxxVit(record(maxxvit), **options).eval()
    ours.load_state_dict(other.state_dict())
    x = image(64, 64, dtype=torch.float32)
    assert relative_error(ours(x), other(x)) < 1e-5
    for kind, their_kind in ((MaxxVitConvCfg, theirs.MaxxVitConvCfg), (MaxxVitTransformerCfg, theirs.MaxxVitTransformerCfg)):
        assert vars(kind()) == vars(their_kind())
    assert vars(MaxxVitConvCfg('convnext')) == vars(theirs.MaxxVitConvCfg('convnext'))


def test_blocks_are_built_as_timms():
    import timm.models.maxxvit as theirs

    def both(name: str, *args: object, conv: dict | None = None, transformer: dict | None = None, **options: object):
        made = []
        for module in (maxxvit, theirs):
            given = dict(options)
            if conv is not None:
                given['cfg' if 'Conv' in name or 'Conv' in str(args) else 'conv_cfg'] = module.MaxxVitConvCfg(**conv)
            if transformer is not None:
                given['cfg' if conv is None else 'transformer_cfg'] = module.MaxxVitTransformerCfg(**transformer)
            made.append(getattr(module, name)(*args, **given))
        made[0].load_state_dict(randomize(made[1]).state_dict())
        return made

    maps, last = image(8, 12, channels=32, dtype=torch.float32), image(8, 12, channels=32, dtype=torch.float32).permute(0, 2, 3, 1)
    windows, alike = dict(window_size=(2, 3), grid_size=(4, 2)), dict(window_size=(2, 2), grid_size=(2, 2))
    cases = [
        (both('MbConvBlock', 32, 48, 2, conv={}), maps), (both('ConvNeXtBlock', 32, conv=dict(block_type='convnext')), maps),
        (both('ConvNeXtBlock', 32, 64, conv=dict(block_type='convnext'), conv_mlp=False), maps),
        (both('TransformerBlock2d', 32, 64, 2, transformer={}), maps), (both('Downsample2d', 32, 8), maps),
        (both('PartitionAttentionCl', 32, 'grid', transformer=windows), last),
        (both('PartitionAttention2d', 32, 'block', transformer=windows), maps),
        (both('ParallelPartitionAttention', 64, transformer=alike), torch.cat([last, last], -1)),
        (both('MaxxVitBlock', 32, 64, 2, conv={}, transformer=alike), maps),
        (both('ParallelMaxxVitBlock', 32, 64, 2, 1, conv={}, transformer=alike), maps),
        (both('MaxxVitStage', 32, 64, 2, 2, (4, 6), 'T', conv={}, transformer={}, drop_path=[0.0, 0.0]), maps),
        (both('Stem', 32, 16), maps), (both('AttentionCl', 32, 64), last), (both('Attention2d', 32, 64), maps),
    ]
    for (ours, other), x in cases:
        assert relative_error(ours.eval()(x), other.eval()(x)) < 1e-5, type(ours)
    ours, other = both('Attention2d', 32)
    shared = torch.rand(1, 1, 96, 96)
    assert relative_error(ours(maps, shared), other(maps, shared)) < 1e-5


def test_biases_of_maxvits_authors_equal_timms():
    from timm.layers import RelPosBiasTf as Theirs
    ours, theirs = RelPosBiasTf((3, 5), 2), Theirs((3, 5), 2)
    ours.load_state_dict(randomize(theirs).state_dict())
    scores = torch.rand(4, 2, 15, 15)
    assert torch.allclose(ours.get_bias()[0], theirs.get_bias().reshape(2, 15, 15)) and torch.equal(ours(scores), scores + ours.get_bias())
    with pytest.raises(ValueError, match='RelPosBias has'):
        RelPosBiasTf((3, 5), 2, prefix_tokens=1)


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(transformer_rel_pos_type='bias_tf'), dict(transformer_rel_pos_type='mlp')], ids=str)
@pytest.mark.parametrize(('name', 'kinds'), [(COAT, ('C', 'C', 'T', 'T')), (MAX, ('M',) * 4), (MAX, ('M', 'M', 'T', 'PM'))])
def test_weights_of_another_size_are_fitted_as_timms(name, kinds, options):
    built = dict(num_classes=3, block_type=kinds, **{**TINY, 'embed_dim': (32, 32, 64, 64)}, **options)
    source = randomize(timm.create_model(name, **built))
    bigger = {**built, 'img_size': (160, 128)}
    theirs = timm.create_model(name, **bigger)
    theirs.load_state_dict(maxxvit_filter(source.state_dict(), theirs))
    ours = zoo.create_model(name, **bigger, pretrained=source.state_dict(), pretrained_cfg_overlay=dict(input_size=(3, 64, 64)))
    fitted = zoo.create_model(name, **built, pretrained=source.state_dict())
    fitted.set_input_size((160, 128))
    x = image(160, 128, dtype=torch.float32)
    for model in (ours, fitted):
        assert all(torch.allclose(value, theirs.state_dict()[key], atol=1e-5) for key, value in model.state_dict().items())
        assert relative_error(model.eval()(x), theirs.eval()(x)) < 1e-5
        assert model.img_size == (160, 128)


def maxxvit_filter(state: dict, model: nn.Module) -> dict:
    from timm.models.maxxvit import checkpoint_filter_fn
    return checkpoint_filter_fn(state, model)


def test_images_that_windows_divide_equal_timms():
    ours, theirs = pair(MAX, torch.float64, **SMALL)
    for size in ((128, 64), (192, 128)):
        assert relative_error(ours.eval()(image(*size)), theirs.eval()(image(*size))) < 1e-5


@pytest.mark.parametrize('name', [MAX, COAT, TF, NEXT])
def test_images_of_any_size(name):
    model = randomize(zoo.create_model(name, **SMALL, dynamic_img_size=True)).double().eval()
    maps = model.forward_intermediates(image(227, 101), intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(114, 51), (57, 26), (29, 13), (15, 7), (8, 4)]
    assert model(image(227, 101)).isfinite().all()
    before = model(image(96, 160))
    fixed = zoo.create_model(name, **SMALL).double().eval()
    fixed.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match='set_input_size.*dynamic_img_size=True'):
        fixed(image(227, 101))
    if name == COAT:                                       # its biases are resampled for every map, by the same rule
        fixed.set_input_size((96, 160))
        assert relative_error(fixed(image(96, 160)), before) < 1e-6
    x = image(64, 64)
    model.set_input_size(64, dynamic_img_size=False)
    assert torch.allclose(model(x), zoo_at(name, model)(x))


def zoo_at(name: str, model: nn.Module) -> nn.Module:
    other = zoo.create_model(name, **SMALL, pretrained=model.float().state_dict()).double().eval()
    model.double()
    return other


def test_windows_can_be_chosen():
    model = randomize(zoo.create_model(MAX, **SMALL)).eval()
    model.set_input_size(window_size=(4, 1), dynamic_img_size=True)
    block = model.stages[0].blocks[0]
    assert block.attn_block.window_size == block.attn_grid.grid_size == (4, 1)
    assert block.attn_grid.attn.rel_pos.relative_position_bias_table.shape == (7, 1)
    assert model(image(64, 96, dtype=torch.float32)).isfinite().all()
    given = zoo.create_model(MAX, **SMALL, transformer_window_size=(2, 2))
    given.set_input_size(128)
    assert given.stages[1].blocks[0].attn_grid.grid_size == (2, 2) and given.img_size == (128, 128)
    with pytest.raises(ValueError, match='no window_size'):
        on_meta(COAT).set_input_size(window_size=4)


def test_weights_of_linear_layers_and_of_convolutions_serve_both():
    linear = randomize(zoo.create_model(MAX, **SMALL)).eval()
    convs = zoo.create_model(MAX, **SMALL, transformer_use_nchw_attn=True, pretrained=linear.state_dict()).eval()
    assert convs.stages[0].blocks[0].attn_block.mlp.fc1.weight.ndim == 4
    x = image(64, 64, dtype=torch.float32)
    assert relative_error(convs(x), linear(x)) < 1e-5


def test_attention_of_every_window_sums_to_one():
    x = image(64, 64, dtype=torch.float32)
    for name, shapes in ((MAX, [(128, 1, 4, 4)] * 2 + [(32, 2, 4, 4)] * 2), (COAT, [(2, 2, 16, 16), (2, 3, 16, 16)])):
        model = randomize(zoo.create_model(name, **SMALL)).eval()
        weights = model.forward_attentions(x)
        assert [tuple(w.shape) for w in weights[:len(shapes)]] == shapes
        assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)


@pytest.mark.parametrize('scheme', ['vit_eff', 'normal', 'trunc_normal', 'xavier_normal', ''])
def test_fresh_weights_are_drawn_as_asked(scheme):
    torch.manual_seed(0)
    model = zoo.create_model(COAT, weight_init=scheme, depths=(1, 1, 1, 1))
    attention, conv = model.stages[2].blocks[0].attn.qkv.weight, model.stages[0].blocks[0].conv1_1x1.weight
    expected = {'vit_eff': ((2 / (64 + 192)) ** 0.5, (2 / 128) ** 0.5), 'xavier_normal': ((2 / (64 + 192)) ** 0.5, (2 / 160) ** 0.5),
                '': ((1 / 64 / 3) ** 0.5, (1 / 32 / 3) ** 0.5)}.get(scheme, (0.02, 0.02))
    assert (attention.std().item(), conv.std().item()) == pytest.approx(expected, rel=0.1)


def test_options_that_do_not_fit_are_said():
    for options, words in ((dict(depths=(1, 1)), 'one entry a stage'), (dict(block_type=('C', 'X', 'T', 'T')), "block_type 'X'"),
                           (dict(conv_block_type='mbconf'), "'mbconv'"), (dict(conv_stride_mode='dwx'), "'dw'"),
                           (dict(conv_pool_type='avg3'), "'avg2'"), (dict(transformer_rel_pos_type='biases'), "'bias'"),
                           (dict(weight_init='vit'), "'vit_eff'"), (dict(transformer_dim_head=7), 'dim_head'),
                           (dict(conv_group_size=7), 'group_size'), (dict(conv_padding='valid'), "'same'")):
        with pytest.raises(ValueError, match=words):
            on_meta(COAT, **options)
    with pytest.raises(TypeError, match="'transformer_pool_type'"):
        on_meta(COAT, transformer_pool_typ='max')
    with pytest.raises(TypeError, match="'conv_pool_type'"):
        MaxxVit(conv_pool_typ='max')
    with pytest.raises(TypeError, match="'cfg' is not known"):
        zoo.create_model(COAT, cfg=MaxxVitCfg())
    with pytest.raises(ValueError, match='window_size and grid_size'):
        maxxvit.PartitionAttentionCl(32)
    with pytest.raises(ValueError, match='keeps its 32 channels'):
        maxxvit.TransformerBlock2d(32, 64)


@pytest.mark.sweep
@pytest.mark.parametrize('name', [MAX, COAT, TF, NEXT])
def test_compiles_and_exports_with_any_height_and_width(name):
    model = randomize(zoo.create_model(name, **SMALL, dynamic_img_size=True, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90)), batch=3, one_window=True)

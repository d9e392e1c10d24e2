"""What a network of CoAtNet's and MaxViT's blocks is built of: records, and their fields as plain options."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import Any

from ..layers.act import ActLayer
from ..layers.channel_attention import AttnLayer
from ..layers.norm import NormLayer
from ..spec import Pair, unknown

STRIDE_MODES = ('dw', 'pool', '1x1')


@dataclass
class MaxxVitTransformerCfg:
    """Attention, and the transformer blocks around it.

    Attributes:
        dim_head: channels of each head.
        head_first: in windows, channels of queries, keys and values lie head by head; else all queries come first. Over
            a whole map they lie head by head.
        expand_ratio: inner width of the MLPs over their width.
        expand_first: where a block widens the map, attention is as wide as what it gives; else as what it takes.
        shortcut_bias: of the projection in shortcuts. attn_bias: of all layers of attention.
        attn_drop: dropout of the attention weights. proj_drop: of what attention and MLPs give.
        pool_type: how a block halves the map, see `Downsample2d`.
        rel_pos_type: biases by relative position: 'bias', a table; 'bias_tf', that of MaxViT's authors; 'mlp', a small
            network, `rel_pos_dim` wide; '' for none.
        partition_ratio: pixels of the image a side per pixel of a window, where the next two do not say its size.
        window_size, grid_size: rows and columns of windows of neighbours, and of those of pixels far apart.
        no_block_attn: leave out attention in windows of neighbours.
        use_nchw_attn: 1x1 convolutions in MaxViT's attention in place of linear layers: the same numbers.
        init_values: initial factor of each channel of a branch; None for none.
        norm_layer, norm_layer_cl: normalisation of maps, and of maps with the channels last.
    """

    dim_head: int = 32
    _: KW_ONLY
    window_size: Pair | None = None
    grid_size: Pair | None = None
    partition_ratio: int = 32
    no_block_attn: bool = False
    rel_pos_type: str = 'bias'
    rel_pos_dim: int = 512
    use_nchw_attn: bool = False
    head_first: bool = True
    attn_bias: bool = True
    attn_drop: float = 0.0
    proj_drop: float = 0.0
    pool_type: str = 'avg2'
    shortcut_bias: bool = True
    expand_first: bool = True
    expand_ratio: float = 4.0
    init_values: float | None = None
    norm_eps: float = 1e-6
    norm_layer: NormLayer = 'layernorm2d'
    norm_layer_cl: NormLayer = 'layernorm'
    act_layer: ActLayer = 'gelu'


@dataclass
class MaxxVitConvCfg:
    """Blocks of convolutions.

    Attributes:
        block_type: 'mbconv' or 'convnext'.
        expand_ratio: inner width over the width that comes out (`expand_output`), or in.
        kernel_size: of MBConv's depthwise convolution. group_size: its channels per group; 0 for a full convolution.
        pre_norm_act: an activation after MBConv's first normalisation.
        output_bias: of the last convolution and the shortcut; of a ConvNeXt block all.
        stride_mode: what halves the map: the depthwise convolution 'dw', the first '1x1', or pooling before, 'pool'.
        pool_type: how the shortcut halves it. downsample_pool_type: how 'pool' does, by default alike.
        padding: of convolutions and pooling, '' alike on all sides or 'same' as TensorFlow.
        attn_layer: a gate over the channels, by name or class, before the second normalisation (`attn_early`) or after
            it. attn_act_layer: inside it. attn_ratio: its inner width over the width that `expand_ratio` gives, or with
            `expand_output` over that which comes out.
        init_values: initial factor of each channel of a ConvNeXt block's branch; None for none.
        norm_layer, norm_layer_cl: normalisation of maps, and of maps with the channels last; '' for the usual one of
            the `block_type`, as is None for `norm_eps`.
    """

    block_type: str = 'mbconv'
    _: KW_ONLY
    kernel_size: int = 3
    group_size: int = 1
    padding: str = ''
    stride_mode: str = 'dw'
    downsample_pool_type: str = 'avg2'
    pool_type: str = 'avg2'
    expand_output: bool = True
    expand_ratio: float = 4.0
    output_bias: bool = True
    pre_norm_act: bool = False
    attn_layer: AttnLayer = 'se'
    attn_ratio: float = 0.25
    attn_early: bool = False
    attn_act_layer: ActLayer = 'silu'
    norm_layer: NormLayer = ''
    norm_eps: float | None = None
    norm_layer_cl: NormLayer = ''
    act_layer: ActLayer = 'gelu'
    init_values: float | None = 1e-6

    def __post_init__(self) -> None:
        if self.block_type not in ('mbconv', 'convnext'):
            raise ValueError(unknown('block_type', self.block_type, ('mbconv', 'convnext')))
        if self.stride_mode not in STRIDE_MODES:
            raise ValueError(unknown('stride_mode', self.stride_mode, STRIDE_MODES))
        mbconv = self.block_type == 'mbconv'
        self.norm_layer = self.norm_layer or ('batchnorm2d' if mbconv else 'layernorm2d')
        self.norm_layer_cl = self.norm_layer_cl or ('' if mbconv else 'layernorm')
        self.norm_eps = self.norm_eps if self.norm_eps is not None else 1e-5 if mbconv else 1e-6
        self.downsample_pool_type = self.downsample_pool_type or self.pool_type


@dataclass
class MaxxVitCfg:
    """A network of `MaxxVit`.

    Attributes:
        embed_dim, depths: channels and blocks of each stage.
        block_type: kinds of blocks of each stage, one or one a block, the last of which repeats: 'C' convolution, 'T'
            transformer, 'M' MaxViT's, 'PM' with both kinds of windows side by side.
        stem_width: channels of the stem's convolutions, one number or two. stem_bias: their biases.
        head_hidden_size: width of a layer before the classifier.
        weight_init: how fresh weights are drawn: 'vit_eff', convolutions as EfficientNet's and attention as ViT's, with
            deviations that follow from the widths; 'normal' or 'trunc_normal', with one of 0.02; 'xavier_normal'; '' as
            PyTorch does.
    """

    embed_dim: Sequence[int] = (96, 192, 384, 768)
    depths: Sequence[int] = (2, 3, 5, 2)
    block_type: Sequence[str | Sequence[str]] = ('C', 'C', 'T', 'T')
    _: KW_ONLY
    stem_bias: bool = False
    stem_width: int | Sequence[int] = 64
    transformer_cfg: MaxxVitTransformerCfg = field(default_factory=MaxxVitTransformerCfg)
    conv_cfg: MaxxVitConvCfg = field(default_factory=MaxxVitConvCfg)
    head_hidden_size: int | None = None
    weight_init: str = 'vit_eff'


# option of a network -> (the record it is a field of, the field)
OPTIONS = {f'{prefix}{one.name}': (record, one) for record, prefix, kind in (
    ('', '', MaxxVitCfg), ('conv_cfg', 'conv_', MaxxVitConvCfg),
    ('transformer_cfg', 'transformer_', MaxxVitTransformerCfg),
) for one in fields(kind) if not one.name.endswith('_cfg')}


def with_options(cfg: MaxxVitCfg, **options: Any) -> MaxxVitCfg:
    """A record with some of its fields, or with 'conv_' or 'transformer_' before their names those of its records,
    changed.

    Raises:
        TypeError: there is no such field.
    """
    changes: dict[str, dict[str, Any]] = {'': {}, 'conv_cfg': {}, 'transformer_cfg': {}}
    for name, value in options.items():
        if name not in OPTIONS:
            raise TypeError('MaxxVit: ' + unknown('option', name, OPTIONS))
        record, one = OPTIONS[name]
        changes[record][one.name] = value
    return replace(cfg, **changes[''], conv_cfg=replace(cfg.conv_cfg, **changes['conv_cfg']),
                   transformer_cfg=replace(cfg.transformer_cfg, **changes['transformer_cfg']))

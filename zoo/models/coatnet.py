"""The blocks of CoAtNet, arXiv:2106.04803: convolution, and attention that knows relative positions.

    MBConv:      norm -> 1x1 (4 times as wide) -> depthwise 3x3 -> squeeze-and-excitation -> 1x1, added
    ConvNeXt:    depthwise 7x7 -> norm -> MLP, added (in place of MBConv, where `block_type='convnext'`)
    transformer: norm -> attention over the whole map -> added -> norm -> MLP -> added

A block that halves the map pools its shortcut. The network of them is in zoo/models/maxxvit.py.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..blocks import round_channels
from ..layers.attention_tokens import attend, merge_heads
from ..layers.channel_attention import create_attn
from ..layers.conv import channels_first, conv2d
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import Norm
from ..layers.pool import CeilAvgPool2d, SameAvgPool2d, SameMaxPool2d
from ..layers.relative import RelPosBias, RelPosBiasTf, RelPosMlp, differs
from ..layers.scale import LayerScale, LayerScale2d
from ..layers.sizes import SizedLayer, map_size
from ..spec import Pair, Sizes, unknown
from .maxxvit_cfg import STRIDE_MODES, MaxxVitConvCfg, MaxxVitTransformerCfg

RELATIVE: dict[str, Callable[..., nn.Module]] = {'bias': RelPosBias, 'mlp': RelPosMlp, 'bias_tf': RelPosBiasTf}
POOLS = ('max', 'max2', 'avg', 'avg2')
OTHER_SIZES = ('Build the network with img_size=(height, width), call set_input_size((height, width)), or build it '
               'with dynamic_img_size=True for images of any size.')


# --- attention


def get_rel_pos_cls(cfg: MaxxVitTransformerCfg, window_size: Pair) -> Callable[..., nn.Module] | None:
    """What makes the biases of `num_heads` heads in a window; None for none.

    Raises:
        ValueError: another `rel_pos_type`.
    """
    if not cfg.rel_pos_type:
        return None
    if cfg.rel_pos_type not in RELATIVE:
        raise ValueError(unknown('rel_pos_type', cfg.rel_pos_type, RELATIVE))
    options = {'hidden_dim': cfg.rel_pos_dim} if cfg.rel_pos_type == 'mlp' else {}
    return partial(RELATIVE[cfg.rel_pos_type], window_size=window_size, **options)


class RelativeAttention(nn.Module):
    """Base of attention with biases by relative position (CoAtNet, section 2.2.1).

    Args:
        dim_head: channels of each head.
        expand_first: heads share the `dim_out` channels that come out, else those that go in.
        head_first: channels of queries, keys and values lie head by head.
        rel_pos_cls: makes the biases of `num_heads` heads; None for none.

    Raises:
        ValueError: a width that heads of so many channels do not divide.
    """

    rel_pos: Any                                         # of `RELATIVE`, or None

    def __init__(self, linear: Callable[..., nn.Module], dim: int, dim_out: int, dim_head: int, bias: bool,
                 expand_first: bool, head_first: bool, rel_pos_cls: Callable[..., nn.Module] | None, attn_drop: float,
                 proj_drop: float) -> None:
        super().__init__()
        inner = dim_out if expand_first else dim
        if inner % dim_head:
            raise ValueError(f'Attention of {inner} channels: heads of {dim_head} (dim_head) do not divide them.')
        self.num_heads, self.dim_head, self.head_first = inner // dim_head, dim_head, head_first
        self.qkv = linear(dim, 3 * inner, bias=bias)
        self.rel_pos = rel_pos_cls(num_heads=self.num_heads) if rel_pos_cls else None
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = linear(inner, dim_out, bias=bias)
        self.proj_drop = nn.Dropout(proj_drop)

    def mix(self, qkv: Tensor, window: Pair | None, bias: Tensor | None) -> Tensor:
        """Queries, keys and values (B, N, 3 inner) -> what attention makes of them (B, heads, N, dim_head).

        Args:
            window: rows and columns of the N pixels, where they may be others than the biases are for.
            bias: in place of the layer's own.
        """
        if self.head_first:
            q, k, v = qkv.unflatten(-1, (self.num_heads, 3, self.dim_head)).permute(3, 0, 2, 1, 4)
        else:
            q, k, v = qkv.unflatten(-1, (3, self.num_heads, self.dim_head)).permute(2, 0, 3, 1, 4)
        if self.rel_pos is not None:
            bias = self.rel_pos.get_bias(window)[0].to(q.dtype).expand(q.shape[0], -1, -1, -1)
        return attend(q, k, v, bias, dropout=self.attn_drop.p if self.training else 0.0)


class Attention2d(RelativeAttention):
    """`RelativeAttention` among the pixels of a map: (B, dim, H, W) -> (B, dim_out, H, W)."""

    def __init__(self, dim: int, dim_out: int | None = None, dim_head: int = 32, bias: bool = True,
                 expand_first: bool = True, head_first: bool = True,
                 rel_pos_cls: Callable[..., nn.Module] | None = None, attn_drop: float = 0.0,
                 proj_drop: float = 0.0) -> None:
        super().__init__(partial(nn.Conv2d, kernel_size=1), dim, dim_out or dim, dim_head, bias, expand_first,
                         head_first, rel_pos_cls, attn_drop, proj_drop)

    def forward(self, x: Tensor, shared_rel_pos: Tensor | None = None) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        x = self.qkv(channels_first(x)).flatten(2).transpose(1, 2)
        x = self.mix(x, size, shared_rel_pos)
        x = x.transpose(2, 3).flatten(1, 2).unflatten(2, size)
        return self.proj_drop(self.proj(channels_first(x)))


class AttentionCl(RelativeAttention):
    """`RelativeAttention` among pixels with the channels last: windows (B, rows, columns, dim), or pixels in a row
    (B, N, dim) -> the same with `dim_out` channels."""

    def __init__(self, dim: int, dim_out: int | None = None, dim_head: int = 32, bias: bool = True,
                 expand_first: bool = True, head_first: bool = True,
                 rel_pos_cls: Callable[..., nn.Module] | None = None, attn_drop: float = 0.0,
                 proj_drop: float = 0.0) -> None:
        super().__init__(nn.Linear, dim, dim_out or dim, dim_head, bias, expand_first and (dim_out or dim) > dim,
                         head_first, rel_pos_cls, attn_drop, proj_drop)

    def forward(self, x: Tensor, shared_rel_pos: Tensor | None = None) -> Tensor:
        shape = x.shape[1:-1]
        x = self.qkv(x.flatten(1, -2))
        x = merge_heads(self.mix(x, None, shared_rel_pos))
        return self.proj_drop(self.proj(x).unflatten(1, shape))


class SizedAttention(SizedLayer):
    """Base of blocks whose attention is fitted to windows.

    Attributes:
        window_size: rows and columns.
        dynamic_img_size: whether maps of any size are taken.
    """

    window_size: Pair
    dynamic_img_size = False

    def window_for(self, sizes: Sizes) -> Pair | None:
        """The windows that follow from sizes; None for those there are."""
        raise NotImplementedError

    def fit(self, sizes: Sizes) -> None:
        """Other windows, with their biases resampled."""
        self.dynamic_img_size = self.dynamic_img_size if sizes.dynamic is None else sizes.dynamic
        self.window_size = window = self.window_for(sizes) or self.window_size
        for module in self.modules() if self.window_for(sizes) else ():
            if isinstance(module, (RelPosBias, RelPosBiasTf, RelPosMlp)):
                module.set_window_size(window)

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Resamples biases at `prefix` for the windows that the block has."""
        for name, module in self.named_modules():
            if isinstance(module, (RelPosBias, RelPosBiasTf, RelPosMlp)):
                module.adapt_table(state, f'{prefix}{name}.', self.window_for(source))


# --- blocks


class Downsample2d(nn.Module):
    """Pooling by 2, and a projection where the width changes: (B, dim, H, W) -> (B, dim_out, ceil(H/2), ceil(W/2)).

    Args:
        pool_type: 'max' or 'avg' of 3x3 pixels, 'max2' or 'avg2' of 2x2.
        padding: 'same' as TensorFlow, or '' alike on all sides; what is missing of the last 2x2 pixels is left out of
            their maximum, and repeats the border in their mean.

    Raises:
        ValueError: another word.
    """

    def __init__(self, dim: int, dim_out: int, pool_type: str = 'avg2', padding: str = '', bias: bool = True) -> None:
        super().__init__()
        if pool_type not in POOLS:
            raise ValueError(unknown('pool_type', pool_type, POOLS))
        if padding not in ('', 'same'):
            raise ValueError(f"padding is '' or 'same', not {padding!r}.")
        if pool_type == 'max2' or pool_type == 'max' and padding:
            self.pool: nn.Module = SameMaxPool2d(3 if pool_type == 'max' else 2, 2)
        elif pool_type == 'max':
            self.pool = nn.MaxPool2d(3, 2, 1)
        elif padding:
            self.pool = SameAvgPool2d(3 if pool_type == 'avg' else 2, 2)
        else:
            self.pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False) if pool_type == 'avg' else CeilAvgPool2d(2)
        self.expand = nn.Conv2d(dim, dim_out, 1, bias=bias) if dim != dim_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.pool(x))


class MbConvBlock(nn.Module):
    """MBConv with a normalisation before it (CoAtNet, section A.1): (B, in_chs, H, W) -> (B, out_chs, H/s, W/s).

    Args:
        stride: s, 1 or 2. dilation: of the depthwise convolution of a block with a stride, and of one without or whose
            stride is elsewhere.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, dilation: Pair = (1, 1),
                 cfg: MaxxVitConvCfg = MaxxVitConvCfg(), drop_path: float = 0.0) -> None:
        super().__init__()
        norm = Norm(cfg.norm_layer, eps=cfg.norm_eps)
        mid = round_channels((out_chs if cfg.expand_output else in_chs) * cfg.expand_ratio)
        strides = {mode: stride if mode == cfg.stride_mode else 1 for mode in STRIDE_MODES}
        groups, rest = divmod(mid, cfg.group_size) if cfg.group_size else (1, 0)
        if rest:
            raise ValueError(f'{mid} channels do not split into groups of {cfg.group_size} (group_size).')
        gate: dict[str, object] = {}
        if isinstance(cfg.attn_layer, str) and ('se' in cfg.attn_layer or 'eca' in cfg.attn_layer):
            gate = dict(act_layer=cfg.attn_act_layer,
                        rd_channels=int(cfg.attn_ratio * (out_chs if cfg.expand_output else mid)))
        attn = create_attn(cfg.attn_layer, mid, **gate)
        self.attn_early = cfg.attn_early

        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = Downsample2d(in_chs, out_chs, cfg.pool_type, cfg.padding, bias=cfg.output_bias)
        self.pre_norm, self.pre_act = norm.with_act(in_chs, cfg.act_layer if cfg.pre_norm_act else None)
        self.down = Downsample2d(in_chs, in_chs, cfg.downsample_pool_type, cfg.padding) if strides['pool'] > 1 \
            else nn.Identity()
        self.conv1_1x1 = conv2d(in_chs, mid, 1, strides['1x1'])
        self.norm1, self.act1 = norm.with_act(mid, cfg.act_layer)
        self.conv2_kxk = conv2d(mid, mid, cfg.kernel_size, strides['dw'], dilation[cfg.stride_mode != 'dw'], groups,
                                cfg.padding)
        if cfg.attn_early:
            self.se_early = attn
        self.norm2, self.act2 = norm.with_act(mid, cfg.act_layer)
        if not cfg.attn_early:
            self.se = attn
        self.conv3_1x1 = conv2d(mid, out_chs, 1, bias=cfg.output_bias)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.pre_norm(x)
        x = self.down(self.pre_act(x))
        x = self.conv1_1x1(x)
        x = self.norm1(x)
        x = self.act1(x)
        x = self.conv2_kxk(x)
        if self.attn_early:
            x = self.se_early(x)
        x = self.norm2(x)
        x = self.act2(x)
        if not self.attn_early:
            x = self.se(x)
        x = self.conv3_1x1(x)
        return shortcut + self.drop_path(x)


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution and an MLP (ConvNeXt, arXiv:2201.03545): (B, in_chs, H, W) -> (B, out_chs, H/s, W/s).

    Args:
        stride: s, 1 or 2. dilation: as in `MbConvBlock`.
        conv_mlp: the MLP is of 1x1 convolutions, else of linear layers.
    """

    def __init__(self, in_chs: int, out_chs: int | None = None, kernel_size: int = 7, stride: int = 1,
                 dilation: Pair = (1, 1), cfg: MaxxVitConvCfg = MaxxVitConvCfg(block_type='convnext'),
                 conv_mlp: bool = True, drop_path: float = 0.0) -> None:
        super().__init__()
        width, pooled = out_chs or in_chs, stride == 2 and cfg.stride_mode == 'pool'
        if width % in_chs:
            raise ValueError(f'A ConvNeXt block widens {in_chs} channels to a multiple of them, not to {width}.')
        self.use_conv_mlp = conv_mlp
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = Downsample2d(in_chs, width)
        elif in_chs != width:
            self.shortcut = nn.Conv2d(in_chs, width, 1, bias=cfg.output_bias)
        self.down = Downsample2d(in_chs, in_chs, cfg.downsample_pool_type) if pooled else nn.Identity()
        self.conv_dw = conv2d(in_chs, width, kernel_size, 1 if pooled else stride, dilation[1], in_chs,
                              bias=cfg.output_bias)
        self.norm = Norm(cfg.norm_layer if conv_mlp else cfg.norm_layer_cl, eps=cfg.norm_eps)(width)
        self.mlp = Mlp(width, int(cfg.expand_ratio * width), act_layer=cfg.act_layer, bias=cfg.output_bias,
                       use_conv=conv_mlp)
        scale = LayerScale2d if conv_mlp else LayerScale
        self.ls = scale(width, cfg.init_values) if cfg.init_values else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.down(x)
        x = self.conv_dw(x)
        x = x if self.use_conv_mlp else x.permute(0, 2, 3, 1)
        x = self.norm(x)
        x = self.mlp(x)
        x = self.ls(x)
        x = x if self.use_conv_mlp else x.permute(0, 3, 1, 2)
        return shortcut + self.drop_path(x)


class TransformerBlock2d(SizedAttention):
    """Attention over the whole map and an MLP (CoAtNet, equation 4): (B, dim, H, W) -> (B, dim_out, H/s, W/s).

    Args:
        stride: s, 1 or 2.
        rel_pos_cls: makes biases for the map, see `get_rel_pos_cls`.

    Attributes:
        reduction: input pixels per pixel of the map; set by the network, 0 where the map is not known to follow them.

    Raises:
        ValueError: another width without a stride.
    """

    reduction = 0

    def __init__(self, dim: int, dim_out: int, stride: int = 1, rel_pos_cls: Callable[..., nn.Module] | None = None,
                 cfg: MaxxVitTransformerCfg = MaxxVitTransformerCfg(), drop_path: float = 0.0) -> None:
        super().__init__()
        norm = Norm(cfg.norm_layer, eps=cfg.norm_eps)
        self.shortcut: nn.Module = nn.Identity()
        self.norm1: nn.Module = norm(dim)
        if stride == 2:
            self.shortcut = Downsample2d(dim, dim_out, cfg.pool_type, bias=cfg.shortcut_bias)
            before, self.norm1 = self.norm1, nn.Sequential()
            self.norm1.norm = before
            self.norm1.down = Downsample2d(dim, dim, cfg.pool_type)
        elif dim != dim_out:
            raise ValueError(f'A transformer block with stride 1 keeps its {dim} channels: it cannot give {dim_out}.')
        self.attn = Attention2d(dim, dim_out, cfg.dim_head, cfg.attn_bias, cfg.expand_first, rel_pos_cls=rel_pos_cls,
                                attn_drop=cfg.attn_drop, proj_drop=cfg.proj_drop)
        window = getattr(self.attn.rel_pos, 'window_size', None)
        self.window_size, self.fitted = window or (1, 1), window is not None
        self.ls1 = LayerScale2d(dim_out, cfg.init_values) if cfg.init_values else nn.Identity()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * cfg.expand_ratio), act_layer=cfg.act_layer, drop=(cfg.proj_drop, 0.0),
                       use_conv=True)
        self.ls2 = LayerScale2d(dim_out, cfg.init_values) if cfg.init_values else nn.Identity()
        self.drop_path2 = DropPath(drop_path)

    def window_for(self, sizes: Sizes) -> Pair | None:
        """The map of a stage."""
        return map_size(sizes.img_size, self.reduction) if sizes.img_size and self.reduction else None

    def forward(self, x: Tensor, shared_rel_pos: Tensor | None = None) -> Tensor:
        branch = self.norm1(x)
        size = (branch.shape[-2], branch.shape[-1])
        if self.fitted and not self.dynamic_img_size and differs(size, self.window_size):
            raise ValueError(f'Attention here is fitted to maps of {self.window_size[0]}x{self.window_size[1]} pixels, '
                             f'and this image gives {size[0]}x{size[1]}. {OTHER_SIZES}')
        branch = self.attn(branch, shared_rel_pos)
        branch = self.ls1(branch)
        x = self.shortcut(x) + self.drop_path1(branch)
        branch = self.norm2(x)
        branch = self.mlp(channels_first(branch))
        return x + self.drop_path2(self.ls2(branch))

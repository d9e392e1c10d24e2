"""What a network of MViTv2's blocks is built of: a record, whose fields are options as well."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from ..layers.act import ActLayer
from ..layers.norm import NormLayer
from ..spec import Pair


@dataclass
class MultiScaleVitCfg:
    """A network of `MultiScaleVit`.

    Attributes:
        depths, embed_dim, num_heads: blocks, channels and heads of each stage; one number of channels or heads is that
            of the first, and doubles from stage to stage.
        mlp_ratio: inner width of the MLPs over their width. qkv_bias: biases of queries, keys and values.
        expand_attn: a stage's first block widens the tokens, in its attention; else the last of the stage before does,
            in its MLP.
        use_cls_token: a class token. use_abs_pos: learned positions of patches, and of the class token.
        residual_pooling: add the pooled queries to what attention gives (section 4.1).
        pool_first: pool before the linear maps to queries, keys and values, not after.
        mode: how they are pooled: 'conv', a depthwise convolution that all heads share, 'conv_unshared', one for each
            head, 'avg' or 'max'. kernel_qkv: rows and columns of pixels that it looks at, odd.
        stride_q, stride_kv: of each stage, of its first block for queries, of all its blocks for keys and values. The
            latter may be None: then it is `stride_kv_adaptive`, divided by the strides of queries up to each stage.
        patch_kernel, patch_stride, patch_padding: of the convolution that embeds patches.
        pool_type: what pools shortcuts, 'max' or 'avg'.
        rel_pos_type: 'spatial' for relative positions of rows and of columns; '' for none.
        act_layer: of the MLPs.
    """

    depths: Sequence[int] = (2, 3, 16, 3)
    embed_dim: int | Sequence[int] = 96
    num_heads: int | Sequence[int] = 1
    mlp_ratio: float = 4.0
    _: KW_ONLY
    patch_kernel: Pair = (7, 7)
    patch_stride: Pair = (4, 4)
    patch_padding: Pair = (3, 3)
    use_cls_token: bool = False
    use_abs_pos: bool = False
    rel_pos_type: str = 'spatial'
    mode: str = 'conv'
    kernel_qkv: Pair = (3, 3)
    pool_first: bool = False
    stride_q: Sequence[Pair] = ((1, 1), (2, 2), (2, 2), (2, 2))
    stride_kv_adaptive: Pair | None = (4, 4)
    stride_kv: Sequence[Pair] | None = None
    residual_pooling: bool = True
    expand_attn: bool = True
    qkv_bias: bool = True
    pool_type: str = 'max'
    norm_layer: NormLayer = 'layernorm'
    norm_eps: float = 1e-6
    act_layer: ActLayer = 'gelu'


def per_stage(value: int | Sequence[int], stages: int) -> Sequence[int]:
    """A number for each stage, of them all or of the first, which doubles from stage to stage."""
    return [value * 2 ** number for number in range(stages)] if isinstance(value, int) else value


def kv_strides(cfg: MultiScaleVitCfg) -> Sequence[Pair]:
    """The stride of keys and values of each stage.

    Raises:
        ValueError: the record says neither those nor that of the first stage.
    """
    if cfg.stride_kv is not None:
        return cfg.stride_kv
    if cfg.stride_kv_adaptive is None:
        raise ValueError('stride_kv, or stride_kv_adaptive in its place, says how keys and values are pooled.')
    (rows, columns), strides = cfg.stride_kv_adaptive, []
    for down, right in cfg.stride_q:
        rows, columns = max(rows // down, 1), max(columns // right, 1)
        strides.append((rows, columns))
    return strides

"""Vision transformers (arXiv:2010.11929) whose positions are relative: in place of learned ones, biases of attention
that a small network computes (Swin V2, arXiv:2111.09883) or a table has (Swin, arXiv:2103.14030).

    image -> patch_embed (16x16 patches) -> blocks.0 -> … -> norm -> pool -> head
    block: norm -> attention, with a bias for each relative position -> added -> norm -> MLP -> added
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..layers.act import ActLayer, get_act_layer
from ..layers.attention_tokens import Attention, later_tokens, masked
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.relative import RelPosBias, RelPosMlp
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import children_of, drop_path_rates
from ..spec import Feature, Pair, unknown
from .relposnet import RelPosNet
from .vision_transformer import INITS, divide_branches, draw_layer, layer_scale

RelPos = RelPosBias | RelPosMlp
MakeRelPos = Callable[..., RelPos]
KINDS = ('mlp', 'mlp_cr', 'mlp_swin', 'bias')


class VisionTransformerRelPos(RelPosNet):
    """A vision transformer with relative positions: (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        img_size, patch_size: in pixels, a side or (height, width); see `set_input_size`.
        global_pool: 'avg', 'max', 'avgmax' or 'catavgmax' over the patches, 'token', the class token, or ''.
        qk_norm: normalise each head's queries and keys.
        init_values: initial factor of every residual branch (arXiv:2103.17239); None for none.
        class_token: whether there is a class token. fc_norm: the final normalisation is of what was pooled.
        rel_pos_type: 'mlp' or 'mlp_cr', a small network of the logarithms of offsets in patches; 'mlp_swin', one as
            Swin V2 has it; 'bias', a table. See `zoo.layers.relative`.
        rel_pos_dim: width of that network's hidden layer, by default 128.
        shared_rel_pos: all blocks share one.
        drop_rate: dropout before the classifier. proj_drop_rate, attn_drop_rate: in the blocks. drop_path_rate:
            stochastic depth at the last block, growing linearly from 0 at the first.
        weight_init, fix_init: see `zoo.models.vision_transformer.VisionTransformer`.
        embed_layer, norm_layer, act_layer, block_fn: classes, but for the first also names.
        dynamic_img_size: take images of any size. dynamic_img_pad: pad them to whole patches.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = replace(RelPosNet.parts, stem=(*RelPosNet.parts.stem, 'shared_rel_pos'))

    def __init__(self, img_size: ImageSize = 224, patch_size: ImageSize = 16, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', embed_dim: int = 768, depth: int = 12,
                 num_heads: int = 12, mlp_ratio: float = 4.0, qkv_bias: bool = True, qk_norm: bool = False,
                 init_values: float | None = 1e-6, class_token: bool = False, fc_norm: bool = False,
                 rel_pos_type: str = 'mlp', rel_pos_dim: int | None = None, shared_rel_pos: bool = False,
                 drop_rate: float = 0.0, proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, weight_init: str = 'reset', fix_init: bool = False,
                 embed_layer: Callable[..., PatchEmbed] = PatchEmbed, norm_layer: NormLayer | None = None,
                 act_layer: ActLayer | None = None, block_fn: str | Callable[..., nn.Module] = 'RelPosBlock',
                 dynamic_img_size: bool = False, dynamic_img_pad: bool = False) -> None:
        super().__init__()
        if weight_init not in INITS:
            raise ValueError(unknown('weight_init', weight_init, INITS))
        if isinstance(block_fn, str) and block_fn not in BLOCKS:
            raise ValueError(unknown('block_fn', block_fn, BLOCKS))
        self.in_chans, self.num_features, self.embed_dim = in_chans, embed_dim, embed_dim
        self.img_size, self.dynamic_img_size = pair_of(img_size), dynamic_img_size
        self.weight_init, self.fix_init = weight_init, fix_init
        norm, act = Norm(norm_layer or LayerNorm), get_act_layer(act_layer or nn.GELU)
        layout: dict[str, Any] = dict(strict_img_size=False, output_fmt='NHWC') if dynamic_img_size else {}
        self.patch_embed = embed_layer(img_size=self.img_size, patch_size=patch_size, in_chans=in_chans,
                                       embed_dim=embed_dim, dynamic_img_pad=dynamic_img_pad, **layout)
        self.build_tokens(embed_dim, {'cls_token': int(class_token)}, '', no_embed_class=False, pos_drop_rate=0.0,
                          patch_drop_rate=0.0)
        self.norm_pre = nn.Identity()
        rel_pos = relative_positions(rel_pos_type, rel_pos_dim, self.patch_grid, self.num_prefix_tokens)
        self.shared_rel_pos = rel_pos(num_heads=num_heads) if shared_rel_pos else None
        block = BLOCKS[block_fn] if isinstance(block_fn, str) else block_fn
        self.blocks = nn.Sequential(*(
            block(dim=embed_dim, num_heads=num_heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, qk_norm=qk_norm,
                  rel_pos_cls=None if shared_rel_pos else rel_pos, init_values=init_values, proj_drop=proj_drop_rate,
                  attn_drop=attn_drop_rate, drop_path=rate, norm_layer=norm, act_layer=act)
            for rate in drop_path_rates(drop_path_rate, depth)))
        self.feature_info = [Feature(num_chs=embed_dim, reduction=self.patch_embed.feat_ratio(),
                                     module=f'blocks.{number}', stage=number + 1) for number in range(depth)]
        self.norm_after_pool = fc_norm
        self.norm, self.fc_norm = norm(embed_dim), nn.Identity()
        self.build_head(embed_dim, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self, mode: str = '') -> None:
        """Draws every parameter anew and resets every buffer, as `mode`, by default `weight_init`, says."""
        self.draw(self)
        for name, layer in self.named_modules():
            draw_layer(layer, name, mode or self.weight_init, self.num_classes)
        for block in children_of(self.blocks, ResPostRelPosBlock):
            block.init_weights()
        if self.fix_init:
            divide_branches(self.blocks)

    def shared_bias(self, window: Pair | None) -> Tensor | None:
        """See `RelPosNet.shared_bias`."""
        return None if self.shared_rel_pos is None else self.shared_rel_pos.get_bias(window)


def relative_positions(kind: str, dim: int | None, window: Pair, prefix_tokens: int) -> MakeRelPos:
    """What makes a layer of relative positions, given its `num_heads`.

    Args:
        kind, dim: `rel_pos_type` and `rel_pos_dim` of `VisionTransformerRelPos`.

    Raises:
        ValueError: another kind, or a hidden layer of a table.
    """
    if kind not in KINDS:
        raise ValueError(unknown('rel_pos_type', kind, KINDS))
    if kind == 'bias':
        if dim is not None:
            raise ValueError(f"rel_pos_type='bias' is a table: it has no hidden layer, of rel_pos_dim={dim}.")
        return partial(RelPosBias, window, prefix_tokens=prefix_tokens)
    return partial(RelPosMlp, window, hidden_dim=128 if dim is None else dim, prefix_tokens=prefix_tokens,
                   mode='swin' if kind == 'mlp_swin' else 'cr')


# --- blocks


class RelPosAttention(Attention):
    """Multi-head self-attention with biases by relative position: tokens (B, N, dim) -> (B, N, dim).

    Args:
        qk_norm: normalise each head's queries and keys, by what `norm_layer` makes.
        rel_pos_cls: makes the layer of relative positions, given `num_heads`; None for none of its own.
        attn_drop: dropout of the attention weights. proj_drop: after the last layer.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False, qk_norm: bool = False,
                 rel_pos_cls: MakeRelPos | None = None, attn_drop: float = 0.0, proj_drop: float = 0.0,
                 norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, qk_norm=qk_norm, attn_drop=attn_drop, proj_drop=proj_drop,
                         norm_layer=norm_layer)
        self.rel_pos = rel_pos_cls(num_heads=num_heads) if rel_pos_cls else None

    def forward(self, x: Tensor, shared_rel_pos: Tensor | None = None, is_causal: bool = False,
                window: Pair | None = None) -> Tensor:
        added = shared_rel_pos
        if self.rel_pos is not None:
            added = masked(self.rel_pos.get_bias(window), shared_rel_pos)
        if is_causal and added is not None:
            added, is_causal = masked(added, ~later_tokens(x, x)), False
        return super().forward(x, added, is_causal)


class RelPosBlock(nn.Module):
    """Attention and an MLP, each a residual branch after a normalisation: tokens (B, N, dim) -> (B, N, dim).

    Args:
        rel_pos_cls: see `RelPosAttention`.
        init_values, proj_drop, attn_drop: see `VisionTransformerRelPos`. drop_path: stochastic depth of both branches.
        norm_layer: makes normalisations. act_layer: a class or a name.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, qk_norm: bool = False,
                 rel_pos_cls: MakeRelPos | None = None, init_values: float | None = None, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float = 0.0, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = RelPosAttention(dim, num_heads, qkv_bias, qk_norm, rel_pos_cls, attn_drop, proj_drop, norm_layer)
        self.ls1 = layer_scale(dim, init_values)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.ls2 = layer_scale(dim, init_values)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, shared_rel_pos: Tensor | None = None, window: Pair | None = None) -> Tensor:
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x), shared_rel_pos, window=window)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class ResPostRelPosBlock(RelPosBlock):
    """`RelPosBlock` with the normalisations at the end of the residual branches, as in Swin V2 (arXiv:2111.09883,
    section 3.2).

    `init_values` is the normalisations' initial weight, in place of a layer scale.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, qk_norm: bool = False,
                 rel_pos_cls: MakeRelPos | None = None, init_values: float | None = None, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float = 0.0, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__(dim, num_heads, mlp_ratio, qkv_bias, qk_norm, rel_pos_cls, None, proj_drop, attn_drop,
                         drop_path, act_layer, norm_layer)
        self.init_values = init_values
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the normalisations' weights to `init_values`, where that is given."""
        if self.init_values is not None:
            for norm in (self.norm1, self.norm2):
                nn.init.constant_(norm.get_parameter('weight'), self.init_values)

    def forward(self, x: Tensor, shared_rel_pos: Tensor | None = None, window: Pair | None = None) -> Tensor:
        x = x + self.drop_path1(self.norm1(self.attn(x, shared_rel_pos, window=window)))
        return x + self.drop_path2(self.norm2(self.mlp(x)))


BLOCKS: dict[str, Callable[..., nn.Module]] = {'RelPosBlock': RelPosBlock, 'ResPostRelPosBlock': ResPostRelPosBlock}

"""Vision Transformer, arXiv:2010.11929: a transformer over the patches of an image."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..layers.act import ActLayer, get_act_layer
from ..layers.attention_pool import AttentionPoolLatent, AttentionPoolPrr
from ..layers.attention_tokens import (Attention, AttentionLayer, DiffAttention, Differential, attend, create_attention,
                                       merge_heads, norms_for)
from ..layers.drop import DropPath
from ..layers.glu import MlpLayer, get_mlp_layer
from ..layers.init import draw_uniform, xavier_uniform
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.scale import LayerScale
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import children_of, drop_path_rates
from ..spec import Feature, unknown
from .tokennet import MaskedTokenNet, TokenNet

__all__ = ['Attention', 'Block', 'DiffAttention', 'DiffParallelScalingBlock', 'LayerScale', 'Mlp', 'ParallelScalingBlock',
           'ParallelThingsBlock', 'PatchEmbed', 'ResPostBlock', 'VisionTransformer']

EmbedLayer = Callable[..., PatchEmbed] | Mapping[str, Any]
INITS = ('', 'skip', 'reset', 'jax', 'jax_nlhb', 'moco')


class VisionTransformer(MaskedTokenNet):
    """Vision Transformer, arXiv:2010.11929: (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        img_size, patch_size: in pixels, a side or (height, width); see `set_input_size`.
        global_pool: 'token', the class token; 'avg', 'max', 'avgmax' or 'catavgmax' over the patches; 'map', attention
            with a learned query; 'prr', attention without parameters; or ''.
        qk_norm, scale_attn_norm: `qk_norm` and `scale_norm` of attention. scale_mlp_norm: normalise an MLP's hidden
            features.
        init_values: initial factor of every residual branch (arXiv:2103.17239); None for none.
        class_token, reg_tokens: whether there is a class token, and how many registers (arXiv:2309.16588).
        pos_embed: 'learn', or 'none' or '' for no positions. no_embed_class: prefix tokens have none.
        pre_norm: normalise before the blocks. final_norm: normalise after them.
        fc_norm: the final normalisation is of what was pooled; by default with 'avg', 'max' and 'avgmax'.
        pool_include_prefix: pool the prefix tokens too.
        dynamic_img_size: take images of any size, with the positions resampled. dynamic_img_pad: pad them to whole
            patches.
        drop_rate: dropout before the classifier. pos_drop_rate: of tokens with positions. patch_drop_rate: of whole
            patches. proj_drop_rate, attn_drop_rate: in the blocks. drop_path_rate: stochastic depth at the last
            block, growing linearly from 0 at the first.
        weight_init: '' or 'reset' as DeiT (arXiv:2012.12877), 'jax' as the original, 'jax_nlhb' with a classifier whose
            bias makes every class unlikely, 'moco' as MoCo v3 (arXiv:2104.02057), 'skip' as each layer draws itself.
        fix_init: divide the last layers of the residual branches by sqrt(2 * number of the block).
        embed_layer, mlp_layer, block_fn, attn_layer, norm_layer, act_layer: classes, but for the first also names.
        embed_norm_layer: normalisation of the embedded patches.
        norm_eps: eps of all these normalisations; by default 1e-6, or what a class that is given has.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    extra_tokens: ClassVar[dict[str, int]] = {}

    def __init__(self, img_size: ImageSize = 224, patch_size: ImageSize = 16, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'token', embed_dim: int = 768, depth: int = 12,
                 num_heads: int = 12, mlp_ratio: float = 4.0, qkv_bias: bool = True, qk_norm: bool = False,
                 scale_attn_norm: bool = False, scale_mlp_norm: bool = False, proj_bias: bool = True,
                 init_values: float | None = None, class_token: bool = True, pos_embed: str = 'learn',
                 no_embed_class: bool = False, reg_tokens: int = 0, pre_norm: bool = False, final_norm: bool = True,
                 fc_norm: bool | None = None, pool_include_prefix: bool = False, dynamic_img_size: bool = False,
                 dynamic_img_pad: bool = False, drop_rate: float = 0.0, pos_drop_rate: float = 0.0,
                 patch_drop_rate: float = 0.0, proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, weight_init: str = '', fix_init: bool = False,
                 embed_layer: EmbedLayer = PatchEmbed, embed_norm_layer: NormLayer | None = None,
                 norm_layer: NormLayer | None = None, act_layer: ActLayer | None = None,
                 block_fn: str | Callable[..., nn.Module] = 'Block', mlp_layer: MlpLayer = Mlp,
                 attn_layer: AttentionLayer = Attention, norm_eps: float | None = None) -> None:
        super().__init__()
        if weight_init not in INITS:
            raise ValueError(unknown('weight_init', weight_init, INITS))
        self.in_chans, self.num_features, self.embed_dim = in_chans, embed_dim, embed_dim
        self.num_reg_tokens, self.weight_init, self.fix_init = reg_tokens, weight_init, fix_init
        self.img_size, self.dynamic_img_size = pair_of(img_size), dynamic_img_size
        norm = Norm(norm_layer or LayerNorm, eps=norm_eps)
        act = get_act_layer(act_layer or nn.GELU)
        layout: dict[str, Any] = dict(strict_img_size=False, output_fmt='NHWC') if dynamic_img_size else {}
        embed_norm = dict(norm_layer=Norm(embed_norm_layer, eps=norm_eps)) if embed_norm_layer else {}
        self.patch_embed = self.make_embed(embed_layer)(
            img_size=self.img_size, patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim, bias=not pre_norm,
            dynamic_img_pad=dynamic_img_pad, **layout, **embed_norm)
        self.build_tokens(embed_dim, {'cls_token': int(class_token), **self.extra_tokens, 'reg_token': reg_tokens},
                          pos_embed, no_embed_class, pos_drop_rate, patch_drop_rate)
        self.norm_pre = norm(embed_dim) if pre_norm else nn.Identity()
        if isinstance(block_fn, str) and block_fn not in BLOCKS:
            raise ValueError(unknown('block_fn', block_fn, BLOCKS))
        block = BLOCKS[block_fn] if isinstance(block_fn, str) else block_fn
        self.blocks = nn.Sequential(*(
            block(dim=embed_dim, num_heads=num_heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, qk_norm=qk_norm,
                  scale_attn_norm=scale_attn_norm, scale_mlp_norm=scale_mlp_norm, proj_bias=proj_bias,
                  init_values=init_values, proj_drop=proj_drop_rate, attn_drop=attn_drop_rate, drop_path=rate,
                  norm_layer=norm, act_layer=act, mlp_layer=get_mlp_layer(mlp_layer), attn_layer=attn_layer, depth=number)
            for number, rate in enumerate(drop_path_rates(drop_path_rate, depth))))
        self.feature_info = [Feature(num_chs=embed_dim, reduction=self.patch_embed.feat_ratio(),
                                     module=f'blocks.{number}', stage=number + 1) for number in range(depth)]
        self.pool_include_prefix, self.norm_after_pool = pool_include_prefix, fc_norm
        self.norm = norm(embed_dim) if final_norm else nn.Identity()
        self.fc_norm = nn.Identity()
        self.attention_pools = {
            'map': partial(AttentionPoolLatent, embed_dim, num_heads=num_heads, mlp_ratio=mlp_ratio, norm_layer=norm,
                           act_layer=act),
            'prr': partial(AttentionPoolPrr, embed_dim, num_heads=num_heads, pool_type='token' if class_token else 'avg')}
        self.build_head(embed_dim, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def make_embed(self, embed_layer: EmbedLayer) -> Callable[..., PatchEmbed]:
        """What makes the layer of patches."""
        if isinstance(embed_layer, Mapping):
            raise TypeError(f'embed_layer is a class; what it says of a backbone, {embed_layer!r}, is for hybrid networks.')
        return embed_layer

    def init_weights(self, mode: str = '') -> None:
        """Draws every parameter anew and resets every buffer, as `mode`, by default the network's `weight_init`, says."""
        init_network(self, mode or self.weight_init, self.fix_init)


def init_network(network: TokenNet, mode: str, fix_init: bool) -> None:
    """Draws every parameter of a network anew, as `weight_init` and `fix_init` of `VisionTransformer` say."""
    network.draw(network)
    for name, layer in network.named_modules():
        draw_layer(layer, name, mode, network.num_classes)
    for block in children_of(network.blocks, ResPostBlock):
        block.init_weights()
    if fix_init:
        divide_branches(network.blocks)


def draw_layer(layer: nn.Module, name: str, mode: str, num_classes: int) -> None:
    """Draws a layer anew as the `weight_init` of `VisionTransformer` says where that is not as DeiT does."""
    if mode == 'skip' and isinstance(layer, nn.Linear):
        layer.reset_parameters()
    if mode == 'moco' and isinstance(layer, nn.Linear):
        outputs = layer.out_features // 3 if name.endswith('qkv') else layer.out_features
        draw_uniform(layer.weight, math.sqrt(6 / (layer.in_features + outputs)))
    if not mode.startswith('jax') or not isinstance(layer, (nn.Linear, nn.Conv2d)):
        return
    if name == 'head':
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, -math.log(num_classes) if mode == 'jax_nlhb' else 0.0)
        return
    if isinstance(layer, nn.Conv2d):
        std = layer.weight[0].numel() ** -0.5 / 0.8796                  # 0.8796 of it is left between two deviations
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    else:
        xavier_uniform(layer)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, std=1e-6) if 'mlp' in name else nn.init.zeros_(layer.bias)


def divide_branches(blocks: nn.Sequential) -> None:
    """Divides the last layers of the residual branches by sqrt(2 * number of the block), as BEiT (arXiv:2106.08254,
    section 2.5) does."""
    for number, block in enumerate(blocks, 1):
        for name, layer in block.named_modules():
            last = name.endswith(('attn.proj', 'mlp.fc2', 'out_proj')) and 'rel_pos' not in name
            if isinstance(layer, nn.Linear) and last:
                layer.weight.data.div_(math.sqrt(2 * number))


# --- blocks


class Block(nn.Module):
    """Attention and an MLP, each a residual branch after a normalisation (arXiv:2010.11929, equations 2 and 3): tokens
    (B, N, dim) -> (B, N, dim).

    Args:
        qk_norm, scale_attn_norm, scale_mlp_norm, init_values, proj_drop, attn_drop: see `VisionTransformer`.
        drop_path: stochastic depth of both branches.
        norm_layer: makes normalisations. act_layer: a class. attn_layer: a class, or 'attn' or 'diff'.
        depth: number of the block, which differential attention asks for.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, qk_norm: bool = False,
                 scale_attn_norm: bool = False, scale_mlp_norm: bool = False, proj_bias: bool = True,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, init_values: float | None = None,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = LayerNorm,
                 mlp_layer: MlpLayer = Mlp, attn_layer: AttentionLayer = Attention, depth: int = 0) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = create_attention(attn_layer, dim, depth, num_heads=num_heads, qkv_bias=qkv_bias, qk_norm=qk_norm,
                                     scale_norm=scale_attn_norm, proj_bias=proj_bias, attn_drop=attn_drop,
                                     proj_drop=proj_drop, norm_layer=norm_layer)
        self.ls1 = layer_scale(dim, init_values)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = get_mlp_layer(mlp_layer)(dim, int(dim * mlp_ratio), act_layer=act_layer, bias=proj_bias, drop=proj_drop,
                                            norm_layer=norm_layer if scale_mlp_norm else None)
        self.ls2 = layer_scale(dim, init_values)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class ResPostBlock(Block):
    """`Block` with the normalisations at the end of the residual branches, as in Swin V2 (arXiv:2111.09883, section 3.2).

    `init_values` is the normalisations' initial weight, in place of a layer scale.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, qk_norm: bool = False,
                 scale_attn_norm: bool = False, scale_mlp_norm: bool = False, proj_bias: bool = True,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, init_values: float | None = None,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = LayerNorm,
                 mlp_layer: MlpLayer = Mlp, attn_layer: AttentionLayer = Attention, depth: int = 0) -> None:
        super().__init__(dim, num_heads, mlp_ratio, qkv_bias, qk_norm, scale_attn_norm, scale_mlp_norm, proj_bias,
                         proj_drop, attn_drop, None, drop_path, act_layer, norm_layer, mlp_layer, attn_layer, depth)
        self.init_values = init_values
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the normalisations' weights to `init_values`, where that is given."""
        if self.init_values is not None:
            for norm in (self.norm1, self.norm2):
                nn.init.constant_(norm.get_parameter('weight'), self.init_values)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = x + self.drop_path1(self.norm1(self.attn(x, attn_mask=attn_mask, is_causal=is_causal)))
        return x + self.drop_path2(self.norm2(self.mlp(x)))


class ParallelThingsBlock(nn.Module):
    """Several attentions side by side, then several MLPs (arXiv:2203.09795, section 3): tokens (B, N, dim) -> (B, N, dim).

    Args:
        num_parallel: how many of each; all others as of `Block`.
    """

    def __init__(self, dim: int, num_heads: int, num_parallel: int = 2, mlp_ratio: float = 4.0, qkv_bias: bool = False,
                 qk_norm: bool = False, scale_attn_norm: bool = False, scale_mlp_norm: bool = False,
                 proj_bias: bool = True, init_values: float | None = None, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float = 0.0, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = LayerNorm, mlp_layer: MlpLayer = Mlp,
                 attn_layer: AttentionLayer = Attention, depth: int = 0) -> None:
        super().__init__()
        self.attns, self.ffns = nn.ModuleList(), nn.ModuleList()
        for _ in range(num_parallel):
            block = Block(dim, num_heads, mlp_ratio, qkv_bias, qk_norm, scale_attn_norm, scale_mlp_norm, proj_bias,
                          proj_drop, attn_drop, init_values, drop_path, act_layer, norm_layer, mlp_layer, attn_layer,
                          depth)
            attention, mlp = nn.Sequential(), nn.Sequential()
            attention.norm, attention.attn, attention.ls, attention.drop_path = (
                block.norm1, block.attn, block.ls1, block.drop_path1)
            mlp.norm, mlp.mlp, mlp.ls, mlp.drop_path = block.norm2, block.mlp, block.ls2, block.drop_path2
            self.attns.append(attention)
            self.ffns.append(mlp)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = x + sum(drop_path(ls(attn(norm(x), attn_mask=attn_mask, is_causal=is_causal)))
                    for norm, attn, ls, drop_path in (branch.children() for branch in self.attns))
        return x + sum(branch(x) for branch in self.ffns)


class ParallelScalingBlock(nn.Module):
    """Attention and an MLP side by side, on one normalisation and one linear layer (ViT-22B, arXiv:2302.05442, section
    2): tokens (B, N, dim) -> (B, N, dim).

    Args:
        fuse_out_proj: one linear layer at the end too; all others as of `Block`.

    Raises:
        ValueError: widths that heads do not divide, or a layer or normalisation that a block of this kind has no place for.
    """

    halves = 1                                                  # of each head's queries and keys

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, qk_norm: bool = False,
                 scale_attn_norm: bool = False, scale_mlp_norm: bool = False, proj_bias: bool = True,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, init_values: float | None = None,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = LayerNorm,
                 mlp_layer: MlpLayer | None = None, attn_layer: AttentionLayer | None = None, depth: int = 0,
                 fuse_out_proj: bool = False) -> None:
        super().__init__()
        if dim % (num_heads * self.halves):
            raise ValueError(f'Attention of width {dim}: {num_heads} heads do not divide it.')
        if scale_attn_norm or scale_mlp_norm:
            raise ValueError(f'{type(self).__name__} has no place for scale_attn_norm and scale_mlp_norm.')
        if mlp_layer not in (None, 'mlp', Mlp) or attn_layer not in (None, '', 'attn', Attention):
            raise ValueError(f'{type(self).__name__} has its own attention and MLP: no attn_layer and mlp_layer.')
        inner_norm, _ = norms_for(qk_norm, False, norm_layer)
        hidden = int(mlp_ratio * dim)
        self.num_heads, self.head_dim = num_heads, dim // num_heads // self.halves
        self.scale, self.fused_attn = self.head_dim ** -0.5, True
        self.in_split = [hidden, dim, dim, dim]
        self.in_norm = norm_layer(dim)
        self.in_proj = nn.Linear(dim, sum(self.in_split), bias=qkv_bias)
        self.mlp_bias = None if qkv_bias else nn.Parameter(torch.zeros(hidden))
        self.q_norm, self.k_norm = inner_norm(self.head_dim), inner_norm(self.head_dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.mlp_drop = nn.Dropout(proj_drop)
        self.mlp_act = get_act_layer(act_layer)()
        if fuse_out_proj:
            self.out_proj = nn.Linear(dim + hidden, dim, bias=proj_bias)
        else:
            self.attn_out_proj = nn.Linear(dim, dim, bias=proj_bias)
            self.mlp_out_proj = nn.Linear(hidden, dim, bias=proj_bias)
        self.fuse_out_proj = fuse_out_proj
        self.ls = layer_scale(dim, init_values)
        self.drop_path = DropPath(drop_path)

    def reset_parameters(self) -> None:
        """No bias where the linear layer has none."""
        if self.mlp_bias is not None:
            nn.init.zeros_(self.mlp_bias)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor:
        """Queries, keys and values (B, N, dim) -> (B, N, dim)."""
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        mixed = attend(self.q_norm(q), self.k_norm(k), v, attn_mask, is_causal,
                       self.attn_drop.p if self.training else 0.0, self.fused_attn)
        return merge_heads(mixed)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        hidden, q, k, v = self.in_proj(self.in_norm(x)).split(self.in_split, dim=-1)
        mixed = self.attention(q, k, v, attn_mask, is_causal)
        hidden = self.mlp_drop(self.mlp_act(hidden if self.mlp_bias is None else hidden + self.mlp_bias))
        if self.fuse_out_proj:
            out = self.out_proj(torch.cat([mixed, hidden], dim=-1))
        else:
            out = self.attn_out_proj(mixed) + self.mlp_out_proj(hidden)
        return x + self.drop_path(self.ls(out))


class DiffParallelScalingBlock(ParallelScalingBlock, Differential):
    """`ParallelScalingBlock` with differential attention (arXiv:2410.05258) and one linear layer at the end.

    Args:
        depth, dual_lambda: see `zoo.layers.attention_tokens.Differential`.
    """

    halves = 2

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, qk_norm: bool = False,
                 scale_attn_norm: bool = False, scale_mlp_norm: bool = False, proj_bias: bool = True,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, init_values: float | None = None,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = LayerNorm,
                 mlp_layer: MlpLayer | None = None, attn_layer: AttentionLayer | None = None, depth: int = 0,
                 dual_lambda: bool = False) -> None:
        super().__init__(dim, num_heads, mlp_ratio, qkv_bias, qk_norm, scale_attn_norm, scale_mlp_norm, proj_bias,
                         proj_drop, attn_drop, init_values, drop_path, act_layer, norm_layer, mlp_layer, attn_layer,
                         depth, fuse_out_proj=True)
        self.build_difference(depth, dual_lambda)

    def reset_parameters(self) -> None:
        """No bias where the linear layer has none, and lambda near its initial value."""
        super().reset_parameters()
        Differential.reset_parameters(self)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor:
        """Queries, keys and values (B, N, dim) -> (B, N, dim)."""
        q, k = (part.unflatten(-1, (2 * self.num_heads, -1)).transpose(1, 2) for part in (q, k))
        v = v.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return self.difference(self.q_norm(q), self.k_norm(k), v, attn_mask, is_causal)


BLOCKS: dict[str, Callable[..., nn.Module]] = {
    'Block': Block, 'ResPostBlock': ResPostBlock, 'ParallelThingsBlock': ParallelThingsBlock,
    'ParallelScalingBlock': ParallelScalingBlock, 'DiffParallelScalingBlock': DiffParallelScalingBlock}


def layer_scale(dim: int, init_values: float | None) -> nn.Module:
    """A layer scale that begins with `init_values`; none for None."""
    return nn.Identity() if init_values is None else LayerScale(dim, init_values)

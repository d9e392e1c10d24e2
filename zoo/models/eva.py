"""EVA, arXiv:2211.07636, EVA-02, arXiv:2303.11331, and the vision transformers that rotate queries and keys as it does:

    image -> patch_embed -> prefix tokens before them -> blocks.0 -> … -> norm, pooling or the reverse -> head
                                                           ^ rope: a rotary embedding of the patches, for every block

Perception Encoder (arXiv:2504.13181), RoPE-ViT (arXiv:2403.13298), DINOv3 (arXiv:2508.10104) and Sapiens 2
(arXiv:2604.21681) differ in the embedding, in where there are normalisations and in the MLP.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import Logits
from ..layers.act import ActLayer
from ..layers.attention_pool import AttentionPoolLatent
from ..layers.attention_rope import AttentionRope, EvaAttention
from ..layers.drop import DropPath
from ..layers.glu import GluMlp, SwiGLU
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.pool import FAST
from ..layers.rotary import Joined, create_rope_embed
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import drop_path_rates
from ..layers.tokens import TokenPool
from ..spec import Feature, Pair, Sizes, unknown
from .tokennet import PREFIX, MaskedTokenNet

__all__ = ['Eva', 'EvaAttention', 'EvaBlock', 'EvaBlockPostNorm']

POOLINGS = ('', 'avg', 'avgmax', 'max', 'map', 'token')


class Eva(MaskedTokenNet):
    """Vision transformer with rotary embedding, arXiv:2303.11331: (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        img_size, patch_size: in pixels, a side or (height, width); see `set_input_size`.
        global_pool: 'token', the class token; 'avg', 'max' or 'avgmax' over the patches; 'map', attention of a learned
            query to all tokens; or ''.
        num_kv_heads: heads of keys and values, one number or one a block; by default as many as of queries.
        qkv_fused: one linear layer for queries, keys and values. qk_norm, scale_attn_inner: `qk_norm` and `scale_norm`
            of attention.
        swiglu_mlp: gated MLPs (arXiv:2002.05202), of which `mlp_ratio` is the width of one half. swiglu_align_to: make
            that a multiple of it; 0 leaves it. scale_mlp: normalise their hidden features.
        attn_type: 'eva', whose keys have no bias, or 'rope'.
        init_values: initial factor of every residual branch, or with `attn_only_layer_scale` of attention's; None for
            none.
        class_token, num_reg_tokens: whether there is a class token, and how many registers (arXiv:2309.16588).
        use_abs_pos_emb: learned positions, added to the tokens; with `no_embed_class` of patches alone.
        use_rot_pos_emb: a rotary embedding of the kind `rope_type`: 'cat', 'mixed', 'dinov3' or 'mrope'; the options of
            `zoo.layers.rotary` are `rope_grid_offset` and so on, and `ref_feat_shape`.
        use_post_norm: normalise what comes out of the residual branches, not what goes in.
        use_pre_transformer_norm, use_post_transformer_norm: normalise before the blocks, and after them. use_fc_norm:
            normalise what was pooled; by default with 'avg', and after the blocks otherwise.
        attn_pool_num_heads, attn_pool_mlp_ratio: of the pooling 'map', by default those of the blocks.
        dynamic_img_size: take images of any size. dynamic_img_pad: pad them to whole patches.
        head_init_scale: factor of the initial weights of the classifier.
        drop_rate, pos_drop_rate, patch_drop_rate, proj_drop_rate, attn_drop_rate, drop_path_rate, norm_layer,
            norm_eps: as of `zoo.models.vision_transformer.VisionTransformer`.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = replace(MaskedTokenNet.parts, stem=('patch_embed', *PREFIX, 'pos_embed', 'rope', 'norm_pre'))

    def __init__(self, img_size: ImageSize = 224, patch_size: ImageSize = 16, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', embed_dim: int = 768, depth: int = 12,
                 num_heads: int = 12, num_kv_heads: int | Sequence[int] | None = None, qkv_bias: bool = True,
                 qkv_fused: bool = True, qk_norm: bool = False, mlp_ratio: float = 4.0, swiglu_mlp: bool = False,
                 swiglu_align_to: int = 0, scale_mlp: bool = False, scale_attn_inner: bool = False,
                 attn_type: str = 'eva', drop_rate: float = 0.0, pos_drop_rate: float = 0.0,
                 patch_drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0, norm_layer: NormLayer = LayerNorm,
                 init_values: float | None = None, attn_only_layer_scale: bool = False, class_token: bool = True,
                 num_reg_tokens: int = 0, no_embed_class: bool = False, use_abs_pos_emb: bool = True,
                 use_rot_pos_emb: bool = False, rope_type: str | None = 'cat', rope_grid_offset: float = 0.0,
                 rope_grid_indexing: str = 'ij', rope_temperature: float = 10000.0, rope_rotate_half: bool = False,
                 rope_shift_coords: float | None = None, rope_jitter_coords: float | None = None,
                 rope_rescale_coords: float | None = None, rope_mrope_section: Sequence[int] | None = None,
                 use_post_norm: bool = False, use_pre_transformer_norm: bool = False,
                 use_post_transformer_norm: bool | None = None, use_fc_norm: bool | None = None,
                 attn_pool_num_heads: int | None = None, attn_pool_mlp_ratio: float | None = None,
                 dynamic_img_size: bool = False, dynamic_img_pad: bool = False, ref_feat_shape: ImageSize | None = None,
                 head_init_scale: float = 0.001, norm_eps: float | None = None) -> None:
        super().__init__()
        self.in_chans, self.num_features, self.embed_dim = in_chans, embed_dim, embed_dim
        self.num_reg_tokens, self.has_class_token, self.head_init_scale = num_reg_tokens, class_token, head_init_scale
        self.img_size, self.dynamic_img_size = pair_of(img_size), dynamic_img_size
        self.norm_before_pool, self.norm_after_pool = use_post_transformer_norm, use_fc_norm
        self.pool_include_prefix = False
        norm = partial(Norm(norm_layer, eps=norm_eps), embed_dim)
        layout: dict[str, Any] = dict(strict_img_size=False, output_fmt='NHWC') if dynamic_img_size else {}
        self.patch_embed = PatchEmbed(self.img_size, patch_size, in_chans, embed_dim, dynamic_img_pad=dynamic_img_pad,
                                      bias=not use_pre_transformer_norm, **layout)
        self.build_tokens(embed_dim, {'cls_token': int(class_token), 'reg_token': num_reg_tokens},
                          'learn' if use_abs_pos_emb else 'none', no_embed_class, pos_drop_rate, patch_drop_rate)
        self.rope = None
        if use_rot_pos_emb:
            self.rope = make_rope(
                rope_type or 'cat', embed_dim, num_heads, depth, self.patch_grid, rope_grid_offset, ref_feat_shape,
                rope_mrope_section, dict(
                    temperature=rope_temperature, grid_indexing=rope_grid_indexing, rotate_half=rope_rotate_half,
                    shift_coords=rope_shift_coords, jitter_coords=rope_jitter_coords,
                    rescale_coords=rope_rescale_coords))
        self.norm_pre = norm() if use_pre_transformer_norm else nn.Identity()
        kv_heads = [num_kv_heads] * depth if num_kv_heads is None or isinstance(num_kv_heads, int) else [*num_kv_heads]
        if len(kv_heads) != depth:
            raise ValueError(f'num_kv_heads is one number, or one for each of {depth} blocks, not {len(kv_heads)}.')
        self.blocks = nn.Sequential(*(
            (EvaBlockPostNorm if use_post_norm else EvaBlock)(
                dim=embed_dim, num_heads=num_heads, qkv_bias=qkv_bias, qkv_fused=qkv_fused, mlp_ratio=mlp_ratio,
                swiglu_mlp=swiglu_mlp, swiglu_align_to=swiglu_align_to, scale_mlp=scale_mlp,
                scale_attn_inner=scale_attn_inner, num_prefix_tokens=self.num_prefix_tokens, attn_type=attn_type,
                rotate_half=rope_rotate_half, qk_norm=qk_norm, num_kv_heads=heads, proj_drop=proj_drop_rate,
                attn_drop=attn_drop_rate, drop_path=rate, init_values=init_values,
                attn_only_layer_scale=attn_only_layer_scale, norm_layer=norm.func)
            for heads, rate in zip(kv_heads, drop_path_rates(drop_path_rate, depth))))
        self.feature_info = [Feature(num_chs=embed_dim, reduction=self.patch_embed.feat_ratio(),
                                     module=f'blocks.{number}', stage=number + 1) for number in range(depth)]
        self._norm: Callable[[], nn.Module] = norm
        self.norm, self.fc_norm = nn.Identity(), nn.Identity()
        self._attn_pool = partial(AttentionPoolLatent, embed_dim, num_heads=attn_pool_num_heads or num_heads,
                                  mlp_ratio=attn_pool_mlp_ratio or mlp_ratio, norm_layer=norm.func)
        self.build_head(embed_dim, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self) -> None:
        """Draws every parameter anew; the last layer of a residual branch is divided by the root of twice the number of
        its block (BEiT, arXiv:2106.08254), and the classifier is small."""
        self.draw(self)
        for number, block in enumerate(self.blocks, 1):
            for name, layer in block.named_modules():
                if isinstance(layer, nn.Linear) and name in ('attn.proj', 'mlp.fc2'):
                    layer.weight.data.div_(math.sqrt(2 * number))
        self.init_head()

    # --- sizes

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        super().fit_to(sizes)
        if self.rope is not None:
            self.rope.update_feat_shape(self.patch_grid)

    # --- the head

    @property
    def pools(self) -> tuple[str, ...]:
        """Those of `POOLINGS` that go with its class token."""
        return tuple(kind for kind in POOLINGS if kind != 'token' or self.has_class_token)

    def reset_pool(self, global_pool: str) -> None:
        kind = FAST.get(global_pool, global_pool)
        if kind == 'token' and not self.has_class_token:
            raise ValueError("global_pool='token' pools the class token, and this network has none "
                             "(class_token=False): 'avg' pools the patches.")
        if kind not in self.pools:
            raise ValueError(unknown('global_pool', global_pool, self.pools))
        self.pooling = TokenPool(kind, self.num_prefix_tokens, include_prefix=kind == 'map')
        after = kind == 'avg' if self.norm_after_pool is None else self.norm_after_pool
        before = not after if self.norm_before_pool is None else self.norm_before_pool
        there = [layer for layer in (self.norm, self.fc_norm) if any(True for _ in layer.parameters())]
        there += [self.settled(self._norm()) for _ in range(before + after - len(there))]
        self.norm = there.pop(0) if before else nn.Identity()
        self.fc_norm = there.pop(0) if after else nn.Identity()
        if kind != 'map':
            self.attn_pool = None
        elif self.attn_pool is None:
            self.attn_pool = self.settled(self._attn_pool())
            self.draw(self.attn_pool)

    def drop_head(self) -> None:
        """Removes pooling and all that follows it; no normalisation comes back in its place."""
        self._norm = nn.Identity
        super().drop_head()

    def init_head(self) -> None:
        """Draws the classifier anew, times `head_init_scale`."""
        super().init_head()
        if isinstance(self.head, nn.Linear):
            self.head.weight.data.mul_(self.head_init_scale)


def make_rope(kind: str, dim: int, num_heads: int, depth: int, grid: Pair | None, offset: float,
              reference: ImageSize | None, sections: Sequence[int] | None, options: dict[str, Any]) -> Joined:
    """A rotary embedding of one kind for a network of so many features, heads and blocks.

    Args:
        grid: rows and columns of patches that it is for where nothing else is said.
        offset, reference, sections: `rope_grid_offset`, `ref_feat_shape` and `rope_mrope_section` of `Eva`.
        options: those of the embedding which every kind has.

    Raises:
        ValueError: another kind, or an option that this one does not have.
    """
    own = {'cat': ('rope_grid_offset', 'ref_feat_shape'), 'dinov3': ('rope_grid_offset',), 'mixed': (),
           'mrope': ('rope_mrope_section',)}
    if kind not in own:
        raise ValueError(unknown('rope_type', kind, own))
    given = {'rope_grid_offset': offset or None, 'ref_feat_shape': reference, 'rope_mrope_section': sections}
    surplus = [name for name, value in given.items() if value is not None and name not in own[kind]]
    if surplus:
        raise ValueError(f'rope_type={kind!r} has no {" and no ".join(surplus)}.')
    if kind != 'mrope':
        options['feat_shape'] = grid
    elif sections is not None:
        options['mrope_section'] = sections
    if kind in ('cat', 'dinov3'):
        options['grid_offset'] = offset
    if kind == 'cat':
        options['in_pixels'] = False
        options['ref_feat_shape'] = None if reference is None else pair_of(reference, 'ref_feat_shape')
    if kind == 'mixed':
        options['depth'] = depth
    rope: Joined = create_rope_embed(kind, dim, num_heads, **options)
    return rope


# --- blocks


class EvaBlock(nn.Module):
    """Attention and an MLP, each a residual branch after a normalisation (arXiv:2303.11331, section 2.1): tokens
    (B, N, dim) -> (B, N, dim).

    Args:
        attn_type: 'eva' for `EvaAttention`, 'rope' for `AttentionRope`, which alone has `num_kv_heads`.
        gated_attn: `gated` of attention. attn_head_dim, rotate_half, num_prefix_tokens: see `AttentionRope`.
        drop_path: stochastic depth of both branches.
        norm_layer: makes normalisations. act_layer: of an MLP that is not gated.
        qkv_fused, swiglu_mlp, swiglu_align_to, scale_mlp, scale_attn_inner, init_values, attn_only_layer_scale: see
            `Eva`.

    Raises:
        ValueError: another `attn_type`, or grouped queries with 'eva'.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True, qkv_fused: bool = True, mlp_ratio: float = 4.0,
                 swiglu_mlp: bool = False, swiglu_align_to: int = 0, scale_mlp: bool = False,
                 scale_attn_inner: bool = False, num_prefix_tokens: int = 1, attn_type: str = 'eva',
                 rotate_half: bool = False, gated_attn: bool = False, qk_norm: bool = False,
                 num_kv_heads: int | None = None, proj_drop: float = 0.0, attn_drop: float = 0.0,
                 drop_path: float = 0.0, init_values: float | None = None, attn_only_layer_scale: bool = False,
                 act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = LayerNorm,
                 attn_head_dim: int | None = None) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = make_attention(
            attn_type, num_kv_heads, dim=dim, num_heads=num_heads, qkv_bias=qkv_bias, qkv_fused=qkv_fused,
            num_prefix_tokens=num_prefix_tokens, attn_drop=attn_drop, proj_drop=proj_drop, attn_head_dim=attn_head_dim,
            norm_layer=norm_layer, qk_norm=qk_norm, scale_norm=scale_attn_inner, rotate_half=rotate_half,
            gated=gated_attn)
        self.init_values = init_values
        scaled = init_values is not None
        self.gamma_1 = nn.Parameter(torch.empty(dim)) if scaled else None
        self.gamma_2 = nn.Parameter(torch.empty(dim)) if scaled and not attn_only_layer_scale else None
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = make_mlp(dim, int(dim * mlp_ratio), swiglu_mlp, swiglu_align_to, norm_layer if scale_mlp else None,
                            act_layer, proj_drop)
        self.drop_path2 = DropPath(drop_path)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The factors of the residual branches at `init_values`."""
        for gamma in (self.gamma_1, self.gamma_2):
            if gamma is not None and self.init_values is not None:
                nn.init.constant_(gamma, self.init_values)

    def forward(self, x: Tensor, rope: Tensor | None = None, attn_mask: Tensor | None = None,
                is_causal: bool = False) -> Tensor:
        """Tokens (B, N, dim) -> (B, N, dim); see `AttentionRope.forward`."""
        branch = self.attn(self.norm1(x), rope=rope, attn_mask=attn_mask, is_causal=is_causal)
        x = x + self.drop_path1(branch if self.gamma_1 is None else branch * self.gamma_1)
        branch = self.mlp(self.norm2(x))
        return x + self.drop_path2(branch if self.gamma_2 is None else branch * self.gamma_2)


class EvaBlockPostNorm(nn.Module):
    """`EvaBlock` with the normalisations at the end of the residual branches, which have no factors: the largest of
    EVA-CLIP (arXiv:2303.15389).

    Raises:
        ValueError: factors of the branches, normalised queries and keys or grouped queries, which it does not have.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True, qkv_fused: bool = True, mlp_ratio: float = 4.0,
                 attn_type: str = 'eva', rotate_half: bool = False, gated_attn: bool = False, swiglu_mlp: bool = False,
                 swiglu_align_to: int = 0, scale_mlp: bool = False, scale_attn_inner: bool = False,
                 num_prefix_tokens: int = 1, proj_drop: float = 0.0, attn_drop: float = 0.0, drop_path: float = 0.0,
                 init_values: float | None = None, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = nn.LayerNorm,
                 attn_head_dim: int | None = None, qk_norm: bool = False, num_kv_heads: int | None = None,
                 attn_only_layer_scale: bool = False) -> None:
        super().__init__()
        given = dict(init_values=init_values, qk_norm=qk_norm or None, num_kv_heads=num_kv_heads,
                     attn_only_layer_scale=attn_only_layer_scale or None)
        surplus = [name for name, value in given.items() if value is not None]
        if surplus:
            raise ValueError('A block that normalises what comes out of its branches (use_post_norm) has no '
                             f'{" and no ".join(surplus)}.')
        self.attn = make_attention(
            attn_type, None, dim=dim, num_heads=num_heads, qkv_bias=qkv_bias, qkv_fused=qkv_fused,
            num_prefix_tokens=num_prefix_tokens, attn_drop=attn_drop, proj_drop=proj_drop, attn_head_dim=attn_head_dim,
            norm_layer=norm_layer, scale_norm=scale_attn_inner, rotate_half=rotate_half, gated=gated_attn)
        self.norm1 = norm_layer(dim)
        self.drop_path1 = DropPath(drop_path)
        self.mlp = make_mlp(dim, int(dim * mlp_ratio), swiglu_mlp, swiglu_align_to, norm_layer if scale_mlp else None,
                            act_layer, proj_drop)
        self.norm2 = norm_layer(dim)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, rope: Tensor | None = None, attn_mask: Tensor | None = None,
                is_causal: bool = False) -> Tensor:
        """Tokens (B, N, dim) -> (B, N, dim); see `AttentionRope.forward`."""
        x = x + self.drop_path1(self.norm1(self.attn(x, rope=rope, attn_mask=attn_mask, is_causal=is_causal)))
        return x + self.drop_path2(self.norm2(self.mlp(x)))


ATTENTIONS: dict[str, type[AttentionRope]] = {'eva': EvaAttention, 'rope': AttentionRope}


def make_attention(attn_type: str, num_kv_heads: int | None, **options: Any) -> AttentionRope:
    """A layer of attention by its name.

    Raises:
        ValueError: another name, or grouped queries with 'eva'.
    """
    if attn_type not in ATTENTIONS:
        raise ValueError(unknown('attn_type', attn_type, ATTENTIONS))
    if attn_type == 'rope':
        return AttentionRope(**options, num_kv_heads=num_kv_heads)
    if num_kv_heads is not None:
        raise ValueError("num_kv_heads, grouped queries, go with attn_type='rope'.")
    return EvaAttention(**options)


def make_mlp(dim: int, hidden: int, gated: bool, align_to: int, norm_layer: MakeNorm | None, act_layer: ActLayer,
             drop: float) -> nn.Module:
    """An MLP, or a gated one: with a layer for each half where these are normalised or a multiple of `align_to`, as
    EVA-02 and DINOv3 have them, else with both in one."""
    if not gated:
        return Mlp(dim, hidden, act_layer=act_layer, norm_layer=norm_layer, drop=drop)
    if norm_layer or align_to:
        return SwiGLU(dim, hidden, norm_layer=norm_layer, drop=drop, align_to=align_to)
    return GluMlp(dim, 2 * hidden, act_layer=nn.SiLU, gate_last=False, drop=drop)

"""BEiT, arXiv:2106.08254, and BEiT v2, arXiv:2208.06366: vision transformers trained to tell which visual word a hidden
patch is.

    image -> patch_embed (16x16 patches) -> class token before them -> blocks.0 -> … -> pool -> fc_norm -> head
    block: norm -> attention, with a bias for each relative position -> added -> norm -> MLP -> added
"""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.act import ActLayer
from ..layers.attention_tokens import attend, masked, merge_heads
from ..layers.drop import DropPath
from ..layers.glu import SwiGLU
from ..layers.init import draw_normal
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.relative import RelPosTable, relative_position_index
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import drop_path_rates
from ..spec import Feature, Pair
from .relposnet import RelPosNet
from .vision_transformer import divide_branches


class Beit(RelPosNet):
    """BEiT, arXiv:2106.08254: (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        img_size, patch_size: in pixels, a side or (height, width); see `set_input_size`.
        global_pool: 'avg', 'max', 'avgmax' or 'catavgmax' over the patches, 'token', the class token, or ''.
        qkv_bias: biases of queries and values; keys have none.
        swiglu_mlp: gated MLPs. scale_mlp: normalise their hidden features.
        drop_rate: dropout before the classifier. pos_drop_rate: of tokens with positions. proj_drop_rate,
            attn_drop_rate: in the blocks. drop_path_rate: stochastic depth at the last block, growing linearly from 0
            at the first.
        init_values: initial factor of every residual branch (arXiv:2103.17239); None for none.
        use_abs_pos_emb: learned positions of the tokens. use_rel_pos_bias: biases by relative position, of each block.
            use_shared_rel_pos_bias: biases by relative position that all blocks share.
        head_init_scale: factor of a new classifier's weights.
        use_fc_norm: the final normalisation is of what was pooled; by default with 'avg', 'max' and 'avgmax'.
        norm_eps: eps of the normalisations; by default 1e-6, or what a class that is given has.
        dynamic_img_size: take images of any size, with positions resampled. dynamic_img_pad: pad them to whole patches.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = replace(RelPosNet.parts, stem=(*RelPosNet.parts.stem, 'rel_pos_bias'))

    def __init__(self, img_size: ImageSize = 224, patch_size: ImageSize = 16, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', embed_dim: int = 768, depth: int = 12,
                 num_heads: int = 12, qkv_bias: bool = True, mlp_ratio: float = 4.0, swiglu_mlp: bool = False,
                 scale_mlp: bool = False, drop_rate: float = 0.0, pos_drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 norm_layer: NormLayer = LayerNorm, init_values: float | None = None, use_abs_pos_emb: bool = True,
                 use_rel_pos_bias: bool = False, use_shared_rel_pos_bias: bool = False, head_init_scale: float = 0.001,
                 use_fc_norm: bool | None = None, norm_eps: float | None = None, dynamic_img_size: bool = False,
                 dynamic_img_pad: bool = False) -> None:
        super().__init__()
        self.in_chans, self.num_features, self.embed_dim = in_chans, embed_dim, embed_dim
        self.img_size, self.dynamic_img_size = pair_of(img_size), dynamic_img_size
        self.head_init_scale = head_init_scale
        norm = Norm(norm_layer, eps=norm_eps)
        layout: dict[str, Any] = dict(strict_img_size=False, output_fmt='NHWC') if dynamic_img_size else {}
        self.patch_embed = PatchEmbed(self.img_size, patch_size, in_chans, embed_dim, dynamic_img_pad=dynamic_img_pad,
                                      **layout)
        self.build_tokens(embed_dim, {'cls_token': 1}, 'learn' if use_abs_pos_emb else '', no_embed_class=False,
                          pos_drop_rate=pos_drop_rate, patch_drop_rate=0.0)
        self.norm_pre = nn.Identity()
        self.rel_pos_bias = RelativePositionBias(self.patch_grid, num_heads) if use_shared_rel_pos_bias else None
        self.blocks = nn.Sequential(*(
            Block(embed_dim, num_heads, qkv_bias, mlp_ratio, scale_mlp, swiglu_mlp, proj_drop_rate, attn_drop_rate,
                  rate, init_values, norm_layer=norm, window_size=self.patch_grid if use_rel_pos_bias else None)
            for rate in drop_path_rates(drop_path_rate, depth)))
        self.feature_info = [Feature(num_chs=embed_dim, reduction=self.patch_embed.feat_ratio(),
                                     module=f'blocks.{number}', stage=number + 1) for number in range(depth)]
        self.norm_after_pool = use_fc_norm
        self.norm, self.fc_norm = norm(embed_dim), nn.Identity()
        self.build_head(embed_dim, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def reset_parameters(self) -> None:
        """Draws the class token and positions."""
        super().reset_parameters()
        draw_normal(self.get_parameter('cls_token'), 0.02)

    def init_weights(self) -> None:
        super().init_weights()
        divide_branches(self.blocks)
        self.init_head()

    def init_head(self) -> None:
        """Draws the classifier anew, times `head_init_scale`."""
        super().init_head()
        if isinstance(self.head, nn.Linear):
            with torch.no_grad():
                self.head.weight.mul_(self.head_init_scale)

    def shared_bias(self, window: Pair | None) -> Tensor | None:
        """See `RelPosNet.shared_bias`."""
        return None if self.rel_pos_bias is None else self.rel_pos_bias.bias(window)


class Block(nn.Module):
    """Attention and an MLP, each a residual branch after a normalisation: tokens (B, N, dim) -> (B, N, dim).

    Args:
        scale_mlp, swiglu_mlp, init_values, proj_drop, attn_drop: see `Beit`.
        drop_path: stochastic depth of both branches.
        window_size, attn_head_dim: see `Attention`.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = False, mlp_ratio: float = 4.0,
                 scale_mlp: bool = False, swiglu_mlp: bool = False, proj_drop: float = 0.0, attn_drop: float = 0.0,
                 drop_path: float = 0.0, init_values: float | None = None, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = LayerNorm, window_size: ImageSize | None = None,
                 attn_head_dim: int | None = None) -> None:
        super().__init__()
        self.init_values = init_values
        self.norm1 = norm_layer(dim)
        self.attn = Attention(dim, num_heads, qkv_bias, attn_drop=attn_drop, proj_drop=proj_drop,
                              window_size=window_size, attn_head_dim=attn_head_dim)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        hidden, inner_norm = int(dim * mlp_ratio), norm_layer if scale_mlp else None
        self.mlp: nn.Module = SwiGLU(dim, hidden, norm_layer=inner_norm, drop=proj_drop) if swiglu_mlp else \
            Mlp(dim, hidden, act_layer=act_layer, norm_layer=inner_norm, drop=proj_drop)
        self.drop_path2 = DropPath(drop_path)
        self.gamma_1 = None if init_values is None else nn.Parameter(torch.empty(dim))
        self.gamma_2 = None if init_values is None else nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every factor at its initial value."""
        for gamma in (self.gamma_1, self.gamma_2):
            if gamma is not None and self.init_values is not None:
                nn.init.constant_(gamma, self.init_values)

    def forward(self, x: Tensor, shared_rel_pos_bias: Tensor | None = None, window: Pair | None = None) -> Tensor:
        x = x + self.drop_path1(scaled(self.attn(self.norm1(x), shared_rel_pos_bias, window), self.gamma_1))
        return x + self.drop_path2(scaled(self.mlp(self.norm2(x)), self.gamma_2))


def scaled(x: Tensor, factor: Tensor | None) -> Tensor:
    """Tokens (B, N, C) times a factor (C), where there is one."""
    return x if factor is None else x * factor


class Attention(RelPosTable):
    """Multi-head self-attention of a class token and a window of others, with biases by relative position where
    `window_size` is given: (B, N, dim) -> (B, N, dim).

    Args:
        qkv_bias: biases of queries and values; keys, which softmax would not notice, have none.
        qkv_bias_separate: add them after the layer `qkv`, whose own result hooks then see.
        attn_drop: dropout of the attention weights. proj_drop: after the last layer.
        window_size: rows and columns of the N - 1 tokens.
        attn_head_dim: width of each head, by default dim / num_heads.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    k_bias: Tensor | None

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False, qkv_bias_separate: bool = False,
                 attn_drop: float = 0.0, proj_drop: float = 0.0, window_size: ImageSize | None = None,
                 attn_head_dim: int | None = None) -> None:
        super().__init__()
        if attn_head_dim is None and dim % num_heads:
            raise ValueError(f'Attention of width {dim}: {num_heads} heads do not divide it.')
        inner = (attn_head_dim or dim // num_heads) * num_heads
        self.scale, self.fused_attn, self.qkv_bias_separate = (inner // num_heads) ** -0.5, True, qkv_bias_separate
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.q_bias = nn.Parameter(torch.empty(inner)) if qkv_bias else None
        self.register_buffer('k_bias', torch.empty(inner) if qkv_bias else None, persistent=False)
        self.v_bias = nn.Parameter(torch.empty(inner)) if qkv_bias else None
        self.build_table(window_size, num_heads, 1)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(inner, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.reset_parameters()
        self.reset_constants()

    def reset_parameters(self) -> None:
        """No biases."""
        for bias in (self.q_bias, self.v_bias, self.relative_position_bias_table):
            if bias is not None:
                nn.init.zeros_(bias)

    def reset_constants(self) -> None:
        """Fills the keys' bias, which is zero, and the table's index."""
        super().reset_constants()
        if self.q_bias is not None:
            self.k_bias = torch.zeros(self.q_bias.shape, dtype=self.q_bias.dtype, device=self.q_bias.device)

    def forward(self, x: Tensor, shared_rel_pos_bias: Tensor | None = None, window: Pair | None = None) -> Tensor:
        if self.q_bias is None or self.k_bias is None or self.v_bias is None:
            qkv = self.qkv(x)
        else:
            bias = torch.cat([self.q_bias, self.k_bias, self.v_bias])
            qkv = self.qkv(x) + bias if self.qkv_bias_separate else F.linear(x, self.qkv.weight, bias)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        added = shared_rel_pos_bias
        if self.window_size is not None:
            added = masked(self.bias(window), shared_rel_pos_bias)
        x = attend(q, k, v, added, dropout=self.attn_drop.p if self.training else 0.0, fused=self.fused_attn)
        return self.proj_drop(self.proj(merge_heads(x)))


class RelativePositionBias(RelPosTable):
    """Biases by relative position that all blocks share: a call gives (heads, N, N), of the N tokens of a window and
    the class token before them."""

    def __init__(self, window_size: ImageSize, num_heads: int) -> None:
        super().__init__()
        self.build_table(window_size, num_heads, 1)

    def reset_parameters(self) -> None:
        """No biases."""
        nn.init.zeros_(self.relative_position_bias_table)

    def forward(self) -> Tensor:
        return self.bias()


def gen_relative_position_index(window_size: Pair, device: torch.device | None = None) -> Tensor:
    """For each query and key among a class token and the tokens of a window, the entry of a table; see
    `zoo.layers.relative.relative_position_index`."""
    return relative_position_index(window_size, True, device)

"""The image encoder of Segment Anything (SAM), arXiv:2304.02643: a vision transformer for large images, as ViTDet
(arXiv:2203.16527) has it.

    image -> patch_embed (16x16 patches) -> positions -> blocks -> neck -> pool -> fc
    block: norm -> attention -> added -> norm -> MLP -> added

Attention looks into windows, but for a few blocks that look at the whole map; both have relative positions of rows and of
columns. The neck makes the map narrower by two convolutions. States are maps with the channels last, (B, H, W, C).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer, get_act_layer
from ..layers.attention_tokens import attend, merge_heads
from ..layers.conv import channels_first, conv2d
from ..layers.decomposed import DecomposedRelPos
from ..layers.drop import DropPath
from ..layers.glu import MlpLayer, get_mlp_layer
from ..layers.head import Head
from ..layers.init import draw_normal, init_transformer
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm2d, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.positions import resample_abs_pos_embed
from ..layers.scale import LayerScale
from ..layers.sizes import ImageSize, SizedLayer, map_size, pair_of
from ..layers.stages import children_of, drop_path_rates
from ..layers.windows import cut_to, pad_to_windows, window_partition, window_reverse
from ..spec import Feature, Pair, Sizes
from .headnet import HeadNet


class VisionTransformerSAM(HeadNet):
    """SAM's image encoder, arXiv:2304.02643. Images (B, in_chans, H, W) of any size -> logits (B, num_classes).

    Images that patches do not divide are padded with zeros at the bottom and right; positions are resampled.

    Args:
        img_size, patch_size: in pixels, a side or (height, width); what positions are kept for.
        init_values: initial factor of every residual branch (arXiv:2103.17239); None for none.
        qk_norm: normalise each head's queries and keys. pre_norm: normalise before the blocks.
        use_abs_pos: learned positions of patches. use_rel_pos: learned relative positions, in every block.
        window_size: side of the windows that attention looks into, in patches. global_attn_indexes: numbers of the
            blocks whose attention looks at the whole map.
        neck_chans: channels that the neck ends with; None for a neck of a normalisation alone, which with
            `head_hidden_size` the head has.
        head_hidden_size: width of a layer before the classifier; None for no such layer.
        drop_rate: dropout before the classifier. pos_drop_rate: of patches with positions. proj_drop_rate,
            attn_drop_rate: in the blocks. drop_path_rate: stochastic depth at the last block, growing linearly from 0.
        weight_init: '' or 'reset' draws weights, 'skip' leaves the parameters undrawn.
        norm_eps: eps of the blocks' normalisations, 1e-6 in SAM's own code; None for what `norm_layer` has, 1e-5.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('patch_embed', 'pos_embed', 'norm_pre'), stages=('blocks.*',), norm='neck',
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))
    draw = staticmethod(init_transformer)
    default_out_indices = 3
    undecayed = ('pos_embed',)
    img_size: Pair
    pos_embed: nn.Parameter | None
    neck: nn.Module

    def __init__(self, img_size: ImageSize = 1024, patch_size: ImageSize = 16, in_chans: int = 3, num_classes: int = 768,
                 embed_dim: int = 768, depth: int = 12, num_heads: int = 12, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, qk_norm: bool = False, init_values: float | None = None, pre_norm: bool = False,
                 drop_rate: float = 0.0, pos_drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0, weight_init: str = '',
                 embed_layer: Callable[..., PatchEmbed] = PatchEmbed, norm_layer: NormLayer = nn.LayerNorm,
                 act_layer: ActLayer = nn.GELU, block_fn: Callable[..., nn.Module] | None = None,
                 mlp_layer: MlpLayer = Mlp, use_abs_pos: bool = True, use_rel_pos: bool = False, window_size: int = 14,
                 global_attn_indexes: Sequence[int] = (), neck_chans: int | None = 256, global_pool: str = 'avg',
                 head_hidden_size: int | None = None, norm_eps: float | None = None) -> None:
        super().__init__()
        if weight_init not in ('', 'skip', 'reset'):
            raise ValueError(f"weight_init is '', 'reset' or 'skip', not {weight_init!r}.")
        norm, act = Norm(norm_layer, eps=norm_eps), get_act_layer(act_layer)
        self.in_chans, self.embed_dim, self.num_features = in_chans, embed_dim, neck_chans or embed_dim
        self.img_size = pair_of(img_size)
        self.patch_embed = embed_layer(img_size=self.img_size, patch_size=patch_size, in_chans=in_chans,
                                       embed_dim=embed_dim, bias=not pre_norm, output_fmt='NHWC',
                                       strict_img_size=False, dynamic_img_pad=True)
        self.patch_embed.pad_fitted = True
        self.pos_embed = nn.Parameter(torch.empty(1, *self.grid_size, embed_dim)) if use_abs_pos else None
        self.pos_drop = nn.Dropout(pos_drop_rate)
        self.norm_pre = norm(embed_dim) if pre_norm else nn.Identity()
        self.blocks = nn.Sequential(*((block_fn or Block)(
            dim=embed_dim, num_heads=num_heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, qk_norm=qk_norm,
            proj_drop=proj_drop_rate, attn_drop=attn_drop_rate, init_values=init_values, drop_path=rate, act_layer=act,
            norm_layer=norm, mlp_layer=get_mlp_layer(mlp_layer), use_rel_pos=use_rel_pos,
            window_size=0 if number in global_attn_indexes else window_size, input_size=self.grid_size)
            for number, rate in enumerate(drop_path_rates(drop_path_rate, depth))))
        for block in children_of(self.blocks, Block):
            block.patch = self.patch_embed.patch_size
        self.feature_info = [Feature(num_chs=embed_dim, reduction=self.patch_embed.feat_ratio(),
                                     module=f'blocks.{number}', stage=number + 1) for number in range(depth)]
        if neck_chans:
            self.neck = nn.Sequential(conv2d(embed_dim, neck_chans, 1), LayerNorm2d(neck_chans, 1e-6),
                                      conv2d(neck_chans, neck_chans, 3), LayerNorm2d(neck_chans, 1e-6))
        else:
            self.neck = nn.Identity() if head_hidden_size else LayerNorm2d(embed_dim, 1e-6)
        width = self.num_features
        self.head = Head(width, global_pool, norm=LayerNorm2d(width, 1e-6) if head_hidden_size else None,
                         hidden_size=head_hidden_size, act_layer='tanh', drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        if weight_init != 'skip':
            self.init_fresh()

    def reset_parameters(self) -> None:
        """Draws the positions."""
        if self.pos_embed is not None:
            draw_normal(self.pos_embed, 0.02)

    @property
    def grid_size(self) -> Pair:
        """Rows and columns of patches of the images that the network is fitted to."""
        return grid_of(self.img_size, self.patch_embed.patch_size)

    # --- the walk

    def run_stem(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + resample(self.pos_embed, x.shape[1:3])
        return self.norm_pre(self.pos_drop(x))

    def maps_of(self, state: Tensor, step: int) -> list[Tensor]:
        return [state.permute(0, 3, 1, 2)]

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches with positions, with the channels last."""
        return state

    def normalise(self, state: Tensor) -> Tensor:
        """The neck, of a map with the channels last."""
        return self.neck(channels_first(state.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)

    def pre_head(self, state: Tensor) -> Tensor:
        return self.normalise(state).permute(0, 3, 1, 2)

    def prune_intermediate_layers(self, indices: int | Sequence[int] = 1, prune_norm: bool = False,
                                  prune_head: bool = True) -> list[int]:
        """See `ImageModel.prune_intermediate_layers`; the final normalisation is the neck."""
        width = self.num_features
        chosen = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        if not isinstance(self.neck, nn.Identity):
            self.num_features = self.pooled_channels = width
        return chosen

    # --- sizes

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        patch = sizes.patch_size or self.patch_embed.patch_size
        super().fit_to(Sizes(sizes.img_size or self.img_size, patch, sizes.window_size, sizes.dynamic))
        for feature in self.feature_info:
            feature['reduction'] = self.patch_embed.feat_ratio()
        positions = self.pos_embed
        if positions is not None and positions.shape[1:3] != self.grid_size:
            with torch.no_grad():
                fitted = positions.new_empty(1, *self.grid_size, positions.shape[-1]) if positions.is_meta else \
                    resample(positions, self.grid_size)
            self.pos_embed = nn.Parameter(fitted, positions.requires_grad)

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`."""
        state = dict(state)
        if 'pos_embed' in state and self.pos_embed is not None:
            state['pos_embed'] = resample(state['pos_embed'], self.grid_size)
        return super().adapt_state(state, source)


def grid_of(size: Pair, patch: Pair) -> Pair:
    """Rows and columns of patches of an image, the last ones begun counted."""
    return map_size(size, patch[0])[0], map_size(size, patch[1])[1]


def resample(positions: Tensor, grid: Sequence[int]) -> Tensor:
    """Positions (1, rows, columns, C) for another grid of patches."""
    fitted = resample_abs_pos_embed(positions.flatten(1, 2), grid, positions.shape[1:3], 0)
    return fitted.unflatten(1, tuple(grid))


class Block(SizedLayer):
    """Attention, in windows or of the whole map, and an MLP, each a residual branch: (B, H, W, dim) -> same.

    Args:
        window_size: side of the windows; maps that they do not divide are padded with zeros at the bottom and right. 0
            for the whole map.
        input_size: rows and columns of the map that relative positions of the whole map are kept for.
        init_values: initial factor of both branches; None for none. drop_path: stochastic depth of both.

    Attributes:
        patch: rows and columns of pixels per pixel of the map; set by the network.

    Raises:
        ValueError: relative positions of the whole map without `input_size`.
    """

    follows = ('img_size', 'patch_size', 'window_size')
    patch: Pair = (1, 1)

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = True, qk_norm: bool = False,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, init_values: float | None = None,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = nn.LayerNorm,
                 mlp_layer: MlpLayer = Mlp, use_rel_pos: bool = False, window_size: int = 0,
                 input_size: Pair | None = None) -> None:
        super().__init__()
        self.window_size: Pair | None = pair_of(window_size, 'window_size') if window_size else None
        self.norm1 = norm_layer(dim)
        self.attn = Attention(dim, num_heads, qkv_bias, qk_norm, attn_drop, proj_drop, norm_layer, use_rel_pos,
                              self.window_size or input_size)
        self.ls1 = LayerScale(dim, init_values) if init_values else nn.Identity()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = get_mlp_layer(mlp_layer)(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.ls2 = LayerScale(dim, init_values) if init_values else nn.Identity()
        self.drop_path2 = DropPath(drop_path)

    def fit(self, sizes: Sizes) -> None:
        """Other windows, or images and patches, with the relative positions resampled."""
        self.patch = sizes.patch_size or self.patch
        if self.window_size is not None:
            self.window_size = sizes.window_size or self.window_size
            self.attn.set_rel_pos_size(self.window_size)
        elif sizes.img_size:
            self.attn.set_rel_pos_size(grid_of(sizes.img_size, self.patch))

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Resamples the relative positions at `prefix` for the windows, or the map, that the block has."""
        self.attn.adapt_rel_pos(state, f'{prefix}attn.')

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.ls1(self._attend(self.norm1(x))))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _attend(self, x: Tensor) -> Tensor:
        if self.window_size is None:
            return self.attn(x)
        size = x.shape[1:3]
        x = pad_to_windows(x, self.window_size)
        rows, columns = x.shape[1:3]
        x = self.attn(window_partition(x, self.window_size))
        return cut_to(window_reverse(x, self.window_size, rows, columns), size)


class Attention(DecomposedRelPos):
    """Multi-head self-attention over the pixels of a map, with relative positions of rows and columns: (B, H, W, dim) ->
    same.

    Args:
        qk_norm: normalise each head's queries and keys. input_size: rows and columns of the map that the relative
            positions are kept for; they are resampled for any other.

    Raises:
        ValueError: a width that the heads do not divide, or relative positions without `input_size`.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = True, qk_norm: bool = False,
                 attn_drop: float = 0.0, proj_drop: float = 0.0, norm_layer: MakeNorm = nn.LayerNorm,
                 use_rel_pos: bool = False, input_size: Pair | None = None) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'Attention of width {dim}: {num_heads} heads do not divide it.')
        if use_rel_pos and input_size is None:
            raise ValueError('use_rel_pos=True needs input_size, the rows and columns of the map.')
        head_dim = dim // num_heads
        self.num_heads, self.scale, self.fused_attn = num_heads, head_dim ** -0.5, True
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.q_norm = norm_layer(head_dim) if qk_norm else nn.Identity()
        self.k_norm = norm_layer(head_dim) if qk_norm else nn.Identity()
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.build_rel_pos(input_size if use_rel_pos else None, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[1:3]
        q, k, v = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        x = attend(q, k, v, self.rel_pos_bias(q, size, size), dropout=self.attn_drop.p if self.training else 0.0,
                   fused=self.fused_attn)
        return self.proj_drop(self.proj(merge_heads(x))).unflatten(1, tuple(size))

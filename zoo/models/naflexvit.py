"""NaFlexViT: vision transformers of images in their own aspect ratio and size, after NaViT (arXiv:2307.06304), FlexiViT
(arXiv:2212.08013) and SigLIP 2 (arXiv:2502.14786, section 2.4.2):

    images, or packed patches of many sizes -> embeds -> norm_pre -> blocks.0 -> … -> norm, pooling or the reverse -> head
                                               ^ positions resampled for the grid of each image

Attention and pooling leave out what only fills a row of packed patches up. The plain ViT's or EVA's weights fit a
network of their options: `NaFlexVit.options_of`.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Logits, Parts
from ..layers.act import get_act_layer
from ..layers.attention_pool import AttentionPoolLatent
from ..layers.attention_tokens import Attention
from ..layers.glu import get_mlp_layer
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm
from ..layers.rotary import Joined, of_kept
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import drop_path_rates
from ..layers.tokens import PatchDropout, Tokens, TokenPool
from ..spec import Feature, Pair, Sizes, unknown
from .eva import Eva, EvaBlock, make_rope
from .naflex_embeds import NaFlexEmbeds, Places, batch_patchify
from .naflexvit_cfg import OPTIONS, NaFlexVitCfg, has_rope, of_eva, of_eva_blocks, of_vision_transformer, with_options
from .tokennet import PREFIX, TokenNet
from .vision_transformer import BLOCKS, INITS, Block, VisionTransformer, init_network

__all__ = ['NaFlexEmbeds', 'NaFlexVit', 'NaFlexVitCfg', 'batch_patchify', 'create_attention_mask', 'get_block_fn',
           'global_pool_naflex']

Packed = Mapping[str, Tensor | None]                # 'patches', 'patch_coord', 'patch_valid', 'attn_mask'
OFFERED = {VisionTransformer: of_vision_transformer, Eva: of_eva}


class NaFlexVit(TokenNet):
    """Vision transformer of images of any aspect ratio: images (B, in_chans, H, W), or packed patches, -> logits
    (B, num_classes).

    Packed patches are a dictionary, or the same as arguments:

    - 'patches': (B, N, pixels * channels), or (B, N, rows, columns, channels);
    - 'patch_coord': row and column of each (B, N, 2) in its image's grid;
    - 'patch_valid': which of them there are (B, N), by default all; the rest fill up rows of fewer;
    - 'attn_mask': a mask of a caller's own for all tokens, see `zoo.layers.attention_tokens.attend`, in place of the one
      that `patch_valid` makes.

    Every method that takes images takes such a dictionary; other keys of it are left alone. There are no maps then, as
    grids differ: features come as tokens (`output_fmt='NLC'`).

    Args:
        cfg: what it is built of; `options` replace some of it, see `zoo.models.naflexvit_cfg.NaFlexVitCfg`.
        img_size: pixels, a side or (height, width), of the images that are expected, whose grid of patches
            `pos_embed_grid_size=None` stands for. Images of any size are taken.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
        TypeError: an option that `cfg` has no field for.
    """

    parts = Parts(stem=('embeds', 'rope', 'norm_pre'), stages=('blocks.*',), norm='norm',
                  head=('pooling', 'attn_pool', 'fc_norm'), classifier=('head',))
    undecayed = ()
    normed_pools = ('avg',)
    rope: Joined | None
    __signature__: ClassVar[inspect.Signature]

    def __init__(self, cfg: NaFlexVitCfg | None = None, in_chans: int = 3, num_classes: int = 1000,
                 img_size: ImageSize | None = None, **options: Any) -> None:
        super().__init__()
        cfg = with_options(cfg or NaFlexVitCfg(), **options)
        if cfg.weight_init not in INITS:
            raise ValueError(unknown('weight_init', cfg.weight_init, INITS))
        width, self.in_chans = cfg.embed_dim, in_chans
        self.num_features = self.embed_dim = width
        self.img_size = None if img_size is None else pair_of(img_size)
        self.weight_init, self.fix_init = cfg.weight_init, cfg.fix_init
        self.use_key_only_attn_mask, self.pool_include_prefix = cfg.use_key_only_attn_mask, cfg.pool_include_prefix
        self.num_prefix_tokens, self.num_reg_tokens = cfg.class_token + cfg.reg_tokens, cfg.reg_tokens
        self.has_class_token, self.norm_after_pool = cfg.class_token, cfg.fc_norm
        norm, act = Norm(cfg.norm_layer or LayerNorm), get_act_layer(cfg.act_layer or nn.GELU)
        self.embeds = NaFlexEmbeds(
            cfg.patch_size, in_chans, width, cfg.embed_proj_type, not cfg.pre_norm, cfg.class_token, cfg.reg_tokens,
            cfg.dynamic_img_pad, img_size, cfg.pos_embed, cfg.pos_embed_grid_size, cfg.pos_embed_interp_mode,
            cfg.pos_embed_ar_preserving, cfg.pos_embed_antialias, cfg.pos_embed_align_corners,
            cfg.pos_embed_use_grid_sample, Norm(cfg.input_norm_layer) if cfg.input_norm_layer else None,
            Norm(cfg.embed_norm_layer) if cfg.embed_norm_layer else None, norm, cfg.pos_drop_rate,
            cfg.enable_patch_interpolator, cfg.patchify_channels_last)
        self.patch_drop = PatchDropout(cfg.patch_drop_rate, self.num_prefix_tokens) if cfg.patch_drop_rate else nn.Identity()
        self.rope = None if not has_rope(cfg) else make_rope(
            {'axial': 'cat'}.get(cfg.rope_type, cfg.rope_type), width, cfg.num_heads, cfg.depth, None,
            cfg.rope_grid_offset, cfg.rope_ref_feat_shape, cfg.rope_mrope_section, dict(
                temperature=cfg.rope_temperature, grid_indexing=cfg.rope_grid_indexing,
                rotate_half=cfg.rope_rotate_half or cfg.rope_type == 'mrope', shift_coords=cfg.rope_shift_coords,
                jitter_coords=cfg.rope_jitter_coords, rescale_coords=cfg.rope_rescale_coords))
        self.norm_pre = norm(width) if cfg.pre_norm else nn.Identity()
        self.blocks = nn.Sequential(*(
            get_block_fn(cfg, number)(width, cfg.num_heads, drop_path=rate, norm_layer=norm, act_layer=act)
            for number, rate in enumerate(drop_path_rates(cfg.drop_path_rate, cfg.depth))))
        self.feature_info = [Feature(num_chs=width, reduction=max(self.embeds.patch_size), module=f'blocks.{number}',
                                     stage=number + 1) for number in range(cfg.depth)]
        self.norm, self.fc_norm = norm(width) if cfg.final_norm else nn.Identity(), nn.Identity()
        self.attention_pools = {'map': partial(
            AttentionPoolLatent, width, num_heads=cfg.attn_pool_num_heads or cfg.num_heads,
            mlp_ratio=cfg.attn_pool_mlp_ratio or cfg.mlp_ratio, norm_layer=norm, act_layer=act)}
        self.build_head(width, num_classes, cfg.global_pool, cfg.drop_rate)
        self.init_fresh()

    @staticmethod
    def options_of(network: type[ImageModel], given: Mapping[str, Any]) -> dict[str, Any]:
        """The options with which a NaFlexViT has the weights, and the numbers, of a network of another class.

        Args:
            given: that network's options; those that only a NaFlexViT has are left as they are.

        Raises:
            ValueError: networks of that class, or with those options, are no NaFlexViT.
        """
        if network not in OFFERED:
            names = ' and '.join(offered.__name__ for offered in OFFERED)
            raise ValueError(f'use_naflex=True is for networks of {names}, not for {network.__name__}.')
        defaults = {name: one.default for name, one in inspect.signature(network).parameters.items()}
        return OFFERED[network](given, defaults)

    def init_weights(self, mode: str = '') -> None:
        """Draws every parameter anew and resets every buffer, as `mode`, by default the network's `weight_init`, says."""
        init_network(self, mode or self.weight_init, self.fix_init)

    # --- the walk

    def run_stem(self, x: Tensor | Packed) -> Tokens:
        given: Packed = x if isinstance(x, Mapping) else {'patches': x}
        patches, coord, mask = given['patches'], given.get('patch_coord'), given.get('attn_mask')
        if patches is None or (coord is None and patches.ndim != 4):
            raise ValueError('Packed patches (B, N, pixels * channels) need patch_coord (B, N, 2), row and column of each in '
                             'its image; images are (B, channels, height, width).')
        places = None if coord is None else Places(coord, given.get('patch_valid'))
        if places is None:
            valid, (tokens, grid) = None, self.embeds.embed_images(patches)
        else:
            valid, tokens = places.valid, self.embeds.embed_packed(patches, places)
        thinning = self.patch_drop if isinstance(self.patch_drop, PatchDropout) else None
        kept = None if thinning is None else thinning.choose(tokens)
        if thinning is not None and kept is not None:
            if mask is not None:
                raise ValueError('With attn_mask no patches can be dropped (patch_drop_rate): it is for all of them.')
            tokens, valid = thinning.keep(tokens, kept), None if valid is None else valid.gather(1, kept)
        rope = self.rotation(tokens, grid, kept) if places is None else self.packed_rotation(tokens, places, kept)
        if valid is not None and mask is None:
            mask = create_attention_mask(valid, self.num_prefix_tokens, not self.use_key_only_attn_mask, dtype=tokens.dtype)
        return Tokens(self.norm_pre(tokens), grid if places is None and kept is None else None, mask, rope=rope, valid=valid)

    def packed_rotation(self, tokens: Tensor, places: Places, kept: Tensor | None) -> Tensor | None:
        """The rotary embedding of packed patches, each of its image's grid, and zero where there is none; see
        `rotation`."""
        if self.rope is None:
            return None
        rope, (grids, numbers) = self.rope, places.grids
        valid = places.valid if kept is None else places.valid.gather(1, kept)
        numbers = numbers if kept is None else numbers.gather(1, kept)
        embed = torch.cat([rope.get_embed(grid, tokens.dtype, tokens.device) for grid in grids], dim=-2)
        return of_kept(embed, numbers) * valid[:, None, :, None]

    def maps_of(self, state: Tokens, step: int) -> list[Tensor]:
        """Of packed patches, which make no map, one with a row a patch."""
        if state.valid is None:
            return super().maps_of(state, step)
        return [state.x[:, self.num_prefix_tokens:].transpose(1, 2).unsqueeze(-1)]

    def forward_features(self, patches: Tensor | Packed, patch_coord: Tensor | None = None,
                         patch_valid: Tensor | None = None, attn_mask: Tensor | None = None) -> Any:
        """Images -> tokens (B, prefix + patches, num_features), before pooling; packed patches -> a dictionary of these,
        'patches', and of which patches there are, 'patch_valid'."""
        state, _ = self.walk(together(patches, patch_coord, patch_valid, attn_mask))
        tokens = self.pre_head(state)
        return tokens if state.valid is None else {'patches': tokens, 'patch_valid': state.valid}

    def forward(self, x: Tensor | Packed, patch_coord: Tensor | None = None, patch_valid: Tensor | None = None,
                attn_mask: Tensor | None = None) -> Logits:
        return self.forward_head(self.forward_features(x, patch_coord, patch_valid, attn_mask))

    def forward_intermediates(self, x: Tensor | Packed, indices: int | Sequence[int] | None = None,
                              return_prefix_tokens: bool = False, norm: bool = False, stop_early: bool = False,
                              output_fmt: str = 'NCHW', intermediates_only: bool = False, output_dict: bool = False,
                              patch_coord: Tensor | None = None, patch_valid: Tensor | None = None,
                              attn_mask: Tensor | None = None) -> Any:
        """See `ImageModel.forward_intermediates`.

        Args:
            output_dict: return a dictionary: 'image_intermediates', with `return_prefix_tokens`
                'image_intermediates_prefix', of packed patches 'patch_valid', and unless `intermediates_only` the last
                result, 'image_features'.

        Raises:
            ValueError: maps of packed patches, which make none.
        """
        given = together(x, patch_coord, patch_valid, attn_mask)
        packed = isinstance(given, Mapping) and given.get('patch_coord') is not None
        if packed and output_fmt != 'NLC':
            raise ValueError(f'Packed patches are of grids of their own, which make no maps {output_fmt!r}: take tokens '
                             "(output_fmt='NLC'), which patch_coord says the places of.")
        found = super().forward_intermediates(given, indices, return_prefix_tokens, norm, stop_early, output_fmt,
                                              intermediates_only)
        last, maps = (None, found) if intermediates_only else found
        last = last.x if isinstance(last, Tokens) else last
        if not output_dict:
            return maps if intermediates_only else (last, maps)
        said: dict[str, Any] = {}
        if return_prefix_tokens:
            said['image_intermediates_prefix'] = [prefix for _, prefix in maps]
            maps = [tokens for tokens, _ in maps]
        said['image_intermediates'] = maps
        if packed and isinstance(given, Mapping):
            said['patch_valid'] = given.get('patch_valid')
        return said if intermediates_only else {**said, 'image_features': last}

    # --- the head

    def forward_head(self, patches: Tensor | Mapping[str, Tensor], pre_logits: bool = False,
                     patch_valid: Tensor | None = None) -> Logits:
        """The output of `forward_features` -> logits (B, num_classes), or with `pre_logits` the embedding.

        Args:
            patch_valid: which of the patches there are (B, N), of tokens that come without.
        """
        tokens = patches if isinstance(patches, Tensor) else patches['patches']
        valid = patch_valid if isinstance(patches, Tensor) else patches['patch_valid']
        x = self.head_drop(self.fc_norm(self.pool(tokens, patch_valid=valid)))
        return x if pre_logits else self.classify(x)

    def pool(self, x: Tensor, pool_type: str | None = None, patch_valid: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C) -> (B, C), as the network does or, without parameters, as `pool_type` says; of patches those
        that there are."""
        if pool_type is not None and pool_type != self.global_pool:
            return TokenPool(pool_type, self.num_prefix_tokens, self.pool_include_prefix)(x, patch_valid)
        x = self.pooling(x, patch_valid)
        if self.attn_pool is None:
            return x
        mask = None if patch_valid is None else self.pooling.pooled(x, patch_valid)[:, None, None]
        return self.attn_pool(x, attn_mask=mask)

    # --- sizes

    @property
    def patch_grid(self) -> Pair:
        """Rows and columns of patches of the images that are expected.

        Raises:
            ValueError: nothing says which.
        """
        if self.img_size is None:
            raise ValueError('This network expects images of no size: build it with img_size.')
        return self.embeds.dynamic_feat_size(self.img_size)

    def get_patch_size(self) -> Pair:
        """(height, width) of the patches in pixels."""
        return self.embeds.patch_size

    @property
    def supports_patch_interpolation(self) -> bool:
        """Whether it takes packed patches of other sizes than its own."""
        return self.embeds.enable_patch_interpolator

    def prewarm_patch_interpolator(self, patch_sizes: Iterable[ImageSize]) -> None:
        """See `NaFlexEmbeds.prewarm_patch_interpolator`."""
        self.embeds.prewarm_patch_interpolator(patch_sizes)

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        if sizes.dynamic is False:
            raise ValueError('A NaFlexViT takes images of any size: there is no dynamic_img_size=False.')
        ImageModel.fit_to(self, sizes)
        for feature in self.feature_info:
            feature['reduction'] = max(self.embeds.patch_size)

    def _adapt_positions(self, state: dict[str, Tensor], source: Sizes) -> None:
        """Gives what a plain ViT or EVA holds itself, patches, prefix tokens and positions, to the embedding, which fits
        them."""
        for key in [key for key in state if key in (*PREFIX, 'pos_embed') or key.startswith('patch_embed.')]:
            state[f'embeds.{key.removeprefix("patch_embed.")}'] = state.pop(key)


def _signature() -> inspect.Signature:
    """What `create_model` takes: the constructor's options and, in place of its record, the record's fields."""
    known = inspect.signature(NaFlexVit.__init__).parameters
    plain = [one.replace(kind=one.KEYWORD_ONLY) for name, one in known.items() if name not in ('self', 'cfg', 'options')]
    return inspect.Signature([*plain, *(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
        for name, one in OPTIONS.items())])


NaFlexVit.__signature__ = _signature()


def together(patches: Tensor | Packed, patch_coord: Tensor | None, patch_valid: Tensor | None,
             attn_mask: Tensor | None) -> Any:
    """One dictionary of packed patches in any of their forms; images without a mask as they are."""
    given = dict(patch_coord=patch_coord, patch_valid=patch_valid, attn_mask=attn_mask)
    said = {name: value for name, value in given.items() if value is not None}
    if isinstance(patches, Mapping):
        return {**patches, **said}
    return {'patches': patches, **said} if said else patches


def get_block_fn(cfg: NaFlexVitCfg, block_idx: int = 0) -> Callable[..., nn.Module]:
    """What makes block number `block_idx` of a width, heads, stochastic depth, normalisations and activations."""
    shared: dict[str, Any] = dict(mlp_ratio=cfg.mlp_ratio, qkv_bias=cfg.qkv_bias, qk_norm=cfg.qk_norm,
                                  init_values=cfg.init_values, proj_drop=cfg.proj_drop_rate, attn_drop=cfg.attn_drop_rate)
    if not of_eva_blocks(cfg):
        block = cfg.block_fn or Block
        if isinstance(block, str):
            if block not in BLOCKS:
                raise ValueError(unknown('block_fn', block, BLOCKS))
            block = BLOCKS[block]
        return partial(block, **shared, scale_attn_norm=cfg.scale_attn_inner_norm, scale_mlp_norm=cfg.scale_mlp_norm,
                       proj_bias=cfg.proj_bias, mlp_layer=get_mlp_layer(cfg.mlp_layer or Mlp),
                       attn_layer=cfg.attn_layer or Attention, depth=block_idx)
    heads = cfg.num_kv_heads
    if heads is not None and not isinstance(heads, int):
        if len(heads) != cfg.depth:
            raise ValueError(f'num_kv_heads is one number, or one for each of {cfg.depth} blocks, not {len(heads)}.')
        heads = heads[block_idx]
    attention = cfg.attn_type if cfg.attn_type != 'standard' else 'rope' if has_rope(cfg) else 'eva'
    return partial(EvaBlock, **shared, qkv_fused=cfg.qkv_fused, swiglu_mlp=cfg.swiglu_mlp,
                   swiglu_align_to=cfg.swiglu_align_to, scale_mlp=cfg.scale_mlp_norm,
                   scale_attn_inner=cfg.scale_attn_inner_norm, num_prefix_tokens=cfg.class_token + cfg.reg_tokens,
                   attn_type=attention, rotate_half=cfg.rope_rotate_half or cfg.rope_type == 'mrope',
                   gated_attn=cfg.attn_gated, num_kv_heads=heads, attn_only_layer_scale=cfg.attn_only_layer_scale)


def create_attention_mask(patch_valid: Tensor, num_prefix_tokens: int = 0, symmetric: bool = True,
                          q_len: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """What is added to attention's scores so that only patches that there are, and prefix tokens, are looked at:
    (B, 1, M, prefix + N), of which M is 1.

    Args:
        patch_valid: which patches there are (B, N).
        symmetric: M is prefix + N, and what is no patch does not look at anything more than at other things.
        q_len: M, of as many queries of another kind.
    """
    valid = F.pad(patch_valid, (num_prefix_tokens, 0), value=True)
    seen = valid[:, None, None]
    if symmetric:
        seen = seen & valid[:, None, :, None]
    elif q_len is not None:
        seen = seen.expand(-1, -1, q_len, -1)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


def global_pool_naflex(x: Tensor, patch_valid: Tensor | None = None, pool_type: str = 'token', num_prefix_tokens: int = 1,
                       reduce_include_prefix: bool = False) -> Tensor:
    """Tokens (B, prefix + N, C) -> (B, C), of patches those that there are; see `zoo.layers.tokens.TokenPool`."""
    return TokenPool(pool_type, num_prefix_tokens, reduce_include_prefix)(x, patch_valid)

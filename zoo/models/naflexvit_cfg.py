"""What a NaFlexViT is built of: a record, its fields as plain options, and how other vision transformers say the same."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any

from ..layers.act import ActLayer
from ..layers.attention_tokens import AttentionLayer
from ..layers.glu import MlpLayer
from ..layers.norm import LayerNorm, Norm, NormLayer
from ..layers.sizes import ImageSize
from ..spec import Pair, unknown


@dataclass
class NaFlexVitCfg:
    """A network of `NaFlexVit`.

    Attributes:
        num_kv_heads: heads of keys and values, one number or one a block, where attention is of the type 'rope'.
        scale_mlp_norm: normalise an MLP's hidden features. qk_norm, scale_attn_inner_norm: `qk_norm` and `scale_norm` of
            attention.
        use_key_only_attn_mask: what stands for no patch is masked as key alone, in a mask (B, 1, 1, N), not also as
            query, in one (B, 1, N, N). Patches get the same numbers.
        init_values: initial factor of every residual branch, or with `attn_only_layer_scale` of attention's; None for
            none.
        drop_rate, pos_drop_rate, patch_drop_rate, proj_drop_rate, attn_drop_rate, drop_path_rate, class_token,
            reg_tokens, pre_norm, final_norm, pool_include_prefix, weight_init, fix_init: as of
            `zoo.models.vision_transformer.VisionTransformer`.
        pos_embed: 'learned', a table of `pos_embed_grid_size` rows and columns; 'factorized', one of rows and one of
            columns, which are added (NaViT, arXiv:2307.06304, section 2.1); 'none' or ''.
        pos_embed_grid_size: None for that of images of `img_size`.
        pos_embed_interp_mode, pos_embed_antialias, pos_embed_align_corners: how the table is resampled for an image's
            grid of patches, 'bicubic' or 'bilinear'. Those of rows and of columns are interpolated linearly.
        pos_embed_ar_preserving: resample for the square of the longer side, of which the image takes the upper left part,
            so that a step is as far along both axes.
        pos_embed_use_grid_sample: look the positions of packed patches up in the table one by one, without antialiasing,
            in place of resampling it for each grid, which `torch.export` and a compiled graph without breaks need.
        rope_type: rotary embedding 'axial', 'mixed', 'dinov3' or 'mrope' of `zoo.layers.rotary`, whose options the next
            ones are; '' or 'none' for none.
        dynamic_img_pad: pad images, at the bottom and right, to whole patches.
        patchify_channels_last: pixels of a patch are (rows, columns, channels), else (channels, rows, columns).
        fc_norm: the final normalisation is of what was pooled; by default with 'avg'.
        global_pool: 'map', attention with a learned query; 'token', the class token; 'avg', 'max', 'avgmax' or
            'catavgmax' over the patches; or ''.
        attn_pool_num_heads, attn_pool_mlp_ratio: of the pooling 'map', by default those of the blocks.
        embed_proj_type: 'linear', or 'conv' for the same layer as a convolution.
        input_norm_layer: normalisation of the pixels of each patch. embed_norm_layer: of the embedded patches.
        norm_layer, act_layer, block_fn, mlp_layer, attn_layer: classes or names; the last three of the plain ViT's blocks.
        attn_type: 'standard' for the blocks of the plain ViT; 'eva' or 'rope' for those of EVA with attention of that
            type, which a rotary embedding, gates and `attn_only_layer_scale` need.
        attn_gated: gate what attention gives. swiglu_mlp: gated MLPs; swiglu_align_to: of a multiple of it in width.
        qkv_fused: one linear layer for queries, keys and values.
        enable_patch_interpolator: take packed patches (B, N, rows, columns, channels) of any size, with the weights
            resampled (FlexiViT, arXiv:2212.08013).
    """

    patch_size: ImageSize = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    _: KW_ONLY
    attn_type: str = 'standard'
    num_kv_heads: int | Sequence[int] | None = None
    qkv_fused: bool = True
    qkv_bias: bool = True
    qk_norm: bool = False
    attn_gated: bool = False
    proj_bias: bool = True
    scale_attn_inner_norm: bool = False
    use_key_only_attn_mask: bool = False
    scale_mlp_norm: bool = False
    mlp_ratio: float = 4.0
    swiglu_mlp: bool = False
    swiglu_align_to: int = 0
    reg_tokens: int = 0
    class_token: bool = False
    enable_patch_interpolator: bool = False
    embed_proj_type: str = 'linear'
    input_norm_layer: NormLayer | None = None
    embed_norm_layer: NormLayer | None = None
    dynamic_img_pad: bool = False
    patchify_channels_last: bool = True
    pos_embed: str = 'learned'
    pos_embed_interp_mode: str = 'bicubic'
    pos_embed_grid_size: Pair | None = (16, 16)
    pos_embed_antialias: bool = True
    pos_embed_ar_preserving: bool = False
    pos_embed_use_grid_sample: bool = False
    pos_embed_align_corners: bool = False
    rope_type: str = ''
    rope_ref_feat_shape: ImageSize | None = None
    rope_temperature: float = 10000.0
    rope_rotate_half: bool = False
    rope_grid_indexing: str = 'ij'
    rope_grid_offset: float = 0.0
    rope_mrope_section: Sequence[int] | None = None
    rope_shift_coords: float | None = None
    rope_rescale_coords: float | None = None
    rope_jitter_coords: float | None = None
    attn_pool_mlp_ratio: float | None = None
    attn_pool_num_heads: int | None = None
    global_pool: str = 'map'
    pool_include_prefix: bool = False
    fc_norm: bool | None = None
    final_norm: bool = True
    pre_norm: bool = False
    init_values: float | None = None
    attn_only_layer_scale: bool = False
    drop_path_rate: float = 0.0
    drop_rate: float = 0.0
    patch_drop_rate: float = 0.0
    pos_drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    proj_drop_rate: float = 0.0
    fix_init: bool = True
    weight_init: str = ''
    norm_layer: NormLayer | None = None
    act_layer: ActLayer | None = None
    block_fn: Any = None
    attn_layer: AttentionLayer | None = None
    mlp_layer: MlpLayer | None = None


OPTIONS = {one.name: one for one in fields(NaFlexVitCfg)}
OF_NETWORK = ('img_size', 'in_chans', 'num_classes')
TYPES = ('standard', 'eva', 'rope')


def with_options(cfg: NaFlexVitCfg, **options: Any) -> NaFlexVitCfg:
    """A record with some of its fields changed.

    Raises:
        TypeError: there is no such field.
        ValueError: fields that no network has together.
    """
    for name in options:
        if name not in OPTIONS:
            raise TypeError('NaFlexVit: ' + unknown('option', name, OPTIONS))
    cfg = replace(cfg, **options)
    if cfg.attn_type not in TYPES:
        raise ValueError(unknown('attn_type', cfg.attn_type, TYPES))
    apart = [name for name in ('block_fn', 'mlp_layer', 'attn_layer') if getattr(cfg, name) is not None]
    apart += [] if cfg.proj_bias else ['proj_bias=False']
    if of_eva_blocks(cfg) and apart:
        raise ValueError('The blocks of EVA, which attn_type, rope_type, attn_gated, swiglu_mlp and attn_only_layer_scale '
                         f'ask for, have no {" and no ".join(apart)}.')
    plain = [name for name, there in (('num_kv_heads', cfg.num_kv_heads), ('qkv_fused=False', not cfg.qkv_fused),
                                      ('swiglu_align_to', cfg.swiglu_align_to)) if there]
    if plain and not of_eva_blocks(cfg):
        raise ValueError(f"attn_type='standard' stands for the plain ViT's blocks, which have no {' and no '.join(plain)}; "
                         "attn_type='rope' has.")
    return cfg


def has_rope(cfg: NaFlexVitCfg) -> bool:
    """Whether there is a rotary embedding."""
    return cfg.rope_type not in ('', 'none')


def of_eva_blocks(cfg: NaFlexVitCfg) -> bool:
    """Whether the blocks are those of EVA, which can turn queries and keys."""
    return (cfg.attn_type != 'standard' or has_rope(cfg) or cfg.attn_gated or cfg.swiglu_mlp
            or cfg.attn_only_layer_scale)


# --- the same network as another class says it

VIT = {'scale_attn_norm': 'scale_attn_inner_norm'}
EVA = {'num_reg_tokens': 'reg_tokens', 'scale_mlp': 'scale_mlp_norm', 'scale_attn_inner': 'scale_attn_inner_norm',
       'ref_feat_shape': 'rope_ref_feat_shape', 'use_pre_transformer_norm': 'pre_norm'}
ANY_SIZE = ('dynamic_img_size', 'no_embed_class')                      # true of every NaFlexViT


def of_vision_transformer(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `NaFlexVit` for the network that `VisionTransformer` builds of those given and its defaults; options that
    are not of either are left as they are."""
    said = {**defaults, **given}
    changed = {'pos_embed': {'learn': 'learned'}.get(said['pos_embed'], said['pos_embed'])}
    if said['fc_norm'] is None and said['global_pool'] in ('max', 'avgmax'):
        changed['fc_norm'] = True
    if said['block_fn'] == 'Block':
        changed['block_fn'] = None
    return _renamed(given, said, VIT, changed, ())


def of_eva(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the network that `Eva` builds.

    Raises:
        ValueError: normalisations that a NaFlexViT does not have.
    """
    said = {**defaults, **given}
    after = said['global_pool'] == 'avg' if said['use_fc_norm'] is None else said['use_fc_norm']
    before = not after if said['use_post_transformer_norm'] is None else said['use_post_transformer_norm']
    if said['use_post_norm'] or (before and after):
        raise ValueError('A NaFlexViT normalises what goes into the residual branches, and either after the blocks or '
                         'after pooling: it has no use_post_norm and no second final normalisation.')
    rope = {None: 'axial', 'cat': 'axial'}.get(said['rope_type'], said['rope_type']) if said['use_rot_pos_emb'] else ''
    learned = 'learned' if said['use_abs_pos_emb'] else 'none'
    changed = dict(pos_embed=given.get('pos_embed', learned), rope_type=rope, fc_norm=after, final_norm=before or after,
                   fix_init=True, pool_include_prefix=said['global_pool'] == 'map')
    return _renamed(given, said, EVA, changed, (
        'use_abs_pos_emb', 'use_rot_pos_emb', 'use_post_norm', 'use_post_transformer_norm', 'use_fc_norm'))


def _renamed(given: Mapping[str, Any], said: Mapping[str, Any], names: Mapping[str, str], changed: Mapping[str, Any],
             dealt_with: Sequence[str]) -> dict[str, Any]:
    """Options under the names that `NaFlexVit` has for them, with normalisations of the given eps; of what was not given,
    only those that it has."""
    options = {names.get(name, name): value for name, value in said.items()
               if name not in (*dealt_with, *ANY_SIZE, 'norm_eps')}
    known = {*OPTIONS, *OF_NETWORK, *(names.get(name, name) for name in given)}
    options = {**{name: value for name, value in options.items() if name in known}, **changed}
    options.setdefault('pos_embed_grid_size', None)
    if (eps := said['norm_eps']) is not None:
        options['norm_layer'] = Norm(options['norm_layer'] or LayerNorm, eps=eps)
        if options.get('embed_norm_layer'):
            options['embed_norm_layer'] = Norm(options['embed_norm_layer'], eps=eps)
    return options

"""The distinct structures among all names: rows that differ in widths, depths and sizes alone count as one.

`STRUCTURES` has a name for each, the smallest; `short(name)` the options that build it with few blocks, ours and timm's
alike.
"""
from __future__ import annotations

import datetime
import functools
import importlib
import inspect
import re
import zlib
from collections.abc import Hashable

import pytest
import timm
import torch

import zoo
from conftest import architectures
from zoo.catalog import families
from zoo.registry import resolve

# arguments that change how wide, deep or large a network is, and nothing else
EXTENT = {'embed_dim', 'embed_dims', 'depth', 'depths', 'dims', 'layers', 'num_heads', 'patch_size', 'img_size', 'width',
          'divisor', 'head_size', 'stem_size', 'window_size', 'mlp_ratio', 'base_width', 'stem_width', 'init_values',
          'layer_scale_init_value', 'ls_init_value', 'layer_scale', 'num_modules', 'num_blocks', 'first_width',
          'width_factor', 'w0', 'wa', 'wm', 'growth_rate', 'block_config'}
DEPTHS = ('depth', 'depths', 'layers', 'stages', 'block_config')
SMALL = 15_000_000                                             # parameters; such networks stay whole
HEAVY = 60_000_000                                             # parameters of networks whose comparison is slow
CHANNELS = 64                                                  # of the first stage, where no heads share them
BLOCKS = 2                                                     # of a stage, in a shortened network


def _kind(value: object) -> Hashable:
    """What of an argument's value matters: words and switches as they are, numbers by being there."""
    if isinstance(value, (str, bool, type(None))):
        return re.sub(r'\d+(\.\d+)?', '', value) if isinstance(value, str) and '_' in value else value
    if isinstance(value, dict):
        return frozenset((key, _kind(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return frozenset(token for inner in value for token in (
            re.sub(r'\d+(\.\d+)?', '', inner).split('_') if isinstance(inner, str) else [_kind(inner)]))
    return value if callable(value) else type(value).__name__


def structures() -> dict[str, list[str]]:
    """The smallest name of each structure -> all names of that structure."""
    sizes = {name: int(facts['params']) for name, facts in architectures().items()}
    found: dict[Hashable, list[str]] = {}
    for family in families():
        for name in family.variants:
            args = family.model_args(name)
            extent = EXTENT | ({'group_size'} if 'w0' in args else set())       # of a network whose blocks all have groups
            row = {key: _kind(value) for key, value in args.items() if key not in extent}
            given = frozenset(key for key in args if key in extent)
            switches = {key for key in given if 'scale' in key or key == 'init_values'}
            found.setdefault((family.model, frozenset(row.items()), frozenset(switches)), []).append(name)
    by_size = [sorted(names, key=lambda name: sizes[name]) for names in found.values()]
    return {names[0]: names for names in by_size}


def short(name: str) -> dict[str, object]:
    """Options that leave at most `BLOCKS` blocks of each stage of a network that is not small, few channels of
    one without heads, few patches, of few channels, of one whose tokens are an image's patches, and a small image of one
    that is fitted to its size."""
    family, architecture, _ = resolve(name)
    row = family.model_args(architecture)
    if encodes(name):
        merged = patches_merged(name)
        patch = merged * int(architectures()[architecture]['feature_reductions'].split()[0])
        wide = dict(out_features=24) if 'out_features' in row else {}
        return dict(img_size=(3 * patch, 2 * patch), depth=BLOCKS, embed_dim=16 * row['num_heads'], **wide)
    if of_tokens(family.model):
        patch = int(architectures()[architecture]['feature_reductions'].split()[0])
        narrow = dict(embed_dim=16 * row.get('num_heads', 12)) if row.get('embed_layer', {}).get('proj', True) else {}
        heads = row.get('num_kv_heads')                                           # of each block
        return dict(img_size=(4 * patch, 3 * patch), depth=BLOCKS, **narrow,      # else tokens are as wide as the map
                    **(dict(num_kv_heads=(max(heads), min(heads))) if heads else {}))
    image: dict[str, object] = {}
    if zoo.get_pretrained_cfg(name).fixed_input_size and takes(name, 'img_size'):
        halos = any('halo' in stage for stage in row.get('blocks', ()))           # of 8 pixels a side, of a 16th of the image's
        image = {'img_size': size for size in (128 if halos else 64,) if timms_follows(name, size)}
    return image | cut_short(name)


def cut_short(name: str) -> dict[str, object]:
    """Of `short`, what is of a pyramid's blocks and channels."""
    family, architecture, _ = resolve(name)
    row = family.model_args(architecture)
    cut: dict[str, object] = {}
    if int(architectures()[architecture]['params']) < SMALL:
        return cut
    for key in DEPTHS:
        value = row.get(key, default_of(name, key))
        if isinstance(value, float) and key in row:                  # a multiplier of the depth
            cut[key] = min(value, 1.0)
        elif isinstance(value, int):
            cut[key] = min(value, BLOCKS)
        elif isinstance(value, tuple):
            cut[key] = tuple(min(v, BLOCKS) for v in value)
    if 'blocks' in row and takes(name, 'block_kwargs'):                       # block strings, a text a stage
        cut['blocks'] = tuple(' '.join(re.sub(r'_r(\d+)', lambda count: f'_r{min(int(count[1]), BLOCKS)}', block)
                                       for block in stage.split()[:BLOCKS]) for stage in row['blocks'])
    if cut == {} and takes(name, 'cfg') and takes(name, 'mlp_ratio'):         # where most of VGG's parameters are
        cut['mlp_ratio'] = 1 / 32
    if cut == {} and takes(name, 'channel_multiplier'):                       # widths follow from that of the last map
        cut |= dict(stem_size=CHANNELS, num_features=6 * CHANNELS)
    if 'w0' in row:                                       # widths follow from the depth: those of a small one
        cut |= dict(depth=15, w0=48, wa=32.54, wm=2.32, group_size=16)
    if cut and takes(name, 'width_factor') and takes(name, 'group_size'):               # groups that narrow blocks have
        cut |= dict(width_factor=0.25, group_size=8 if row.get('group_size') else None)
    if cut and 'global_att_blocks' in row:                                    # numbers of blocks, none that pools
        cut['global_att_blocks'] = (sum(cut['stages'][:3]) - 1,)
    if cut and isinstance(row.get('embed_dim'), int) and isinstance(row.get('num_heads', ()), tuple):
        heads = row.get('num_heads', ())                                      # of each stage, twice as many in the next
        cut['embed_dim'] = min(row['embed_dim'], 16 * heads[0] if heads else CHANNELS)
    if cut and isinstance(row.get('embed_dim'), tuple):                       # heads of 32 channels, where their number is not given
        cut['embed_dim'] = tuple(16 * heads for heads in row['num_heads']) if 'num_heads' in row else tuple(
            CHANNELS * width // row['embed_dim'][0] for width in row['embed_dim'])
    if isinstance(row.get('stem_width'), tuple):                              # of two convolutions, as wide as the first stage
        cut['stem_width'] = (CHANNELS // 2, CHANNELS)
    if cut and 'dims' in row:
        cut['dims'] = tuple(width // max(row['dims'][0] // CHANNELS, 1) for width in row['dims'])
    if 'global_attn_indexes' in row:                                # of which blocks attention looks at the whole map
        cut |= dict(global_attn_indexes=(1,), embed_dim=16 * row.get('num_heads', 12), img_size=8 * row.get('patch_size', 16))
    if cut and 'mlp_ratios' in row:                                           # a number of each block, in some
        cut['mlp_ratios'] = tuple(one[:BLOCKS] if isinstance(one, tuple) else one for one in row['mlp_ratios'])
    return cut


def default_of(name: str, option: str) -> object:
    """What the network's constructor takes for an option where nothing is said; None where it has none."""
    parameter = inspect.signature(network_class(name)).parameters.get(option)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def encodes(name: str) -> bool:
    """Whether the network is an image encoder of a language model, or a classifier on one."""
    from zoo.models.encodernet import EncoderClassifier, EncoderNet
    return issubclass(network_class(name), (EncoderClassifier, EncoderNet))


def patches_merged(name: str) -> int:
    """How many patches a side an encoder merges."""
    defaults = inspect.signature(network_class(name)).parameters
    words = ('merge_size', 'downsample_ratio', 'pooling_kernel_size')
    return next(defaults[key].default for key in words if key in defaults)


def classes(name: str, count: int) -> dict[str, int]:
    """The option of so many classes, for a network that takes any."""
    return dict(num_classes=count) if network_class(name).parts.classifier else {}


def of_tokens(model: str) -> bool:
    """Whether a network, 'module.Class', is one of tokens with positions."""
    from zoo.models.tokennet import TokenNet
    module, _, network = model.partition('.')
    return issubclass(getattr(importlib.import_module(f'zoo.models.{module}'), network), TokenNet)


STRUCTURES = structures()
NAMES = zoo.list_models()
MODEST = [name for name in NAMES if int(architectures()[name]['params']) < 100_000_000]        # what whole networks cost


def in_turn(names: list[str]) -> list[object]:
    """The names as parameters of a test: those whose turn it is today, within a fortnight, and of the first of each class
    a seventh a day, as they are, the others as slow ones, and so those that are large and cannot be cut short. Of the slow
    ones a third is today's."""
    firsts = {network_class(name): name for name in reversed(names)}.values()
    marks = {name: [pytest.mark.slow] + [pytest.mark.another_day] * (not turn_of(name, TURN)) for name in names}
    return [name if not heavy(name) and turn_of(name, 7 if name in firsts else FORTNIGHT) else
            pytest.param(name, marks=marks[name]) for name in names]


def heavy(name: str) -> bool:
    """Whether a network is large, and has no options that would make it small."""
    of_one_width = encodes(name) or of_tokens(resolve(name)[0].model)
    return int(architectures()[name]['params']) > HEAVY and not (of_one_width or cut_short(name))


def network_class(name: str) -> type:
    """The class that builds the network of that name."""
    module, _, network = resolve(name)[0].model.partition('.')
    return getattr(importlib.import_module(f'zoo.models.{module}'), network)


def few_patches(name: str) -> dict[str, object]:
    """Options that leave a network whole, and its images small where it is fitted to their size."""
    return {key: value for key, value in short(name).items() if key == 'img_size'}


def takes(name: str, option: str) -> bool:
    """Whether the network's constructor has the option."""
    return option in inspect.signature(network_class(name)).parameters


@functools.cache
def timms_follows(name: str, size: int) -> bool:
    """Whether timm's network can be fitted to images of that size, and has the weights that ours has then: its
    EfficientFormer has positions for one size alone."""
    with torch.device('meta'):
        ours, theirs = (library.create_model(name, img_size=size) for library in (zoo, timm))
    return {key: w.shape for key, w in ours.state_dict().items()} == {key: w.shape for key, w in theirs.state_dict().items()}


FORTNIGHT = 14
TURN = 3                                                       # days within which each slow case of many comes
TODAY = datetime.date.today().toordinal()


def turn_of(text: str, days: int) -> bool:
    """Whether it is the turn today of what has that name; each comes once in so many days."""
    return zlib.crc32(text.encode()) % days == TODAY % days


def share(names: list[str], days: int = FORTNIGHT) -> list[str]:
    """Today's share of long work: each name comes once in so many days."""
    return [name for name in names if turn_of(name, days)]

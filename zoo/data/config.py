"""The settings images are prepared with: what the caller asks, else what the weights were made with, else defaults."""
from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..spec import is_integral, is_real, unknown
from .constants import (
    CROP_MODES, DEFAULT_CROP_MODE, DEFAULT_CROP_PCT, DEFAULT_INTERPOLATION, DEFAULT_SIDES, IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD, INTERPOLATIONS, RANDOM,
)

_log = logging.getLogger(__name__)


def resolve_model_data_config(
    model: Any, args: Any = None, pretrained_cfg: Any = None, use_test_size: bool = False, verbose: bool = False,
) -> dict[str, Any]:
    """The settings images for `model` are prepared with: `resolve_data_config`, the model first."""
    return resolve_data_config(args, pretrained_cfg, model, use_test_size, verbose)


def resolve_data_config(
    args: Any = None, pretrained_cfg: Any = None, model: Any = None, use_test_size: bool = False,
    verbose: bool = False,
) -> dict[str, Any]:
    """The keyword arguments of `create_transform` that suit a model: input_size, interpolation, mean, std, crop_*.

    Each is the value in `args` if that has one (None and '' count as none), else that of `pretrained_cfg`, which if
    not given is the model's, else a default.

    Args:
        args: a mapping or namespace; what is no setting in it is left alone. It may have `input_size` (channels,
            height, width), `img_size` (pixels of a square side, with `in_chans` or `chans` channels, else 3),
            `crop_pct`, `crop_mode`, `interpolation`, and `mean` and `std`: one value per channel, or one for all.
            Channels alone do not change the `input_size` of the weights; they say how often one mean is repeated.
        model: a network. The settings are for as many channels as it takes, its `in_chans`; see `per_channel`.
        pretrained_cfg: a mapping, or a record with `to_dict()`.
        use_test_size: prefer `test_input_size` and `test_crop_pct` of the weights where they have them.
        verbose: log the settings.

    Raises:
        ValueError: there is nothing to resolve from, a value that cannot be used, or an `input_size` of other channels
            than the model's.
    """
    if isinstance(model, str):
        raise TypeError(f'Data settings come from a network, not from its name: model is {model!r}. Those of a name are '
                        'pretrained_cfg=zoo.get_pretrained_cfg(name).')
    asked, known = _mapping(args), _mapping(pretrained_cfg) or _mapping(getattr(model, 'pretrained_cfg', None))
    if not asked and not known and model is None:
        raise ValueError('Data settings come from args, pretrained_cfg or model: all three are missing or empty.')
    known = {**known, **_test_values(known)} if use_test_size else known

    config = {
        'input_size': _input_size(asked) or known.get('input_size') or (_channels(asked), *DEFAULT_SIDES),
        'interpolation': asked.get('interpolation') or known.get('interpolation') or DEFAULT_INTERPOLATION,
        'mean': _statistic(asked, 'mean') or known.get('mean') or IMAGENET_DEFAULT_MEAN,
        'std': _statistic(asked, 'std') or known.get('std') or IMAGENET_DEFAULT_STD,
        'crop_pct': _first(asked.get('crop_pct'), known.get('crop_pct'), DEFAULT_CROP_PCT),
        'crop_mode': asked.get('crop_mode') or known.get('crop_mode') or DEFAULT_CROP_MODE,
    }
    config['input_size'] = sizes(config['input_size'], 3, 'input_size')
    config['mean'], config['std'] = values(config['mean'], 'mean'), values(config['std'], 'std')
    if channels := getattr(model, 'in_chans', None):
        config |= _fitted(config, channels, bool(asked.get('input_size')))
    check_settings(**config)
    if verbose:
        for name, value in config.items():
            _log.info('%s: %s', name, value)
    return config


def _fitted(config: Mapping[str, Any], channels: int, asked: bool) -> dict[str, Any]:
    """The settings that depend on the channels, for a network of so many.

    Raises:
        ValueError: the caller asks for another number.
    """
    found, *sides = config['input_size']
    if asked and found != channels:
        raise ValueError(f'input_size is {config["input_size"]}, and the network takes images of {channels} channels: '
                         f'create it with in_chans={found}.')
    statistics = {name: per_channel(config[name], channels, name) for name in ('mean', 'std')}
    return {'input_size': (channels, *sides), **statistics}


def check_settings(interpolation: str, crop_mode: str, crop_pct: float, std: Sequence[float], **_: Any) -> None:
    """Raises ValueError for an unknown interpolation or crop mode, a crop_pct that is not above 0 and at most 1, or a
    std that is not positive."""
    if interpolation not in (*INTERPOLATIONS, RANDOM):
        raise ValueError(unknown('interpolation', str(interpolation), (*INTERPOLATIONS, RANDOM)))
    if crop_mode not in CROP_MODES:
        raise ValueError(unknown('crop_mode', str(crop_mode), CROP_MODES))
    if not is_real(crop_pct) or not 0 < crop_pct <= 1:
        raise ValueError(f'crop_pct is a positive fraction of the image, at most 1, such as {DEFAULT_CROP_PCT}; '
                         f'got {crop_pct!r}.')
    if not all(0 < s < math.inf for s in std):
        raise ValueError(f'std is divided by, so its values are positive; got {tuple(std)}.')


def sizes(size: Any, count: int, name: str) -> tuple[int, ...]:
    """`count` positive integers.

    Raises:
        ValueError: `size` is anything else.
    """
    whole = isinstance(size, Sequence) and all(is_integral(s) and s > 0 for s in size)
    if not whole or len(size) != count:
        what = '(channels, height, width)' if count == 3 else '(height, width)'
        raise ValueError(f'{name} is {what} in positive integers; got {size!r}.')
    return tuple(int(s) for s in size)


def values(given: Any, name: str) -> tuple[float, ...]:
    """A number, or a sequence or array of numbers, as a tuple.

    Raises:
        ValueError: `given` is neither, or empty.
    """
    found = given.tolist() if hasattr(given, 'tolist') else given
    found = (found,) if is_real(found) else found
    if not isinstance(found, Sequence) or not found or not all(is_real(v) for v in found):
        raise ValueError(f'{name} is one number, or one per channel; got {given!r}.')
    return tuple(found)


def per_channel(given: Any, channels: int, name: str) -> tuple[float, ...]:
    """A mean or std for a network of so many channels, by the rule that its first convolution is adapted by.

    One value serves all channels. Of three, those of RGB, a network of one channel has the average, any other has them
    again and again from the first.

    Raises:
        ValueError: as many values as fit no rule.
    """
    found = values(given, name)
    if len(found) == channels:
        return found
    if channels == 1:
        return (sum(found) / len(found),)
    if len(found) not in (1, 3):
        raise ValueError(f'{name} has one value for all channels or one for each of {channels}; got {len(found)}: '
                         f'{found}.')
    return tuple(found[i % len(found)] for i in range(channels))


def _mapping(source: Any) -> Mapping[str, Any]:
    """Settings as a mapping, whichever way they were given."""
    if source is None or isinstance(source, Mapping):
        return source or {}
    return source.to_dict() if hasattr(source, 'to_dict') else vars(source)


def _first(*candidates: Any) -> Any:
    """The first candidate that is not None."""
    return next(c for c in candidates if c is not None)


def _test_values(known: Mapping[str, Any]) -> dict[str, Any]:
    """What the weights prefer in testing, under the names of what it replaces."""
    names = {'test_input_size': 'input_size', 'test_crop_pct': 'crop_pct'}
    return {name: known[test] for test, name in names.items() if known.get(test)}


def _channels(asked: Mapping[str, Any]) -> int:
    """How many channels the caller speaks of."""
    if asked.get('input_size'):
        return sizes(asked['input_size'], 3, 'input_size')[0]
    channels = _first(asked.get('in_chans'), asked.get('chans'), 3)
    if not is_integral(channels) or channels < 1:
        raise ValueError(f'in_chans is a positive integer; got {channels!r}.')
    return int(channels)


def _input_size(asked: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The input size the caller asks for; None where that is left to the weights."""
    if asked.get('input_size'):
        return sizes(asked['input_size'], 3, 'input_size')
    side = asked.get('img_size')
    if side is None:
        return None
    if not is_integral(side) or side < 1:
        raise ValueError(f'img_size is one positive integer, the side of a square; got {side!r}. '
                         'For other shapes there is input_size (channels, height, width).')
    return (_channels(asked), int(side), int(side))


def _statistic(asked: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    """The caller's mean or std, one value per channel; None where that is left to the weights."""
    if asked.get(name) is None:
        return None
    found, channels = values(asked[name], name), _channels(asked)
    if len(found) not in (1, channels):
        raise ValueError(f'{name} has one value for all channels or one for each of {channels}; got {len(found)}: '
                         f'{found}.')
    return found * channels if len(found) == 1 else found

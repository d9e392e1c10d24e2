"""Puts a state dict into a network: its first convolution and its classifier adapted, everything else exact."""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..spec import Misfit, PretrainedCfg, Sizes
from .conversion import check_settings, recognise, to_ours
from .location import Weights, locate
from .read import own, read_state_dict, unwrap
from .storage import materialise

Wanted = dict[str, tuple[torch.Size, torch.dtype]]
_log = logging.getLogger('zoo')


@runtime_checkable
class Fitting(Protocol):
    """A network of zoo's, which fits weights to its sizes and draws its own, see `zoo.contract.ImageModel`."""

    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes) -> dict[str, Tensor]:
        """The weights, fitted to its sizes."""

    def init_weights(self) -> None:
        """Draws every parameter anew."""

    def init_head(self) -> None:
        """Draws the classifiers anew."""


class Loaded(NamedTuple):
    """What was done to weights, in words, and the fields of their record that their layout implies."""

    adapted: list[str]
    implied: dict[str, Any]


def load_weights(model: nn.Module, cfg: PretrainedCfg, source: Weights | bool = True, *,
                 cache_dir: str | Path | None = None, partial: bool = False,
                 device: torch.device | str = 'cpu', settings: Mapping[str, Any] | None = None,
                 new_head: bool = False, strict: bool = True,
                 adapt: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] | None = None) -> dict[str, Any]:
    """Finds, reads and loads weights; returns the fields of their record that their layout implies, see `Layout.data`.

    Args:
        source, cache_dir: as in `locate`. partial, device, settings, new_head, strict: as in `load_into`.
        adapt: applied to the state dict before.

    Raises:
        FileNotFoundError: no place has the weights.
        ValueError: they cannot be read safely, or do not fit (`zoo.spec.Misfit`).
    """
    found = locate(cfg, source, cache_dir)
    state = read_state_dict(found.path) if found.path else own(unwrap(found.state))
    return load_into(model, adapt(state) if adapt else state, cfg, partial=partial, device=device, origin=found.origin,
                     settings=settings, new_head=new_head, strict=strict).implied


@torch.no_grad()
def load_into(model: nn.Module, state: Mapping[str, Tensor], cfg: PretrainedCfg, *, partial: bool = False,
              device: torch.device | str = 'cpu', origin: str = 'the state dict',
              settings: Mapping[str, Any] | None = None, new_head: bool = False, strict: bool = True) -> Loaded:
    """Loads weights into a network; says what was adapted. Nothing is changed where it fails.

    Args:
        model: built `without_storage` (it takes over the tensors, and is whole afterwards), or an ordinary network
            (it copies them).
        cfg: names the first convolution and the classifier, and the number of classes of published weights.
        partial: the network lacks some of its layers (features_only); weights of others are ignored.
        device: where a network without memory gets it.
        origin: where the weights come from, for messages.
        settings: what the network was built with, where weights in a foreign layout are to be checked against it.
        new_head: whether weights of another number of classes load, with a classifier that is drawn anew.
        strict: False draws parameters that the weights lack and leaves out those that the network lacks, and warns.

    Raises:
        Misfit: weights are missing, unexpected or of another shape; the message names them. Or all fit, and `settings`
            are not those that their layout implies.
    """
    given, layout = state, None
    if isinstance(model, Fitting):                   # not a user's own network, whose names are nobody else's
        layout, (_, height, width) = recognise(state), cfg.input_size
        ours = to_ours(state, layout, model) if layout else state
        state = model.adapt_state(ours, Sizes(img_size=(height, width)))
    state = dict(state)
    there = model.state_dict()                       # only now: for fused weights, the network has been fused
    wanted = {key: (tensor.shape, tensor.dtype) for key, tensor in there.items()}
    empty = any(tensor.is_meta for tensor in there.values())
    _fit_dimensions(state, wanted)
    adapted = list(_fit_first_conv(state, wanted, cfg))
    anew = list(_fit_classifier(state, wanted, cfg, new_head))
    # PyTorch 0.4 and earlier did not count batches
    counters = [key for key in wanted if key not in state and key.endswith('.num_batches_tracked')]
    needed = {key: shape for key, (shape, _) in wanted.items() if key not in {*anew, *counters}}
    lacking = [] if strict else [key for key in needed if key not in state]
    if lacking and len(lacking) < len(needed):                             # where nothing is the same, it is a mistake
        needed = {key: shape for key, shape in needed.items() if key in state}
        _log.warning('%s lacks %s, which are drawn', origin, ', '.join(lacking))
    if not (strict or partial) and (surplus := state.keys() - wanted.keys()):
        _log.warning('%s has %s, which are left out', origin, ', '.join(sorted(surplus)))
    misfits = list(_misfits(state, needed, partial or not strict))
    classes = _other_classes(state, needed, cfg)
    if misfits:
        if layout and not layout.same_names:
            known, name = layout.describe(given)[0], cfg.architecture or 'the network'
            other = layout.differences(given, settings, name) if settings is not None else []
            what = f'It is in the layout of {layout.name}{f", of {known}" if known else ""}'
            misfits.insert(0, '; '.join([what, *other]) + '.')
        if classes:
            misfits.append(f'Its classifier has {classes[0]} classes, and the network {classes[1]}.')
        raise Misfit('\n  '.join([f'{origin} does not fit {cfg.architecture or "the network"}.', *misfits]),
                     arguments={'num_classes': classes[0]} if classes else None)
    if layout and settings is not None:
        check_settings(given, layout, settings, cfg.architecture or 'the network')

    loaded = {key: state.pop(key) for key in needed} | {key: torch.zeros((), dtype=torch.int64) for key in counters}
    if empty and lacking and isinstance(model, Fitting):
        materialise(model, device)
        model.init_weights()
        empty = False
    if empty:
        materialise(model, device, {key: loaded.pop(key).to(device, wanted[key][1]) for key in list(loaded)})
        if anew and isinstance(model, Fitting):
            model.init_head()
    else:
        model.load_state_dict(loaded, strict=False)
    adapted += [f'{key}: drawn anew for {wanted[key][0][0]} classes' for key in anew]
    for line in adapted:
        _log.info('%s: %s', origin, line)
    return Loaded(adapted, layout.data(given) if layout else {})


def _fit_first_conv(state: dict[str, Tensor], wanted: Wanted, cfg: PretrainedCfg) -> Iterator[str]:
    """Makes RGB weights take any number of channels: of one their sum, of more RGB over and over, scaled to 3 / number
    so that the outputs stay as large; says what it did. In a linear layer's, of patches, the channels of each pixel lie
    side by side."""
    for key in (f'{name}.weight' for name in _names(cfg.first_conv)):
        if key not in state or key not in wanted:
            continue
        shape, dtype = wanted[key]
        rgb, number, linear = state[key].to(dtype), shape[1], len(shape) == state[key].ndim == 2
        if linear and rgb.shape[1] % 3 == 0 and 3 * number % rgb.shape[1] == 0:
            number = 3 * number // rgb.shape[1]
            rgb = rgb.unflatten(1, (-1, 3)).transpose(1, 2)                                # (out, 3, pixels)
        if rgb.shape[1] == 3 != number:
            repeated = rgb[:, torch.arange(number) % 3] * (3 / number)
            fitted = rgb.sum(1, keepdim=True) if number == 1 else repeated
            state[key] = fitted.transpose(1, 2).flatten(1) if linear else fitted
            yield f'{key}: from 3 channels to {number}'


def _fit_dimensions(state: dict[str, Tensor], wanted: Wanted) -> None:
    """Gives linear layers' weights the shape of 1x1 convolutions', and the other way round."""
    for key in state.keys() & wanted.keys():
        have, want = state[key].shape, wanted[key][0]
        if len(have) != len(want) and have.numel() == want.numel() and have[:2] == want[:2]:
            state[key] = state[key].reshape(want)


def _fit_classifier(state: dict[str, Tensor], wanted: Wanted, cfg: PretrainedCfg,
                    new_head: bool) -> Iterator[str]:
    """Drops the classifier's weights where the network has none, and, as keys to be drawn anew, where it has another
    number of classes and may (`new_head`); drops outputs before the first class (`label_offset`)."""
    for key in (f'{name}.{kind}' for name in _names(cfg.classifier) for kind in ('weight', 'bias')):
        if key not in state:
            continue
        if key not in wanted:
            del state[key]
            continue
        classes, want, offset = len(state[key]), wanted[key][0][0], cfg.label_offset or 0
        if offset and classes - offset == want:
            state[key] = state[key][offset:].clone()
        elif new_head and classes != want:
            del state[key]
            yield key


def _misfits(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], partial: bool) -> Iterator[str]:
    """Lines that name the keys that are missing, unexpected or of another shape."""
    missing = [key for key in wanted if key not in state]
    unexpected = [] if partial else [key for key in state if key not in wanted]
    other = [key for key, shape in wanted.items() if key in state and state[key].shape != shape]
    shapes = [f'{key} {tuple(state[key].shape)} where the network has {tuple(wanted[key])}' for key in other]
    if len(missing) == len(wanted):
        yield 'No name is the same: it seems to be of another network.'
    for what, lines in (('missing', missing), ('unexpected', unexpected), ('of another shape', shapes)):
        if lines:
            yield f'{len(lines)} {what}: {", ".join(lines[:5])}{", …" if len(lines) > 5 else ""}'


def _other_classes(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size],
                   cfg: PretrainedCfg) -> tuple[int, int] | None:
    """The classes of the weights and of the network, where both have a classifier and they differ."""
    for key in (f'{name}.weight' for name in _names(cfg.classifier)):
        if key in state and key in wanted and len(state[key]) != wanted[key][0]:
            return len(state[key]), wanted[key][0]
    return None


def _names(layers: str | Sequence[str] | None) -> tuple[str, ...]:
    return (layers,) if isinstance(layers, str) else tuple(layers or ())

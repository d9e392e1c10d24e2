"""Checkpoints made with other libraries: which layout a state dict is in, and the same tensors under other names.

A layout is recognised by its keys and a network by the number of its elements; file names play no part. `LAYOUTS` is
the list of what is known. Some layouts share their shapes with several networks of zoo that differ in padding or in
the eps of batch normalisation: `Conversion.arguments` says which is meant, and `check_settings` refuses another.
"""
from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..spec import Misfit, refuse
from .foreign.formers import FORMER_LAYOUTS, FormerLayout
from .foreign.layouts import BLOCK_LAYOUTS, BlockLayout
from .read import read_state_dict, unwrap

Layout = BlockLayout | FormerLayout
LAYOUTS: tuple[Layout, ...] = (*BLOCK_LAYOUTS, *FORMER_LAYOUTS)
OUTSIDE = ('conv_stem', 'stem.conv1', 'stem.conv1.conv', 'classifier', 'head', 'head_dist')   # see Layout.known
EPS = 1e-5                                               # of batch normalisation, where nothing says otherwise


@dataclass(frozen=True)
class Conversion:
    """A state dict under the names of one layout, and what is known of it.

    Attributes:
        state: the tensors; those that keep their shape share memory with the ones given.
        source, target: layouts, 'zoo' for ours.
        architecture: the network's name in the catalog; None where its size is of none that the layout publishes.
        arguments: of `create_model`, beside the name, for the network that the checkpoint was made with:
            `zoo.create_model(c.architecture, pretrained=c.state, **c.arguments)`.
    """

    state: dict[str, Tensor]
    source: str
    target: str
    architecture: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


def convert(source: Mapping[str, Any] | str | Path, to: str = 'zoo') -> Conversion:
    """Renames a state dict, or one in a file, to the names of zoo, or those of another library.

    Where code and documentation of those libraries disagree, zoo follows the code:

    - EfficientNet of transformers pads as TensorFlow does for an even size, whatever the size is, and alike on all
      sides in the blocks of `depthwise_padding`: pad_type='even' and symmetric_blocks. It equals pad_type='same' of
      our tf_ networks at the nominal size only.
    - EfficientNet-PyTorch's `advprop` weights have the same keys as its others: their images are normalised with mean
      and std 0.5, as the tags .ap_in1k say here.
    - EfficientNet B5 to B7 and V2 of torchvision, and its MobileNetV3, have eps 1e-3 where ours have 1e-5.
    - EfficientFormer of transformers normalises tokens with eps 1e-12, that of its paper and ours with 1e-5.
    - EfficientFormerV2 of snap-research has index tables in its checkpoints that follow from the image size. Ours have
      not: there, load what is converted with strict=False.

    Args:
        source: a state dict, or a file of one; in any known layout.
        to: 'zoo', a library ('transformers', 'torchvision', 'EfficientNet-PyTorch', 'snap-research'), or a layout's
            full name.

    Raises:
        ValueError: an unknown layout, or one that has no place for some of the tensors.
        FileNotFoundError: no such file.
    """
    state = read_state_dict(source) if isinstance(source, (str, Path)) else unwrap(source)
    layout = recognise(state)
    ours = state if layout is None else to_ours(state, layout)
    name, arguments = describe(state, layout) if layout else (None, {})
    source_name = layout.name if layout else 'zoo'
    if to == 'zoo':
        return Conversion(dict(ours), source_name, 'zoo', name, arguments)
    target = _target(to, ours)
    if not name and (known := target.known.get(_size(ours, OUTSIDE))):
        name, arguments = known[0], dict(known[1])
    names = target.to_theirs(ours)
    renamed = {_new_name(key, names): _shaped(key, value, target, ours=False) for key, value in ours.items()}
    if target.prefix and any(key.startswith(target.classifiers) for key in renamed):
        renamed = {key if key.startswith(target.classifiers) else target.prefix + key: value
                   for key, value in renamed.items()}
    renamed = OrderedDict(renamed)
    renamed._metadata = {'': {'version': target.version}}              # what load_state_dict of MNASNet insists on
    return Conversion(renamed, source_name, target.name, name, arguments)


def recognise(state: Mapping[str, Any]) -> Layout | None:
    """The foreign layout of a state dict; None for our own, and for any that is not known."""
    return next((layout for layout in LAYOUTS if layout.recognises(state.keys())), None)


def to_ours(state: Mapping[str, Tensor], layout: Layout | None = None, model: nn.Module | None = None,
            ) -> dict[str, Tensor]:
    """The state dict under our names; one in no foreign layout as it is.

    What a layout has no rule for keeps its name, so that loading names it. Where blocks are numbered through all
    stages, `model` says how many a stage has; else the tensors' shapes do.
    """
    layout = layout or recognise(state)
    if layout is None:
        return dict(state)
    names = layout.from_theirs({key: tuple(value.shape) for key, value in state.items()}, _places(model))
    kept = {key.removeprefix(layout.prefix): value for key, value in state.items()
            if not layout.dropped or not key.endswith(layout.dropped)}
    renamed = {_new_name(key, names): value for key, value in kept.items()}
    return {key: _shaped(key, value, layout, ours=True) for key, value in renamed.items()}


def describe(state: Mapping[str, Tensor], layout: Layout) -> tuple[str | None, dict[str, Any]]:
    """The architecture of a state dict, and the arguments beside its name; see `Conversion`."""
    implied = layout.implied(state)
    known = layout.known.get(_size(state, (layout.first_conv, layout.prefix + layout.first_conv, *layout.classifiers)))
    if known:
        return known[0], {**known[1], **implied}
    return None, implied if layout.eps is None else {'bn_eps': layout.eps, 'pad_type': layout.pads[0]}


def check_settings(state: Mapping[str, Tensor], layout: Layout, settings: Mapping[str, Any], model: str) -> None:
    """Raises Misfit where a checkpoint would load into a network that computes something else with it.

    Args:
        settings: the arguments that the network was built with.
        model: its name, for the message.
    """
    name, arguments = describe(state, layout)
    needed = arguments.get('bn_eps', layout.eps)
    eps, pad = settings.get('bn_eps') or EPS, settings.get('pad_type') or ''
    wrong = []
    if needed and eps != needed:
        wrong.append(f'its batch normalisation has eps {needed:g}, and {model} {eps:g}')
    if pad not in layout.pads:
        wrong.append(f'its padding is pad_type={layout.pads[0]!r}, and that of {model} {pad!r}')
    if wrong:
        of = f', of {name}' if name else ''
        raise Misfit(f'The checkpoint is in the layout of {layout.name}{of}. In {model} it would load, and give other '
                     f'logits: {"; ".join(wrong)}.', name or model, arguments)


def _target(to: str, ours: Mapping[str, Tensor]) -> Layout:
    """The layout that `to` names; of a library's several, the one that knows a network of this size, or has a place
    for all of it."""
    several = [layout for layout in LAYOUTS if to.lower() in (layout.name.lower(), layout.library.lower())]
    if not several:
        known = {name for layout in LAYOUTS for name in (layout.library, layout.name)}
        raise ValueError(refuse('Layout', to, ['zoo', *known]))
    fitting, problems = [], []
    for layout in several:
        try:
            layout.to_theirs(ours)
        except ValueError as error:
            problems.append(str(error))
        else:
            fitting.append(layout)
    fitting = [layout for layout in fitting if _size(ours, OUTSIDE) in layout.known] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(f'Several layouts have a place for all of it: '
                         f'{", ".join(repr(layout.name) for layout in fitting)}. Give one of these names.')
    raise ValueError(' '.join(problems))


def _size(state: Mapping[str, Tensor], outside: Collection[str]) -> int:
    """Elements of all floating point tensors but those of the modules `outside`."""
    return sum(value.numel() for key, value in state.items()
               if value.is_floating_point() and key.rpartition('.')[0] not in outside)


def _new_name(key: str, names: Mapping[str, str]) -> str:
    """By a rule for the key, else by one for its module, else as it is."""
    module, _, parameter = key.rpartition('.')
    return names.get(key) or (f'{names[module]}.{parameter}' if module in names else key)


def _shaped(key: str, value: Tensor, layout: Layout, ours: bool) -> Tensor:
    """The tensor in the shape that it has in ours, or in the layout; `key` is our name."""
    module, _, parameter = key.rpartition('.')
    if module in layout.linear and parameter == 'weight':
        return value.flatten(1)[:, :, None, None] if ours else value.flatten(1)
    if parameter == 'gamma':
        return value.flatten() if ours else value[(..., *[None] * layout.scale_dims)]
    return value


def _places(model: nn.Module | None) -> list[tuple[int, int]] | None:
    """Stage and index of the blocks of one of our networks, in order."""
    if model is None:
        return None
    found = (re.match(r'blocks\.(\d+)\.(\d+)\.', key) for key in model.state_dict())
    return list(dict.fromkeys((int(match[1]), int(match[2])) for match in found if match))

"""Checkpoints made with other libraries: which layout a state dict is in, and the same tensors under other names.

A layout is recognised by its keys and a network by its tensors' shapes; file names play no part. What is known lies in
`zoo.pretrained.foreign`, a module a family. Some layouts share their shapes with several networks of zoo that differ in
padding, in activations or in the eps of normalisation: `Conversion.arguments` says which is meant, and
`check_settings` refuses another.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..spec import Misfit, unknown
from .foreign import layouts
from .foreign.layout import Layout
from .read import read_state_dict, unwrap


@dataclass(frozen=True)
class Conversion:
    """A state dict under the names of one layout, and what is known of it.

    Attributes:
        state: the tensors; those that keep their shape share memory with the ones given.
        source, target: layouts, 'zoo' for ours.
        architecture: the network's name in the catalog; None where its size is of none that the layout publishes.
        arguments: of `create_model`, beside the name, for the network that the checkpoint was made with:
            `zoo.create_model(c.architecture, pretrained=c.state, **c.arguments)`.
        data: how images were prepared, where the layout implies it: `pretrained_cfg_overlay=c.data` of `create_model`.
    """

    state: dict[str, Tensor]
    source: str
    target: str
    architecture: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


def convert(source: Mapping[str, Any] | str | Path, to: str = 'zoo') -> Conversion:
    """Renames a state dict, or one in a file, to the names of zoo, or those of another library.

    Where code and documentation of those libraries disagree, zoo follows the code:

    - EfficientNet of transformers pads as TensorFlow does for an even size, whatever the size is, and alike on all
      sides in the blocks of `depthwise_padding`: pad_type='even' and symmetric_blocks. It equals pad_type='same' of
      our tf_ networks at the nominal size only.
    - MobileNetV2 of transformers is TensorFlow's: pad_type='same' and bn_eps=1e-3.
    - EfficientNet-PyTorch's `advprop` weights have the same keys as its others: their images are normalised with mean
      and std 0.5, as the tags .ap_in1k say here.
    - EfficientNet B5 to B7 and V2 of torchvision, and its MobileNetV3, have eps 1e-3 where ours have 1e-5.
    - torchvision's Inception-v3 turns, with `transform_input`, images normalised for ImageNet into those of mean and std
      0.5, as our data config has them.
    - EfficientFormer of transformers normalises tokens with eps 1e-12, that of its paper and ours with 1e-5.
    - transformers normalises the tokens of ViT and DeiT with eps 1e-12, where ours by name have 1e-6, and uses the
      quick GELU for CLIP: norm_eps and the names with 'quickgelu' say so.
    - A ViT's pooler (a layer with tanh after the class token), a token for masks and the text half of CLIP and SigLIP
      are left out.
    - PVT v2 of transformers normalises patches and coarser maps with eps 1e-6, that of the authors and ours with 1e-5.
    - SAM's image encoder normalises with eps 1e-6, and that of timm, and ours by name, with 1e-5: norm_eps says so.
    - RegNets of pycls are trained with BGR images: the channels of their first convolution are turned round, so that
      networks here take RGB ones, normalised as ever.
    - EfficientFormerV2 of snap-research has index tables in its checkpoints that follow from the image size. Ours have
      not: there, load what is converted with strict=False.
    - Keras' ResNet has its strides in the first convolutions of blocks, its ResNet V2 in the last blocks of stages; its
      Xception pads as TensorFlow does, its Inception-v3 averages without the border, and its NASNet takes the border of max
      pooling for zeros. The arguments say so.

    Args:
        source: a state dict, or a file of one; in any known layout.
        to: 'zoo', a library ('transformers', 'torchvision', 'open_clip', 'facebook', 'microsoft', 'BAAI',
            'snap-research', 'pycls', 'VISSL', 'EfficientNet-PyTorch'), or a layout's full name.

    Raises:
        ValueError: an unknown layout, or one that has no place for some of the tensors.
        FileNotFoundError: no such file.
    """
    state = read_state_dict(source) if isinstance(source, (str, Path)) else unwrap(source)
    layout = recognise(state)
    ours = state if layout is None else to_ours(state, layout)
    name, arguments = layout.describe(state) if layout else (None, {})
    data = layout.data(state) if layout else {}
    source_name = layout.name if layout else 'zoo'
    if to == 'zoo':
        return Conversion(dict(ours), source_name, 'zoo', name, arguments, data)
    target = _target(to, ours)
    if not name:
        name, arguments = target.identify(ours)
    return Conversion(target.to_theirs(ours), source_name, target.name, name, arguments, data)


def recognise(state: Mapping[str, Any]) -> Layout | None:
    """The foreign layout of a state dict; None for our own, and for any that is not known."""
    return next((layout for layout in layouts() if layout.recognises(state.keys())), None)


def to_ours(state: Mapping[str, Tensor], layout: Layout | None = None, model: nn.Module | None = None,
            ) -> dict[str, Tensor]:
    """The state dict under our names; one in no foreign layout as it is.

    `model` is what it is for, see `Layout.to_ours`.
    """
    layout = layout or recognise(state)
    return dict(state) if layout is None else layout.to_ours(state, model)


def check_settings(state: Mapping[str, Tensor], layout: Layout, settings: Mapping[str, Any], model: str) -> None:
    """Raises Misfit where a checkpoint would load into a network that computes something else with it.

    Args:
        settings: the arguments that the network was built with.
        model: its name, for the message.
    """
    wrong = layout.differences(state, settings, model)
    if wrong:
        name, arguments = layout.describe(state)
        of = f', of {name}' if name else ''
        raise Misfit(f'The checkpoint is in the layout of {layout.name}{of}. In {model} it would load, and give other '
                     f'logits: {"; ".join(wrong)}.', name or model, arguments)


def _target(to: str, ours: Mapping[str, Tensor]) -> Layout:
    """The layout that `to` names; of a library's several, the one that knows this network, or has a place for all of
    it."""
    several = [layout for layout in layouts() if to.lower() in (layout.name.lower(), layout.library.lower())]
    if not several:
        known = {name for layout in layouts() for name in (layout.library, layout.name)}
        raise ValueError(unknown('Layout', to, ['zoo', *known]))
    fitting, problems = [], []
    for layout in several:
        try:
            layout.to_theirs(ours)
        except ValueError as error:
            problems.append(str(error))
        else:
            fitting.append(layout)
    fitting = [layout for layout in fitting if layout.identify(ours)[0]] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError(f'Several layouts have a place for all of it: '
                         f'{", ".join(repr(layout.name) for layout in fitting)}. Give one of these names.')
    raise ValueError(' '.join(dict.fromkeys(problems)))

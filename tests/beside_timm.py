"""Networks beside timm's of the same name: the same random weights and statistics in both, then the same numbers."""
from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterable, Sequence
from unittest.mock import patch

import timm
import timm.models.byobnet
import torch
import torch.fx.experimental._config
from conftest import randomize, relative_error
from structures import classes
from torch import nn
from torch.export import Dim

import zoo
from zoo.models import byobnet
from zoo.models.byobnet_blocks import BLOCKS
from zoo.models.byobnet_cfg import stages_of
from zoo.registry import resolve


def named_here(modules: str) -> str:
    """What modules that maps come out of are called here: in timm's networks of a stem, normalisation and activation are
    one module, which has the name of the first."""
    return re.sub(r'\bbn(?=1)|(?<=stem\.)norm|(?<=features\.)norm(?=\d)', 'act', modules)


def on_meta(name: str, **options) -> nn.Module:
    with torch.device('meta'):
        return zoo.create_model(name, **options)


def options_of(name: str) -> dict[str, str]:
    """The options of a network's constructor, and their types as they are written."""
    module, _, network = resolve(name)[0].model.partition('.')
    constructor = getattr(importlib.import_module(f'zoo.models.{module}'), network)
    return {key: option.annotation for key, option in inspect.signature(constructor).parameters.items()}


def of_timm(name: str, **options) -> nn.Module:
    """timm's network of that name. Some of its functions refuse options that they set themselves, such as BiT's depth,
    or fields of a record, such as MViT's: the class is made with what they would have made it with, and the options in
    place of that."""
    if 'blocks' in options:                                         # there in records, here in block strings as well
        row = resolve(name)[0].model_args(name) | options
        shared = row.get('block_kwargs', {})
        plan = stages_of(options['blocks'], BLOCKS, shared, row.get('self_attn_kwargs', {}))
        options['blocks'] = [[timm.models.byobnet.ByoBlockCfg(**{
            **vars(block), 'block_kwargs': byobnet.options_of(block, shared)}) for block in stage] for stage in plan]
    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        if not any(words in str(error) for words in ('multiple values', 'unexpected keyword')):
            raise
    function, found = timm.models.model_entrypoint(name), {}

    def build(network: type[nn.Module], variant: str, pretrained: bool, model_cfg: object = None, **given) -> nn.Module:
        known = inspect.signature(network).parameters
        fields = {key: value for key, value in options.items() if key not in known}
        if model_cfg is not None:
            given['cfg'] = with_fields(model_cfg, fields)
        elif fields:
            raise TypeError(f'{network.__name__} has no {", ".join(fields)}.')
        found.update(model=network(**{key: value for key, value in {**given, **options}.items() if key in known}))
        return found['model']

    with patch.dict(vars(inspect.getmodule(function)), build_model_with_cfg=build):
        function()
    return found['model']


def with_fields(record: object, fields: dict[str, object]) -> object:
    """A record of timm's with those fields in place of its own, or of the records inside it."""
    if isinstance(record, dict):
        return {**record, **fields}
    if not dataclasses.is_dataclass(record):
        return record
    known = vars(record)
    own = {key: value for key, value in fields.items() if key in known}
    rest = {key: value for key, value in fields.items() if key not in known}
    for key, inner in known.items():
        if dataclasses.is_dataclass(inner) and rest.keys() & vars(inner).keys():
            own[key] = with_fields(inner, {name: rest.pop(name) for name in rest.keys() & vars(inner).keys()})
    return dataclasses.replace(record, **own, **rest)


def pair(name: str, dtype: torch.dtype = torch.float32, timms: dict[str, object] | None = None,
         **options) -> tuple[nn.Module, nn.Module]:
    """Ours and timm's network, with the same options or `timms`, and one set of random weights; ours holds the same
    tensors, to save memory."""
    theirs = randomize(of_timm(name, **(options if timms is None else timms)).to(dtype))
    ours = on_meta(name, **options)
    ours.to_empty(device='cpu')
    for module in ours.modules():
        if hasattr(module, 'reset_constants'):
            module.reset_constants()
    ours.to(dtype).load_state_dict({k: v.clone() if 'running' in k else v for k, v in theirs.state_dict().items()}, assign=True)
    for parameter in ours.parameters():
        parameter.requires_grad_()
    return ours, theirs


def drawn_alike(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The output, with the same random numbers for every network that draws some in training."""
    torch.manual_seed(4)
    return model(image)


def compare_with_timm(name: str, **options) -> None:
    """Logits, maps, and the gradients of all parameters, with random weights and statistics."""
    size = sum(p.numel() for p in on_meta(name, **options).parameters())
    dtype = torch.float64 if size < 1e8 else torch.float32                                      # memory
    if 'drop_path_rate' in options_of(name):
        options['drop_path_rate'] = 0.0
    ours, theirs = pair(name, dtype, **classes(name, 5), **options)
    generator = torch.Generator().manual_seed(2)
    size, odd_size = (64, 64), (50, 43)                                               # odd sizes: padding shows
    margin = max(f.get('margin', 0) for f in ours.feature_info)
    size, odd_size = ((height + margin, width + margin) for height, width in (size, odd_size))
    least = zoo.get_pretrained_cfg(name).min_input_size
    if least:                                               # of timm's; zoo's take any
        size = odd_size = least[1:]
    if ours.img_size:                                       # its weights depend on it
        size = odd_size = ours.img_size
    image = torch.rand(2, 3, *odd_size, generator=generator, dtype=dtype) * 2 - 1
    with torch.no_grad():
        ours.eval(), theirs.eval()
        try:
            maps = theirs.forward_intermediates(image, intermediates_only=True)
        except Exception:                                       # timm's takes no image of this size
            maps = []
        mine = ours.forward_intermediates(image, intermediates_only=True)
        if [m.shape for m in maps] != [m.shape for m in mine]:  # timm's maps are smaller than it says
            image = torch.rand(2, 3, *size, generator=generator, dtype=dtype) * 2 - 1
            maps, mine = (m.forward_intermediates(image, intermediates_only=True) for m in (theirs, ours))
        assert all(relative_error(a, b) < 1e-5 for a, b in zip(mine, maps, strict=True))
        assert relative_error(ours(image), theirs(image)) < 1e-5
    image = torch.rand(3, 3, *size, generator=generator, dtype=dtype) * 2 - 1
    ours.train(), theirs.train()
    outputs = tuple(drawn_alike(model, image) for model in (ours, theirs))
    assert relative_error(*outputs) < 1e-5
    weights = torch.randn(outputs[0].shape, generator=generator, dtype=dtype)
    (outputs[0] * weights).sum().backward()
    gradients = {key: value.grad for key, value in ours.named_parameters()}
    for parameter in ours.parameters():
        parameter.grad = None                                               # they share nothing but the values
    del ours
    (outputs[1] * weights).sum().backward()
    compared = 0
    for key, value in theirs.named_parameters():
        theirs_grad, ours_grad = value.grad, gradients.pop(key)
        assert (theirs_grad is None) == (ours_grad is None), key
        if theirs_grad is not None and theirs_grad.norm() > 1e-6 * theirs_grad.numel() ** 0.5:
            assert relative_error(ours_grad, theirs_grad) < 1e-5, key
            compared += 1
    assert compared > 10 and not gradients


def compare_options(name: str, size: tuple[int, int] = (72, 65), timms: dict[str, object] | None = None,
                    **options) -> tuple[nn.Module, nn.Module]:
    """Logits in evaluation and training, features, embeddings and what the network says of itself, of both built with
    the same options (`timms`: other ones for timm); returns both."""
    ours, theirs = pair(name, torch.float64, timms, **options)
    channels = options.get('in_chans', 3)
    image = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2 - 1
    ours.eval(), theirs.eval()
    assert relative_error(ours(image), theirs(image)) < 1e-5
    features = [model.forward_features(image) for model in (ours, theirs)]
    assert relative_error(*features) < 1e-5
    assert relative_error(*(m.forward_head(f, pre_logits=True) for m, f in zip((ours, theirs), features))) < 1e-5
    for key in ('num_features', 'head_hidden_size', 'num_classes'):
        assert getattr(ours, key) == getattr(theirs, key), key
    for mine, other in zip(ours.feature_info, theirs.feature_info, strict=True):
        assert mine['num_chs'] == other['num_chs']
        if other['module']:                               # else it is no map of theirs
            assert (mine['reduction'], mine['module']) == (other['reduction'], named_here(other['module']))
    if not any('drop' in key and value for key, value in options.items()):
        assert relative_error(drawn_alike(ours.train(), image), drawn_alike(theirs.train(), image)) < 1e-5
    return ours, theirs


def check_compiled(model: nn.Module, image: torch.Tensor) -> None:
    """Compiled as one graph, a network gives what it gives."""
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    assert relative_error(compiled(image), model(image)) < 1e-5


def check_exported(model: nn.Module, image: torch.Tensor, sizes: Iterable[Sequence[int]], batch: int = 1,
                   one_window: bool = False) -> None:
    """Exported with any number, height and width of images, a network gives at other sizes what it gives.

    Args:
        one_window: a map of the image may be of one window, which is not to be held there.
    """
    sides = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with torch.fx.experimental._config.patch(backed_size_oblivious=one_window):
        program = torch.export.export(model, (image,), dynamic_shapes=(sides,)).module()
    for size in sizes:
        other = torch.rand(batch, *image.shape[1:2], *size, generator=torch.Generator().manual_seed(5)) * 2 - 1
        assert relative_error(program(other), model(other)) < 1e-5

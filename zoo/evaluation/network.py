"""A network made ready for inference: the same outputs, sooner."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..layers.reparam import fuse_branches

TOLERANCE = 1e-4            # of the outputs' norm that folding may change


class NotFoldable(RuntimeError):
    """Without its batch normalisations a network would give other outputs."""


def prepare(model: nn.Module, device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32,
            channels_last: bool = True, fold: bool = True, compile: bool = False,
            image_size: tuple[int, int, int] | None = None) -> nn.Module:
    """A copy of a network for inference on a device; the network itself is left as it is. One without parameters, as
    those of exported files are, is ready, and comes back.

    Args:
        dtype: of its parameters.
        channels_last: whether convolutions run in that memory format.
        fold: make convolutions side by side one, see `ImageModel.fuse`, and put batch normalisations into the
            convolutions before them, see `fold_batch_norm`; they stay where that would change the outputs.
        compile: `torch.compile` it, on a CPU with frozen weights; the first batch then takes a minute or so.
        image_size: (channels, height, width) of the image to fold by; by default that of its `pretrained_cfg`.
    """
    if next(model.parameters(), None) is None:
        return model
    given, model = model, _copied(model, device, fold)
    if fold:
        described: Any = model
        size = image_size or described.pretrained_cfg['input_size']
        try:
            fold_batch_norm(model, torch.randn(1, *size, generator=torch.Generator().manual_seed(0)).to(device))
        except NotFoldable:
            model = _copied(given, device, fold)
    model = model.to(dtype).to(memory_format=torch.channels_last if channels_last else torch.preserve_format)
    if compile:
        compiled: Any = torch.compile(model, options={'freezing': True} if torch.device(device).type == 'cpu' else None)
        return compiled
    return model


def _copied(model: nn.Module, device: torch.device | str, fuse: bool) -> nn.Module:
    model = copy.deepcopy(model).eval().to(device)
    return fuse_branches(model, strict=False) if fuse else model


@torch.no_grad()
def fold_batch_norm(model: nn.Module, image: Tensor) -> int:
    """Puts every batch normalisation of statistics that stand still into the convolution it directly follows, in place.

    Which convolution that is shows when `image` (1, C, H, W) runs through the network: the normalisation's input is
    the convolution's output, and both run once.

    Returns:
        How many were folded.

    Raises:
        NotFoldable: the outputs for `image` changed by more than 1e-4 of their norm: an output of a convolution was
            used in another place too, or the network makes much of rounding.
    """
    made_by: dict[int, tuple[nn.Conv2d, Tensor]] = {}           # the tensors are kept, so that no id comes up twice
    runs: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_conv(conv: Any, _: tuple[Tensor, ...], out: Tensor) -> None:
        runs[conv] = runs.get(conv, 0) + 1
        made_by[id(out)] = conv, out

    def before_norm(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        runs[norm] = runs.get(norm, 0) + 1
        if id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])][0], norm))

    hooks = [m.register_forward_hook(after_conv) for m in model.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(before_norm) for m in model.modules()
              if type(m) is nn.BatchNorm2d and m.track_running_stats]
    before = _flat(model(image))
    for hook in hooks:
        hook.remove()
    made_by.clear()
    if not before.isfinite().all():
        return 0                                            # nothing to compare with

    places = {module: (parent, name) for parent in model.modules() for name, module in parent.named_children()}
    folded = [(conv, norm) for conv, norm in pairs if runs[conv] == runs[norm] == 1]
    for conv, norm in folded:
        fused = fuse_conv_bn_eval(conv, norm)
        setattr(*places[conv], fused)
        setattr(*places[norm], nn.Identity())
    change = ((_flat(model(image)) - before).norm() / before.norm().clamp_min(1e-12)).item()
    if not change <= TOLERANCE:
        raise NotFoldable(f'Folding batch normalisations changed the outputs by {change:.1e} of their norm, more than '
                          f'{TOLERANCE:.0e}; evaluate without folding.')
    return len(folded)


def _flat(outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
    return outputs.flatten() if isinstance(outputs, Tensor) else torch.cat([out.flatten() for out in outputs])

"""Initial weights, as the papers' own code drew them."""
from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

PIECE = 1 << 17                              # numbers that a thread draws at a time
LARGE = 8 * PIECE                            # those of a weight that starting threads is worth for


def fans(weight: Tensor) -> tuple[int, int]:
    """Inputs and outputs that a weight (outputs, inputs, ...) joins, of a convolution times the size of its kernel."""
    size = weight[0, 0].numel()
    return weight.shape[1] * size, weight.shape[0] * size


def draw_normal(weight: Tensor, std: float) -> None:
    """Fills a weight with normal numbers of mean 0, see `_in_pieces`. Originals that truncate them at 2 draw the same where
    the deviation is some hundredths."""
    _in_pieces(weight, lambda piece, generator: piece.normal_(0, std, generator=generator))


def draw_uniform(weight: Tensor, bound: float) -> None:
    """Fills a weight with numbers uniform within `bound` of 0, see `_in_pieces`."""
    _in_pieces(weight, lambda piece, generator: piece.uniform_(-bound, bound, generator=generator))


def _in_pieces(weight: Tensor, fill: Callable[[Tensor, torch.Generator | None], Tensor]) -> None:
    """Draws a weight; a large one on the CPU in pieces, by PyTorch's threads, which alone draws with one.

    Each piece has a generator of its own, seeded by the default one: what is drawn depends on `torch.manual_seed` and
    not on the number of threads.
    """
    values = weight.detach()
    plain = type(values) is Tensor and values.device.type == 'cpu' and values.is_contiguous()
    if not plain or values.numel() < LARGE:
        fill(values, None)
        return
    pieces = values.view(-1).split(PIECE)
    generators = [torch.Generator().manual_seed(seed) for seed in torch.randint(2 ** 63 - 1, (len(pieces),)).tolist()]

    def draw(piece: Tensor, generator: torch.Generator) -> None:
        """Tensors made in inference mode cannot be changed outside it, and another thread is in none."""
        with torch.inference_mode(values.is_inference()):
            fill(piece, generator)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for _ in threads.map(draw, pieces, generators):
            pass


def draw_anew(module: nn.Module, conv: Callable[[nn.Conv2d], None] | None = None,
              linear: Callable[[nn.Linear], None] | None = None) -> None:
    """Draws every parameter, and resets every buffer, of a module anew.

    Args:
        conv, linear: what draws the weight of a convolution, and of a linear layer; their biases become zero. Everything
            else draws itself, as its own `reset_parameters` and `reset_constants` say.
    """
    for layer in module.modules():
        if conv and isinstance(layer, nn.Conv2d) and layer.weight is not None:         # a fused one has no weight itself
            conv(layer)
            _no_bias(layer)
        elif linear and isinstance(layer, nn.Linear):
            linear(layer)
            _no_bias(layer)
        elif draw := getattr(layer, 'reset_parameters', None):
            draw()
        if fill := getattr(layer, 'reset_constants', None):
            fill()


def init_tensorflow(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`, as the TensorFlow originals of the networks made of block strings do.

    Convolutions: normal with variance 2 / fan-out of a group. Linear layers: uniform within 1 / sqrt(outputs).
    """
    draw_anew(module, _normal_of_group, _uniform_of_outputs)


def init_he(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`; convolutions normal with variance 2 / fan-out (arXiv:1502.01852, section
    2.2)."""
    draw_anew(module, _normal_of_fan_out)


def init_he_inputs(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`; convolutions normal with variance 2 / fan-in (arXiv:1502.01852, section 2.2)."""
    draw_anew(module, _normal_of_fan_in)


def init_transformer(module: nn.Module, convs: bool = False) -> None:
    """Draws a module anew, see `draw_anew`, as DeiT (arXiv:2012.12877) and what follows it do: linear layers, and with
    `convs` convolutions, normal with deviation 0.02. Their code truncates at 2, a hundred deviations, which changes
    no number."""
    draw_anew(module, _narrow_normal if convs else None, _narrow_normal)


def xavier_uniform(layer: nn.Conv2d | nn.Linear) -> None:
    """Draws a layer's weight uniformly within sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio, 2010)."""
    draw_uniform(layer.weight, math.sqrt(6 / sum(fans(layer.weight))))


def zero_weight(layer: nn.Module) -> None:
    """Makes a layer's weight zero, where it has one: of the last of a residual branch, so that the block begins as its
    shortcut."""
    weight = getattr(layer, 'weight', None)
    if weight is not None:
        nn.init.zeros_(weight)


def init_pyramid(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`, as PVT (arXiv:2102.12122) and what follows it do: linear layers normal with
    deviation 0.02, convolutions normal with variance 2 / fan-out of a group."""
    draw_anew(module, _normal_of_group, _narrow_normal)


def init_conv_net(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`: convolutions normal with variance 2 / fan-out of a group, linear layers normal
    with deviation 0.01, as the code of RegNet (arXiv:2003.13678) and torchvision's of VGG do."""
    draw_anew(module, _normal_of_group, _narrower_normal)


def _no_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _normal_of_group(layer: nn.Conv2d) -> None:
    fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
    draw_normal(layer.weight, math.sqrt(2 / fan_out))


def _uniform_of_outputs(layer: nn.Linear) -> None:
    draw_uniform(layer.weight, 1 / math.sqrt(layer.out_features))


def _normal_of_fan_out(layer: nn.Conv2d) -> None:
    draw_normal(layer.weight, math.sqrt(2 / fans(layer.weight)[1]))


def _normal_of_fan_in(layer: nn.Conv2d) -> None:
    draw_normal(layer.weight, math.sqrt(2 / fans(layer.weight)[0]))


def _narrow_normal(layer: nn.Conv2d | nn.Linear) -> None:
    draw_normal(layer.weight, 0.02)


def _narrower_normal(layer: nn.Linear) -> None:
    draw_normal(layer.weight, 0.01)

"""A moving average of a network's weights and buffers, which is often better than the weights themselves."""
from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ModelEma:
    """The average of a network: after each step, average = decay * average + (1 - decay) * network.

    Buffers of whole numbers are copied. `module` is the averaged network, in evaluation mode, without gradients.

    Args:
        model: the network as it is trained, unwrapped; it is copied.
        decay: what is left of the average a step.
        warmup: a smaller decay in the first steps, (1 + step) / (10 + step), until it reaches `decay`.
        device: where the average lies; None: beside the network.

    Raises:
        ValueError: a decay outside of [0, 1].
    """

    def __init__(self, model: nn.Module, decay: float = 0.9998, warmup: bool = False,
                 device: str | torch.device | None = None) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f'The decay of an average is between 0 and 1, not {decay}.')
        self.module = copy.deepcopy(model).to(device).eval().requires_grad_(False)
        self.decay, self.warmup, self.steps = decay, warmup, 0

    def decay_at(self, step: int) -> float:
        """The decay of a step, which are counted from 0."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Updates the average with the weights of a network, after a step of its optimizer."""
        weight = 1 - self.decay_at(self.steps)
        self.steps += 1
        theirs = model.state_dict(keep_vars=True)
        floating: tuple[list[Tensor], list[Tensor]] = ([], [])
        for name, ours in self.module.state_dict(keep_vars=True).items():
            other = theirs[name].detach()
            if ours.is_floating_point():
                floating[0].append(ours)
                floating[1].append(other.to(ours.device, ours.dtype, non_blocking=True))
            else:
                ours.copy_(other)
        torch._foreach_lerp_(*floating, weight)

    def state_dict(self) -> dict[str, Tensor | int]:
        """The averaged network's state dict under 'module.', and 'steps'."""
        return {'steps': self.steps} | {f'module.{name}': value for name, value in self.module.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            RuntimeError: another network's.
        """
        self.steps = int(state['steps'])
        self.module.load_state_dict({name.removeprefix('module.'): value for name, value in state.items()
                                     if name != 'steps'})

"""timm.optim: zoo's optimizers, and the functions that make them of parsed arguments."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..train.optim import (Lamb, Muon, NAdamW, RMSpropTF, create_optimizer_v2, get_optimizer_class, list_optimizers,
                           param_groups_layer_decay, param_groups_weight_decay)

__all__ = ['Lamb', 'Muon', 'NAdamW', 'RMSpropTF', 'create_optimizer', 'create_optimizer_v2', 'get_optimizer_class',
           'list_optimizers', 'optimizer_kwargs', 'param_groups_layer_decay', 'param_groups_weight_decay']

OPTIONS = {'opt_eps': 'eps', 'opt_betas': 'betas', 'layer_decay': 'layer_decay', 'opt_foreach': 'foreach',
           'layer_decay_min_scale': 'layer_decay_min_scale', 'layer_decay_no_opt_scale': 'layer_decay_no_opt_scale'}


def optimizer_kwargs(cfg: Any) -> dict[str, Any]:
    """Parsed arguments as those of `create_optimizer_v2`: opt, lr, weight_decay, momentum, opt_eps, opt_betas,
    opt_args, layer_decay …; one that is None, or not there, is left out."""
    given = {'opt': cfg.opt, 'lr': cfg.lr, 'weight_decay': cfg.weight_decay, 'momentum': cfg.momentum}
    given |= {name: value for key, name in OPTIONS.items() if (value := getattr(cfg, key, None)) is not None}
    return given | dict(getattr(cfg, 'opt_args', None) or {})


def create_optimizer(args: Any, model: nn.Module | Iterable[Any],
                     filter_bias_and_bn: bool = True) -> torch.optim.Optimizer:
    """The optimizer that parsed arguments describe."""
    return create_optimizer_v2(model, **optimizer_kwargs(args), filter_bias_and_bn=filter_bias_and_bn)

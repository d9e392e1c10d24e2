"""The parts of a run, made as its recipe says: the network, its optimizer, and its loss and metrics."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data import resolve_data_config
from ..factory import create_model
from .groups import Group, group_modules, group_parameters
from .losses import create_loss, create_validation_loss
from .optim import create_optimizer_v2
from .recipe import ModelPart, Recipe
from .saved import describe
from .sources import Sources
from .targets import TargetScale

SETTINGS = ('crop_pct', 'crop_mode', 'interpolation', 'mean', 'std')
OTHER_METRICS = {'single': ('val_loss', 'top5', 'ece', 'class_mean'), 'multi': ('val_loss',),
                 'regression': ('val_loss', 'r2'), 'detect': ('AP50', 'AP75'), 'segment': ('pixel_accuracy',)}
METRICS = {'single': 'top1', 'multi': 'map', 'regression': 'mae', 'detect': 'AP', 'segment': 'mIoU'}


@dataclass
class Network:
    """A network and what is known of it.

    Attributes:
        config: how images are prepared, see `zoo.data.resolve_data_config`.
        record: what `zoo.train.load_trained` builds it from.
        frozen: normalisations whose statistics stay as they are.
        scale: of targets that are numbers; None for none.
    """

    model: nn.Module
    config: dict[str, Any]
    record: dict[str, Any]
    frozen: list[nn.Module]
    scale: TargetScale | None = None

    def training(self) -> None:
        """Puts the network into training mode, but for what is frozen."""
        self.model.train()
        for part in self.frozen:
            part.eval()


def choose_device(recipe: Recipe) -> torch.device:
    """The recipe's, else an accelerator if there is one, else the CPU.

    Raises:
        ValueError: the recipe's cannot be used here.
    """
    if recipe.run.device is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device('cpu')
    try:
        return torch.empty(0, device=recipe.run.device).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f'The device {recipe.run.device!r} cannot be used here: {error}') from error


def build_network(recipe: Recipe, sources: Sources, device: torch.device) -> Network:
    """The network with its first weights, on its device, its first stages frozen as asked.

    Raises:
        ValueError: no such network or weights. TypeError: an argument that it does not have.
    """
    part = recipe.model
    if not part.model:
        raise ValueError('The recipe names no network: model.model is a name as zoo.list_models() has them.')
    named = dict(num_classes=sources.num_outputs, in_chans=part.in_chans, global_pool=part.gp, drop_rate=part.drop,
                 drop_path_rate=part.drop_path, bn_momentum=part.bn_momentum, bn_eps=part.bn_eps)
    twice = sorted(name for name in part.model_kwargs if named.get(name) is not None)
    if twice:
        raise ValueError(f'model.model_kwargs has {", ".join(twice)}, which other keys of the recipe say.')
    arguments = {name: value for name, value in named.items() if value is not None} | part.model_kwargs
    # of zoo's contract, or a user's own network that answers alike
    model: Any = create_model(part.model, pretrained=part.initial_checkpoint or part.pretrained, **arguments)
    _init_head(model, part)
    asked = {name: getattr(recipe.data, name) for name in SETTINGS} | {'img_size': part.img_size,
                                                                       'in_chans': model.in_chans}
    config = resolve_data_config(asked, model=model)
    if model.img_size and model.img_size != config['input_size'][1:]:
        model.set_input_size(config['input_size'][1:])
        arguments['img_size'] = config['input_size'][1:]
    model.labels = tuple(sources.class_names) if sources.class_names else None
    scale = TargetScale.of(sources.train) if sources.task == 'regression' and recipe.data.scale_targets else None
    if scale:
        scale.check(model)
    record = describe(model, part.model, arguments, sources.task, sources.class_names, config, scale)
    if part.sync_bn:
        from .sync_bn import convert_sync_batchnorm
        model = convert_sync_batchnorm(model, device_type=device.type)
    model.set_grad_checkpointing(part.grad_checkpointing)
    frozen = freeze_stages(model, part.freeze)
    model.to(device, memory_format=torch.channels_last if part.channels_last else torch.preserve_format)
    return Network(model, config, record, frozen, scale)


def _init_head(model: nn.Module, part: ModelPart) -> None:
    """Changes what the classifier begins with, or each of two, as the recipe says."""
    found = getattr(model, 'get_classifier')()
    for classifier in found if isinstance(found, tuple) else (found,):
        if part.head_init_scale is not None:
            classifier.weight.data.mul_(part.head_init_scale)
        if part.head_init_bias is not None:
            classifier.bias.data.fill_(part.head_init_bias)


def freeze_stages(model: nn.Module, count: int) -> list[nn.Module]:
    """Freezes the first stages, of which the stem is one.

    Returns:
        The normalisations in them, whose statistics are to stay as they are.

    Raises:
        ValueError: fewer than none, or all there are.
    """
    matcher = getattr(model, 'group_matcher')(coarse=True)
    layers = group_parameters(model, matcher, reverse=True)
    stages = 1 + max(layers.values())
    if not 0 <= count < stages:
        raise ValueError(f'model.freeze is 0 to {stages - 1} stages of this network; got {count}.')
    for name, parameter in model.named_parameters():
        if layers[name] < count:
            parameter.requires_grad_(False)
    modules = group_modules(model, matcher, reverse=True)
    return [part for part in (model.get_submodule(name) for name, layer in modules.items() if layer < count)
            if hasattr(part, 'running_mean')]


def learning_rate(recipe: Recipe, images_a_step: int) -> float:
    """The recipe's, or its base scaled to the images of a step (arXiv:1706.02677; its root for adaptive optimizers)."""
    part = recipe.optimizer
    if part.lr is not None:
        return part.lr
    adaptive = any(word in part.opt.lower() for word in ('ada', 'lamb', 'muon'))
    scale = part.lr_base_scale or ('sqrt' if adaptive else 'linear')
    ratio = images_a_step / part.lr_base_size
    return part.lr_base * (ratio ** 0.5 if scale == 'sqrt' else ratio)


def build_optimizer(recipe: Recipe, model: nn.Module, extra: list[nn.Parameter], lr: float,
                    groups: Callable[[nn.Module], list[Group]] | None = None) -> torch.optim.Optimizer:
    """The optimizer of the network's parameters, in `groups` of them if given, and of `extra` ones beside them."""
    part = recipe.optimizer
    asked = (('eps', part.opt_eps), ('betas', part.opt_betas))
    given: dict[str, Any] = {name: value for name, value in asked if value is not None}
    optimizer = create_optimizer_v2(model, part.opt, lr, part.weight_decay, part.momentum, layer_decay=part.layer_decay,
                                    param_group_fn=groups, **given, **part.opt_kwargs)
    if extra:
        optimizer.add_param_group({'params': extra})
    return optimizer


class Objective:
    """(network, images, targets) -> what is minimised: the loss, and the distance to a teacher if there is one.

    Attributes:
        student: the module to train: the model, or what a teacher's maps need around it.
        extra: parameters that are trained beside the model's.
        validation: (outputs, targets) -> mean loss; outputs and targets in the targets' own units.
    """

    def __init__(self, recipe: Recipe, network: Network, task: str, device: torch.device) -> None:
        self.loss = create_loss(recipe.loss, task, recipe.augment.aug_splits).to(device)
        self.scale, plain = network.scale, create_validation_loss(recipe.loss, task)
        self.validation = lambda outputs, targets: plain(self._scaled(outputs), self._scaled(targets))
        self.distillation, self.student, self.extra = None, network.model, []
        if recipe.distill.kd_model_name is not None:
            from .distill import create_distillation
            norm = network.config['mean'], network.config['std']
            self.distillation = create_distillation(network.model, recipe.distill, norm)
            self.distillation.to(device, torch.channels_last if recipe.model.channels_last else None)
            self.student, self.extra = self.distillation.student, self.distillation.extra_parameters()
            if self.extra and recipe.run.distributed == 'fsdp':
                raise ValueError("distill.kd_distill_type 'feature' with maps of another width does not go with "
                                 "run.distributed 'fsdp'; use 'ddp'.")

    def __call__(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        output = network(images)
        if self.distillation:
            return self.distillation.loss(output, images, targets, self._task)[0]
        return self._task(output, targets)

    def _task(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.loss(logits.float(), self._scaled(targets))

    def _scaled(self, values: Tensor) -> Tensor:
        return self.scale.scale(values) if self.scale else values

    def state_dict(self) -> dict[str, Tensor]:
        """What is trained beside the model."""
        return self.distillation.state_dict() if self.distillation else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        if self.distillation:
            self.distillation.load_state_dict(state)

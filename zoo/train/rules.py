"""What the values of a recipe may be, and which of them only mean something beside others."""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .recipe import Recipe

# what is asked of a number -> of which keys
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    'at least 1': (lambda x: x >= 1, '''
        num_classes in_chans img_size batch_size validation_batch_size recount epochs patience_epochs lr_cycle_limit
        naflex_train_seq_lens naflex_max_seq_len naflex_patch_sizes lr_base_size grad_accum_steps log_interval checkpoint_hist val_interval crop fit'''),
    'at least 0': (lambda x: x >= 0, '''
        freeze workers max_unreadable color_jitter aug_repeats aug_splits mixup cutmix mixup_off_epoch weight_decay
        warmup_lr warmup_epochs cooldown_epochs min_lr decay_milestones jsd_alpha gamma_neg gamma_pos asymmetric_clip
        focal_gamma distill_loss_weight task_loss_weight recovery_interval seed'''),
    'above 0': (lambda x: x > 0, '''
        bn_eps std opt_eps lr lr_base decay_epochs clip_grad lr_cycle_mul lr_cycle_decay lr_k_decay poly_power
        kd_temperature bce_pos_weight ratio head_init_scale max_hours backbone_lr jitter'''),
    'from 0 to 1': (lambda x: 0 <= x <= 1, '''
        bn_momentum hflip vflip color_jitter_prob grayscale_prob gaussian_blur_prob reprob mixup_prob mixup_switch_prob
        cutmix_minmax naflex_patch_size_probs bce_target_thresh focal_alpha'''),
    'from 0 to below 1': (lambda x: 0 <= x < 1, 'hold_out drop drop_path smoothing opt_betas momentum model_ema_decay'),
    'above 0, to 1': (lambda x: 0 < x <= 1, 'crop_pct scale layer_decay decay_rate'),
}

# Keys that are read only where this holds; elsewhere they must keep their defaults.
_ONLY_WITH: list[tuple[str, str, Callable[[Recipe], bool]]] = [
    ('mixup_prob mixup_mode mixup_off_epoch', 'augment.mixup or augment.cutmix', lambda r: mixes(r)),
    ('mixup_switch_prob', 'both augment.mixup and augment.cutmix',
     lambda r: r.augment.mixup > 0 and (r.augment.cutmix > 0 or r.augment.cutmix_minmax is not None)),
    ('remode recount resplit', 'augment.reprob', lambda r: r.augment.reprob > 0),
    ('color_jitter_prob', 'augment.color_jitter', lambda r: bool(r.augment.color_jitter)),
    ('resplit', 'augment.aug_splits', lambda r: r.augment.aug_splits > 1),
    ('bce_target_thresh bce_sum bce_pos_weight', 'loss.loss: bce', lambda r: r.loss.loss in (None, 'bce')),
    ('jsd_alpha', 'loss.loss: jsd', lambda r: r.loss.loss == 'jsd'),
    ('gamma_neg gamma_pos asymmetric_clip', 'loss.loss: asymmetric', lambda r: r.loss.loss == 'asymmetric'),
    ('focal_alpha focal_gamma', 'loss.loss: focal', lambda r: r.loss.loss == 'focal'),
    ('kd_checkpoint kd_distill_type kd_hard kd_temperature distill_loss_weight task_loss_weight',
     'a teacher, distill.kd_model_name', lambda r: r.distill.kd_model_name is not None),
    ('kd_hard', 'distill.kd_distill_type: token', lambda r: r.distill.kd_distill_type == 'token'),
    ('kd_temperature', 'softened logits: kd_distill_type logit, or token without kd_hard',
     lambda r: r.distill.kd_distill_type == 'logit' or r.distill.kd_distill_type == 'token' and not r.distill.kd_hard),
    ('lr_base lr_base_size lr_base_scale', 'optimizer.lr: null', lambda r: r.optimizer.lr is None),
    ('clip_mode', 'optimizer.clip_grad', lambda r: r.optimizer.clip_grad is not None),
    ('decay_epochs', 'schedule.sched: step', lambda r: r.schedule.sched == 'step'),
    ('decay_milestones', 'schedule.sched: multistep', lambda r: r.schedule.sched == 'multistep'),
    ('decay_rate', 'schedule.sched: step, multistep or plateau',
     lambda r: r.schedule.sched in ('step', 'multistep', 'plateau')),
    ('poly_power', 'schedule.sched: poly', lambda r: r.schedule.sched == 'poly'),
    ('patience_epochs', 'schedule.sched: plateau', lambda r: r.schedule.sched == 'plateau'),
    ('lr_k_decay', 'schedule.sched: cosine or poly', lambda r: r.schedule.sched in ('cosine', 'poly')),
    ('lr_cycle_mul lr_cycle_decay', 'schedule.lr_cycle_limit above 1', lambda r: r.schedule.lr_cycle_limit > 1),
    ('lr_cycle_limit', 'schedule.sched: cosine, tanh or poly',
     lambda r: r.schedule.sched in ('cosine', 'tanh', 'poly')),
    ('min_lr', 'a schedule other than constant', lambda r: r.schedule.sched != 'constant'),
    ('warmup_lr warmup_prefix', 'schedule.warmup_epochs', lambda r: r.schedule.warmup_epochs > 0),
    ('model_ema_decay model_ema_warmup', 'ema.model_ema: true', lambda r: r.ema.model_ema),
    ('naflex_train_seq_lens naflex_max_seq_len naflex_patch_sizes naflex_loss_scale', 'data.naflex_loader: true',
     lambda r: r.data.naflex_loader),
    ('naflex_patch_size_probs', 'data.naflex_patch_sizes', lambda r: r.data.naflex_patch_sizes is not None),
    ('img_size crop_pct crop_mode train_crop_mode mixup_mode cutmix_minmax kd_model_name aug_splits',
     'images of one size, data.naflex_loader: false', lambda r: not r.data.naflex_loader),
    ('amp_dtype', 'run.amp: true', lambda r: r.run.amp),
    ('''head head_kwargs frozen_bn backbone_lr classes image_folder annotation_folder list_folder crop''',
     'dense.task: detect or segment', lambda r: r.dense.task is not None),
    ('on_bad_box', 'dense.task: detect', lambda r: r.dense.task == 'detect'),
    ('ignore_index', 'dense.task: segment', lambda r: r.dense.task == 'segment'),
    ('fit jitter', 'dense.crop', lambda r: r.dense.crop is not None),
    ('''num_classes in_chans img_size gp drop head_init_scale head_init_bias grad_checkpointing sync_bn torchcompile
     validation_batch_size class_map exif scale_targets crop_pct crop_mode interpolation no_aug train_crop_mode scale
     ratio train_interpolation color_jitter_prob grayscale_prob gaussian_blur_prob aa aug_splits reprob mixup cutmix
     cutmix_minmax naflex_loader loss smoothing bce_target_thresh bce_sum bce_pos_weight kd_model_name layer_decay''',
     'a network for whole images, dense.task: null', lambda r: r.dense.task is None),
]

# What cannot be on together: a key, and any of some others.
_EITHER: list[tuple[str, str, str]] = [
    ('hold_out', 'val_data val_split', ', and other images are named for validation: only one of them can be.'),
    ('aug_splits', 'mixup cutmix cutmix_minmax', ', and mixup or cutmix would mix its parts: only one can be on.'),
    ('initial_checkpoint', 'pretrained', ' and model.pretrained is true: only one of them can be the start.'),
    ('no_aug', 'aa reprob mixup cutmix cutmix_minmax aug_repeats aug_splits',
     ', but others of the section ask for augmentation.'),
]


class Idle(NamedTuple):
    """A key whose value nothing reads beside the others.

    Attributes:
        name: 'section.key'.
        why: how a sentence goes on after 'it': 'needs run.amp: true'.
        beside: the keys that cannot be on together with it, and are.
    """

    name: str
    why: str
    beside: frozenset[str] = frozenset()


def mixes(recipe: Recipe) -> bool:
    """Whether images are mixed with others, and targets with them."""
    return recipe.augment.mixup > 0 or recipe.augment.cutmix > 0 or recipe.augment.cutmix_minmax is not None


def check_recipe(recipe: Recipe, where: Mapping[str, str] | None = None) -> None:
    """Refuses what cannot be trained, or would be read by nothing.

    `where` says where values were given, by 'section.key', for the messages.

    Raises:
        ValueError: the message names the key, its value and what is asked of it.
    """
    places = where or {}
    flat = {key: (section.name, value) for section in dataclasses.fields(recipe)
            for key, value in vars(getattr(recipe, section.name)).items()}

    def named(key: str) -> str:
        section, value = flat[key]
        place = places.get(f'{section}.{key}')
        return f'{f"{place}: " if place else ""}{section}.{key} is {value}'

    for asked, (holds, keys) in _RANGES.items():
        for key in keys.split():
            value = flat[key][1]
            for number in value if isinstance(value, tuple) else () if value is None else (value,):
                if not holds(number):
                    raise ValueError(f'{named(key)}; it has to be {asked}.')
    for key in ('scale', 'ratio', 'cutmix_minmax', 'decay_milestones', 'jitter'):
        value = flat[key][1]
        if value and list(value) != sorted(value):
            raise ValueError(f'{named(key)}; it has to rise.')
    for key, problem in _together(recipe):
        raise ValueError(f'{named(key)}{problem}')
    for left, right, problem in _EITHER:
        if _is_on(recipe, left) and any(_is_on(recipe, key) for key in right.split()):
            raise ValueError(f'{named(left)}{problem}')
    for one in idle_keys(recipe):
        raise ValueError(f'{named(one.name.partition(".")[2])}, which nothing reads: it {one.why}.')


def idle_keys(recipe: Recipe) -> Iterator[Idle]:
    """The keys that differ from their defaults and that nothing reads."""
    for keys, condition, holds in _ONLY_WITH:
        for key in keys.split():
            if _of(recipe, key) != _default(key) and not holds(recipe):
                yield Idle(f'{_SECTION_OF[key]}.{key}', f'needs {condition}')


def rivals(recipe: Recipe) -> Iterator[Idle]:
    """The keys that are on and cannot be on together, each with those that it does not go with."""
    for left, right, _ in _EITHER:
        sides = [[f'{_SECTION_OF[key]}.{key}' for key in side.split() if _is_on(recipe, key)] for side in (left, right)]
        for own, others in (sides, sides[::-1]):
            for name in own if others else ():
                yield Idle(name, f'does not go with {" and ".join(others)}', frozenset(others))


def _together(r: Recipe) -> list[tuple[str, str]]:
    """Keys whose values do not go with others, and what is wrong."""
    schedule, augment = r.schedule, r.augment
    found = []
    if schedule.warmup_epochs + schedule.cooldown_epochs >= schedule.epochs:
        found.append(('epochs', f', warm-up ({schedule.warmup_epochs:g}) and cool-down ({schedule.cooldown_epochs:g}) '
                                'included, which leaves none between them: see schedule.warmup_epochs.'))
    if r.optimizer.lr is not None and schedule.min_lr > r.optimizer.lr:
        found.append(('min_lr', f', above the learning rate {r.optimizer.lr:g}.'))
    if r.dense.task == 'segment' and r.dense.classes is None:
        found.append(('task', ', and masks hold indices alone: name the classes in dense.classes.'))
    if r.dense.task is not None and r.run.distributed == 'fsdp':
        found.append(('distributed', f", which does not go with dense.task: {r.dense.task}; use 'ddp'."))
    chances = r.data.naflex_patch_size_probs
    sides = r.data.naflex_patch_sizes
    if chances and sides and (len(chances) != len(sides) or not math.isclose(sum(chances), 1, abs_tol=1e-6)):
        found.append(('naflex_patch_size_probs', ', of which there has to be one for each of data.naflex_patch_sizes, and '
                                                 'their sum has to be 1.'))
    if augment.aug_splits == 1:
        found.append(('aug_splits', '; it has to be 0 or at least 2.'))
    if r.loss.loss == 'jsd' and augment.aug_splits < 2:
        found.append(('loss', ', which compares the parts of a batch: set augment.aug_splits to at least 2.'))
    return found


_DEFAULTS = Recipe()
_SECTION_OF = {key: section for section, part in vars(_DEFAULTS).items() for key in vars(part)}


def _of(recipe: Recipe, key: str) -> Any:
    return getattr(getattr(recipe, _SECTION_OF[key]), key)


def _default(key: str) -> Any:
    return _of(_DEFAULTS, key)


def _is_on(recipe: Recipe, key: str) -> bool:
    return bool(_of(recipe, key)) and _of(recipe, key) != _default(key)

"""A recipe trained by zoo, or by timm's own parts: network, loader, augmentation, loss, optimizer, schedule and average.

    python benchmarks/finetune.py RECIPE DATA [section.key=value ...] [--library zoo] [--seeds 0 1 2] [--results FILE]

RECIPE and DATA are as `zoo train` takes them. With timm, DATA is a folder with `train` and `val`, each with a folder for
every class, the network starts from the weights that zoo loads, and keys that are not served here have to be at their
defaults. Prints, for every seed, the metric after the last epoch and the best, and the processor's minutes.
"""
from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import timm.data
import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch
from torch import nn

import zoo
from zoo.memory import keep_freed_memory
from zoo.tables.files import append
from zoo.tables.provenance import provenance
from zoo.train import Recipe, read_recipe, train

SERVED = {
    'model': 'model pretrained drop drop_path head_init_scale freeze channels_last img_size',
    'data': 'data train_split val_split batch_size validation_batch_size workers crop_pct interpolation',
    'augment': 'scale ratio train_interpolation hflip color_jitter aa reprob remode',
    'loss': 'loss smoothing',
    'optimizer': 'opt lr weight_decay layer_decay opt_betas opt_eps momentum clip_grad clip_mode',
    'schedule': 'epochs sched sched_on_updates warmup_lr warmup_epochs min_lr',
    'ema': 'model_ema model_ema_decay model_ema_warmup',
    'run': 'seed output experiment log_interval recovery_interval checkpoint_hist device eval_metric',
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('recipe')
    parser.add_argument('data', type=Path)
    parser.add_argument('overrides', nargs='*', metavar='section.key=value')
    parser.add_argument('--library', choices=('zoo', 'timm'), default='zoo')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--results', type=Path, help='add a row for each seed to this CSV file')
    args = parser.parse_args()
    for seed in args.seeds:
        recipe = read_recipe(args.recipe, [*args.overrides, f'data.data={args.data}', f'run.seed={seed}'])
        began, clock = processor_time(), time.perf_counter()
        metric, found = zoo_run(recipe) if args.library == 'zoo' else ('top1', timm_accuracies(recipe))
        minutes, clock = (processor_time() - began) / 60, (time.perf_counter() - clock) / 60
        print(f'{args.library}, seed {seed}: {metric} at the end {found[-1]:.2f}, best {max(found):.2f}; {minutes:.1f} '
              f'minutes of the processor, {clock:.1f} by the clock', flush=True)
        if args.results:
            command = ['python', 'benchmarks/finetune.py', args.recipe, args.data.name, *args.overrides]
            command += ['--library', args.library, '--seeds', str(seed)]
            append(args.results, [{
                'model': recipe.model.model, 'library': args.library, 'data': args.data.name,
                'weights': 'pretrained' if recipe.model.pretrained else 'random', 'seed': seed,
                'epochs': recipe.schedule.epochs, 'img_size': recipe.model.img_size, f'{metric}_last': round(found[-1], 3),
                f'{metric}_best': round(max(found), 3), 'processor_minutes': round(minutes, 2),
                'threads': torch.get_num_threads(), **provenance(' '.join(command))}])


def processor_time() -> float:
    """Seconds of the processor, those of workers that have ended included."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def zoo_run(recipe: Recipe) -> tuple[str, list[float]]:
    """The metric that the best is judged by, and its values after each epoch with an evaluation, by zoo's training."""
    keep_freed_memory()                                         # as `zoo train` does
    with tempfile.TemporaryDirectory() as folder:
        result = train(recipe, Path(folder, 'run'), quiet=True)
    if result.stopped:
        raise SystemExit(result.status)
    return result.metric, [row[result.metric] for row in result.rows if result.metric in row]


def check(recipe: Recipe) -> None:
    """Refuses keys that are not served and not at their defaults."""
    for section in dataclasses.fields(recipe):
        given, served = getattr(recipe, section.name), SERVED.get(section.name, '').split()
        for key in dataclasses.fields(given):
            if key.name not in served and getattr(given, key.name) != getattr(type(given)(), key.name):
                raise SystemExit(f'{section.name}.{key.name} is not served here.')


def timm_accuracies(recipe: Recipe) -> list[float]:
    """Top-1 in percent after each epoch, by timm's parts."""
    check(recipe)
    data = Path(recipe.data.data)
    timm.utils.random_seed(recipe.run.seed)
    model = network(recipe, len(list((data / recipe.data.train_split).iterdir())))
    train_loader, val_loader = loaders(recipe, model, data)
    optimizer = timm.optim.create_optimizer_v2(
        model, recipe.optimizer.opt, recipe.optimizer.lr, recipe.optimizer.weight_decay, recipe.optimizer.momentum,
        layer_decay=recipe.optimizer.layer_decay)
    steps, schedule = len(train_loader), recipe.schedule
    scheduler, epochs = timm.scheduler.create_scheduler_v2(
        optimizer, schedule.sched, schedule.epochs, min_lr=schedule.min_lr, warmup_lr=schedule.warmup_lr,
        warmup_epochs=int(schedule.warmup_epochs), step_on_epochs=not schedule.sched_on_updates,
        updates_per_epoch=steps)
    average = timm.utils.ModelEmaV3(model, decay=recipe.ema.model_ema_decay,
                                    use_warmup=recipe.ema.model_ema_warmup) if recipe.ema.model_ema else None
    loss_of = timm.loss.LabelSmoothingCrossEntropy(recipe.loss.smoothing)
    found: list[float] = []
    for epoch in range(epochs):
        model.train()
        settle_frozen(model, recipe.model.freeze)
        for step, (images, targets) in enumerate(train_loader, epoch * steps):
            loss = loss_of(model(images.contiguous(memory_format=torch.channels_last)), targets)
            optimizer.zero_grad()
            loss.backward()
            if recipe.optimizer.clip_grad:
                timm.utils.dispatch_clip_grad(model.parameters(), recipe.optimizer.clip_grad,
                                              recipe.optimizer.clip_mode)
            optimizer.step()
            if average:
                average.update(model, step)
            scheduler.step_update(step + 1)
        scheduler.step(epoch + 1)
        found.append(accuracy(average.module if average else model, val_loader))
        print(f'epoch {epoch}: loss {loss.item():.3f}, top1 {found[-1]:.2f} %', flush=True)
    return found


def network(recipe: Recipe, classes: int) -> nn.Module:
    """timm's network with the weights that zoo loads, its first stages frozen."""
    given, name = recipe.model, recipe.model.model.partition('.')[0]
    model = timm.create_model(name, num_classes=classes, drop_rate=given.drop or 0.0, drop_path_rate=given.drop_path)
    if given.pretrained:
        trained = zoo.create_model(given.model, pretrained=True).state_dict()
        ours = model.state_dict()
        model.load_state_dict({k: v if v.shape == ours[k].shape else ours[k] for k, v in trained.items()})
    if given.head_init_scale is not None:
        model.get_classifier().weight.data.mul_(given.head_init_scale)
    for part in frozen(model, given.freeze):
        part.requires_grad_(False)
    return model.to(memory_format=torch.channels_last)


def frozen(model: nn.Module, stages: int) -> list[nn.Module]:
    """The modules of the first stages."""
    return [model.conv_stem, model.bn1, *model.blocks[:stages - 1]] if stages else []


def settle_frozen(model: nn.Module, stages: int) -> None:
    """Frozen stages normalise as they did."""
    for part in frozen(model, stages):
        part.eval()


def loaders(recipe: Recipe, model: nn.Module, data: Path) -> tuple[Any, Any]:
    """timm's loaders of both splits."""
    config = timm.data.resolve_model_data_config(model)
    side = recipe.model.img_size or config['input_size'][-1]
    common = dict(mean=config['mean'], std=config['std'], num_workers=recipe.data.workers, pin_memory=False,
                  use_prefetcher=False, device=torch.device('cpu'))
    augment = recipe.augment
    train_set = timm.data.create_dataset('', str(data), split=recipe.data.train_split, is_training=True)
    val_set = timm.data.create_dataset('', str(data), split=recipe.data.val_split)
    train_loader = timm.data.create_loader(
        train_set, (3, side, side), recipe.data.batch_size, is_training=True, scale=augment.scale, ratio=augment.ratio,
        hflip=augment.hflip, color_jitter=augment.color_jitter, auto_augment=augment.aa, re_prob=augment.reprob,
        re_mode=augment.remode, interpolation=augment.train_interpolation, **common)
    val_loader = timm.data.create_loader(
        val_set, (3, side, side), recipe.data.validation_batch_size or recipe.data.batch_size,
        interpolation=recipe.data.interpolation or config['interpolation'],
        crop_pct=recipe.data.crop_pct or config['crop_pct'], **common)
    return train_loader, val_loader


@torch.inference_mode()
def accuracy(model: nn.Module, loader: Any) -> float:
    """Top-1 in percent."""
    model.eval()
    right = total = 0
    for images, targets in loader:
        right += (model(images.contiguous(memory_format=torch.channels_last)).argmax(1) == targets).sum().item()
        total += len(targets)
    return 100 * right / total


if __name__ == '__main__':
    main()

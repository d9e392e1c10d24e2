"""Images a second in training beside timm's loop: its loader, network, loss and optimizer, by the same recipe.

    python benchmarks/train_throughput.py [folder of images] [--model tf_efficientnet_lite0] [--steps 10] [--rounds 3]

The two take turns, each in a process of its own that is as its program leaves it: `zoo train` keeps freed memory (see
`zoo.memory`), which would serve both in one. A turn is a pass over the same images with loaders of its own that are
empty afterwards; its first step is not timed. Both start from the same weights, and the loss of one and the same batch
by both is printed first.
"""
from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.data
import timm.loss
import timm.optim
import torch
from PIL import Image

from zoo.memory import keep_freed_memory
from zoo.train.recipe import AugmentPart, DataPart, LossPart, ModelPart, OptimizerPart, Recipe, RunPart, SchedulePart
from zoo.train.trainer import Trainer

CLASSES, LR, SMOOTHING = 4, 0.01, 0.1
START = 'start.pt'                  # what timm begins with: weights, settings, a batch and its loss


def gather(folder: Path | None, count: int, root: Path) -> None:
    """root/train/<class>/: links to so many images of a folder, again and again if need be; or made-up photographs."""
    files = sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png')) if folder else []
    generator = np.random.default_rng(0)
    for number in range(count):
        place = root / 'train' / f'class{number % CLASSES}'
        place.mkdir(parents=True, exist_ok=True)
        if files:
            source = files[number % len(files)].resolve()
            (place / f'{number}{source.suffix}').symlink_to(source)
        else:
            coarse = Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((500, 375), 3)
            coarse.save(place / f'{number}.jpg', quality=90)


def ours(args: argparse.Namespace, root: Path) -> Trainer:
    return Trainer(Recipe(
        model=ModelPart(model=args.model, img_size=args.size, channels_last=args.channels_last),
        data=DataPart(data=str(root), val_split=None, batch_size=args.batch_size, workers=args.workers),
        augment=AugmentPart(aa=args.aa, reprob=args.reprob), loss=LossPart(smoothing=SMOOTHING),
        optimizer=OptimizerPart(opt='sgd', lr=LR), schedule=SchedulePart(epochs=1000, sched='constant', warmup_epochs=0),
        run=RunPart(device=args.device, amp=args.amp)), quiet=True)


def pass_of_ours(trainer: Trainer, epoch: int) -> float:
    trainer.network.training()
    began = 0.0
    for number, batch in enumerate(trainer.loader.batches(epoch)):
        trainer.schedule.apply(trainer.optimizer, number)
        trainer.step([batch], epoch, number, None)
        if not number:
            began = synchronized(trainer.device)
    return synchronized(trainer.device) - began


def theirs(args: argparse.Namespace, root: Path, start: dict[str, Any]) -> Callable[[int], float]:
    """A pass of timm's loop."""
    device = torch.device(start['device'])
    model = timm.create_model(args.model, num_classes=CLASSES)
    model.load_state_dict(start['weights'])
    model.to(device, memory_format=torch.channels_last if args.timm_channels_last else torch.contiguous_format)
    optimizer = timm.optim.create_optimizer_v2(model, 'sgd', lr=LR, weight_decay=2e-5, momentum=0.9)
    criterion = timm.loss.LabelSmoothingCrossEntropy(SMOOTHING)
    config = start['config']
    loader = timm.data.create_loader(
        timm.data.create_dataset('', root=str(root), split='train', is_training=True), input_size=config['input_size'],
        batch_size=args.batch_size, is_training=True, re_prob=args.reprob, re_mode='pixel', scale=(0.08, 1.0),
        color_jitter=0.4, auto_augment=args.aa, interpolation='random', mean=config['mean'], std=config['std'],
        num_workers=args.workers, persistent_workers=args.workers > 0, device=device)

    def loss_of(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if args.timm_channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=args.amp):
            return criterion(model(images), targets)

    with torch.no_grad():
        model.eval()
        found = loss_of(start['images'].to(device).contiguous(), start['targets'].to(device)).item()
        print(f'the loss of one batch: {start["loss"]:.6f}, timm {found:.6f}', flush=True)

    def run(_: int) -> float:
        model.train()
        began = 0.0
        for number, (images, targets) in enumerate(loader):
            loss = loss_of(images, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            if not number:
                began = synchronized(device)
        return synchronized(device) - began

    return run


def side(name: str, args: argparse.Namespace, root: Path, pipe: Connection) -> None:
    """One of the two, in its process: makes itself ready, then answers each number of a turn with its seconds."""
    if args.threads:
        torch.set_num_threads(args.threads)
    if name == 'zoo':
        trainer = ours(args, root)
        if trainer.device.type == 'cpu':
            keep_freed_memory()
        images, targets = trainer.inputs(next(trainer.loader.batches(0)), 0)
        with torch.no_grad():
            loss = trainer.objective(trainer.model.eval(), images, targets).item()
        torch.save({'weights': trainer.model.state_dict(), 'config': trainer.config, 'images': images,
                    'targets': targets, 'loss': loss, 'device': str(trainer.device)}, root / START)
        run = functools.partial(pass_of_ours, trainer)
    else:
        run = theirs(args, root, torch.load(root / START, map_location='cpu'))
    pipe.send('ready')
    while (number := pipe.recv()) is not None:
        pipe.send(run(number))


def synchronized(device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', nargs='?', type=Path)
    parser.add_argument('--model', default='tf_efficientnet_lite0')
    parser.add_argument('--size', type=int, default=160)
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--steps', type=int, default=10, help='timed, of a turn')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--threads', type=int, help='of torch')
    parser.add_argument('--aa', help='auto-augmentation, of both')
    parser.add_argument('--reprob', type=float, default=0.0)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--amp', action='store_true')
    parser.add_argument('--channels-last', action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument('--timm-channels-last', action='store_true', help="timm's option; off unless it is asked for")
    args = parser.parse_args()
    context = torch.multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as folder:
        gather(args.folder, args.batch_size * (args.steps + 1), Path(folder))
        pipes, processes = {}, []
        for name in ('zoo', 'timm'):                                            # zoo first: timm starts as it does
            pipes[name], end = context.Pipe()
            processes.append(context.Process(target=side, args=(name, args, Path(folder), end)))
            processes[-1].start()
            end.close()
            pipes[name].recv()
        count, rates = args.batch_size * args.steps, {'zoo': [], 'timm': []}
        for number in range(args.rounds):
            for name, pipe in pipes.items():
                pipe.send(number)
                rates[name].append(count / pipe.recv())
                print(f'{name:5} {rates[name][-1]:8.1f} images/s', flush=True)
        for pipe, process in zip(pipes.values(), processes):
            pipe.send(None)
            process.join()
        middle = {name: statistics.median(found) for name, found in rates.items()}
        print(f'zoo {middle["zoo"]:.1f}, timm {middle["timm"]:.1f} images/s; ratio {middle["zoo"] / middle["timm"]:.3f}')


if __name__ == '__main__':
    main()

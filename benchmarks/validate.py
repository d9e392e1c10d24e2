"""Validation beside timm's: its loader and its model, the same weights, images and workers, in turn.

    python benchmarks/validate.py DATA [--model tf_efficientnet_lite0.in1k] [--images 500] [--workers 1] [--repeats 3]

DATA is a folder of ImageNet images in folders called by synset. Prints, as medians over the repeats:

1. One core, from a JPEG file to the network's input: each image through timm's plain transform; timm's prefetching
   loader; ours, with the fast decoder, the scaled one and Pillow's; and the steps of the fast one, of which libjpeg's
   decoding is the one that none can do without; at 1/8 of the size it is little more than reading the file's codes.
   Then timm's times over those of the fast decoder and of the scaled one.
2. The whole validation, workers and figures included, with the fast decoder and Pillow's, the same of what
   `zoo.optimize` chooses in fp32 and in bf16, and where ours spends its time.
3. What the fast path and the scaled one change in the outputs.

Both times are given: that of the clock, and that of the processor, in which other load on the machine shows less.
"""
from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch

import zoo
from zoo.data import ImageNetInfo
from zoo.evaluation import Evaluation, Normalize, Preprocess, at_once, decoder_effect, evaluate
from zoo.evaluation.loading import load_batches
from zoo.evaluation.preprocess import decode_fast, decode_scaled
from zoo.memory import keep_freed_memory

Times = dict[str, tuple[float, float]]


class Folder:
    """Images in folders called by synset: files, and indices among the thousand classes."""

    task, num_classes, class_names = 'single', 1000, None

    def __init__(self, root: Path, count: int) -> None:
        index = {synset: i for i, synset in enumerate(ImageNetInfo().label_names())}
        found = sorted(path for path in root.glob('*/*') if path.parent.name in index)
        self.files = found[::max(len(found) // count, 1)][:count]
        self.targets = [index[path.parent.name] for path in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def name(self, number: int) -> str:
        return str(self.files[number])

    def encoded(self, number: int) -> bytes:
        with open(self.files[number], 'rb') as file:
            return file.read()

    def target(self, number: int) -> int:
        return self.targets[number]


class TimmReader(timm.data.readers.reader.Reader):
    """The same images for timm's data set."""

    def __init__(self, source: Folder) -> None:
        super().__init__()
        self.source = source

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return open(self.source.files[number], 'rb'), self.source.targets[number]

    def __len__(self) -> int:
        return len(self.source)

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        return self.source.name(index)


def timm_loader(source: Folder, config: dict[str, Any], prefetch: bool, workers: int, batch_size: int) -> Any:
    """The loader that timm's validation makes, on the CPU."""
    dataset = timm.data.ImageDataset('', reader=TimmReader(source))
    names = ('input_size', 'interpolation', 'mean', 'std', 'crop_pct', 'crop_mode')
    return timm.data.create_loader(dataset, batch_size=batch_size, use_prefetcher=prefetch, num_workers=workers,
                                   pin_memory=False, device=torch.device('cpu'), **{k: config[k] for k in names})


class Elsewhere:
    """timm's validation in a process of its own, since memory settings of zoo's commands are a process's.

    Attributes:
        clock, processor: seconds of the last run.
    """

    def __init__(self, *args: Any) -> None:
        context = multiprocessing.get_context('spawn')
        self.ours, theirs = context.Pipe()
        self.process = context.Process(target=serve_timm, args=(theirs, *args))
        self.process.start()

    def __call__(self) -> tuple[int, int]:
        self.ours.send(True)
        self.clock, self.processor, right = self.ours.recv()
        return right

    def close(self) -> None:
        self.ours.send(False)
        self.process.join()


def serve_timm(ours: Any, name: str, weights: dict[str, torch.Tensor], source: Folder, config: dict[str, Any],
               workers: int, batch_size: int, threads: int) -> None:
    """Runs timm's validation whenever it is asked to."""
    torch.set_num_threads(threads)
    model = timm.create_model(name).eval()
    model.load_state_dict(weights)
    while ours.recv():
        clock, processor = time.perf_counter(), processor_time()
        right = timm_validation(model, timm_loader(source, config, True, workers, batch_size))
        ours.send((time.perf_counter() - clock, processor_time() - processor, right))


@torch.inference_mode()
def timm_validation(model: torch.nn.Module, loader: Any) -> tuple[int, int]:
    """How many images are right in the first answer and in the first five."""
    right = torch.zeros(2, dtype=torch.long)
    for images, targets in loader:
        hits = model(images).topk(5).indices == targets[:, None]
        right += torch.stack([hits[:, 0].sum(), hits.any(1).sum()])
    return right[0].item(), right[1].item()


def in_turn(kinds: dict[str, Callable[[], Any]], repeats: int, images: int) -> tuple[Times, dict[str, Any]]:
    """Median milliseconds an image by the clock and by the processor, children included, and the last result."""
    runs, results = {kind: [] for kind in kinds}, {}
    for repeat in range(repeats + 1):
        for kind, action in kinds.items():
            clock, processor = time.perf_counter(), processor_time()
            results[kind] = action()
            spent = time.perf_counter() - clock, processor_time() - processor
            if isinstance(action, Elsewhere):
                spent = action.clock, action.processor
            if repeat:                                                  # the first is for warming up
                runs[kind].append(spent)
    return {kind: tuple(1000 * statistics.median(column) / images for column in zip(*found))
            for kind, found in runs.items()}, results


def processor_time() -> float:
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def show(times: Times, ours: str) -> None:
    for kind, (clock, processor) in times.items():
        ratios = [theirs / own for theirs, own in zip((clock, processor), times[ours])]
        print(f'  {kind:36} {clock:7.2f} ms  {processor:7.2f} ms   {ratios[0]:5.2f} x ours  {ratios[1]:5.2f} x')


def reading(args: argparse.Namespace, source: Folder, config: dict[str, Any]) -> None:
    """From JPEG files to the network's input."""
    plain = timm.data.ImageDataset('', reader=TimmReader(source), transform=timm.data.create_transform(
        **{k: config[k] for k in ('input_size', 'interpolation', 'mean', 'std', 'crop_pct', 'crop_mode')}))
    prefetching = timm_loader(source, config, True, 0, args.batch_size)
    fast, scaled = Preprocess(config, 'fast'), Preprocess(config, 'scaled')
    normalize = Normalize(config['mean'], config['std'], channels_last=True)

    def ours(preprocess: Preprocess) -> None:
        for batch in load_batches(source, preprocess, args.batch_size, 0):
            for piece in batch.levels.split(4):                         # as the network takes them on a CPU
                normalize(piece)

    files = [source.encoded(number) for number in range(len(source))]
    images = [decode_fast(file) for file in files]
    times, _ = in_turn({
        "timm's plain transform": lambda: [plain[number] for number in range(len(source))] and None,
        "timm's prefetching loader": lambda: [None for _ in prefetching] and None,
        'ours, decoder fast': lambda: ours(fast),
        'ours, decoder scaled': lambda: ours(scaled),
        'ours, decoder pillow': lambda: ours(Preprocess(config, 'pillow')),
        '  of the fast one: decoding': lambda: [decode_fast(file) for file in files] and None,
        '  of the fast one: resizing': lambda: [fast.resize_and_cut(image) for image in images] and None,
        '  of the scaled one: decoding': lambda: [decode_scaled(file, scaled.resized_size) for file in files] and None,
        '  decoding all at 1/8': lambda: [decode_scaled(file, lambda *_: (1, 1)) for file in files] and None,
    }, args.repeats, len(source))
    print('\n1. JPEG file to the network\'s input, one core')
    show(times, 'ours, decoder fast')
    for decoder in ('fast', 'scaled'):
        own = times[f'ours, decoder {decoder}'][1]
        ratios = [times[f"timm's {kind}"][1] / own for kind in ('plain transform', 'prefetching loader')]
        print(f"  timm's over decoder {decoder}, processor: plain {ratios[0]:.2f}, prefetching {ratios[1]:.2f}")


def validation(args: argparse.Namespace, source: Folder, config: dict[str, Any], model: torch.nn.Module) -> None:
    """The whole validation."""
    threads = torch.get_num_threads()
    keep_freed_memory()                                                 # as `zoo validate` does
    theirs = Elsewhere(args.model, model.state_dict(), source, config, args.workers, args.batch_size, threads)
    example = torch.randn(at_once(args.batch_size, config['input_size'], torch.device('cpu')), *config['input_size'])
    networks = {'': model, ', optimized': zoo.optimize(model, example),
                ', optimized, bf16': zoo.optimize(model, example, precision='bf16')}

    def run(decoder: str, kind: str) -> Evaluation:
        return evaluate(networks[kind], source, config, decoder=decoder, batch_size=args.batch_size,
                        workers=args.workers, progress=False)

    times, results = in_turn({
        'timm': theirs,
        **{f'ours{kind}, decoder {decoder}': partial(run, decoder, kind)
           for kind in networks for decoder in ('fast', 'pillow')},
    }, args.repeats, len(source))
    theirs.close()
    print(f'\n2. The whole validation, {args.workers} workers, {threads} threads')
    show(times, 'ours, decoder pillow')
    for kind in (f'ours{kind}' for kind in networks):
        ratios = [times['timm'][0] / times[f'{kind}, decoder {decoder}'][0] for decoder in ('fast', 'pillow')]
        print(f"  timm's over {kind}, by the clock: decoder fast {ratios[0]:.2f}, pillow {ratios[1]:.2f}")
    print(f'  right in the first answer and in five: timm {results["timm"][0]}, {results["timm"][1]}')
    for kind, found in results.items():
        if kind != 'timm':
            right = [round(found.metrics[name] * found.samples / 100) for name in ('top1', 'top5')]
            print(f'  {kind}: {right[0]}, {right[1]}; it waits {found.waiting / found.seconds:.0%} of its time for images, '
                  'the rest is the network')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path)
    parser.add_argument('--model', default='tf_efficientnet_lite0.in1k', help='a model that both libraries have')
    parser.add_argument('--images', type=int, default=500)
    parser.add_argument('--batch-size', type=int, default=50)
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--part', type=int, nargs='+', default=[1, 2, 3], help='which of the three')
    args = parser.parse_args()
    threads = torch.get_num_threads()
    source = Folder(args.data, args.images)
    model = zoo.create_model(args.model, pretrained=True).eval()
    config = zoo.data.resolve_model_data_config(model)
    print(f'{args.model}: {len(source)} images, medians of {args.repeats}; clock and processor, an image')
    if 1 in args.part:
        torch.set_num_threads(1)
        reading(args, source, config)
        torch.set_num_threads(threads)
    if 2 in args.part:
        validation(args, source, config, model)
    if 3 in args.part:
        print('\n3. The fast path and the scaled one beside Pillow\'s')
        for decoder in ('fast', 'scaled'):
            for name, value in decoder_effect(model, source, config, len(source), args.batch_size,
                                              decoder=decoder).items():
                print(f'  {decoder:8} {name:16} {value:.6g}')


if __name__ == '__main__':
    main()

"""`zoo.optimize` beside timm's network as it is and beside the same network set up by hand in PyTorch's compiler, in ONNX
Runtime and in OpenVINO, each as its own documentation has it.

    python benchmarks/optimize.py [MODEL ...] [--batch-size 1 16] [--precision fp32] [--threads 2] [--csv FILE]
    python benchmarks/optimize.py --device cuda --precision bf16 --batch-size 1 256

Each runs in a process of its own, as its users have it, since `zoo.optimize` changes how its process keeps memory, and the
threads of runtimes in one process take the processor from each other. They get the same weights and images, and take turns
by blocks, in which all others wait. The ratios are timm's time over zoo's, and that of the best by hand over zoo's, in the
median of the rounds; the difference is that of zoo's outputs from timm's, of their norm. On a CPU what is set up by hand
computes in float32, whatever zoo's precision is, and `bare` is what zoo runs where no other runtime is installed, its
ratio `bare_over_timm`. On a CUDA device timm's network runs under autocast to zoo's precision, and by hand it is put into
channels_last, too.
"""
from __future__ import annotations

import argparse
import copy
import csv
import functools
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import timm
import torch
import torch._inductor.config
from torch import Tensor, nn

import zoo
from zoo.benchmarking.timing import Timing, in_blocks
from zoo.optimizing import BACKENDS
from zoo.tables import provenance

MODELS = ('efficientnet_b0', 'tf_efficientnet_lite0', 'mobilenetv3_large_100', 'efficientformer_l1', 'resnet50',
          'vit_base_patch16_224', 'convnext_tiny')
ROUNDS, SECONDS = 9, 3
AUTOCAST = {'bf16': torch.bfloat16, 'fp16': torch.float16}


def inductor(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """torch.compile with frozen weights."""
    with torch.no_grad():
        compiled = torch.compile(model, options={'freezing': True})
        compiled(images)
    return lambda: compiled(images)


def onnxruntime(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """torch.onnx.export and a session on the CPU."""
    import onnxruntime as runtime
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'model.onnx')
        torch.onnx.export(model, (images,), path, dynamo=True, verbose=False, external_data=False)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = runtime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)


def openvino(model: nn.Module, images: Tensor, precision: str = 'f32') -> Callable[[], object]:
    """openvino.convert_model and compile_model with the latency hint."""
    import openvino as runtime
    graph = runtime.convert_model(model, example_input=images)
    compiled = runtime.Core().compile_model(graph, 'CPU', {
        'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': precision,
        'INFERENCE_NUM_THREADS': torch.get_num_threads()})
    request = compiled.create_infer_request()
    return lambda: request.infer([images.numpy()], share_inputs=True, share_outputs=True)


def channels_last(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """The network and its images in the memory format for which an accelerator's convolutions are made."""
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    return lambda: model(images.contiguous(memory_format=torch.channels_last))


BY_HAND: dict[str, Callable[..., Callable[[], object]]] = {
    'inductor': inductor, 'onnxruntime': onnxruntime, 'openvino': openvino, 'channels_last': channels_last}


def serve(pipe: Connection, library: str, how: str, name: str, batch: int, args: argparse.Namespace) -> None:
    """What a process does: it sets a network up and says what came of it, then for each number of seconds that comes it
    answers the times of a block.

    Args:
        library: 'timm' or 'zoo'.
        how: for timm's network '' or one of `BY_HAND`, for zoo's a backend or 'auto'.
    """
    torch.set_num_threads(args.threads)
    warnings.simplefilter('ignore')
    torch._inductor.config.compile_threads = 1                  # more processes would go on for a while
    torch.manual_seed(0)
    network: Any = timm.create_model(name).eval().to(args.device)
    images = torch.rand(batch, 3, 224, 224).to(args.device)
    about: dict[str, Any] = {}
    if library == 'zoo':
        model = zoo.create_model(name).eval().to(args.device)
        model.load_state_dict(network.state_dict())
        network = zoo.optimize(model, images, precision=args.precision, backend=how)
        about = {'chosen': network.report.chosen, 'trials': network.report.trials}
    run: Callable[[], Any] = functools.partial(network, images)
    with torch.no_grad():
        about['outputs'] = run().cpu().numpy()
        if library == 'timm' and how:
            run = BY_HAND[how](network, images)
    if library == 'timm' and torch.device(args.device).type != 'cpu' and args.precision in AUTOCAST:
        run = torch.autocast(torch.device(args.device).type, AUTOCAST[args.precision])(run)
    pipe.send(about)
    while seconds := pipe.recv():
        pipe.send(in_blocks([run], args.device, rounds=1, seconds=seconds)[0].seconds)


class Contestant:
    """A network in a process of its own, which begins to set it up at once; its arguments are those of `serve`.

    Attributes:
        about: what it says of itself when it is set up.
        blocks: the times of each block, in seconds.
    """

    def __init__(self, *options: Any) -> None:
        context = multiprocessing.get_context('spawn')
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *options), daemon=True)
        self.process.start()
        theirs.close()
        self.about: dict[str, Any] = {}
        self.blocks: list[Timing] = []

    def wait(self) -> Contestant:
        """Waits until it is set up."""
        self.about = self.pipe.recv()
        return self

    def run(self, seconds: float) -> None:
        """Runs a block, while this process and all others wait."""
        self.pipe.send(seconds)
        self.blocks.append(Timing(self.pipe.recv()))

    def end(self) -> None:
        """Ends the process."""
        self.pipe.send(0)
        self.process.join()

    @property
    def timing(self) -> Timing:
        """All blocks together."""
        return Timing(tuple(seconds for block in self.blocks for seconds in block.seconds))

    def over(self, other: Contestant) -> float:
        """How many times as long this takes as the other, in the median of the rounds."""
        return statistics.median(one.median / two.median for one, two in zip(self.blocks, other.blocks, strict=True))


def compare(name: str, batch: int, args: argparse.Namespace) -> dict[str, object]:
    """A row of the table."""
    cpu = torch.device(args.device).type == 'cpu'
    by_hand = ('inductor', 'onnxruntime', 'openvino') if cpu else ('channels_last',)
    common = (name, batch, args)
    runs = {'timm': Contestant('timm', '', *common), **{how: Contestant('timm', how, *common) for how in by_hand}}
    for one in runs.values():
        one.wait()
    runs['zoo'] = Contestant('zoo', args.backend, *common).wait()           # it times what it tries, with nothing beside it
    timm_, ours = runs['timm'], runs['zoo']
    if cpu and args.backend == 'auto':
        trials = [trial for trial in ours.about['trials'] if not BACKENDS[trial.backend].packages and not trial.problem]
        runs['bare'] = Contestant('zoo', min(trials, key=lambda trial: trial.milliseconds).backend, *common).wait()
    expected, found = (torch.from_numpy(one.about['outputs']) for one in (timm_, ours))
    begin = time.perf_counter()
    for number in range(ROUNDS):
        if number >= 3 and time.perf_counter() - begin > 3 * args.seconds * len(runs):
            break
        for one in runs.values() if number % 2 == 0 else reversed(runs.values()):
            one.run(args.seconds / ROUNDS)
    for one in runs.values():
        one.end()
    best = min(by_hand, key=lambda how: runs[how].over(ours))
    return {'model': name, 'batch_size': batch, 'precision': args.precision, 'chosen': ours.about['chosen'],
            **{f'{library}_ms': round(one.timing.median * 1e3, 2) for library, one in runs.items()},
            'zoo_ms_p10': round(ours.timing.p10 * 1e3, 2), 'zoo_ms_p90': round(ours.timing.p90 * 1e3, 2),
            'over_timm': round(timm_.over(ours), 2), 'best_by_hand': best, 'over_best': round(runs[best].over(ours), 3),
            **({'bare_over_timm': round(timm_.over(runs['bare']), 2)} if 'bare' in runs else {}),
            'difference': f'{((found - expected).norm() / expected.norm()).item():.1e}'}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='*', default=MODELS)
    parser.add_argument('--batch-size', type=int, nargs='+', default=[1, 16])
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=SECONDS, help='of timing each')
    parser.add_argument('--csv', type=Path, help='the file to write, row by row')
    args = parser.parse_args()
    rows = []
    cpu = torch.device(args.device).type == 'cpu'
    peers = ', '.join(f'{name} {version(name)}' for name in ('timm', *(('onnxruntime', 'openvino') if cpu else ())))
    for name in args.models:
        for batch in args.batch_size:
            row = compare(name, batch, args)
            print('  '.join(f'{key} {value}' for key, value in row.items()), flush=True)
            command = (f'python benchmarks/optimize.py {name} --batch-size {batch} --precision {args.precision}' +
                       ('' if cpu else f' --device {args.device}') +
                       ('' if args.seconds == SECONDS else f' --seconds {args.seconds:g}'))
            rows.append({**row, 'threads': args.threads, 'peers': peers, **provenance(command, args.device)})
            if args.csv:
                with open(args.csv, 'w', newline='', encoding='utf-8') as file:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)


if __name__ == '__main__':
    main()

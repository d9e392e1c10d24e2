"""`zoo.optimize` beside timm's network as it is and beside the same network set up by hand in PyTorch's compiler, in ONNX
Runtime and in OpenVINO, each as its own documentation has it.

    python benchmarks/optimize.py [MODEL ...] [--batch-size 1 16] [--precision fp32] [--threads 2] [--csv FILE]
    python benchmarks/optimize.py --device cuda --precision bf16 --batch-size 1 256

All run in one process on the same images, in turn by blocks (`zoo.benchmarking.timing.in_blocks`). The ratios are timm's
time over zoo's, and that of the best by hand over zoo's; the difference is that of zoo's outputs from timm's, of their
norm. On a CPU what is set up by hand computes in float32, whatever zoo's precision is, and `bare` is what zoo runs where
no other runtime is installed, its ratio `bare_over_timm`. On a CUDA device timm's network runs under autocast to zoo's
precision, and by hand it is put into channels_last, too.
"""
from __future__ import annotations

import argparse
import copy
import csv
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import timm
import torch
import torch._inductor.config
from torch import Tensor, nn

import zoo
from zoo.benchmarking.timing import in_blocks
from zoo.optimizing import BACKENDS
from zoo.tables import provenance

MODELS = ('efficientnet_b0', 'tf_efficientnet_lite0', 'mobilenetv3_large_100', 'efficientformer_l1', 'resnet50',
          'vit_base_patch16_224', 'convnext_tiny')
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='*', default=MODELS)
    parser.add_argument('--batch-size', type=int, nargs='+', default=[1, 16])
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seconds', type=float, default=3, help='of timing each')
    parser.add_argument('--csv', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter('ignore')
    torch._inductor.config.compile_threads = 1                  # other processes would go on for a while
    rows = []
    cpu = torch.device(args.device).type == 'cpu'
    peers = ', '.join(f'{name} {version(name)}' for name in ('timm', *(('onnxruntime', 'openvino') if cpu else ())))
    for name in args.models:
        for batch in args.batch_size:
            torch._dynamo.reset()
            torch.manual_seed(0)
            peer, model = timm.create_model(name).eval().to(args.device), zoo.create_model(name).eval().to(args.device)
            images = torch.rand(batch, 3, 224, 224, device=args.device)
            model.load_state_dict(peer.state_dict())
            by_hand = ({'inductor': inductor, 'onnxruntime': onnxruntime, 'openvino': openvino} if cpu else
                       {'channels_last': channels_last})
            runs: dict[str, Callable[[], object]] = {'timm': lambda: peer(images)}
            for runtime, make in by_hand.items():
                with torch.no_grad():
                    runs[runtime] = make(peer, images)
            if not cpu and args.precision in AUTOCAST:
                autocast = torch.autocast(torch.device(args.device).type, AUTOCAST[args.precision])
                runs = {runtime: autocast(run) for runtime, run in runs.items()}
            optimized = zoo.optimize(model, images, precision=args.precision, backend=args.backend)
            runs['zoo'] = lambda: optimized(images)
            if cpu and args.backend == 'auto':
                trials = [trial for trial in optimized.report.trials if not BACKENDS[trial.backend].packages]
                fastest = min((trial for trial in trials if not trial.problem), key=lambda trial: trial.milliseconds)
                bare = zoo.optimize(model, images, precision=args.precision, backend=fastest.backend)
                runs['bare'] = lambda: bare(images)
            timings = dict(zip(runs, in_blocks([*runs.values()], args.device, rounds=9, seconds=args.seconds)))
            ours = timings['zoo'].median
            best = min(by_hand, key=lambda one: timings[one].median)
            with torch.no_grad():
                expected = peer(images)
            row = {'model': name, 'batch_size': batch, 'precision': args.precision, 'chosen': optimized.report.chosen,
                   **{f'{one}_ms': round(t.median * 1e3, 2) for one, t in timings.items()},
                   'zoo_ms_p10': round(timings['zoo'].p10 * 1e3, 2), 'zoo_ms_p90': round(timings['zoo'].p90 * 1e3, 2),
                   'over_timm': round(timings['timm'].median / ours, 2), 'best_by_hand': best,
                   'over_best': round(timings[best].median / ours, 3),
                   **({'bare_over_timm': round(timings['timm'].median / timings['bare'].median, 2)} if 'bare' in runs else {}),
                   'difference': f'{((optimized(images) - expected).norm() / expected.norm()).item():.1e}'}
            print('  '.join(f'{key} {value}' for key, value in row.items()), flush=True)
            command = (f'python benchmarks/optimize.py {name} --batch-size {batch} --precision {args.precision}' +
                       ('' if cpu else f' --device {args.device}'))
            rows.append({**row, 'threads': args.threads, 'peers': peers, **provenance(command, args.device)})
            if args.csv:
                with open(args.csv, 'w', newline='', encoding='utf-8') as file:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)


if __name__ == '__main__':
    main()

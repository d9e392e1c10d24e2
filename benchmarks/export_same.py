"""Time of torch.export with symbolic height and width: a network with TensorFlow's SAME padding beside its twin without,
and beside timm's, whose expressions grow with every layer.

    python benchmarks/export_same.py [--model efficientnet_b0] [--timm]
"""
from __future__ import annotations

import argparse
import time

import torch
from torch import nn
from torch.export import Dim

import zoo


def seconds(model: nn.Module) -> float:
    """Wall time of one export."""
    sizes = {2: Dim('height', min=64, max=1024), 3: Dim('width', min=64, max=1024)}
    start = time.perf_counter()
    torch.export.export(model.eval(), (torch.rand(1, 3, 224, 224),), dynamic_shapes=(sizes,))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='efficientnet_b0')
    parser.add_argument('--timm', action='store_true', help="timm's pair as well (about ten minutes)")
    args = parser.parse_args()
    seconds(zoo.create_model('test_efficientnet'))               # what the first export imports
    libraries = {'zoo': zoo}
    if args.timm:
        import timm
        libraries['timm'] = timm
    for name, library in libraries.items():
        plain, same = (seconds(library.create_model(prefix + args.model)) for prefix in ('', 'tf_'))
        print(f'{name:5s} {args.model} {plain:7.1f} s   tf_{args.model} {same:7.1f} s   {same / plain:5.2f} times')


if __name__ == '__main__':
    main()

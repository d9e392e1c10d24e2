"""The most memory that a network takes while it runs."""
from __future__ import annotations

import gc
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ..runtime import import_runtime, is_exported
from .networks import Setup, create
from .work import inference, training

STATUS = Path('/proc/self/status')


def peak_memory(setup: Setup, train: bool = False) -> float:
    """MiB at the highest while one batch runs, or with `train` two training steps (the second with momentum): weights,
    images, activations and what the libraries keep for themselves.

    On CUDA and XPU it is what the device's allocator gave out, on MPS what the driver did. On the CPU it is what a new
    process grows by from just before it builds the network.
    """
    if torch.device(setup.device).type == 'cpu':
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
            return pool.submit(_on_cpu, setup, train, torch.get_num_threads()).result()
    return _on_accelerator(setup, train)


def _work(setup: Setup, train: bool) -> None:
    run = training(setup) if train else inference(setup)
    for _ in range(2 if train else 1):
        run()


def _on_cpu(setup: Setup, train: bool, threads: int) -> float:
    torch.set_num_threads(threads)
    _import_all(setup)
    before = _resident()
    _work(setup, train)
    return _highest() - before


def _import_all(setup: Setup) -> None:
    """Has the library and PyTorch import whatever they put off until it is used, with next to no memory for tensors."""
    if is_exported(setup.name):
        import_runtime(setup.name)
    else:
        with torch.device('meta'):
            create(setup.library, setup.name, setup.img_size)
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    training(replace(setup, batch_size=2, img_size=8), small)()


def _on_accelerator(setup: Setup, train: bool) -> float:
    module = torch.get_device_module(setup.device)
    gc.collect()
    module.empty_cache()
    if not hasattr(module, 'max_memory_allocated'):                 # MPS
        before = module.driver_allocated_memory()
        _work(setup, train)
        return (module.driver_allocated_memory() - before) / 2 ** 20
    module.reset_peak_memory_stats(setup.device)
    before = module.memory_allocated(setup.device)
    _work(setup, train)
    module.synchronize(setup.device)
    return (module.max_memory_allocated(setup.device) - before) / 2 ** 20


def _resident() -> float:
    """MiB that this process holds now, or where the system does not say (not Linux) the most it ever held."""
    return _status('VmRSS') if STATUS.exists() else _highest()


def _highest() -> float:
    """The most MiB that this process ever held."""
    if STATUS.exists():
        return _status('VmHWM')
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2 ** 20 if sys.platform == 'darwin' else 2 ** 10)


def _status(field: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f'{field}:'))
    return int(line.split()[1]) / 1024

"""Shared by all tests: random networks, and the facts about architectures that published tables state."""
from __future__ import annotations

import contextlib
import csv
import ctypes
import faulthandler
import functools
import gc
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zoo.memory

torch.set_num_threads(1)            # networks are small here, and tests run side by side
zoo.memory.set_malloc = lambda option, value: True      # thousands of tests would hold what one asks to keep

REFERENCE = Path(__file__).parent / 'reference'


@pytest.fixture(autouse=True, scope='module')
def give_memory_back() -> Iterator[None]:
    """After each file: a worker that keeps what large networks took would grow over thousands of tests."""
    yield
    if 'torch._dynamo' in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if sys.platform == 'linux':
        getattr(ctypes.CDLL(None), 'malloc_trim', int)(0)


@functools.cache
def architectures() -> dict[str, dict[str, str]]:
    """Name -> parameters, GMACs, features and digest of the state dict, as measured on the published networks."""
    with open(REFERENCE / 'architectures.csv', newline='') as file:
        return {row['name']: row for row in csv.DictReader(file)}


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights of sensible scale and random normalisation statistics, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            if value.ndim > 1:
                value.normal_(0, value[0].numel() ** -0.5, generator=generator)
            elif name.endswith(('bias', 'running_mean')):
                value.normal_(0, 0.1, generator=generator)
            elif name.endswith(('_min', '_max')):  # bounds that some of a normal layer's outputs are beyond
                value.uniform_(1.0, 1.5, generator=generator).mul_(-1 if name.endswith('_min') else 1)
            elif name.endswith('gamma'):           # layer scales: small, or attention saturates
                value.uniform_(0.1, 0.3, generator=generator)
            else:
                value.uniform_(0.5, 1.5, generator=generator)
    return model


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Norm of the difference over the norm of the second."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-12)).item()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 64, 56, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope='module')
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small images, split and sorted by class, for tiny runs of training."""
    from train_runs import make_images
    return make_images(tmp_path_factory.mktemp('images'))


def pytest_report_header() -> str:
    """Which share of the long work this run takes."""
    from structures import FORTNIGHT, TODAY
    return f'long work over many networks: share {TODAY % FORTNIGHT + 1} of {FORTNIGHT}, one a day'


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is fast, and of the rest, what comes today.

    Of a test whose cases take turns the first and a tenth of the others each day are fast, and a third of the rest is
    today's; of the sweeps, a fourth of the cases.
    """
    from structures import TURN, turn_of
    begun = set()
    for item in items:
        name, _, case = item.nodeid.partition('[')
        if item.get_closest_marker('sweep'):
            item.add_marker(pytest.mark.slow)
            if not turn_of(item.nodeid, 4):
                item.add_marker(pytest.mark.another_day)
        if item.get_closest_marker('in_turn'):
            if name in begun and not turn_of(case, 10):
                item.add_marker(pytest.mark.slow)
                if not turn_of(case, TURN):
                    item.add_marker(pytest.mark.another_day)
            begun.add(name)


# A worker that dies without a report of its own: pytest-xdist says only which test it ran. Here it is said how it died.


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Where a worker writes its stack on a fatal signal: its own stderr may be lost."""
    node.workerinput['faults'] = str(node.config._tmp_path_factory.getbasetemp() / f'faults-{node.gateway.id}.txt')


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """After pytest's own plugin, which writes to stderr."""
    if faults := getattr(config, 'workerinput', {}).get('faults'):
        faulthandler.enable(open(faults, 'w'))             # noqa: SIM115  (open as long as the process lives)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: Any) -> None:
    """Adds how the worker ended to the failure."""
    status = None
    with contextlib.suppress(Exception):                        # execnet's own process, not a part of its interface
        status = report.node.gateway._io.popen.wait(10)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2 ** 20
    report.longrepr = (f'{report.longrepr}: status {status} (negative: a signal), largest process so far {peak:.1f} GiB\n'
                       + Path(report.node.workerinput['faults']).read_text())

"""Where chance comes from: each image's distortions from its place in the run, all else from the state of a process."""
from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import torch


def seed_of(*place: int) -> int:
    """A seed of 63 bits for a place in a run, such as (seed, epoch, position); near places have unlike seeds."""
    digest = hashlib.blake2b('/'.join(map(str, place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') >> 1


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's and torch's generators on the CPU start from `seed` inside, and afterwards are as they were."""
    python, cpu = random.getstate(), torch.get_rng_state()
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(cpu)


def seed_process(seed: int) -> None:
    """Starts every generator of this process from `seed`."""
    import numpy
    random.seed(seed)
    numpy.random.seed(seed % 2 ** 32)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of this process' generators: Python's, numpy's, torch's and the device's."""
    import numpy
    of_numpy: Any = numpy.random.get_state()                    # its kind, its words, and three numbers
    kind, keys, *rest = of_numpy
    state = {'python': random.getstate(), 'numpy': (kind, torch.from_numpy(keys.astype('int64')), *rest),
             'torch': torch.get_rng_state()}
    return state | ({'cuda': torch.cuda.get_rng_state(device)} if device.type == 'cuda' else {})


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Puts back what `random_state` returned."""
    import numpy
    kind, keys, *rest = state['numpy']
    random.setstate(state['python'])
    numpy.random.set_state((kind, keys.numpy().astype('uint32'), *rest))
    torch.set_rng_state(state['torch'])
    if device.type == 'cuda' and 'cuda' in state:
        torch.cuda.set_rng_state(state['cuda'], device)

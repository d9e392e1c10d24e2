"""Time and memory of building a network from a local file, beside reading the file and beside timm.

    python benchmarks/load_time.py [--model tf_efficientnetv2_l] [--repeats 5]

Writes random weights of the model to a temporary safetensors file. Every measurement is a process of its own, and the
kinds take turns, so that load on the machine meets all alike. `import torch` and `import zoo` (or timm) are not in
the times; memory is the growth of the peak resident size. Prints the medians.
"""
from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROLOGUE = '''
import resource, sys, time
import torch, {library}
name, path = sys.argv[1:]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == 'linux' else 1024 ** 2)
before, start = peak(), time.perf_counter()
{action}
print(time.perf_counter() - start, peak() - before)
'''
KINDS = {
    'read the file': ('zoo', "kept = open(path, 'rb').read()"),
    'zoo': ('zoo', 'kept = zoo.create_model(name, checkpoint_path=path)'),
    'timm': ('timm', 'kept = timm.create_model(name, checkpoint_path=path)'),
}
WRITE = '''
import sys, zoo
from safetensors.torch import save_file
save_file(zoo.create_model(sys.argv[1]).state_dict(), sys.argv[2])
'''


def measure(kind: str, model: str, path: Path) -> tuple[float, float]:
    """Seconds and MiB of one run in a new process."""
    library, action = KINDS[kind]
    script = PROLOGUE.format(library=library, action=action)
    compiled = {key: value for key, value in os.environ.items() if key != 'PYTHONDONTWRITEBYTECODE'}  # as pip installs
    out = subprocess.run([sys.executable, '-c', script, model, str(path)], check=True, capture_output=True, text=True,
                         env=compiled)
    seconds, mebibytes = map(float, out.stdout.split()[-2:])
    return seconds, mebibytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='tf_efficientnetv2_l', help='a model that both libraries have')
    parser.add_argument('--repeats', type=int, default=5, help='runs of each kind')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'model.safetensors')
        subprocess.run([sys.executable, '-c', WRITE, args.model, str(path)], check=True)
        size = path.stat().st_size / 2 ** 20
        measure('read the file', args.model, path)                                # the file into the page cache
        runs = {kind: [] for kind in KINDS}
        for _ in range(args.repeats):
            for kind in KINDS:
                runs[kind].append(measure(kind, args.model, path))
    print(f'{args.model}: {size:.0f} MiB, median of {args.repeats}')
    reading = statistics.median(seconds for seconds, _ in runs['read the file'])
    for kind, results in runs.items():
        seconds, memory = (statistics.median(column) for column in zip(*results))
        print(f'{kind:14} {seconds:6.2f} s  {seconds / reading:5.2f} x reading  peak {memory:5.0f} MiB  '
              f'{memory / size:4.2f} x the file')


if __name__ == '__main__':
    main()

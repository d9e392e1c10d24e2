"""Where a measured row comes from."""
from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import zoo


def provenance(command: str, device: str = 'cpu') -> dict[str, str]:
    """The columns that every measured row has beside its figures: command, zoo, torch, device, machine and date.

    `device` is a PyTorch device; the column holds it and the accelerator's name. The machine is its processor, the
    number of its cores and the system, and no name of a host.
    """
    import torch

    kind = torch.device(device).type
    name = f'{device} ({torch.cuda.get_device_name(device)})' if kind == 'cuda' else str(device)
    now = datetime.datetime.now(datetime.timezone.utc)
    return {'command': command, 'zoo': zoo.__version__, 'torch': torch.__version__, 'device': name,
            'machine': _machine(), 'date': now.isoformat(timespec='seconds')}


def _machine() -> str:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        models = [line.partition(':')[2].strip() for line in cpuinfo.read_text().splitlines()
                  if line.startswith('model name')]
        processor = models[0] if models and models[0] != 'unknown' else processor
    return f'{processor}, {os.cpu_count()} cores, {platform.system()}'

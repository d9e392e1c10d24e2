"""Freed memory that is kept: pages that the kernel hands out, and the programs that ask for it."""
from __future__ import annotations

import os
import platform
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from zoo.cli import main
from zoo.memory import keep_freed_memory

FAULTS = '''
import resource, sys
import torch
from zoo.memory import keep_freed_memory

kept = sys.argv[1] == 'kept' and keep_freed_memory()
steps = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2 ** 20)                                        # 64 MiB, freed at once
    steps.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, sum(steps[10:]))
'''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not GNU\'s')
def test_what_is_kept_is_not_asked_for_again() -> None:
    pages = 10 * 64 * 2 ** 20 // os.sysconf('SC_PAGE_SIZE')
    kept, faults = run('kept')
    assert kept == 'True' and faults < pages / 100
    kept, faults = run('given back')
    assert kept == 'False' and faults > pages / 600                 # a fault may be for a huge page of 2 MiB


def run(how: str) -> tuple[str, int]:
    found = subprocess.run([sys.executable, '-c', FAULTS, how], capture_output=True, text=True, check=True)
    kept, faults = found.stdout.split()
    return kept, int(faults)


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'platform', 'win32')
    assert keep_freed_memory() is False


@pytest.mark.parametrize('program', ['train', 'validate'])
def test_programs_keep_it_on_a_cpu(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(f'zoo.cli.{program}.keep_freed_memory', lambda: called.append(1))
    for split in ('train', 'val'):
        for name in ('n01440764', 'n01443537'):
            folder = tmp_path / 'data' / split / name
            folder.mkdir(parents=True)
            Image.new('RGB', (40, 40), 'red').save(folder / 'one.png')
    torch.save(zoo.create_model('lcnet_035').state_dict(), tmp_path / 'weights.pth')
    own = {'train': ['--batch-size', '2', '--dry-run', '--output', str(tmp_path / 'runs')],
           'validate': ['--split', 'val', '--checkpoint', str(tmp_path / 'weights.pth')]}[program]
    status = main([program, str(tmp_path / 'data'), '--model', 'lcnet_035', '--img-size', '32', '--workers', '0',
                   '--device', 'cpu', *own])
    assert status == 0 and called == [1]


class Alive(TorchDispatchMode):
    """The most bytes that tensors made by operators have at once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.peak = {}, 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        out = operator(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.bytes:
                storage = tensor.untyped_storage()
                self.bytes[storage.data_ptr()] = storage.nbytes()
                weakref.finalize(storage, self.bytes.pop, storage.data_ptr(), None)
                self.peak = max(self.peak, sum(self.bytes.values()))
        return out


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [
    'efficientnet_b0', 'tf_efficientnet_lite0', 'mobilenetv3_small_100', 'efficientnetv2_rw_t', 'mobilenetv4_hybrid_medium',
    'resnet18', 'resnet50', 'seresnet50', 'convnext_tiny', 'convnextv2_tiny', 'vit_tiny_patch16_224',
    'swin_tiny_patch4_window7_224', 'hrnet_w18', 'efficientformer_l1', 'efficientformerv2_s0',
    'swinv2_tiny_window8_256', 'swinv2_cr_tiny_224', 'beit_base_patch16_224', 'vit_relpos_small_patch16_224',
    'eva02_tiny_patch14_224', 'vit_small_plus_patch16_dinov3', 'vit_small_patch16_rope_mixed_224',
    'hiera_tiny_224', 'hieradet_small', 'pvt_v2_b0', 'pvt_v2_b2_li', 'davit_tiny', 'focalnet_tiny_srf',
    'coatnet_0_rw_224', 'maxvit_tiny_tf_224', 'twins_pcpvt_small', 'twins_svt_small',
    'mvitv2_tiny', 'mvitv2_small_cls', 'nest_tiny', 'nest_tiny_jx', 'gcvit_xxtiny', 'nfnet_l0', 'nf_regnet_b1',
    'nf_resnet50', 'res2net50_26w_4s', 'resnest14d', 'skresnet18', 'legacy_seresnet18', 'repvgg_a0', 'mobileone_s0',
    'resnext26ts', 'regnetz_b16', 'resnet50_clip', 'botnet26t_256', 'halonet26t', 'lambda_resnet26t',
    'mobilevit_xs', 'mobilevitv2_100',
    *(pytest.param(name, marks=pytest.mark.slow) for name in ('nasnetalarge', 'pnasnet5large')),
])
def test_a_pass_holds_no_more_maps_than_timms(name: str) -> None:
    timm = pytest.importorskip('timm')
    peaks = []
    for library in (zoo, timm):
        model = library.create_model(name).eval()
        image = torch.rand(1, *model.pretrained_cfg['input_size'])
        with torch.inference_mode(), Alive() as alive:
            model(image)
        peaks.append(alive.peak)
    assert peaks[0] <= 1.02 * peaks[1]

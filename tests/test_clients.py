"""Programs written for timm run unchanged with zoo in its place, and give what they give with timm.

They are installed, without timm, into a folder of their own; what they do is in client_programs.py. The environment
variable ZOO_CLIENTS names a folder to install them into once, and to take them from afterwards.
"""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import relative_error

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PROGRAM = Path(__file__).with_name('client_programs.py')
PROGRAMS = {'smp': 'segmentation_models_pytorch==0.6.0', 'effdet': 'effdet==0.4.1', 'fastai': 'fastai==2.8.12',
            'transformers': 'transformers==5.24.0', 'open_clip': 'open_clip_torch==3.3.0',
            'torchseg': 'torchseg==0.0.1a4', 'grad_cam': 'grad-cam==1.5.7', 'torch_pruning': 'torch-pruning==1.6.1'}
# what they import beside torch, and beside what zoo needs itself
BESIDE = '''
    antlr4-python3-runtime==4.9.3 beartype==0.23.1 certifi==2026.10.19.post1 charset-normalizer==3.5.2
    cloudpickle==3.1.3 contourpy==1.3.3 cycler==0.12.1 einops==0.8.2 fastcore==2.2.39 fastdownload==0.0.8
    fastprogress==1.0.3 fasttransform==0.0.5 fonttools==4.68.0 ftfy==6.3.1 joblib==1.6.0 kiwisolver==1.5.1
    markdown-it-py==4.3.0 matplotlib==3.11.2 mdurl==0.1.2 narwhals==2.29.0 omegaconf==2.4.0
    opencv-python-headless==5.0.0.93 pandas==3.1.1 plum-dispatch==2.10.1 pycocotools==2.0.11 pygments==2.21.0
    pyparsing==3.3.3 python-dateutil==4.0.0 regex==2026.11.19 requests==2.34.2 rich==15.0.0 scikit-learn==1.9.1
    scipy==1.17.1 six==1.17.0 tabulate==0.10.0 threadpoolctl==3.8.0 tokenizers==0.23.3 ttach==0.0.3 urllib3==2.8.0
    wcwidth==0.9.4
'''.split()


@pytest.fixture(scope='session')
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get('ZOO_CLIENTS') or tmp_path_factory.mktemp('clients'))
    if not (folder / 'effdet').is_dir():
        done = subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', folder,
                               *PROGRAMS.values(), *BESIDE], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f'the programs cannot be installed here: {done.stderr.strip()[-500:]}')
    assert not (folder / 'timm').exists()
    return folder


def run(client: str, library: str, clients: Path, path: Path) -> dict[str, object]:
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join((str(ROOT), str(clients))), 'HF_HUB_OFFLINE': '1',
                   'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-W', 'ignore', PROGRAM, client, path, library], env=environment,
                          cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(path, weights_only=True)


def assert_same(ours: object, theirs: object, what: str) -> None:
    if isinstance(ours, torch.Tensor):
        assert relative_error(ours, theirs) < 1e-4, what
    elif isinstance(ours, list) and any(isinstance(item, torch.Tensor) for item in ours):
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, what)
    else:
        assert ours == theirs, what


@pytest.mark.parametrize('client', PROGRAMS)
def test_program_works_as_it_does_with_timm(client, clients, tmp_path):
    ours = run(client, 'zoo', clients, tmp_path / 'zoo.pt')
    assert len(ours) >= 8
    if importlib.util.find_spec('timm') is None:
        pytest.skip(f'{client} works; timm, to compare it with, is not installed.')
    theirs = run(client, 'timm', clients, tmp_path / 'timm.pt')
    assert ours.keys() == theirs.keys()
    for what in ours:
        assert_same(ours[what], theirs[what], what)

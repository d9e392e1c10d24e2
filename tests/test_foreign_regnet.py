"""RegNets in the names of pycls, VISSL and SWAG, both ways: beside a plain network of their names, and beside timm's
reading."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from beside_timm import on_meta
from conftest import randomize, relative_error
from torch import Tensor, nn

import zoo

WIDTHS, DEPTHS, GROUP, CLASSES = (24, 56, 152, 368), (1, 1, 4, 7), 8, 5     # of RegNetX-200MF and RegNetY-200MF
IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1


class Block(nn.Module):
    """A block of RegNet (arXiv:2003.13678, Figure 4), whose branch `f` has pycls' names or ClassyVision's."""

    def __init__(self, before: int, width: int, stride: int, gated: bool, classy: bool) -> None:
        super().__init__()
        a, b, c = self.kernels = (nn.Conv2d(before, width, 1, bias=False), nn.Conv2d(
            width, width, 3, stride, 1, groups=width // GROUP, bias=False), nn.Conv2d(width, width, 1, bias=False))
        first, second, third = self.norms = tuple(nn.BatchNorm2d(width) for _ in range(3))
        inner = round(before / 4)
        self.gate = (nn.Sequential(nn.Conv2d(width, inner, 1), nn.ReLU(), nn.Conv2d(inner, width, 1), nn.Sigmoid()),
                     ) if gated else ()
        if classy:
            self.f = nn.ModuleDict(dict(a=nn.Sequential(a, first), b=nn.Sequential(b, second), c=c, final_bn=third))
        else:
            self.f = nn.ModuleDict(dict(a=a, a_bn=first, b=b, b_bn=second, c=c, c_bn=third))
        for gate in self.gate:
            self.f['se'] = nn.ModuleDict({'excitation' if classy else 'f_ex': gate})
        if before != width or stride > 1:
            self.proj, self.bn = nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn(self.proj(x)) if hasattr(self, 'proj') else x
        for number, (kernel, norm) in enumerate(zip(self.kernels, self.norms)):
            x = norm(kernel(x))
            x = x.relu() if number < 2 else x
            for gate in self.gate if number == 1 else ():
                x = x * gate(x.mean((2, 3), keepdim=True))
        return (x + shortcut).relu()


class Plain(nn.Module):
    """A RegNet that computes as its paper says, with the names of a library."""

    def __init__(self, library: str, gated: bool) -> None:
        super().__init__()
        self.stem_conv, self.stem_bn = (nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))
        self.fc, self.stages, before = nn.Linear(WIDTHS[-1], CLASSES), nn.ModuleList(), 32
        for width, depth in zip(WIDTHS, DEPTHS):
            self.stages.append(nn.Sequential(*(Block(width if number else before, width, 1 if number else 2, gated,
                                                     library != 'pycls') for number in range(depth))))
            before = width
        self.library = library

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_bn(self.stem_conv(x)).relu()
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))

    def named(self) -> dict[str, Tensor]:
        """The state dict in the library's names."""
        stems = {'pycls': ('stem.conv', 'stem.bn'), 'SWAG': ('stem.stem.0', 'stem.stem.1'), 'VISSL': (
            'trunk._feature_blocks.conv1.stem.0', 'trunk._feature_blocks.conv1.stem.1')}[self.library]
        parts: dict[str, nn.Module] = dict(zip(stems, (self.stem_conv, self.stem_bn)))
        parts['heads.0.clf.0' if self.library == 'VISSL' else 'head.fc'] = self.fc
        for n, stage in enumerate(self.stages, 1):
            for number, block in enumerate(stage):
                parts[{'pycls': f's{n}.b{number + 1}', 'SWAG': f'trunk_output.block{n}.block{n}-{number}',
                       'VISSL': f'trunk._feature_blocks.res{n + 1}.block{n}-{number}'}[self.library]] = block
        return {f'{name}.{key}': value for name, part in parts.items() for key, value in part.state_dict().items()}


def saved(plain: Plain, folder: Path) -> Path:
    """A file as the library writes it."""
    state, file = plain.named(), folder / 'weights.pyth'
    content: dict[str, Any] = {'model': state}
    if plain.library == 'pycls':
        content = {'epoch': 99, 'model_state': state, 'optimizer_state': {'state': {}}, 'cfg': 'MODEL: {TYPE: regnet}'}
    elif plain.library == 'VISSL':
        model: dict[str, dict[str, Tensor]] = {'trunk': {}, 'heads': {}}
        for key, value in state.items():
            part, _, name = key.partition('.')
            model[part][name] = value
        content = {'phase_idx': 3, 'iteration': 7, 'classy_state_dict': {'train': True, 'base_model': {'model': model}}}
    torch.save(content, file)
    return file


@pytest.mark.parametrize('library', ['pycls', 'VISSL', 'SWAG'])
@pytest.mark.parametrize('gated', [True, False], ids='yx')
@torch.no_grad()
def test_both_ways(library: str, gated: bool, tmp_path: Path) -> None:
    plain, name = randomize(Plain(library, gated)).eval(), 'regnety_002' if gated else 'regnetx_002'
    file, state = saved(plain, tmp_path), plain.named()
    found = zoo.convert(file)
    assert (found.source, found.architecture, found.arguments) == (f'{library} RegNet', name, {})
    ours = zoo.create_model(name, checkpoint_path=file, num_classes=CLASSES).eval()
    theirs = plain(IMAGE.flip(1) if library == 'pycls' else IMAGE)          # BGR there
    assert relative_error(ours(IMAGE), theirs) < 1e-5
    back = zoo.convert(ours.state_dict(), library).state
    assert back.keys() == state.keys() and all(torch.equal(back[key], value) for key, value in state.items())


def test_averaged_weights_of_pycls_are_taken_first() -> None:
    plain = randomize(Plain('pycls', False))
    last = {key: value * 2 for key, value in plain.named().items()}
    found = zoo.convert({'model_state': last, 'ema_state': plain.named(), 'epoch': 4}).state
    assert torch.equal(found['head.fc.weight'], plain.fc.weight)
    assert torch.equal(found['stem.conv.weight'], plain.stem_conv.weight.flip(1))


def test_vissls_are_read_as_timm_reads_them() -> None:
    """SEER as it is published: beside the trunk lies the head that it was trained with."""
    state = randomize(Plain('VISSL', True)).named()
    trunk = {key.removeprefix('trunk.'): value for key, value in state.items() if key.startswith('trunk.')}
    heads = {'0.projection_head.0.weight': torch.zeros(3, 3), '0.prototypes0.weight': torch.zeros(3, 3)}
    given = {'classy_state_dict': {'base_model': {'model': {'trunk': trunk, 'heads': heads}}}}
    read = timm.models.regnet._filter_fn(given)
    for source in (given, trunk):
        found = zoo.convert(source)
        assert (found.architecture, found.arguments) == ('regnety_002', {'num_classes': 0})
        assert found.state.keys() == read.keys() and all(torch.equal(found.state[key], read[key]) for key in read)
    assert zoo.convert(found.state, 'VISSL').state.keys() == trunk.keys()
    parts = {key.replace('.block1-0.', '.block1-part0.block1-0.').replace('.block4-6', '.block4-part2.block4-6'): value
             for key, value in trunk.items()}
    assert parts.keys() != trunk.keys() and zoo.convert(parts).state.keys() == read.keys()


@pytest.mark.in_turn
@pytest.mark.parametrize('library', ['pycls', 'VISSL', 'SWAG', 'torchvision'])
@pytest.mark.parametrize('name', ['regnetv_040', 'regnetz_005', 'regnety_040_sgn'])
def test_networks_that_they_do_not_have_are_refused(library: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"'{library} RegNet' has no place"):
        zoo.convert(on_meta(name).state_dict(), f'{library} RegNet')


def test_what_vissl_saves_beside_tensors_is_left_to_the_reader(tmp_path: Path) -> None:
    content = {'classy_state_dict': {'base_model': {'model': {'trunk': {'a': torch.zeros(2)}}}}, 'hooks': Path('x')}
    torch.save(content, tmp_path / 'seer.torch')
    with pytest.raises(ValueError, match=r"weights_only=False\)\['classy_state_dict'\], NEW_FILE"):
        zoo.convert(tmp_path / 'seer.torch')

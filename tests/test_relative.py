"""Layers of relative positions beside timm's: tables, networks of coordinates, windows of other sizes, symbolic ones."""
from __future__ import annotations

import inspect
import itertools

import pytest
import timm
import torch
from torch.export import Dim

from beside_timm import drawn_alike
from conftest import randomize, relative_error
from zoo.layers import relative
from zoo.layers.attention_tokens import attend, masked
from zoo.layers.relative import RelPosBias, RelPosMlp, resize_rel_pos_bias_table

LAYERS = [(RelPosBias, {}), (RelPosBias, dict(prefix_tokens=1)), (RelPosMlp, {}), (RelPosMlp, dict(prefix_tokens=1)),
          (RelPosMlp, dict(hidden_dim=16, prefix_tokens=3)), (RelPosMlp, dict(mode='swin')),
          (RelPosMlp, dict(mode='swin', pretrained_window_size=(4, 6)))]


def pair(layer: type, window: tuple[int, int] = (3, 5), **options):
    ours, theirs = layer(window, 4, **options).double(), getattr(timm.layers, layer.__name__)(window, 4, **options)
    ours.load_state_dict(randomize(theirs.double()).state_dict())
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize(('layer', 'options'), LAYERS, ids=str)
def test_biases_are_timms(layer, options):
    ours, theirs = pair(layer, **options)
    assert list(inspect.signature(layer).parameters) == [
        name for name in inspect.signature(type(theirs)).parameters if name not in ('device', 'dtype')]
    tokens = 15 + options.get('prefix_tokens', 0)
    attn = torch.randn(2, 4, tokens, tokens, dtype=torch.float64)
    assert relative_error(ours(attn), theirs(attn)) < 1e-6
    assert relative_error(ours.get_bias(), theirs.get_bias()) < 1e-6
    for model in (ours.train(), theirs.train()):
        drawn_alike(model, attn).square().sum().backward()
    gradients = [[p.grad for p in model.parameters()] for model in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-6 for a, b in zip(*gradients, strict=True))
    for name, buffer in theirs.named_buffers():
        assert relative_error(getattr(ours, name).double().flatten(), buffer.double().flatten()) < 1e-6, name


@pytest.mark.parametrize(('layer', 'options'), LAYERS, ids=str)
@pytest.mark.parametrize('window', [(4, 4), (2, 7), (3, 6), (1, 1), (6, 3)], ids=str)
def test_other_windows_are_timms(layer, options, window):
    ours, theirs = pair(layer, **options)
    asked = ours.get_bias(window)
    for model in (ours, theirs):
        model.set_window_size(window)
    assert ours.window_size == window and relative_error(ours.get_bias(), asked) < 1e-6
    if window != (1, 1) or options.get('mode') != 'swin' or 'pretrained_window_size' in options:   # timm divides by zero
        assert relative_error(ours.get_bias(), theirs.get_bias()) < 1e-5
    assert ours.get_bias().isfinite().all()
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in layer(window, 4, **options).state_dict().items()}


def test_tables_of_every_size_are_timms():
    for old, new in itertools.product(range(1, 12), (1, 2, 5, 14, 40)):
        table = torch.randn((2 * old - 1) ** 2 + 3, 2, generator=torch.Generator().manual_seed(0))
        shape = ((2 * new - 1) * (2 * new - 1) + 3, 2)
        ours = resize_rel_pos_bias_table(table, (new, new), shape)
        if old > 1:
            assert relative_error(ours, timm.layers.resize_rel_pos_bias_table(table, (new, new), shape)) < 1e-5
        assert torch.equal(ours[-3:], table[-3:]) and ours.shape == shape


def test_a_table_is_fitted_in_a_state_dict():
    source = randomize(RelPosBias((3, 5), 2, prefix_tokens=1))
    for old_window in ((3, 5), (5, 3)):
        layer = RelPosBias((6, 3), 2, prefix_tokens=1)
        state = {f'a.{key}': value for key, value in source.state_dict().items()} | {'a.relative_position_index': 0}
        layer.adapt_table(state, 'a.', old_window)
        layer.load_state_dict({key.removeprefix('a.'): value for key, value in state.items()})
        expected = resize_rel_pos_bias_table(source.relative_position_bias_table, (6, 3), (58, 2), old_window)
        assert torch.equal(layer.relative_position_bias_table, expected)
    state = {'relative_position_bias_table': source.relative_position_bias_table}
    with pytest.raises(ValueError, match='window_size it was trained with'):
        RelPosBias((6, 3), 2, prefix_tokens=1).adapt_table(state, '', None)
    turned = dict(state)
    RelPosBias((5, 3), 2, prefix_tokens=1).adapt_table(turned, '', (3, 5))             # as many entries
    assert not torch.equal(*(s['relative_position_bias_table'] for s in (state, turned)))


@pytest.mark.parametrize(('layer', 'options'), [LAYERS[1], LAYERS[3], LAYERS[5]], ids=str)
def test_a_window_of_symbolic_size(layer, options):
    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rel_pos = layer((3, 5), 4, **options)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rel_pos.get_bias((x.shape[0], x.shape[1]))

    network = randomize(Network()).eval()
    sides = {0: Dim('rows', min=2, max=50), 1: Dim('columns', min=2, max=50)}
    program = torch.export.export(network, (torch.zeros(4, 6),), dynamic_shapes=(sides,)).module()
    for size in ((4, 6), (3, 5), (3, 8), (11, 2)):
        assert relative_error(program(torch.zeros(size)), network(torch.zeros(size))) < 1e-5, size


def test_what_is_not_possible_is_said():
    for layer, options, words in ((RelPosBias, dict(prefix_tokens=2), '0 or 1 prefix tokens, not 2'),
                                  (RelPosMlp, dict(mode='swn'), "'swin'"), (RelPosBias, dict(window_size=0), 'window_size'),
                                  (RelPosMlp, dict(pretrained_window_size=(7, 7)), "mode='swin'")):
        with pytest.raises(ValueError, match=words):
            layer(**dict(window_size=(3, 3), num_heads=2) | options)
    with pytest.raises(ValueError, match="'cr'"):
        relative.gen_relative_log_coords((3, 3), mode='crr')


def test_masks_come_together():
    bias, keep = torch.randn(2, 3, 3), torch.ones(3, 3, dtype=torch.bool).tril()
    expected = bias.masked_fill(~keep, -torch.inf)
    assert torch.equal(masked(bias, keep), expected) and torch.equal(masked(keep, bias), expected)
    assert torch.equal(masked(keep, keep.T), torch.eye(3, dtype=torch.bool)) and masked(bias, None) is bias
    q = torch.randn(1, 2, 3, 4).bfloat16()
    assert attend(q, q, q, masked(bias, keep)).dtype == torch.bfloat16

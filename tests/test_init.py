"""Initial weights: large ones, which threads draw in pieces."""
from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from zoo.layers.init import LARGE, PIECE, draw_normal, draw_uniform

SIZE = LARGE + PIECE // 2 + 5


@pytest.mark.parametrize('draw, std', [(draw_normal, 0.5), (draw_uniform, 0.5 / 3 ** 0.5)], ids=['normal', 'uniform'])
def test_large_weights_depend_on_the_seed_and_not_on_the_threads(draw, std):
    drawn, before = {}, torch.get_num_threads()
    try:
        for threads, seed in ((1, 0), (3, 0), (3, 1)):
            torch.set_num_threads(threads)
            torch.manual_seed(seed)
            weight = nn.Parameter(torch.full((SIZE, 1), 9.0))
            draw(weight, 0.5)
            drawn[threads, seed] = weight.detach().flatten()
    finally:
        torch.set_num_threads(before)
    assert torch.equal(drawn[1, 0], drawn[3, 0]) and not torch.equal(drawn[3, 0], drawn[3, 1])
    numbers = drawn[1, 0]
    assert numbers.mean().abs() < 0.003 and numbers.std() == pytest.approx(std, rel=0.005)
    pieces = numbers[:LARGE].view(-1, PIECE)
    assert (torch.corrcoef(pieces) - torch.eye(len(pieces))).abs().max() < 0.02                # none is like another
    assert numbers.unique().numel() > 0.9 * SIZE


@torch.inference_mode()
def test_large_weights_are_drawn_in_inference_mode():
    network = zoo.create_model('vgg11', num_classes=3, mlp_ratio=0.25)
    assert all(p.std() > 0 for p in network.parameters() if p.numel() >= LARGE)

"""Genuine ImageNet weights on photographs: the same number right as timm has, to within one image.

Needs a folder of photographs and weights, named by the environment variable ZOO_DATA; what lies in it is described by
the `imagenet-sample` and `weights` entries below.
"""
from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import torch

import zoo

DATA = Path(os.environ.get('ZOO_DATA', 'nowhere'))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not (DATA / 'imagenet-sample').is_dir(), reason='ZOO_DATA names no folder with imagenet-sample/ and weights/')]

# name -> how it is built, and how many of 500 timm 1.0.31 has right in top-1 and top-5
RIGHT = {
    'tf_efficientnet_lite0.in1k': (dict(pretrained=True), 442, 486),
    'tf_efficientnet_lite1.in1k': (dict(pretrained=True), 441, 491),
    'tf_efficientnet_lite2.in1k': (dict(pretrained=True), 452, 494),
    'mobilenetv1_100': (dict(checkpoint_path='mobilenetv1_100', pad_type='same'), 463, 495),
    'mobilenetv2_100': (dict(checkpoint_path='mobilenetv2_100', pad_type='same', bn_eps=1e-3), 450, 491),
}


@pytest.mark.parametrize('name', RIGHT)
def test_as_many_are_right_as_timm_has(name):
    options, top1, top5 = RIGHT[name]
    if 'checkpoint_path' in options:
        file = next((DATA / 'weights').glob(f'{options["checkpoint_path"]}*'))
        half = dict(crop_pct=0.875, interpolation='bicubic', mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 224, 224))
        options = options | dict(checkpoint_path=file, pretrained_cfg_overlay=half)
    model = zoo.create_model(name, **options).eval()
    transform = zoo.data.create_transform(**zoo.data.resolve_model_data_config(model))
    with open(DATA / 'imagenet-sample' / 'labels.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    right = torch.zeros(2, dtype=torch.int64)
    for start in range(0, len(rows), 20):
        batch = rows[start:start + 20]
        paths = [next((DATA / 'imagenet-sample').rglob(Path(row['file']).name)) for row in batch]
        images = torch.stack([transform(zoo.data.load_image(path)) for path in paths])
        truth = torch.tensor([int(row['imagenet_index']) for row in batch])
        with torch.inference_mode():
            hits = model(images).topk(5).indices == truth[:, None]
        right += torch.stack([hits[:, 0].sum(), hits.any(1).sum()])
    assert len(rows) == 500
    assert abs(int(right[0]) - top1) <= 1 and abs(int(right[1]) - top5) <= 1

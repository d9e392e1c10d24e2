"""The image encoders of SAM and SAM 2 as backbones of detectors and segmenters, each through the neck that fits it."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import randomize, relative_error
from dense_runs import check_segmenter, untrained
from torch import nn

from zoo import dense
from zoo.dense.necks import Sam2Fpn

SAM, SAM2 = 'samvit_base_patch16', 'sam2_hiera_tiny'
SHORT: dict[str, dict[str, Any]] = {
    SAM: dict(depth=4, embed_dim=48, num_heads=4, img_size=128, global_attn_indexes=(1,)),
    SAM2: dict(embed_dim=16, stages=(1, 1, 2, 1), global_att_blocks=(3,))}
NECKS = {SAM: 'simple', SAM2: 'sam2_fpn'}
BOTH = [*SHORT]
IMAGE = torch.rand(3, 90, 121, generator=torch.Generator().manual_seed(0))
TARGET = {'boxes': torch.tensor([[10.0, 12, 60, 70]]), 'labels': torch.tensor([1])}


def detector(name: str, head: str = 'fcos', **options: Any) -> nn.Module:
    return dense.create_detector(name, head, 2, neck=NECKS[name], min_size=96, max_size=128, pyramid_channels=64,
                                 backbone_options=SHORT[name], **options)


@pytest.mark.parametrize('name', BOTH)
@pytest.mark.parametrize('head', dense.DETECTION_HEADS)
def test_detectors_train_and_come_back(head: str, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = detector(name, head)
    sum(model([IMAGE], [TARGET]).values()).backward()
    assert not untrained(model)
    dense.save(model.eval(), tmp_path / 'd.safetensors')
    again = dense.load(tmp_path / 'd.safetensors')
    with torch.no_grad():
        one, other = model([IMAGE])[0], again([IMAGE])[0]
        maps, levels = model.backbone.body(IMAGE[None]), [*model.backbone(IMAGE[None]).values()]
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert [tuple(x.shape[-2:]) for x in maps] == model.backbone.body.feature_info.map_sizes(IMAGE.shape[-2:])
    assert len(levels) == len(model.backbone.strides)


@pytest.mark.parametrize('name, head', [(name, head) for name in BOTH for head in ('unet', 'fpn')] + [(SAM, 'dpt')])
def test_segmenters_take_any_size_and_come_back(name: str, head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = dense.create_segmenter(name, head, 4, neck=None if head == 'dpt' else NECKS[name],
                                   backbone_options=SHORT[name])
    check_segmenter(model, tmp_path)


@pytest.mark.parametrize('name', BOTH)
def test_the_first_stages_are_frozen(name: str) -> None:
    body = detector(name, trainable_layers=1).backbone.body
    last = body.feature_info.info[-1]['module']
    trained = {key for key, value in body.named_parameters() if value.requires_grad}
    assert trained and all(key.startswith(f'{last}.') for key in trained)


def test_only_the_coarsest_map_goes_down() -> None:
    neck = Sam2Fpn([3, 4, 5, 6], (4, 8, 16, 32), 8)
    maps = [torch.rand(1, width, 33 // 2 ** i, 48 // 2 ** i) for i, width in enumerate((3, 4, 5, 6))]
    lateral = [conv(x) for conv, x in zip(neck.convs, maps)]
    lateral[2] = lateral[2] + lateral[3].repeat_interleave(2, 2).repeat_interleave(2, 3)
    for ours, wanted in zip(neck(maps), lateral, strict=True):
        assert relative_error(ours, wanted) <= 1e-6


def test_a_backbone_without_the_two_maps_is_named() -> None:
    for make in (dense.create_detector, dense.create_segmenter):
        with pytest.raises(ValueError, match=r"16 and 32.*neck='simple'"):
            make(SAM, num_classes=2, neck='sam2_fpn', backbone_options=SHORT[SAM])


@pytest.mark.sweep
@pytest.mark.parametrize('name', BOTH)
def test_detectors_export_to_onnx(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip('onnxruntime')
    model = randomize(detector(name, score_thresh=0.0)).eval()
    image = IMAGE
    dense.export_onnx(model, tmp_path / 'd.onnx', image.shape[-2:])
    found = onnxruntime.InferenceSession(tmp_path / 'd.onnx').run(None, {'image': image.numpy()})
    with torch.no_grad():
        expected = model([image])[0]
    assert len(expected['boxes']) > 10
    assert all(relative_error(torch.from_numpy(ours).float(), theirs.float()) < 1e-4
               for ours, theirs in zip(found, expected.values(), strict=True))

"""Plain vision transformers as backbones of detectors and segmenters: ViTDet's pyramid, DPT beside its peer."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import randomize, relative_error
from dense_runs import check_segmenter, untrained
from test_dense import strangers
from test_train_dense import CHOSEN, make_squares, recipe_for
from train_runs import rows

import zoo
from zoo import dense
from zoo.cli import main
from zoo.dense.plain import READOUTS, SimplePyramid
from zoo.train.trainer import train

PLAIN = ('vit_tiny_patch16_224', 'deit_tiny_distilled_patch16_224')
IMAGE = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
TARGET = {'boxes': torch.tensor([[10.0, 12, 60, 70]]), 'labels': torch.tensor([1])}
SHORT = dict(depth=4)


@pytest.mark.parametrize('head', dense.DETECTION_HEADS)
def test_detectors_on_the_simple_pyramid_train_and_come_back(head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = dense.create_detector(PLAIN[0], head, 2, neck='simple', min_size=96, max_size=128, pyramid_channels=64,
                                  backbone_options=SHORT)
    sum(model([IMAGE], [TARGET]).values()).backward()
    assert not untrained(model)
    model.eval()
    dense.save(model, tmp_path / 'd.safetensors')
    again = dense.load(tmp_path / 'd.safetensors')
    levels = model.backbone(torch.rand(1, 3, 96, 128))
    assert [level.shape[-2:] for level in levels.values()] == [
        (-(-96 // stride), -(-128 // stride)) for stride in model.backbone.strides]
    with torch.no_grad():
        one, other = model([IMAGE])[0], again([IMAGE])[0]
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('name', PLAIN)
@pytest.mark.parametrize('head, options', [('unet', dict(neck='simple')), ('fpn', dict(neck='simple')), ('dpt', {})])
def test_segmenters_take_any_size_and_come_back(head: str, options: dict[str, Any], name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = dense.create_segmenter(name, head, 4, backbone_options=SHORT, **options)
    check_segmenter(model, tmp_path)


@pytest.mark.parametrize('reduction', [8, 16, 32])
def test_the_simple_pyramid_doubles_and_halves(reduction: int) -> None:
    levels = SimplePyramid(32, reduction, (4, 8, 16, 32), 16)([torch.rand(1, 32, 128 // reduction, 192 // reduction)])
    assert [tuple(level.shape) for level in levels] == [(1, 16, 128 // r, 192 // r) for r in (4, 8, 16, 32)]


@pytest.mark.parametrize('readout', READOUTS)
def test_dpt_is_segmentation_models_pytorchs(readout: str) -> None:
    """The same network with the same random weights; its names differ and stand in another order."""
    peers = pytest.importorskip('segmentation_models_pytorch')
    widths = [16, 24, 32, 48]
    theirs = peers.DPT('tu-vit_tiny_patch16_224', encoder_weights=None, classes=5, dynamic_img_size=True,
                       decoder_readout='cat' if readout == 'project' else readout,
                       decoder_intermediate_channels=widths, decoder_fusion_channels=32)
    randomize(theirs).eval()
    ours = dense.create_segmenter('vit_tiny_patch16_224', 'dpt', 5, decoder_options=dict(
        readout=readout, widths=widths, fusion_width=32)).eval()
    kept = ours.backbone.state_dict().keys()
    ours.backbone.load_state_dict({k: v for k, v in theirs.encoder.model.state_dict().items() if k in kept})
    decoder = ours.decoder
    for own, other in ((decoder.projections, theirs.decoder.projection_blocks),
                       (decoder.reassemble, theirs.decoder.reassemble_blocks),
                       (decoder.classifier, theirs.segmentation_head)):
        own.load_state_dict(dict(zip(own.state_dict(), other.state_dict().values(), strict=True)))
    for own, other in zip(decoder.fusions, theirs.decoder.fusion_blocks, strict=True):
        for part, block in ((own.before, other.residual_conv_block1), (own.after, other.residual_conv_block2)):
            first, second = (part.layers[i:i + 3] for i in (0, 3))
            for layers, number in ((first, 1), (second, 2)):
                layers[1].load_state_dict(getattr(block, f'conv_{number}').state_dict())
                layers[2].load_state_dict(getattr(block, f'batch_norm_{number}').state_dict())
        own.project.load_state_dict(other.project.state_dict())
    images = torch.rand(2, 3, 96, 128)
    with torch.no_grad():
        assert relative_error(ours(images), theirs((images - ours.mean) / ours.std)) <= 1e-5


def test_a_final_normalisation_is_kept_where_it_is_asked_for() -> None:
    model = dense.create_segmenter(PLAIN[0], 'fpn', 2, neck='simple', backbone_options=dict(norm=True, **SHORT)).eval()
    network = zoo.create_model(PLAIN[0], num_classes=0, dynamic_img_size=True, **SHORT).eval()
    network.load_state_dict(randomize(model.backbone).state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert relative_error(model.backbone(images)[-1], network.forward_map(images)[1]) <= 1e-6


@pytest.mark.parametrize('call, error, words', [
    (lambda: dense.create_detector('tf_efficientnet_lite0', num_classes=2, neck='simple'), ValueError, 'all of one'),
    (lambda: dense.create_segmenter('tf_efficientnet_lite0', 'dpt', 2), ValueError, 'all of one'),
    (lambda: dense.create_detector(PLAIN[0], num_classes=2, neck='simpel'), ValueError, "'simple'"),
    (lambda: dense.create_segmenter(PLAIN[0], num_classes=2, neck='simpel'), ValueError, "'simple'"),
    (lambda: dense.create_segmenter(PLAIN[0], 'dpt', 2, neck='simple'), ValueError, 'own maps'),
    (lambda: dense.create_segmenter(PLAIN[0], 'dpt', 2, decoder_options=dict(readout='ad')), ValueError, "'add'"),
    (lambda: dense.create_segmenter(PLAIN[0], 'dpt', 2, decoder_options=dict(widths=[8])), ValueError, '4 maps'),
    (lambda: dense.create_segmenter(PLAIN[0], 'dpt', 2, decoder_options=dict(fusion=8)), TypeError, "'fusion_width'"),
    (lambda: dense.create_segmenter(PLAIN[0], 'dpt', 2, backbone_options=dict(depth=3)), ValueError, '4 are needed'),
    (lambda: dense.create_segmenter(PLAIN[0], 'fpn', 2, neck='simple', backbone_options=dict(patch_size=14)),
     ValueError, 'power of two'),
    (lambda: dense.create_segmenter(PLAIN[0], 'dpt', 2, decoder_options=dict(readout='add'), backbone_options=dict(
        class_token=False, global_pool='avg')), ValueError, 'class token'),
])
def test_mistakes_are_named(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.sweep
@pytest.mark.parametrize('head, options', [('unet', dict(neck='simple')), ('dpt', {})])
def test_segmenters_export_to_onnx_at_any_size(head: str, options: dict[str, Any], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip('onnxruntime')
    model = randomize(dense.create_segmenter(PLAIN[0], head, 4, backbone_options=SHORT, **options)).eval()
    dense.export_onnx(model, tmp_path / 's.onnx', (96, 128))
    session = onnxruntime.InferenceSession(tmp_path / 's.onnx')
    for shape in ((1, 3, 96, 128), (2, 3, 101, 130)):
        images = torch.rand(shape)
        with torch.no_grad():
            expected = model(images)
        assert relative_error(torch.from_numpy(session.run(None, {'images': images.numpy()})[0]), expected) <= 1e-4


@pytest.mark.sweep
@pytest.mark.parametrize('name, size', [(PLAIN[0], (96, 128)), (PLAIN[0], (90, 70)),
                                        ('eva02_tiny_patch14_224', (90, 110))])
def test_detectors_export_to_onnx(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    """By PyTorch's older exporter, which has no antialiasing, at sizes that positions are resampled for."""
    onnxruntime = pytest.importorskip('onnxruntime')
    model = randomize(dense.create_detector(name, 'fcos', 3, neck='simple', min_size=96, max_size=128,
                                            pyramid_channels=64, score_thresh=0.0,
                                            backbone_options=dict(patch_size=16, **SHORT))).eval()
    dense.export_onnx(model, tmp_path / 'd.onnx', size)
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(tmp_path / 'd.onnx')
    found = dict(zip([one.name for one in session.get_outputs()], map(
        torch.from_numpy, session.run(None, {'image': image.numpy()}))))
    with torch.no_grad():
        expected = model([image])[0]
    assert len(expected['boxes']) == len(found['boxes']) > 10
    assert not strangers(found, expected) and not strangers(expected, found)


@pytest.mark.parametrize('task, chosen', [
    ('detect', dict(head_kwargs=dict(CHOSEN['detect']['head_kwargs'], neck='simple'))),
    ('segment', dict(head='dpt', head_kwargs=dict(decoder_options=dict(fusion_width=16)))),
])
def test_a_recipe_trains_validates_and_predicts(task: str, chosen: dict[str, Any], tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    make_squares(tmp_path / 'data')
    backbone = dict(model=PLAIN[0], model_kwargs=dict(depth=4, embed_dim=48), drop_path=0.1)
    recipe = recipe_for(task, tmp_path / 'data', model=backbone, dense=chosen)
    train(recipe, tmp_path / 'run', quiet=True)
    assert [row['updates'] for row in rows(tmp_path / 'run')] == ['3', '6']
    capsys.readouterr()
    where = ['--checkpoint', str(tmp_path / 'run'), '--device', 'cpu']
    assert main(['validate', str(tmp_path / 'data'), '--split', 'val', '--workers', '0', *where]) == 0
    assert main([task, str(tmp_path / 'data/images/val'), '--output', str(tmp_path / 'drawn'), *where]) == 0
    assert len([*(tmp_path / 'drawn').iterdir()]) == 4


def test_stages_of_a_plain_backbone_are_frozen() -> None:
    for model in (dense.create_detector(PLAIN[0], num_classes=2, neck='simple', trainable_layers=1,
                                        backbone_options=SHORT).backbone.body,
                  dense.create_segmenter(PLAIN[0], 'dpt', 2, trainable_layers=1, backbone_options=SHORT).backbone):
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
        assert trained and all(name.startswith('blocks.3.') for name in trained)

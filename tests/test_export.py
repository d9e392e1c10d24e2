"""torch.compile, torch.export and ONNX, over the registry."""
from __future__ import annotations

import pytest
import torch
import torch.fx.experimental._config
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import Dim

import zoo
from conftest import randomize, relative_error
from beside_timm import on_meta
from structures import NAMES, STRUCTURES, classes, share, short
from zoo.catalog import families

FIRSTS = [name for family in families() for name in [*family.variants][:1]]


def network(name: str, **options) -> nn.Module:
    """The network with storage and quickly drawn weights."""
    model = on_meta(name, **classes(name, 5), **options)
    model.to_empty(device='cpu')
    for module in model.modules():
        if hasattr(module, 'reset_constants'):
            module.reset_constants()
    model.set_input_size(dynamic_img_size=True)
    return randomize(model).eval()


@pytest.mark.slow
def test_every_network_can_be_shortened():
    with torch.device('meta'):
        assert all(zoo.create_model(name, **short(name)) for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize('name', share([*STRUCTURES], 4))
def test_compiles_as_one_graph(name):
    """As PyTorch's compiler reads it; what it then makes of a graph is the same for all, see below."""
    torch._dynamo.reset()
    model, image = network(name, **short(name)), torch.rand(1, 3, 64, 48)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend='eager')
        assert relative_error(compiled(image), model(image)) < 1e-5


@pytest.mark.sweep
@pytest.mark.parametrize('name', FIRSTS)
def test_is_built_and_runs_without_memory(name):
    options = short(name) | classes(name, 5)
    with FakeTensorMode():
        model = zoo.create_model(name, **options).eval()
        model.set_input_size(dynamic_img_size=True)
        logits = model(torch.rand(2, 3, 96, 64))
    assert all(isinstance(w, FakeTensor) and w.device.type == 'cpu' for w in model.parameters())
    assert len(logits) == 2


@pytest.mark.slow
@pytest.mark.parametrize('name', share([*STRUCTURES]))
def test_exports_with_any_height_and_width(name):
    model = network(name, **short(name))
    margin = max(f.get('margin', 0) for f in model.feature_info)
    least = 64 + margin
    sizes = {0: None, 2: Dim('height', min=least, max=2048), 3: Dim('width', min=least, max=2048)}
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):       # also where a map is of one window
        program = torch.export.export(model, (torch.rand(2, 3, 96 + margin, 128 + margin),), dynamic_shapes=(sizes,))
    image = torch.rand(2, 3, 75 + margin, 90 + margin)
    with torch.no_grad():
        assert relative_error(program.module()(image), model(image)) < 1e-5


@pytest.mark.sweep
@pytest.mark.parametrize('name', ['pvt_v2_b0', 'samvit_base_patch16', 'coatnet_0_rw_224', 'davit_tiny', 'convnext_atto',
                                  'maxxvitv2_rmlp_large_rw_224', 'twins_pcpvt_small', 'twins_svt_small', 'mvitv2_tiny',
                                  'nest_tiny', 'gcvit_xxtiny'])
def test_an_export_of_any_number_of_images_takes_one(name):
    model = network(name, **short(name))
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        program = torch.export.export(model, (torch.rand(2, 3, 96, 128),), dynamic_shapes=({0: Dim('batch')},)).module()
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        assert relative_error(program(image), model(image)) < 1e-5


@pytest.mark.slow
def test_same_padding_stays_one_short_expression():
    """A symbolic size may not grow faster with depth than in the twin without SAME padding."""
    lengths = {}
    for name in ('efficientnet_b0', 'tf_efficientnet_b0'):
        sizes = {2: Dim('height', min=64, max=2048), 3: Dim('width', min=64, max=2048)}
        program = torch.export.export(network(name), (torch.rand(1, 3, 96, 128),), dynamic_shapes=(sizes,))
        lengths[name] = max(len(str(side)) for node in program.graph.nodes
                            if isinstance(node.meta.get('val'), torch.Tensor) for side in node.meta['val'].shape)
    assert lengths['tf_efficientnet_b0'] < 150


@pytest.mark.sweep
@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'efficientnetv2_rw_t', 'mixnet_s', 'efficientnet_cc_b0_4e'])
def test_compiles_with_the_default_backend(name):
    torch._dynamo.reset()
    model, image = network(name), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(torch.compile(model, fullgraph=True)(image), model(image)) < 1e-4


@pytest.mark.sweep
def test_onnx_takes_any_number_of_images(tmp_path):
    """By the plain call, of a network whose attention has learnt biases."""
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    name = 'swin_tiny_patch4_window7_224'
    model, path = network(name, **short(name) | dict(img_size=64)), tmp_path / 'model.onnx'
    torch.onnx.export(model, (torch.rand(2, 3, 64, 64),), path, dynamo=True, dynamic_shapes=({0: Dim('batch')},),
                      verbose=False)
    image = torch.rand(3, 3, 64, 64)
    logits = onnxruntime.InferenceSession(path).run(None, {'x': image.numpy()})[0]
    with torch.no_grad():
        assert relative_error(torch.from_numpy(logits), model(image)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('name', share(FIRSTS))
def test_onnx_gives_the_same_logits(name, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    model, path = network(name, **short(name)), tmp_path / 'model.onnx'
    batch = None if any('_cc' in s for s in zoo.registry.resolve(name)[0].model_args(name).get('blocks', ()))\
        else Dim('batch')
    dims = ({0: batch, 2: Dim('height', min=64), 3: Dim('width', min=64)},)
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        torch.onnx.export(model, (torch.rand(2, 3, 96, 128),), path, dynamo=True, dynamic_shapes=dims, verbose=False)
    session = onnxruntime.InferenceSession(path)
    image = torch.rand(2 if batch is None else 3, 3, 75, 90)
    logits = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])
    with torch.no_grad():
        assert relative_error(logits, model(image)) < 1e-4


@pytest.mark.sweep
def test_a_session_of_one_shape_computes_no_padding(tmp_path):
    """SAME padding follows from the shape: what is left of it is constant, where a session of any shape works it out."""
    onnx, onnxruntime = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    from zoo.runtime.sessions import _standing
    path = tmp_path / 'model.onnx'
    zoo.export_model(zoo.create_model('tf_mobilenetv3_small_minimal_100', num_classes=5).eval(), path,
                     dynamic=('batch', 'height', 'width'))

    def operations(graph: str | bytes) -> list[str]:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / 'optimised.onnx')
        onnxruntime.InferenceSession(graph, options, providers=['CPUExecutionProvider'])
        return [node.op_type for node in onnx.load(tmp_path / 'optimised.onnx').graph.node]

    any_shape, one_shape = operations(str(path)), operations(_standing(path, (1, 3, 224, 224)))
    assert 'Shape' in any_shape and 'Shape' not in one_shape and len(one_shape) < len(any_shape) / 2

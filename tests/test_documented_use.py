"""What people paste: the code of two pages of timm's documentation, with only the import changed.

The weights are random and lie in a Hugging Face cache made for the test, under the names that the hub uses; the
photograph is drawn. So the calls are the real ones and nothing is fetched.
"""
from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import fvcore.nn
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import zoo
from conftest import randomize


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with dog.jpg and a hub cache that holds efficientnet_b0 and efficientnet_b4 at their default tags."""
    folder = tmp_path_factory.mktemp('documented')
    Image.linear_gradient('L').resize((500, 400)).convert('RGB').save(folder / 'dog.jpg')
    for name in ('efficientnet_b0.ra_in1k', 'efficientnet_b4.ra2_in1k'):
        repository = folder / 'hub' / f'models--timm--{name}'
        snapshot = repository / 'snapshots' / ('0' * 40)
        snapshot.mkdir(parents=True)
        (repository / 'refs').mkdir()
        (repository / 'refs' / 'main').write_text('0' * 40)
        save_file(randomize(zoo.create_model(name)).state_dict(), snapshot / 'model.safetensors')
    return folder


def run(code: str, place) -> list[str]:
    """Lines that the code prints, run as a program of its own without a network."""
    environment = {**os.environ, 'HF_HUB_CACHE': str(place / 'hub'), 'HF_HUB_OFFLINE': '1',
                   'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], cwd=place, env=environment, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_classification_with_top5_names_and_probabilities(place):
    lines = run('''
        import zoo as timm
        model = timm.create_model('efficientnet_b0', pretrained=True)
        model.eval()

        from PIL import Image
        from zoo.data import resolve_data_config
        from zoo.data.transforms_factory import create_transform

        config = resolve_data_config({}, model=model)
        transform = create_transform(**config)
        img = Image.open('dog.jpg').convert('RGB')
        tensor = transform(img).unsqueeze(0)

        import torch
        with torch.no_grad():
            out = model(tensor)
        probabilities = torch.nn.functional.softmax(out[0], dim=0)
        print(probabilities.shape)

        categories = model.labels
        top5_prob, top5_catid = torch.topk(probabilities, 5)
        for i in range(top5_prob.size(0)):
            print(categories[top5_catid[i]], top5_prob[i].item())
    ''', place)
    assert lines[0] == 'torch.Size([1000])' and len(lines) == 6
    names = zoo.data.imagenet_labels()
    probabilities = []
    for line in lines[1:]:
        name, _, probability = line.rpartition(' ')
        assert name in names
        probabilities.append(float(probability))
    assert probabilities == sorted(probabilities, reverse=True) and 0 < probabilities[-1] <= probabilities[0] < 1


def test_model_card_classification(place):
    lines = run('''
        import zoo as timm
        import torch
        from PIL import Image
        img = Image.open('dog.jpg')
        model = timm.create_model('efficientnet_b4.ra2_in1k', pretrained=True)
        model = model.eval()
        data_config = timm.data.resolve_model_data_config(model)
        transforms = timm.data.create_transform(**data_config, is_training=False)
        output = model(transforms(img).unsqueeze(0))
        top5_probabilities, top5_class_indices = torch.topk(output.softmax(dim=1) * 100, k=5)
        print(top5_probabilities.shape, top5_class_indices.shape)
        print(data_config['input_size'], timm.data.resolve_model_data_config(model, use_test_size=True)['input_size'])
    ''', place)
    assert lines == ['torch.Size([1, 5]) torch.Size([1, 5])', '(3, 320, 320) (3, 384, 384)']


def test_model_card_feature_maps(place):
    lines = run('''
        import zoo as timm
        from PIL import Image
        img = Image.open('dog.jpg')
        model = timm.create_model('efficientnet_b4.ra2_in1k', pretrained=True, features_only=True)
        model = model.eval()
        data_config = timm.data.resolve_model_data_config(model)
        transforms = timm.data.create_transform(**data_config, is_training=False)
        output = model(transforms(img).unsqueeze(0))
        for o in output:
            print(tuple(o.shape))
    ''', place)
    assert lines == ['(1, 24, 160, 160)', '(1, 32, 80, 80)', '(1, 56, 40, 40)', '(1, 160, 20, 20)', '(1, 448, 10, 10)']


def test_model_card_embeddings(place):
    lines = run('''
        import zoo as timm
        from PIL import Image
        img = Image.open('dog.jpg')
        model = timm.create_model('efficientnet_b4.ra2_in1k', pretrained=True, num_classes=0)
        model = model.eval()
        data_config = timm.data.resolve_model_data_config(model)
        transforms = timm.data.create_transform(**data_config, is_training=False)
        output = model(transforms(img).unsqueeze(0))
        print(tuple(output.shape))
        features = model.forward_features(transforms(img).unsqueeze(0))
        print(tuple(features.shape))
        pooled = model.forward_head(features, pre_logits=True)
        print(tuple(pooled.shape), bool((pooled == output).all()))
    ''', place)
    assert lines == ['(1, 1792)', '(1, 1792, 10, 10)', '(1, 1792) True']


def test_fine_tuning_head(place):
    lines = run('''
        import zoo as timm
        model = timm.create_model('efficientnet_b0', pretrained=True, num_classes=10)
        print(model.get_classifier(), model.labels)
        full = timm.create_model('efficientnet_b0', pretrained=True)
        print(all((a == b).all().item() for a, b in zip(model.blocks.parameters(), full.blocks.parameters())))
    ''', place)
    assert lines == ['Linear(in_features=1280, out_features=10, bias=True) None', 'True']


def test_model_statistics():
    """19.3 M parameters, 3.1 GMACs, 34.8 M activations, by fvcore's count as on the card."""
    model, image = zoo.create_model('efficientnet_b4').eval(), torch.zeros(1, 3, 320, 320)
    macs = fvcore.nn.FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    activations = fvcore.nn.ActivationCountAnalysis(model, image).unsupported_ops_warnings(False)
    assert round(macs.total() / 1e9, 1) == 3.1
    assert round(activations.total() / 1e6, 1) == 34.8
    ours = zoo.profile(model)
    assert round(ours.params / 1e6, 1) == 19.3 and round(ours.gmacs, 1) == 3.1
    assert ours.macts == pytest.approx(activations.total() / 1e6)

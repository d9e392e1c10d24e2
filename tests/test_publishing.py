"""Networks published, read back by timm and by zoo: in a folder, and on a hub of this machine that takes commits."""
from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
import yaml
from conftest import randomize
from huggingface_hub import close_session
from safetensors import safe_open
from test_pretrained_hub import Hub, environment
from torch import nn
from train_runs import make_images, tiny_recipe

import zoo
from zoo import publishing
from zoo.cli import main
from zoo.train import load_trained, train

SETTINGS = ('input_size', 'mean', 'std', 'crop_pct', 'crop_mode', 'interpolation')
CASES = {
    'plain': ('mobilenetv2_035', {}),
    'other classes and channels': ('mobilenetv2_035', dict(num_classes=7, in_chans=1, act_layer='relu', drop_rate=0.3)),
    'pooling': ('mobilenetv3_small_050', dict(num_classes=5, global_pool='max')),
    'fixed size': ('efficientformerv2_s0', dict(num_classes=3, img_size=192)),
    'two heads': ('efficientformer_l1', dict(num_classes=4)),
    'padding': ('tf_efficientnet_lite0', dict(num_classes=6)),
}


def network(case: str) -> nn.Module:
    name, options = CASES[case]
    return randomize(zoo.create_model(name, **options)).eval()


def settings(library: Any, model: nn.Module, **options: Any) -> dict[str, Any]:
    """Preprocessing as a library resolves it; timm leaves the lists of a config.json lists."""
    config = library.data.resolve_model_data_config(model, **options)
    return {k: tuple(config[k]) if isinstance(config[k], list) else config[k] for k in SETTINGS}


def assert_same(model: nn.Module, other: nn.Module) -> None:
    """Equal logits, labels and preprocessing."""
    size = model.pretrained_cfg['input_size']
    size = size if model.pretrained_cfg.get('fixed_input_size') else (size[0], 64, 64)
    image = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(other.eval()(image), model.eval()(image), rtol=1e-4, atol=1e-5)
    assert settings(zoo, other) == settings(timm, other) == settings(zoo, model)


@pytest.mark.in_turn
@pytest.mark.parametrize('serialization', [True, False, 'both'])
@pytest.mark.parametrize('case', CASES)
def test_timm_and_zoo_build_what_was_saved(case: str, serialization: bool | str, tmp_path: Path) -> None:
    model, folder = network(case), tmp_path / 'new' / 'folder'
    names = [f'class {i}' for i in range(model.num_classes)]
    zoo.save_for_hf(model, folder, dict(label_names=names), safe_serialization=serialization)
    files = {True: {'model.safetensors'}, False: {'pytorch_model.bin'}}
    assert {p.name for p in folder.iterdir()} == {'config.json'} | (
        files[True] | files[False] if serialization == 'both' else files[serialization])
    for library in (timm, zoo):
        other = library.create_model(f'local-dir:{folder}', pretrained=True)
        assert_same(model, other)
        assert list(other.pretrained_cfg['label_names']) == names


def test_what_has_changed_since_it_was_built_is_said(tmp_path: Path) -> None:
    model = network('plain')
    model.labels = tuple('abc')
    model.reset_classifier(3, 'max')
    data = dict(input_size=(3, 96, 96), test_input_size=(3, 128, 128), crop_pct=0.9, mean=(0.1, 0.2, 0.3))
    zoo.save_for_hf(model, tmp_path, data_config=data, safe_serialization=True)
    for library in (timm, zoo):
        other = library.create_model(f'local-dir:{tmp_path}', pretrained=True)
        config = settings(library, other)
        assert (other.num_classes, config['input_size'], config['crop_pct'], config['mean']) == (
            3, (3, 96, 96), 0.9, (0.1, 0.2, 0.3))
        assert settings(library, other, use_test_size=True)['input_size'] == (3, 128, 128)
        assert list(other.pretrained_cfg['label_names']) == ['a', 'b', 'c']
        with torch.inference_mode():
            torch.testing.assert_close(other.eval()(torch.ones(1, 3, 64, 64)), model(torch.ones(1, 3, 64, 64)))
    with safe_open(tmp_path / 'model.safetensors', 'pt') as file:
        assert file.metadata() == {'format': 'pt'}


def test_a_published_network_can_be_published_again(tmp_path: Path) -> None:
    model = network('other classes and channels')
    zoo.save_for_hf(model, tmp_path / 'a', dict(label_names=list('abcdefg')))
    zoo.save_for_hf(zoo.create_model(f'local-dir:{tmp_path / "a"}', pretrained=True), tmp_path / 'b')
    assert json.loads((tmp_path / 'b/config.json').read_text()) == json.loads((tmp_path / 'a/config.json').read_text())


def test_networks_of_timm_are_described_as_timm_does(tmp_path: Path) -> None:
    theirs = timm.create_model('mobilenetv2_035', num_classes=5).eval()
    zoo.save_for_hf(theirs, tmp_path)
    assert_same(theirs, timm.create_model(f'local-dir:{tmp_path}', pretrained=True))


@pytest.mark.parametrize(('change', 'words'), [
    (dict(model_config=dict(label_names=['a', 'b'])), ['2', '1000']),
    (dict(model_config=dict(num_classes=3)), ['3', '1000']),
    (dict(model_args=dict(act_layer=nn.ReLU)), ['act_layer', 'model_args']),
    (dict(data_config=dict(crop_pc=0.5)), ['crop_pc', 'crop_pct']),
    (dict(safe_serialization='safe'), ['safe', 'both']),
])
def test_what_cannot_be_described_is_refused_before_writing(change: dict, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        zoo.save_for_hf(zoo.create_model('mobilenetv2_035'), tmp_path / 'new', **change)
    assert all(word in str(error.value) for word in words), error.value
    assert not (tmp_path / 'new').exists()


def test_only_classifiers_with_a_name_are_published(tmp_path: Path) -> None:
    for model in (nn.Linear(2, 2), zoo.build_model(['ds_r1_k3_s2_e1_c8']),
                  zoo.create_model('mobilenetv2_035', features_only=True)):
        with pytest.raises(ValueError, match='classifier'):
            zoo.save_for_hf(model, tmp_path)


def test_a_card_says_what_timms_does() -> None:
    card = dict(tags=['x', 'y'], license='other', license_name='mine', license_link='LICENSE', description='A network.',
                details={'Type': 'cnn', 'Dataset': ['A', 'B'], 'Pretrain Dataset': 'C', 'Stats': {'GMACs': 1.5}},
                usage='Use it.', comparison='Best.', citation=['@a', '@b'])
    texts = [module.generate_readme(card, 'net', 'task') for module in (publishing, timm.models._hub)]
    heads = [yaml.safe_load(text.split('---')[1]) for text in texts]
    assert heads[0] == heads[1]
    lines = [[line for line in text.split('---')[2].splitlines() if line] for text in texts]
    assert lines[0] == lines[1]
    bare = [yaml.safe_load(module.generate_readme({}, 'net').split('---')[1])
            for module in (publishing, timm.models._hub)]
    assert bare[0] == bare[1]


# --- the hub

class WritableHub(Hub):
    """A hub that also makes repositories and takes commits, as `commits`, of who has the token 'good'."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[dict[str, Any]] = []
        self.lost: str | None = None                     # what kind of request the network breaks at
        self.stored: dict[str, bytes] = {}
        handler = self.server.RequestHandlerClass
        handler.do_POST = handler.do_PUT = lambda request: self.take(request)

    def take(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get('Content-Length') or 0))
        path = request.path.partition('?')[0]
        self.requests.append(path)
        if self.lost and self.lost in path:
            request.connection.close()
            return
        if request.headers.get('Authorization') != 'Bearer good' and '/store/' not in path:
            return self.reply(request, 401, b'{"error": "Invalid username or password."}')
        if path == '/api/repos/create':
            asked = json.loads(body)
            name = f'{asked.get("organization") or "me"}/{asked["name"]}'
            if name.startswith('others/'):
                return self.say(request, {'error': 'You have no rights there'}, 403)
            status = 409 if name in self.repositories else 200
            self.repositories.setdefault(name, {})
            return self.say(request, {'url': f'{self.address}/{name}', 'name': name}, status)
        repository = path.removeprefix('/api/models/').rsplit('/', 2)[0]
        if '/preupload/' in path:
            return self.say(request, {'files': [
                {'path': f['path'], 'uploadMode': 'lfs' if f['size'] > 20000 else 'regular', 'shouldIgnore': False}
                for f in json.loads(body)['files']]})
        if path.endswith('/objects/batch'):
            return self.say(request, {'transfer': 'basic', 'objects': [
                {**o, 'actions': {'upload': {'href': f'{self.address}/store/{o["oid"]}'}}}
                for o in json.loads(body)['objects']]})
        if '/store/' in path:
            self.stored[path.rpartition('/')[2]] = body
            return self.reply(request, 200, b'')
        if '/commit/' in path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = {line['value']['path']: self.stored[line['value']['oid']] if line['key'] == 'lfsFile'
                     else base64.b64decode(line['value']['content']) for line in lines if line['key'] != 'header'}
            self.repositories[repository] |= files
            self.commits.append({'repository': repository, 'files': files, **lines[0]['value']})
            return self.say(request, {'success': True, 'commitOid': '1' * 40, 'pullRequestUrl': None,
                                      'commitUrl': f'{self.address}/{repository}/commit/{"1" * 40}'})
        if path == '/api/validate-yaml':
            return self.say(request, {'errors': [], 'warnings': []})
        self.reply(request, 404, b'')

    def say(self, request: BaseHTTPRequestHandler, content: dict[str, Any], status: int = 200) -> None:
        self.reply(request, status, json.dumps(content).encode())


@pytest.fixture
def hub() -> Iterator[WritableHub]:
    hub = WritableHub()
    yield hub
    hub.stop()


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose network has classes of its own."""
    root = tmp_path_factory.mktemp('runs')
    recipe = tiny_recipe(make_images(root / 'images'), schedule=dict(epochs=1, warmup_epochs=0), model=dict(
        model='mobilenetv2_035', model_kwargs={}, img_size=32))
    train(recipe, root / 'run', quiet=True)
    return root / 'run'


@pytest.fixture
def here(hub: WritableHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    """The hub that this process pushes to, with a token that may; nothing waits between attempts."""
    for name in [name for name in os.environ if name.lower().endswith('_proxy')]:
        monkeypatch.delenv(name)
    close_session()                                      # one that would go through a proxy
    constants = {'ENDPOINT': hub.address, 'HF_HUB_DISABLE_XET': True, 'HF_HUB_OFFLINE': False,
                 'HF_HUB_CACHE': str(tmp_path / 'cache'),
                 'HUGGINGFACE_CO_URL_TEMPLATE': hub.address + '/{repo_id}/resolve/{revision}/{filename}'}
    for name, value in constants.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setenv('HF_TOKEN', 'good')
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    yield hub
    close_session()


@pytest.mark.slow
def test_a_run_is_pushed_and_loads_in_processes_of_their_own(hub: WritableHub, run: Path, tmp_path: Path) -> None:
    script = f'''
import sys, torch, timm, zoo, zoo.cli
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_publishing import assert_same
assert zoo.cli.main(['push', 'me/insects', '--checkpoint', {str(run)!r}]) == 0
model = zoo.train.load_trained({str(run / 'model_best.safetensors')!r})
for library in (timm, zoo):
    other = library.create_model('hf-hub:me/insects', pretrained=True)
    assert_same(model, other)
    assert list(other.pretrained_cfg['label_names']) == ['ants', 'bees'] == list(model.labels)
'''
    env = environment(hub, tmp_path, HF_HUB_DISABLE_XET='1', HF_TOKEN='good')
    done = subprocess.run([sys.executable, '-c', script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f'{hub.address}/me/insects/commit/{"1" * 40}']
    commit, = hub.commits                                # all of it in one
    assert commit['files'].keys() == {'README.md', 'config.json', 'model.safetensors', 'pytorch_model.bin'}


def test_a_run_is_pushed_and_loads_in_timm_and_zoo(here: WritableHub, run: Path) -> None:
    assert main(['push', 'insects', '--checkpoint', str(run), '--license', 'mit', '--message', 'First']) == 0
    commit, = here.commits
    assert commit['summary'] == 'First' and commit['repository'] == 'me/insects'
    text = commit['files']['README.md'].decode()
    assert yaml.safe_load(text.split('---')[1])['license'] == 'mit' and "'hf-hub:me/insects'" in text
    model = load_trained(run / 'model_best.safetensors')
    for library in (timm, zoo):
        other = library.create_model('hf-hub:me/insects', pretrained=True)
        assert_same(model, other)
        assert list(other.pretrained_cfg['label_names']) == ['ants', 'bees'] == list(model.labels)
    # a card that somebody has edited stays
    here.repositories['me/insects']['README.md'] = b'edited'
    assert main(['push', 'me/insects', '--checkpoint', str(run / 'last.safetensors'), '--weights', 'safetensors']) == 0
    assert here.commits[1]['files'].keys() == {'config.json', 'model.safetensors'}


@pytest.mark.parametrize(('repository', 'token', 'lost', 'words'), [
    ('me/net', None, None, ['token', 'hf auth login', 'HF_TOKEN']),
    ('me/net', 'bad', None, ['whole or not there', 'token is not accepted']),
    ('others/net', 'good', None, ['whole or not there', 'may not write']),
    ('me/net/x', 'good', None, ["'me/net/x'", 'user/name']),
    ('', 'good', None, ['USER/NAME', '--output']),
    ('me/net', 'good', 'offline', ['HF_HUB_OFFLINE']),
    ('me/net', 'good', '/api/repos/create', ['whole or not there']),
    ('me/net', 'good', '/preupload/', ['whole or not there']),
    ('me/net', 'good', '/store/', ['whole or not there']),
    ('me/net', 'good', '/commit/', ['whole or not there']),
])
def test_what_goes_wrong_is_said_and_nothing_is_committed(
        repository: str, token: str | None, lost: str | None, words: list[str], here: WritableHub, run: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', lost == 'offline')
    monkeypatch.setattr(huggingface_hub, 'get_token', lambda: token)
    monkeypatch.setenv('HF_TOKEN', token or '')
    here.lost = lost
    assert main(['push', *filter(None, [repository]), '--checkpoint', str(run), '--weights', 'safetensors']) == 2
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert not out and last.startswith('zoo: ') and all(word in last for word in words), err
    assert lost in (None, 'offline') or any(lost in path for path in here.requests)
    assert not here.commits and not any(here.repositories.values())


def test_a_folder_has_what_would_be_pushed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['push', '--checkpoint', str(run), '--output', str(tmp_path / 'out'), '--description', 'Insects.']) == 0
    assert {p.name for p in (tmp_path / 'out').iterdir()} == {
        'README.md', 'config.json', 'model.safetensors', 'pytorch_model.bin'}
    text = (tmp_path / 'out/README.md').read_text()
    assert 'Insects.' in text and 'ants, bees' in text and f"'local-dir:{tmp_path / 'out'}'" in text
    assert_same(load_trained(run / 'model_best.safetensors'),
                timm.create_model(f'local-dir:{tmp_path / "out"}', pretrained=True))


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--output', 'x'], ['--checkpoint', '--model']),
    (['--output', 'x', '--model', 'mobilenetv2_035', '--num-classes', '3'], ['--num-classes', '--checkpoint']),
    (['--output', 'x', '--checkpoint', 'EMPTY'], ['model_best.safetensors']),
    (['--output', 'x', '--checkpoint', 'no/such.pth'], ['no/such.pth']),
    (['--output', 'x', '--checkpoint', 'RUN', '--num-classes', '3'], ['leave', '--num-classes']),
])
def test_bad_requests(arguments: list[str], words: list[str], run: Path, tmp_path: Path,
                      capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'empty').mkdir()
    places = {'EMPTY': str(tmp_path / 'empty'), 'RUN': str(run), 'x': str(tmp_path / 'x')}
    assert main(['push', *(places.get(word, word) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and all(word in error for word in words), error
    assert not (tmp_path / 'x').exists()

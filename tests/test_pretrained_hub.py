"""Weights from the Hugging Face hub and from URLs, against a server on this machine that answers as theirs do.

huggingface_hub reads its settings when imported, so every test's calls run in a process of their own.
"""
from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

import timm
import zoo

COMMIT = '0' * 39 + '1'
STATE = {f'layer{i}.weight': torch.full((4, 5), float(i)) for i in range(3)}
OTHER = {'layer0.weight': torch.zeros(2)}
CLIENT = '''
import json, sys
from zoo.spec import PretrainedCfg
from zoo import pretrained

def call(record):
    try:
        found = pretrained.locate(PretrainedCfg(architecture='net', tag='a_in1k', **record))
        state = pretrained.read_state_dict(found.path)
        return dict(path=str(found.path), origin=found.origin, keys=sorted(state))
    except Exception as error:
        return dict(error=type(error).__name__, text=str(error))

print(json.dumps([call(record) for record in json.loads(sys.argv[1])]))
'''


class Hub:
    """Repositories and plain files; `requests` are the paths that were asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.files: dict[str, bytes] = {}
        self.gated: set[str] = set()
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self)

            do_GET = do_HEAD

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.address = f'http://127.0.0.1:{self.server.server_address[1]}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        repository, _, rest = request.path[1:].partition('/resolve/')
        revision, _, name = rest.partition('/')
        if request.path in self.files:
            return self.reply(request, 200, self.files[request.path])
        if not rest:
            return self.reply(request, 404, b'')
        if repository in self.gated:
            return self.reply(request, 401, b'', {'X-Error-Code': 'GatedRepo'})
        if repository not in self.repositories:
            return self.reply(request, 401, b'', {'X-Error-Code': 'RepoNotFound'})
        if revision not in ('main', COMMIT):
            return self.reply(request, 404, b'', {'X-Error-Code': 'RevisionNotFound'})
        content = self.repositories[repository].get(name)
        if content is None:
            return self.reply(request, 404, b'', {'X-Error-Code': 'EntryNotFound', 'X-Repo-Commit': COMMIT})
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.reply(request, 200, content, {'ETag': etag, 'X-Repo-Commit': COMMIT})

    def reply(self, request: BaseHTTPRequestHandler, status: int, body: bytes,
              headers: dict[str, str] | None = None) -> None:
        request.send_response(status)
        for key, value in {**(headers or {}), 'Content-Length': str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command != 'HEAD':
            request.wfile.write(body)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.stop()


def environment(hub: Hub, cache: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(('HF_', 'HUGGING', 'TORCH_HOME'))
            and not k.lower().endswith('_proxy')}
    return {**kept, 'HF_ENDPOINT': hub.address, 'HF_HOME': str(cache), 'TORCH_HOME': str(cache / 'torch'),
            'HF_HUB_DISABLE_TELEMETRY': '1', 'PYTHONPATH': str(Path(zoo.__file__).parents[1]), **more}


def calls(records: list[dict[str, Any]], env: dict[str, str]) -> list[dict[str, Any]]:
    """What comes of looking for the weights of each record."""
    done = subprocess.run([sys.executable, '-c', CLIENT, json.dumps(records)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def hashed(name: str, content: bytes) -> str:
    return f'{name}-{hashlib.sha256(content).hexdigest()[:8]}.safetensors'


def test_download_then_cache_then_no_network(hub: Hub, tmp_path: Path) -> None:
    hub.repositories['user/plain'] = {'model.safetensors': save(STATE)}
    torch.save(STATE, tmp_path / 'weights.bin')
    hub.repositories['user/pickled'] = {'pytorch_model.bin': (tmp_path / 'weights.bin').read_bytes()}
    index = {'weight_map': {k: f'model-0000{i + 1}-of-00003.safetensors' for i, k in enumerate(STATE)}}
    hub.repositories['user/sharded'] = {'model.safetensors.index.json': json.dumps(index).encode()} | {
        index['weight_map'][k]: save({k: v}) for k, v in STATE.items()}
    hub.repositories['user/named'] = {'special.safetensors': save(STATE), 'model.safetensors': save(OTHER)}
    name = hashed('net', save(STATE))
    hub.files[f'/{name}'] = save(STATE)
    records = [dict(hf_hub_id=f'user/{n}') for n in ('plain', 'pickled', 'sharded', f'plain@{COMMIT}')]
    records += [dict(hf_hub_id='user/named', hf_hub_filename='special.safetensors'), dict(url=f'{hub.address}/{name}')]
    env = environment(hub, tmp_path)

    first = calls(records, env)
    assert [r.get('keys', r) for r in first] == [list(STATE)] * len(records)
    assert Path(first[-1]['path']).name == name and not list(tmp_path.rglob('*.part'))
    asked = len(hub.requests)
    assert asked

    second = calls(records, env)
    assert [r['path'] for r in second] == [r['path'] for r in first]
    assert len(hub.requests) == asked, 'what is in the cache is used without asking the network'
    hub.stop()
    third = calls(records, env | {'HF_HUB_OFFLINE': '1'})
    assert [r['path'] for r in third] == [r['path'] for r in first]


def test_what_is_refused_says_why_and_the_next_place_is_asked(hub: Hub, tmp_path: Path) -> None:
    name, nothing = hashed('net', save(STATE)), {'README.md': b''}
    hub.repositories |= {'user/empty': nothing, 'user/plain': {'model.safetensors': save(STATE)}}
    hub.repositories['user/cut'] = {'model.safetensors': save(STATE)[:-20]}
    hub.gated.add('user/gated')
    hub.files |= {'/net-0af12548.pth': b'something else', f'/{name}': save(STATE)}
    *refused, damaged, next_place = calls([
        dict(hf_hub_id='user/none'), dict(hf_hub_id='user/gated'), dict(hf_hub_id='user/empty'),
        dict(hf_hub_id='user/plain@v9'), dict(url=f'{hub.address}/net-0af12548.pth'),
        dict(url=f'{hub.address}/gone-0af12548.pth'), dict(hf_hub_id='user/cut'),
        dict(hf_hub_id='user/none', url=f'{hub.address}/{name}')], environment(hub, tmp_path))
    for answer in refused:
        assert answer['error'] == 'FileNotFoundError'
    assert max(Counter(hub.requests).values()) <= 3, 'what is refused is not asked for again and again'
    none, gated, empty, revision, other, gone = (answer['text'] for answer in refused)
    assert 'no such repository' in none and 'hf auth login' in none
    assert f'{hub.address}/user/none' in none and 'zoo fetch hf-hub:user/none' in none
    assert 'access is restricted' in gated and 'hf auth login' in gated
    assert 'model.safetensors' in empty and 'no such repository' not in empty
    assert "'v9'" in revision
    assert '0af12548' in other and hashlib.sha256(b'something else').hexdigest()[:16] in other
    assert '404' in gone
    assert not list(tmp_path.rglob('*.pth*')), 'nothing is left of a download that failed'
    assert damaged['error'] == 'ValueError'
    assert 'hf download user/cut model.safetensors --force-download' in damaged['text']
    assert next_place['keys'] == list(STATE) and name in next_place['origin']


@pytest.mark.parametrize('setting', ['server gone', 'HF_HUB_OFFLINE'])
def test_without_a_network_the_error_comes_at_once_and_names_every_place(setting: str, hub: Hub,
                                                                         tmp_path: Path) -> None:
    hub.repositories['timm/net.a_in1k'] = {'model.safetensors': save(STATE)}
    more = {'HF_HUB_OFFLINE': '1'} if setting == 'HF_HUB_OFFLINE' else {}
    if not more:
        hub.stop()
    record = dict(hf_hub_id='timm/net.a_in1k', wheel='wheel_that_is_not_there', url=f'{hub.address}/net-0af12548.pth')
    answer, = calls([record], environment(hub, tmp_path, **more))
    assert answer['error'] == 'FileNotFoundError'
    assert not hub.requests
    for word in ('wheel_that_is_not_there', 'timm/net.a_in1k', 'model.safetensors', str(tmp_path / 'hub'),
                 f'{hub.address}/net-0af12548.pth', 'zoo fetch net.a_in1k'):
        assert word in answer['text']
    assert ('HF_HUB_OFFLINE' in answer['text']) == bool(more)
    assert not more or not hub.requests


@pytest.mark.parametrize('safe', [True, False])
def test_a_published_fine_tuned_network_is_built_from_its_config(safe: bool, hub: Hub, tmp_path: Path) -> None:
    """What timm writes for the hub, read from there and from a folder, gives timm's logits."""
    folder = tmp_path / 'published'
    theirs = timm.create_model('mobilenetv2_035', num_classes=7, in_chans=1).eval()
    timm.models.save_for_hf(theirs, str(folder), model_config=dict(label_names=list('abcdefg')),
                            model_args=dict(in_chans=1), safe_serialization=safe)
    if safe and not (folder / 'model.safetensors').exists():      # where timm lacks the library it writes pickles alone
        (folder / 'pytorch_model.bin').unlink()
        save_file(theirs.state_dict(), folder / 'model.safetensors')
    hub.repositories['user/tuned'] = {path.name: path.read_bytes() for path in folder.iterdir()}
    image = torch.randn(1, 1, 64, 64)
    torch.save(image, tmp_path / 'image.pth')
    script = '''
import sys, torch, zoo
image, outputs = torch.load(sys.argv[1]), []
for name in sys.argv[3:]:
    model = zoo.create_model(name, pretrained=True).eval()
    assert model.pretrained_cfg['label_names'] == tuple('abcdefg') and model.num_classes == 7
    outputs.append(model(image).detach())
torch.save(outputs, sys.argv[2])
'''
    arguments = [tmp_path / 'image.pth', tmp_path / 'out.pth', 'hf-hub:user/tuned', f'local-dir:{folder}']
    done = subprocess.run([sys.executable, '-c', script, *arguments], env=environment(hub, tmp_path),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for ours in torch.load(tmp_path / 'out.pth'):
        torch.testing.assert_close(ours, theirs(image), rtol=1e-5, atol=1e-6)


def test_a_repository_of_transformers_is_one_call(hub: Hub, tmp_path: Path) -> None:
    """DINOv2 as it is published: positions of one size, and a processor that gives images of another."""
    config = dict(model_type='dinov2', architectures=['Dinov2Model'], hidden_size=48, num_hidden_layers=2,
                  num_attention_heads=3, image_size=56, patch_size=14)
    (tmp_path / 'config.json').write_text(json.dumps(config))
    state = zoo.convert(zoo.create_model(f'local-dir:{tmp_path}').state_dict(), 'transformers').state
    processor = dict(size=dict(shortest_edge=48), crop_size=dict(height=42, width=42))
    hub.repositories['facebook/dinov2-base'] = {
        'config.json': json.dumps(config).encode(), 'preprocessor_config.json': json.dumps(processor).encode(),
        'model.safetensors': save({'embeddings.mask_token': torch.zeros(1, 48), **state})}
    script = ('import zoo, torch; model = zoo.create_model("hf-hub:facebook/dinov2-base", pretrained=True).eval(); '
              'print(model.pretrained_cfg["input_size"], *model(torch.zeros(1, 3, 42, 42)).shape)')
    done = subprocess.run([sys.executable, '-c', script], env=environment(hub, tmp_path), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '(3, 42, 42) 1 48'

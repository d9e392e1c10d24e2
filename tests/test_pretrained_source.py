"""Names that point at a hub repository or a folder, and the config.json found there."""
from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import timm
from zoo.pretrained import Source, model_config, parse


@pytest.mark.parametrize('name, source', [
    ('efficientnet_b0.ra_in1k', Source('name', 'efficientnet_b0.ra_in1k')),
    ('hf-hub:user/net', Source('hub', 'user/net')),
    ('hf_hub:user/net@v1.0', Source('hub', 'user/net@v1.0')),
    ('local-dir:/some/where', Source('folder', '/some/where')),
    ('local-dir:C:/weights', Source('folder', 'C:/weights')),
])
def test_names(name: str, source: Source) -> None:
    assert parse(name) == source


@pytest.mark.parametrize('name, word', [
    ('hf-hubb:user/net', "'hf-hub'"), ('local_dir:x', "'local-dir'"), ('hf-hub:net', 'hf-hub:user/repository'),
    ('hf-hub:', 'hf-hub:user/repository'), ('local-dir:', 'local-dir:path'), ('hf-hub:a/b/c', 'names no place')])
def test_names_that_point_nowhere(name: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse(name)


def read(folder: Path, config: Any) -> tuple[str, Any, dict[str, Any]]:
    (folder / 'config.json').write_text(config if isinstance(config, str) else json.dumps(config))
    return model_config(f'local-dir:{folder}')


def test_reads_what_timm_writes(tmp_path: Path) -> None:
    model = timm.create_model('tf_efficientnet_lite0', num_classes=5, global_pool='max')
    names = [f'class {i}' for i in range(5)]
    timm.models.save_for_hf(model, str(tmp_path), model_args=dict(global_pool='max'),
                            model_config=dict(label_names=names, label_descriptions={'class 0': 'the first'}))
    architecture, cfg, args = model_config(f'local-dir:{tmp_path}')
    assert architecture == cfg.architecture == 'tf_efficientnet_lite0'
    assert args == dict(in_chans=3, num_classes=5, global_pool='max')
    assert cfg.label_names == tuple(names) and cfg.label_descriptions == {'class 0': 'the first'}
    for field in ('input_size', 'mean', 'std', 'interpolation', 'crop_pct', 'first_conv', 'classifier', 'pool_size'):
        assert getattr(cfg, field) == model.pretrained_cfg[field], field
    assert cfg.num_classes == 5


def test_weights_are_those_beside_the_config_whatever_it_names(tmp_path: Path) -> None:
    record = dict(file='/etc/passwd', url='http://elsewhere', hf_hub_id='some/body', wheel='a', num_classes=3)
    cfg = read(tmp_path, dict(architecture='net', pretrained_cfg=record))[1]
    assert (cfg.file, cfg.url, cfg.hf_hub_id, cfg.wheel) == (str(tmp_path), None, None, None)


def test_the_older_layout_with_fields_on_top(tmp_path: Path) -> None:
    config = dict(architecture='net', num_classes=3, num_features=8, input_size=[1, 32, 32], mean=[0.5], std=[0.5])
    architecture, cfg, args = read(tmp_path, config)
    assert (architecture, cfg.input_size, cfg.mean) == ('net', (1, 32, 32), (0.5,))
    assert args == dict(in_chans=1, num_classes=3)


@pytest.mark.parametrize('names', [['b', 'a'], {'0': 'b', '1': 'a'}, {'b': 0, 'a': 1}])
def test_class_names(names: Any, tmp_path: Path) -> None:
    assert read(tmp_path, dict(architecture='net', label_names=names, pretrained_cfg={}))[1].label_names == ('b', 'a')


def test_unknown_fields_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, 'zoo'):
        read(tmp_path, dict(architecture='net', pretrained_cfg=dict(custom_load=False)))
        assert not caplog.text
        read(tmp_path, dict(architecture='net', pretrained_cfg=dict(sharpness=2)))
    assert 'sharpness' in caplog.text


@pytest.mark.parametrize('config, words', [
    (dict(model_type='resnt'), ["model_type 'resnt'", "'resnet'"]),
    (dict(something=1), ["'architecture'"]), ([1, 2], ['no record']), ('{broken', ['not JSON'])])
def test_other_configs_are_refused(config: Any, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        read(tmp_path, config)
    for word in [*words, str(tmp_path)]:
        assert word in str(caught.value)


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='config.json'):
        model_config(f'local-dir:{tmp_path}')

"""Files of text that people write: read in UTF-8, or as their mark says; in another encoding named with their line."""
from __future__ import annotations

import io
import tarfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

import zoo
from zoo import tables
from zoo.cli.reporting import Report
from zoo.cli.validate import _models
from zoo.data import create_dataset
from zoo.data.sources.classes import read_class_map
from zoo.dense.boxes import box_dataset
from zoo.dense.files import read_split
from zoo.evaluation import RealLabels, read_valid_labels
from zoo.spec import read_text
from zoo.train import read_recipe


class Kind(NamedTuple):
    """A kind of file: its name, its text with a letter beyond ASCII in line 2, and what reads it."""

    name: str
    text: str
    read: Callable[[Path], Any]


def of_table(path: Path) -> Any:
    Image.new('RGB', (4, 4)).save(path.parent / 'é.png')
    source = create_dataset(path, class_map='sorted')
    return [(source.name(i), source.target(i)) for i in range(len(source))], source.class_names


def of_shard(path: Path) -> Any:
    image = io.BytesIO()
    Image.new('RGB', (4, 4)).save(image, 'PNG')
    with tarfile.open(path.parent / 'a.tar', 'w') as tar:
        for name, content in (('a.png', image.getvalue()), ('a.json', path.read_bytes())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return [target for _, _, target in create_dataset(f'wds/{path.parent}/a.tar', class_map={'é': 3})]


def of_coco(path: Path) -> Any:
    Image.new('RGB', (4, 4)).save(path.parent / 'a.png')
    return box_dataset(path, images=path.parent).classes


def of_names(path: Path) -> Any:
    return _models(Namespace(model=str(path), checkpoint=None, pretrained=True))


COCO = ('{"images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4}], "annotations": [],\n'
        '"categories": [{"id": 1, "name": "é"}]}')
KINDS = [
    Kind('recipe.yaml', 'run:\n  experiment: é\n', read_recipe),
    Kind('network.yaml', '# a comment\n# é\nmodel: efficientnet.EfficientNet\nblocks: [ds_r1_k3_s1_e1_c16]\n',
         lambda path: sorted(zoo.build_model(path).state_dict())),
    Kind('classes.txt', 'a\né\n', read_class_map), Kind('classes.csv', 'a,0\né,1\n', read_class_map),
    Kind('classes.json', '{"a": 0,\n"é": 1}', read_class_map),
    Kind('images.csv', 'image,label\né.png,chat à\n', of_table),
    Kind('images.tsv', 'image\tlabel\né.png\tà\n', of_table),
    Kind('sample.json', '{"n": 1,\n"cls": "é"}', of_shard),
    Kind('boxes.json', COCO, of_coco),
    Kind('train.txt', 'a\né\n', lambda path: read_split(path.parent, 'train')),
    Kind('results.csv', 'model,source\né,ä\n', tables.read),
    Kind('results.json', '[\n{"model": "é"}]', lambda path: Report(path, 'json')._known),
    Kind('real.json', '{"a": [1],\n"é": [2]}', lambda path: sorted(RealLabels(path).of('é.jpg'))),
    Kind('valid.txt', '1\n2\n', lambda path: read_valid_labels(str(path), 10)),
    Kind('names.txt', 'a\né\n', of_names),
    Kind('config.json', '{"architecture": "mobilenetv2_035",\n"pretrained_cfg": {"description": "é"}}',
         lambda path: zoo.pretrained.model_config(f'local-dir:{path.parent}', None)[1]),
]


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.name)
def test_a_mark_says_how_to_read(kind, tmp_path):
    path = tmp_path / kind.name
    path.write_text(kind.text, encoding='utf-8')
    expected = kind.read(path)
    for encoding in ('utf-8-sig', 'utf-16', 'utf-32'):
        path.write_text(kind.text, encoding=encoding)
        assert kind.read(path) == expected, encoding


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.name)
def test_another_encoding_is_named_with_its_place(kind, tmp_path):
    path = tmp_path / kind.name
    for encoding, line in (('latin-1', 2), ('utf-16-le', 1), ('utf-16-be', 1)):
        if kind.text.isascii() and encoding == 'latin-1':
            continue
        path.write_bytes(kind.text.encode(encoding))
        with pytest.raises(ValueError, match='Save the file as UTF-8') as caught:
            kind.read(path)
        assert f'{kind.name}:{line}: ' in str(caught.value) or f'a.json:{line}: ' in str(caught.value)


@pytest.mark.parametrize('text', ['a\r\nb', 'a\nb\n', '', 'ß', '\ufeff'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_text_is_read_as_it_is(text, encoding, tmp_path):
    path = tmp_path / 'text'
    path.write_bytes(text.encode(encoding))
    assert read_text(path) == (text if text != '\ufeff' or encoding != 'utf-8' else '')
    path.write_bytes(b'\xfe\xff' + text.encode('utf-16-be'))
    assert read_text(path) == text


def test_a_broken_mark(tmp_path):
    (tmp_path / 'a.csv').write_bytes(b'\xff\xfeabc')
    with pytest.raises(ValueError, match='a.csv:1: the bytes 63 are not UTF-16'):
        read_text(tmp_path / 'a.csv')

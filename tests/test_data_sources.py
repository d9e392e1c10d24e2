"""Data sets of every kind that `create_dataset` opens, made here, and what it says of those that are not right."""
from __future__ import annotations

import csv
import functools
import http.server
import io
import json
import os
import pickle
import struct
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from zoo.data import create_dataset, imagenet_labels
from zoo.data.sources import ClassMap
from zoo.data.sources.classes import read_class_map
from zoo.data.sources.shards import expand

IMAGENET = SimpleNamespace(labels=imagenet_labels(), num_classes=1000)
PETS = SimpleNamespace(labels=('dog', 'cat'), num_classes=2)
UNNAMED = SimpleNamespace(labels=None, num_classes=2)


def picture(level: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new('RGB', (4, 3), (level, level, level)).save(file, format='PNG')
    return file.getvalue()


def write(root: Path, *names: str) -> Path:
    for level, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(level) if path.suffix in ('.png', '.JPEG') else b'text')
    return root


def write_tar(path: Path, members: dict[str, bytes], mode: str = 'w') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def targets(source) -> dict:
    return {source.name(i): source.target(i) for i in range(len(source))}


# --- folders

def test_folders_become_the_models_classes_even_when_only_one_is_there(tmp_path):
    source = create_dataset(write(tmp_path, 'cat/a.png', 'cat/deep/b.png', 'cat/notes.txt', '.git/c.png'), model=PETS)
    assert targets(source) == {'cat/a.png': 1, 'cat/deep/b.png': 1}
    assert (source.task, source.num_classes, source.class_names) == ('single', 2, ['dog', 'cat'])
    assert source.encoded(1) == picture(1) and source.size(1) == len(picture(1))


@pytest.mark.parametrize('folder, index', [('n01440764', 0), ('tench', 0), ('Tinca_tinca', 0), ('great-white shark', 2),
                                           ('tench, Tinca tinca', 0), ('n02012849', 134), ('n03126707', 517)])
def test_synsets_and_names_are_imagenets_indices(tmp_path, folder, index):
    assert create_dataset(write(tmp_path, f'{folder}/a.JPEG'), model=IMAGENET).target(0) == index


def test_labels_that_are_synsets_have_readable_names_too(tmp_path):
    model = SimpleNamespace(labels=('n01443537', 'n01440764'), num_classes=2, pretrained_cfg={})
    assert create_dataset(write(tmp_path, 'tench/a.png'), model=model).target(0) == 1


def test_a_split_is_a_folder_and_validation_has_three_names(tmp_path):
    write(tmp_path, 'train/cat/a.png', 'validation/dog/b.png')
    assert targets(create_dataset(tmp_path, 'val', model=PETS)) == {'dog/b.png': 0}
    assert targets(create_dataset(f'{tmp_path}?split=train', model=PETS)) == {'cat/a.png': 1}


def test_a_model_without_names_numbers_nothing_by_itself(tmp_path):
    write(tmp_path, 'cat/a.png', 'dog/b.png')
    with pytest.raises(ValueError, match="2 folders .cat, dog., and nothing says which class.*class_map='folders'"):
        create_dataset(tmp_path, model=UNNAMED)
    source = create_dataset(tmp_path, model=UNNAMED, class_map='folders')
    assert targets(source) == {'cat/a.png': 0, 'dog/b.png': 1} and source.class_names == ['cat', 'dog']


def test_folders_are_not_numbered_where_the_model_has_more_classes(tmp_path):
    with pytest.raises(ValueError, match='1 folder .cat., but the model has 2 classes'):
        create_dataset(write(tmp_path, 'cat/a.png'), model=PETS, class_map='folders')


def test_folders_named_by_numbers_are_indices_only_when_that_is_said(tmp_path):
    write(tmp_path, '2/a.png', '10/b.png')
    with pytest.raises(ValueError, match="class_map='numbers'"):
        create_dataset(tmp_path)
    assert targets(create_dataset(tmp_path, class_map='numbers')) == {'10/b.png': 10, '2/a.png': 2}
    with pytest.raises(ValueError, match="'10' has the index 10; the classes are 0 to 4"):
        create_dataset(tmp_path, class_map='numbers', model=SimpleNamespace(num_classes=5))


@pytest.mark.parametrize('names, error, message', [
    (['a.png', 'b.png'], ValueError, r'2 images \(a.png, b.png\) and no class folder'),
    (['cat/a.png', 'b.png'], ValueError, r'1 images \(b.png\) lie beside the class folders \(cat\)'),
    (['cat/a.png', 'dog/b.txt'], FileNotFoundError, 'no image in 1 of 2 folders: dog'),
    (['readme.txt'], FileNotFoundError, 'no folder and no image in it; there is readme.txt'),
    (['cta/a.png', 'dog/b.png'], ValueError, "1 of 2 folder names is no class of the model: cta. The nearest.*'cat'"),
    (['train/cat/a.png', 'val/cat/a.png'], ValueError, 'no split was chosen; there are: train, val'),
    (['cat/a.png', 'Cat/b.png'], ValueError, 'the folders Cat and cat are both class 1'),
])
def test_folders_that_are_not_right(tmp_path, names, error, message):
    with pytest.raises(error, match=message):
        create_dataset(write(tmp_path, *names), model=PETS)


def test_an_empty_folder_and_one_that_is_missing(tmp_path):
    (tmp_path / 'photos').mkdir()
    with pytest.raises(FileNotFoundError, match='there is nothing'):
        create_dataset(tmp_path / 'photos', model=PETS)
    with pytest.raises(FileNotFoundError, match=r'Did you mean .*photos.*hfds/'):
        create_dataset(str(tmp_path / 'phots'), model=PETS)


def test_a_split_that_is_missing(tmp_path):
    write(tmp_path, 'cat/a.png', 'dog/a.png')
    with pytest.raises(ValueError, match="no split 'val'; there are: cat, dog.*leave the split out"):
        create_dataset(tmp_path, 'val', model=PETS)


def test_a_name_of_two_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'crane' could be the classes \[134, 517\]"):
        create_dataset(write(tmp_path, 'crane/a.png'), model=IMAGENET)


# --- class maps

@pytest.mark.parametrize('file, content', [
    ('m.txt', 'dog\ncat\nemu\n'),
    ('m.json', '["dog", "cat", "emu"]'),
    ('m.json', '{"cat": 1, "dog": 0, "emu": 2}'),
    ('m.json', '{"0": ["n1", "dog"], "1": ["n2", "cat"], "2": ["n3", "emu"]}'),
    ('m.json', '{"0": "dog", "1": "cat", "2": "emu"}'),
    ('config.json', '{"architecture": "lenet", "label_names": ["dog", "cat", "emu"]}'),
    ('m.csv', 'synset,index,name\nn1,0,dog\nn2,1,cat\nn3,2,emu\n'),
    ('m.csv', 'dog,0\ncat,1\nemu,2\n'),
])
def test_class_maps_in_files(tmp_path, file, content):
    (tmp_path / file).write_text(content)
    write(tmp_path / 'photos', 'cat/a.png', 'emu/b.png')
    source = create_dataset(tmp_path / 'photos', class_map=tmp_path / file)
    assert targets(source) == {'cat/a.png': 1, 'emu/b.png': 2} and source.num_classes == 3
    assert targets(create_dataset(f'{tmp_path}/photos?class_map={tmp_path}/{file}')) == targets(source)


def test_a_mapping_may_put_two_folders_into_one_class_and_goes_before_the_model(tmp_path):
    write(tmp_path, 'cat/a.png', 'kitten/b.png')
    source = create_dataset(tmp_path, class_map={'cat': 0, 'kitten': 0}, model=PETS)
    assert set(targets(source).values()) == {0} and source.class_names == ['dog', 'cat']
    with pytest.raises(ValueError, match="'kitten' has the index 7; the classes are 0 to 1"):
        create_dataset(tmp_path, class_map={'cat': 0, 'kitten': 7}, model=PETS)


@pytest.mark.parametrize('file, content, message', [
    ('m.txt', 'dog\n\ncat\n', 'line 2 is empty'),
    ('m.json', '{"dog": "x"}', 'a class map in JSON is'),
    ('m.json', '{', 'is no JSON'),
    ('m.csv', 'name,a,b\ndog,0,1\n', r'this has 2 of 3 \(name, a, b\)'),
    ('m.csv', 'dog,0\ncat\n', 'rows of the same length'),
    ('m.yaml', 'dog: 0', 'ends in .csv, .json, .txt'),
])
def test_class_maps_that_are_not_right(tmp_path, file, content, message):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_class_map(tmp_path / file)


def test_class_maps_that_are_missing_or_empty_or_have_no_index():
    with pytest.raises(FileNotFoundError, match="'folders', 'numbers' or 'sorted'"):
        ClassMap('folder')
    with pytest.raises(ValueError, match='has no class'):
        ClassMap({})
    for wrong in (-1, 'one', True, 0.5):
        with pytest.raises(ValueError, match='an index is a whole number'):
            ClassMap({'cat': wrong})


# --- tables

def table(root: Path, text: str, name: str = 'val.csv') -> Path:
    write(root, 'a.png', 'b.png', 'c.png')
    (root / name).write_text(text)
    return root / name


def test_a_table_of_names_and_one_of_indices(tmp_path):
    names = create_dataset(table(tmp_path, 'file,label\na.png,cat\nc.png,dog\n'), model=PETS)
    assert targets(names) == {'a.png': 1, 'c.png': 0} and names.encoded(1) == picture(2)
    numbers = create_dataset(str(table(tmp_path, 'label\tfile\n1\ta.png\n0\tb.png\n', 'val.tsv')), model=UNNAMED)
    assert targets(numbers) == {'a.png': 1, 'b.png': 0}


def test_numbers_are_looked_up_in_a_map_of_numbers(tmp_path):
    place = table(tmp_path, 'file,label\na.png,0\nb.png,1\n')
    assert targets(create_dataset(place, class_map={0: 6, 1: 11}, model=IMAGENET)) == {'a.png': 6, 'b.png': 11}


def test_several_labels(tmp_path):
    place = table(tmp_path, 'file,label,x,y\na.png,cat; dog,1,0\nb.png,,0,1\nc.png,cat,1,1\n')
    source = create_dataset(f'{place}?task=multi', model=PETS)
    assert targets(source) == {'a.png': [1.0, 1.0], 'b.png': [0.0, 0.0], 'c.png': [0.0, 1.0]} and source.task == 'multi'
    flags = create_dataset(f'{place}?task=multi&target=y,x')
    assert targets(flags) == {'a.png': [0.0, 1.0], 'b.png': [1.0, 0.0], 'c.png': [1.0, 1.0]}
    assert flags.class_names == ['y', 'x'] and flags.num_classes == 2
    mapped = create_dataset(place, task='multi', target=['y', 'x'], class_map={'x': 0, 'z': 1, 'y': 2})
    assert mapped.target(0) == [1.0, 0.0, 0.0]


def test_regression(tmp_path):
    place = table(tmp_path, 'file,x,y\na.png,1.5,2\nb.png,-3,4e1\n')
    assert targets(create_dataset(place, task='regression', target='x')) == {'a.png': 1.5, 'b.png': -3.0}
    assert targets(create_dataset(f'{place}?task=regression&target=x,y'))['b.png'] == (-3.0, 40.0)


def test_a_table_with_a_column_of_splits_and_a_root(tmp_path):
    place = table(tmp_path / 'photos', 'file,label,split\na.png,cat,train\nb.png,dog,val\n')
    moved = place.rename(tmp_path / 'all.csv')
    assert targets(create_dataset(moved, 'validation', model=PETS, root=tmp_path / 'photos')) == {'b.png': 0}
    with pytest.raises(ValueError, match='no split was chosen; there are: train, val'):
        create_dataset(moved, model=PETS, root=tmp_path / 'photos')


@pytest.mark.parametrize('text, options, error, message', [
    ('', {}, ValueError, 'an empty file'),
    ('file,label\n', {}, ValueError, 'no rows'),
    ('file,file\na.png,1\n', {}, ValueError, 'each once'),
    ('file,label\na.png\n', {}, ValueError, 'row 1: 1 fields, but there are 2'),
    ('file,breed\na.png,cat\n', {}, ValueError, 'target= must name the column; none of.*Columns: file, breed'),
    ('file,path,label\na.png,a.png,cat\n', {}, ValueError, 'image= must name the column; 2 of the usual'),
    ('file,label\na.png,cat\n', {'target': 'labl'}, ValueError, "Did you mean 'label'"),
    ('file,label\na.png,cat\n', {'split': 'val'}, ValueError, "no column 'split'"),
    ('file,label\nx.png,cat\na.png,cat\n', {}, FileNotFoundError, '1 of 2 images are not under .*x.png'),
    ('file,label\na.png,cat\na.png,dog\n', {}, ValueError, "'a.png' is in row 1 and again in row 2"),
    ('file,label\na.png,cow\n', {}, ValueError, 'no class of the model: cow'),
    ('file,label\na.png,2\n', {}, ValueError, "'2' has the index 2; the classes are 0 to 1"),
    ('file,label\na.png,-1\n', {}, ValueError, 'has the index -1'),
    ('file,label\na.png,0.5\n', {}, ValueError, "row 1: '0.5' is no class.*task='regression'"),
    ('file,label\na.png,\n', {}, ValueError, "'' is no class"),
    ('file,label\na.png,cat\n', {'task': 'regression'}, ValueError, "row 1: 'cat' is no number"),
    ('file,label\na.png,nan\n', {'task': 'regression'}, ValueError, 'no finite number'),
    ('file,x,y\na.png,1,2\n', {'task': 'multi', 'target': 'x,y'}, ValueError, "y is '2'; several target columns"),
    ('file,x,y\na.png,1,0\n', {'target': 'x,y'}, ValueError, '2 target columns'),
    ('file,label\na.png,cat\n', {'task': 'multy'}, ValueError, "Did you mean 'multi'"),
    ('file,label\na.png,cat\n', {'class_map': 'folders'}, ValueError, 'numbers folders, and there are none'),
    ('file,label\na.png,cat\n', {'class_map': 'numbers'}, ValueError, 'takes labels as indices, and these are names'),
    ('file,label\na.png,cat\n', {'streaming': True}, ValueError, "option 'streaming' is not known"),
])
def test_tables_that_are_not_right(tmp_path, text, options, error, message):
    model = None if options.get('task') == 'multi' else PETS
    with pytest.raises(error, match=message):
        create_dataset(table(tmp_path, text), model=model, **options)


def test_labels_in_sorted_order(tmp_path):
    place = table(tmp_path, 'file,label,split\na.png,cat; dog,train\nb.png,,train\nc.png,10;ant,train\n')
    source = create_dataset(place, 'train', task='multi', class_map='sorted')
    assert source.class_names == ['10', 'ant', 'cat', 'dog'] and source.num_classes == 4
    assert targets(source) == {'a.png': [0, 0, 1, 1], 'b.png': [0, 0, 0, 0], 'c.png': [1, 1, 0, 0]}
    place = table(tmp_path, 'file,label\na.png,dog\nb.png,cat\n', 'one.csv')
    assert targets(create_dataset(place, class_map='sorted')) == {'a.png': 1, 'b.png': 0}
    with pytest.raises(ValueError, match="2 labels .cat, dog., but the model has 3 classes"):
        create_dataset(place, class_map='sorted', model=SimpleNamespace(labels=None, num_classes=3))
    numbers = create_dataset(table(tmp_path, 'file,label\na.png,7\nb.png,2\n', 'two.csv'), class_map='sorted')
    assert targets(numbers) == {'a.png': 7, 'b.png': 2} and numbers.class_names is None


def test_names_without_a_map_and_several_labels_of_unknown_number(tmp_path):
    with pytest.raises(ValueError, match='nothing says which class each is'):
        create_dataset(table(tmp_path, 'file,label\na.png,cat\n'))
    with pytest.raises(ValueError, match='nothing says how many classes'):
        create_dataset(table(tmp_path, 'file,label\na.png,1;2\n'), task='multi')


def test_parquet(tmp_path):
    pyarrow, parquet = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
    write(tmp_path, 'a.png', 'b.png')
    columns = pyarrow.table({
        'path': ['a.png', 'b.png'], 'label': ['cat', 'dog'], 'tags': [[0, 1], []], 'age': [1.5, 2.0]})
    parquet.write_table(columns, tmp_path / 'val.parquet')
    spec = str(tmp_path / 'val.parquet')
    assert targets(create_dataset(spec, model=PETS)) == {'a.png': 1, 'b.png': 0}
    tags = create_dataset(f'{spec}?target=tags&task=multi', model=UNNAMED)
    assert targets(tags) == {'a.png': [1, 1], 'b.png': [0, 0]}
    assert targets(create_dataset(f'{spec}?target=age&task=regression')) == {'a.png': 1.5, 'b.png': 2.0}
    with pytest.raises(ValueError, match='1.5 is no class'):
        create_dataset(f'{spec}?target=age')


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    with pytest.raises(ImportError, match='needs pyarrow: pip install'):
        create_dataset(table(tmp_path, '', 'val.parquet'))


# --- tar files

def test_a_tar_file_has_what_its_folders_have(tmp_path):
    write(tmp_path / 'photos', 'cat/a.png', 'dog/b.png')
    with tarfile.open(tmp_path / 'photos.tar', 'w') as tar:
        tar.add(tmp_path / 'photos', arcname='./photos')
    source = create_dataset(tmp_path / 'photos.tar', model=PETS)
    folder = create_dataset(tmp_path / 'photos', model=PETS)
    assert targets(source) == targets(folder) == {'cat/a.png': 1, 'dog/b.png': 0}
    assert [source.encoded(i) for i in range(2)] == [picture(0), picture(1)] and source.digest() == folder.digest()


def test_a_tar_file_a_class_in_a_folder_or_in_a_tar_file(tmp_path):
    for name, level in (('cat', 1), ('dog', 2)):
        write_tar(tmp_path / 'tars' / f'{name}.tar', {f'{name}_1.png': picture(level)})
    outer = write_tar(tmp_path / 'outer.tar', {f.name: f.read_bytes() for f in sorted((tmp_path / 'tars').iterdir())})
    for place in (tmp_path / 'tars', outer):
        source = create_dataset(place, model=PETS)
        assert targets(source) == {'cat/cat_1.png': 1, 'dog/dog_1.png': 0}
        assert [source.encoded(i) for i in range(2)] == [picture(1), picture(2)]


def test_splits_in_a_tar_file(tmp_path):
    place = write_tar(tmp_path / 'x.tar', {'all/train/cat/a.png': picture(), 'all/val/dog/b.png': picture()})
    assert targets(create_dataset(place, 'val', model=PETS)) == {'dog/b.png': 0}
    with pytest.raises(ValueError, match='no split was chosen; there are: train, val'):
        create_dataset(place, model=PETS)
    with pytest.raises(ValueError, match="no split 'test'; there are: train, val"):
        create_dataset(place, 'test', model=PETS)


def test_tar_files_that_are_not_right(tmp_path):
    flat = write_tar(tmp_path / 'flat.tar', {'a.png': picture(), 'a.cls': b'1'})
    with pytest.raises(ValueError, match=r'1 of 1 images \(a.png\) lie in no class folder.*wds/'):
        create_dataset(flat, model=PETS)
    with pytest.raises(FileNotFoundError, match='no image in it'):
        create_dataset(write_tar(tmp_path / 'none.tar', {'a.txt': b''}), model=PETS)
    squeezed = write_tar(tmp_path / 'squeezed.tar', {'cat/a.png': picture()}, 'w:gz')
    with pytest.raises(ValueError, match='must be whole and uncompressed'):
        create_dataset(squeezed, model=PETS)
    with pytest.raises(FileNotFoundError, match='no such file'):
        create_dataset(f'tar/{tmp_path}/no.tar', model=PETS)
    with pytest.raises(ValueError, match='no class of the model: cow'):
        create_dataset(write_tar(tmp_path / 'cow.tar', {'cow/a.png': picture()}), model=PETS)
    with tarfile.open(tmp_path / 'link.tar', 'w') as tar:
        tar.addfile(info := tarfile.TarInfo('cat/a.png'), None)
        info.type, info.name, info.linkname = tarfile.LNKTYPE, 'cat/b.png', 'cat/a.png'
        tar.addfile(info)
    with pytest.raises(ValueError, match='cat/b.png is a link'):
        create_dataset(tmp_path / 'link.tar', model=PETS)


@pytest.mark.parametrize('kept', [1024, 1536, 1200, 2048 + 100])
def test_a_tar_file_cut_short_is_no_shorter_data_set(tmp_path, kept):
    whole = write_tar(tmp_path / 'x.tar', {f'cat/{i}.png': picture(i) for i in range(3)}).read_bytes()
    assert len(create_dataset(tmp_path / 'x.tar', model=PETS)) == 3
    (tmp_path / 'cut.tar').write_bytes(whole[:kept])
    with pytest.raises(ValueError, match='cut.tar'):
        create_dataset(tmp_path / 'cut.tar', model=PETS)
    write_tar(tmp_path / 'w.tar', {f'{i}.{s}': c for i in range(3) for s, c in (('png', picture(i)), ('cls', b'1'))})
    (tmp_path / 'wcut.tar').write_bytes((tmp_path / 'w.tar').read_bytes()[:kept])
    with pytest.raises(ValueError, match='wcut.tar'):
        list(create_dataset(f'wds/{tmp_path}/wcut.tar', model=PETS))


# --- WebDataset shards

def shards(root: Path, count: int = 3, each: int = 2) -> str:
    for n in range(count):
        members = {}
        for i in range(n * each, (n + 1) * each):
            fields = {'name': ['dog', 'cat'][i % 2], 'age': i / 2, 'tags': [0, 1]}
            members |= {f'{i:03}.png': picture(i), f'{i:03}.cls': str(i % 2).encode(),
                        f'{i:03}.json': json.dumps(fields).encode()}
        write_tar(root / f'pets-val-{n:02}.tar', members)
    return f'wds/{root}/pets-val-{{00..{count - 1:02}}}.tar'


def test_shards_stream_in_order(tmp_path):
    stream = create_dataset(shards(tmp_path), model=PETS)
    found = list(stream)
    assert [(name, target) for name, _, target in found][:3] == [
        ('pets-val-00.tar/000.png', 0), ('pets-val-00.tar/001.png', 1), ('pets-val-01.tar/002.png', 0)]
    assert [image for _, image, _ in found] == [picture(i) for i in range(6)]
    assert stream.num_classes == 2 and not hasattr(stream, '__len__')
    assert [t for *_, t in create_dataset(f'wds/{tmp_path}', 'val', model=PETS, target='name')] == [0, 1] * 3
    assert [t for *_, t in create_dataset(f'wds/{tmp_path}?target=age&task=regression')][:3] == [0.0, 0.5, 1.0]
    assert next(iter(create_dataset(f'wds/{tmp_path}?target=tags&task=multi', model=PETS)))[2] == [1.0, 1.0]


class Wrapped(IterableDataset):
    def __init__(self, stream):
        self.stream = stream

    def __iter__(self):
        return iter(self.stream)


def as_is(batch):
    return batch


@pytest.mark.parametrize('processes, workers', [(1, 2), (2, 0), (2, 2), (5, 0)])
def test_processes_and_workers_share_shards_so_that_each_image_comes_once(tmp_path, processes, workers):
    stream = create_dataset(shards(tmp_path), model=PETS)
    found = [row for part in range(processes) for batch in DataLoader(
        Wrapped(stream.shard(part, processes)), num_workers=workers, batch_size=2, collate_fn=as_is) for row in batch]
    assert sorted(found) == sorted(stream)
    with pytest.raises(ValueError, match='part is one of 0 to 1'):
        stream.shard(2, 2)


def test_shards_are_read_from_a_server(tmp_path):
    shards(tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f'wds/http://127.0.0.1:{server.server_port}/pets-val-{{00..02}}.tar'
        found = list(create_dataset(place, model=PETS))
        server.shutdown()
    assert found == list(create_dataset(f'wds/{tmp_path}', model=PETS))


def test_compressed_shards_are_read_too(tmp_path):
    place = write_tar(tmp_path / 'a.tar.gz', {'x.png': picture(3), 'x.cls': b'1'}, 'w:gz')
    assert list(create_dataset(f'wds/{place}', model=PETS)) == [('a.tar.gz/x.png', picture(3), 1)]


@pytest.mark.parametrize('members, message', [
    ({'x.png': b'', 'x.txt': b''}, "x has no target 'cls'; its members are png, txt"),
    ({'x.png': b'', 'x.json': b'{"label": 1}'}, 'in its .json label'),
    ({'x.cls': b'1'}, 'x has no images'),
    ({'x.png': b'', 'x.jpg': b'', 'x.cls': b'1'}, 'x has 2 images'),
    ({'x.png': b'', 'x.cls': b'5'}, 'the classes are 0 to 1'),
    ({'x.png': b'', 'x.cls': b'cow'}, 'no class of the model: cow'),
    ({'readme': b''}, 'no sample in it'),
])
def test_samples_that_are_not_right(tmp_path, members, message):
    write_tar(tmp_path / 'a.tar', members)
    with pytest.raises(ValueError, match=message):
        create_dataset(f'wds/{tmp_path}/a.tar', model=PETS)


def test_shards_that_are_not_there(tmp_path):
    shards(tmp_path)
    with pytest.raises(FileNotFoundError, match='1 of 4 shards are not there: .*03.tar'):
        create_dataset(f'wds/{tmp_path}/pets-val-{{00..03}}.tar', model=PETS)
    with pytest.raises(ValueError, match="no split 'test'; there are: pets, val"):
        create_dataset(f'wds/{tmp_path}', 'test', model=PETS)
    with pytest.raises(ValueError, match='no split can be chosen'):
        create_dataset(f'wds/{tmp_path}/pets-val-00.tar', 'val', model=PETS)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no tar file in it; there is nothing'):
        create_dataset(f'wds/{tmp_path}/empty', model=PETS)


def test_braces():
    assert expand('a{08..10}.{x,y}') == ['a08.x', 'a08.y', 'a09.x', 'a09.y', 'a10.x', 'a10.y']
    assert expand('a{8..10}') == ['a8', 'a9', 'a10'] and expand('a') == ['a']
    with pytest.raises(ValueError, match='3 is after 1'):
        expand('a{3..1}')


# --- torchvision

def mnist(root: Path) -> Path:
    raw = root / 'MNIST' / 'raw'
    raw.mkdir(parents=True)
    for part in ('train', 't10k'):
        (raw / f'{part}-images-idx3-ubyte').write_bytes(struct.pack('>iiii', 2051, 3, 28, 28) + bytes(range(3)) * 784)
        (raw / f'{part}-labels-idx1-ubyte').write_bytes(struct.pack('>ii', 2049, 3) + bytes([7, 0, 9]))
    return root


def test_a_torchvision_data_set_of_arrays(tmp_path):
    source = create_dataset('torchvision/mnist', 'test', root=mnist(tmp_path))
    assert targets(source) == {'mnist/test/0': 7, 'mnist/test/1': 0, 'mnist/test/2': 9}
    assert source.num_classes == 10 and source.class_names[7] == '7 - seven'
    image = Image.open(io.BytesIO(source.encoded(1)))
    assert image.mode == 'L' and image.tobytes() == source.dataset[1][0].tobytes() and source.size(1) == 784
    with pytest.raises(ValueError, match='10 of 10 class names are no classes of the model'):
        create_dataset('torchvision/mnist', 'test', root=tmp_path, model=IMAGENET)
    with pytest.raises(ValueError, match='10 classes .* but 2 in the model'):
        create_dataset('torchvision/mnist', 'test', root=tmp_path, model=UNNAMED)
    own = create_dataset('torchvision/mnist', 'test', root=tmp_path, model=IMAGENET, class_map='numbers')
    assert own.target(0) == 7


def test_a_torchvision_data_set_of_files_gives_the_files(tmp_path):
    write(tmp_path, 'eurosat/2750/Forest/a.png', 'eurosat/2750/River/b.png')
    names = {'River': 0, 'Forest': 1}
    source = create_dataset(f'torchvision/EuroSAT?root={tmp_path}', class_map=names)
    assert [source.target(i) for i in range(2)] == [1, 0] and source.encoded(1) == picture(1)


@pytest.mark.parametrize('spec, split, error, message', [
    ('torchvision/cifar11', 'test', ValueError, "Did you mean 'cifar1"),
    ('torchvision/cifar10', None, ValueError, 'no split was chosen; there are: train, test'),
    ('torchvision/cifar10', 'val', ValueError, "no split 'val'; there are: train, test"),
    ('torchvision/cifar10', 'test', FileNotFoundError, 'not under .*download=1'),
    ('torchvision/eurosat', 'test', ValueError, 'has no splits'),
    ('torchvision/cifar10?download=perhaps', 'test', ValueError, "download is one of .* got 'perhaps'"),
])
def test_torchvision_data_sets_that_are_not_right(tmp_path, spec, split, error, message):
    with pytest.raises(error, match=message):
        create_dataset(spec, split, root=tmp_path)


def test_a_torchvision_data_set_needs_a_folder():
    with pytest.raises(ValueError, match='root= is the folder'):
        create_dataset('torchvision/cifar10', 'test')


def test_every_torchvision_data_set_of_the_table_is_there():
    import torchvision.datasets

    from zoo.data.sources.vision import SPLITS
    assert all(hasattr(torchvision.datasets, name) for name in SPLITS)


def test_any_data_set_of_images_and_classes():
    items = [(Image.new('RGB', (2, 2)), 1), (Image.new('RGB', (2, 2)), 0)]
    source = create_dataset(items, model=UNNAMED)
    assert targets(source) == {'list/0': 1, 'list/1': 0}
    for wrong, message in (([], 'no images'), ([(items[0][0], 'cat')], "got 'cat'"), ([(items[0][0], 2)], 'index 2')):
        with pytest.raises(ValueError, match=message):
            create_dataset(wrong, model=UNNAMED)


# --- Hugging Face data sets

@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A folder with data set 'disk', saved, and 'files', of Parquet; each with two splits."""
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    datasets = pytest.importorskip('datasets')
    features = datasets.Features({
        'image': datasets.Image(), 'label': datasets.ClassLabel(names=['cat', 'dog']), 'age': datasets.Value('float32'),
        'number': datasets.Value('int64'), 'tags': datasets.Sequence(datasets.ClassLabel(names=['cat', 'dog']))})
    both = datasets.DatasetDict({split: datasets.Dataset.from_dict({
        'image': [{'bytes': picture(i), 'path': None} for i in range(count)], 'label': [i % 2 for i in range(count)],
        'age': [i / 2 for i in range(count)], 'number': [1 - i % 2 for i in range(count)],
        'tags': [[0]] * count}, features=features) for split, count in (('train', 2), ('test', 6))})
    both.save_to_disk(tmp_path / 'disk')
    for split, rows in both.items():
        (tmp_path / 'files').mkdir(exist_ok=True)
        for n in range(2):
            rows.shard(2, n).to_parquet(tmp_path / 'files' / f'{split}-{n:05}-of-00002.parquet')
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    return tmp_path


def test_a_saved_data_set_maps_its_class_names(hub):
    source = create_dataset(f'hfds/{hub}/disk', 'test', model=PETS)
    assert [source.target(i) for i in range(6)] == [1, 0] * 3 and source.class_names == ['dog', 'cat']
    assert source.encoded(3) == picture(3) and source.name(3) == '3'
    own = create_dataset(f'hfds/{hub}/disk', 'test')
    assert own.target(1) == 1 and own.class_names == ['cat', 'dog']
    assert create_dataset(f'hfds/{hub}/disk?target=number', 'test', model=PETS).target(0) == 1
    assert create_dataset(f'hfds/{hub}/disk?target=age&task=regression', 'test').target(3) == 1.5
    assert create_dataset(f'hfds/{hub}/disk?target=tags&task=multi', 'test', model=PETS).target(3) == [0.0, 1.0]
    clone = pickle.loads(pickle.dumps(source))
    assert clone.digest() == source.digest() != own.digest()


def test_a_folder_of_parquet_and_its_stream_are_the_same(hub):
    source = create_dataset(f'hfds/{hub}/files', 'test', model=PETS, image='image')
    stream = create_dataset(f'hfds/{hub}/files?streaming=1', 'test', model=PETS)
    assert [row[1:] for row in stream] == [(source.encoded(i), source.target(i)) for i in range(6)]
    assert [source.encoded(i) for i in range(6)] == [picture(i) for i in range(6)]


@pytest.mark.parametrize('processes, workers', [(1, 2), (2, 0), (2, 2)])
def test_processes_and_workers_share_a_hub_stream(hub, processes, workers):
    stream = create_dataset(f'hfds/{hub}/files?streaming=1', 'test', model=PETS)
    found = [row for part in range(processes) for batch in DataLoader(
        Wrapped(stream.shard(part, processes)), num_workers=workers, batch_size=2, collate_fn=as_is) for row in batch]
    assert sorted(found) == sorted(stream) and len(found) == 6


def test_hub_data_sets_that_are_not_right(hub):
    import datasets
    for name in ('disk', 'files'):
        with pytest.raises(ValueError, match='no split was chosen; there are: train, test'):
            create_dataset(f'hfds/{hub}/{name}', model=PETS)
        with pytest.raises(ValueError, match="no split 'val'; there are: train, test"):
            create_dataset(f'hfds/{hub}/{name}', 'val', model=PETS)
    with pytest.raises(ValueError, match='2 of 2 class names.*numbers'):
        create_dataset(f'hfds/{hub}/disk', 'test', model=SimpleNamespace(labels=('a', 'b'), num_classes=2))
    with pytest.raises(ValueError, match="Did you mean 'label'"):
        create_dataset(f'hfds/{hub}/disk?target=labl', 'test', model=PETS)
    with pytest.raises(ValueError, match="holds lists; these are task='multi'"):
        create_dataset(f'hfds/{hub}/disk?target=tags', 'test', model=PETS)
    with pytest.raises(FileNotFoundError, match='no such data set'):
        create_dataset(f'hfds/{hub}/nowhere', 'test', model=PETS)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=['cat', 'dog']))
    hidden = datasets.Dataset.from_dict({'image': [{'bytes': picture()}], 'label': [-1]}, features=features)
    for model in (PETS, None):
        with pytest.raises(ValueError, match='row 0: -1 is no class'):
            create_dataset(hidden, model=model)
    rows = datasets.Dataset.from_dict({'label': [1]})
    with pytest.raises(ValueError, match='image= must name the column; there are 0'):
        create_dataset(rows, model=PETS)


def test_hub_data_sets_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'datasets', None)
    with pytest.raises(ImportError, match='needs datasets: pip install'):
        create_dataset('hfds/user/name', 'test')


# --- all of them

def test_the_digest_is_of_names_lengths_and_targets(tmp_path):
    for root in 'ab':
        write(tmp_path / root, 'cat/x.png', 'dog/y.png')
    digest = create_dataset(tmp_path / 'a', model=PETS).digest()
    assert len(digest) == 64 and create_dataset(tmp_path / 'b', model=PETS).digest() == digest
    assert create_dataset(tmp_path / 'b', class_map={'cat': 0, 'dog': 1}).digest() != digest
    (tmp_path / 'b/cat/x.png').write_bytes(b'shorter')
    assert create_dataset(tmp_path / 'b', model=PETS).digest() != digest


@pytest.mark.parametrize('kind', ['folder', 'tar', 'wds'])
def test_what_is_opened_pickles(tmp_path, kind):
    write(tmp_path / 'photos', 'cat/x.png')
    write_tar(tmp_path / 'tar.tar', {'cat/x.png': picture()})
    place = {'folder': f'{tmp_path}/photos', 'tar': f'tar/{tmp_path}/tar.tar', 'wds': shards(tmp_path / 'wds')}[kind]
    source = create_dataset(place, model=PETS)
    assert pickle.loads(pickle.dumps(source)).digest() == source.digest()


def test_texts_that_name_no_data_set(tmp_path):
    write(tmp_path, 'photos.zip', 'cat/a.png')
    with pytest.raises(ValueError, match='ends in .zip is no data set; those that end in .csv'):
        create_dataset(tmp_path / 'photos.zip', model=PETS)
    with pytest.raises(ValueError, match='is empty'):
        create_dataset('')
    with pytest.raises(FileNotFoundError, match="begin with 'folder/'"):
        create_dataset('tfds/imagenet', model=PETS)
    with pytest.raises(ValueError, match='split is given in the text and as an argument'):
        create_dataset(f'{tmp_path}?split=val', 'val', model=PETS)
    with pytest.raises(ValueError, match="option 'root' is not known; this kind of data set has none"):
        create_dataset(f'{tmp_path}?root=x', model=PETS)


# --- photographs

DATA = Path(os.environ.get('ZOO_DATA', 'nowhere'))


@pytest.mark.skipif(not (DATA / 'imagenet-sample').is_dir(), reason='ZOO_DATA names no folder with imagenet-sample/')
def test_synset_folders_have_the_indices_of_the_list():
    root = DATA / 'imagenet-sample'
    with open(root / 'labels.csv', newline='') as file:
        truth = {row['file']: int(row['imagenet_index']) for row in csv.DictReader(file)}
    source = create_dataset(root, model=IMAGENET)
    assert len(source) == 500 and targets(source) == truth and source.num_classes == 1000
    for column in ('synset', 'imagenet_index'):
        listed = create_dataset(f'{root}/labels.csv?target={column}', model=IMAGENET)
        assert targets(listed) == truth and listed.digest() == source.digest()
    assert targets(create_dataset(root, class_map=root / 'labels.csv')) == truth


@pytest.mark.skipif(not (DATA / 'flowers17').is_dir(), reason='ZOO_DATA names no folder with flowers17/')
def test_flowers_need_a_class_map():
    with pytest.raises(ValueError, match='no split was chosen; there are: train, val'):
        create_dataset(DATA / 'flowers17')
    with pytest.raises(ValueError, match='17 folders .bluebell'):
        create_dataset(DATA / 'flowers17', 'val')
    with pytest.raises(ValueError, match='of 17 folder names'):
        create_dataset(DATA / 'flowers17', 'val', model=IMAGENET)
    source = create_dataset(DATA / 'flowers17', 'val', class_map='folders')
    assert len(source) == 17 * 20 and source.num_classes == 17 and source.class_names[0] == 'bluebell'

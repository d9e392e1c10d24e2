"""Class names: timm's tables, ours."""
from __future__ import annotations

import csv
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import timm
import timm.data

from zoo.data import ImageNetInfo, imagenet_labels, infer_imagenet_subset, labels_for
from zoo.data.labels import SUBSETS

NAMES = [*SUBSETS, 'imagenet-21k', 'ImageNet_1K', 'imagenet12k']


@pytest.mark.parametrize('name', NAMES)
def test_a_subset_is_timms(name):
    ours, theirs = ImageNetInfo(name), timm.data.ImageNetInfo(name)
    assert ours.num_classes() == theirs.num_classes()
    assert ours.label_names() == theirs.label_names()
    assert ours.label_indices() == theirs.label_indices()
    for detailed in (False, True):
        assert ours.label_descriptions(detailed) == theirs.label_descriptions(detailed)
        assert ours.label_descriptions(detailed, as_dict=True) == theirs.label_descriptions(detailed, as_dict=True)
        last = theirs.num_classes() - 1
        label = theirs.index_to_label_name(last)
        assert ours.index_to_label_name(last) == label
        assert ours.index_to_description(last, detailed) == theirs.index_to_description(last, detailed)
        assert ours.label_name_to_description(label, detailed) == theirs.label_name_to_description(label, detailed)
    for index in (-1, 0, last, last + 1):
        assert ours.has_label(index) == theirs.has_label(index)


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'imagenet-22k'"):
        ImageNetInfo('imagenet-23k')
    info = ImageNetInfo()
    for index in (-1, 1000):
        with pytest.raises(IndexError, match='classes 0 to 999'):
            info.index_to_label_name(index)
        with pytest.raises(IndexError, match='classes 0 to 999'):
            info.index_to_description(index)
    with pytest.raises(ValueError, match="no class 'tench'"):
        info.label_name_to_description('tench')


def test_labels():
    labels = imagenet_labels()
    assert len(labels) == 1000 and labels[0] == 'tench, Tinca tinca'
    assert labels_for(1000) == labels
    assert [i for i, label in enumerate(labels) if labels.count(label) > 1] == [134, 517]
    assert all(len(labels_for(count)) == count for count in SUBSETS.values())
    assert labels_for(10) is None and labels_for(0) is None


def test_subset_of_every_published_model():
    for name in timm.list_pretrained():
        cfg = timm.get_pretrained_cfg(name)
        assert infer_imagenet_subset(cfg) == timm.data.infer_imagenet_subset(cfg), name


@pytest.mark.parametrize('own', [None, 0, 10, 1000, 11821])
@pytest.mark.parametrize('published', [None, 1000, 21843])
def test_subset_of_models_and_dictionaries(own, published):
    model = types.SimpleNamespace()
    if own is not None:
        model.num_classes = own
    if published is not None:
        model.pretrained_cfg = dict(num_classes=published)
        assert infer_imagenet_subset(model.pretrained_cfg) == timm.data.infer_imagenet_subset(model.pretrained_cfg)
    if vars(model):
        assert infer_imagenet_subset(model) == timm.data.infer_imagenet_subset(model)
    else:                # where timm's fails
        assert infer_imagenet_subset(model) is None


def test_reading_names_and_settings_imports_no_torch():
    code = ('import sys, zoo.data as d; d.resolve_data_config({"img_size": 8}); d.labels_for(21843); d.ImageNetInfo;'
            'print(sorted({"torch", "torchvision", "PIL", "numpy"} & set(sys.modules)))')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parent.parent)
    assert done.stdout.strip() == '[]'


@pytest.mark.skipif('ZOO_DATA' not in os.environ, reason='ZOO_DATA names the folder of real images; it is not set')
def test_classes_of_real_images():
    info = ImageNetInfo()
    with open(Path(os.environ['ZOO_DATA'], 'imagenet-sample', 'labels.csv'), newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 500
    for row in rows:
        index = int(row['imagenet_index'])
        assert info.index_to_label_name(index) == row['synset']
        assert info.index_to_description(index).split(',')[0].lower() == row['name'].lower()

"""Reading, changing, measuring and drawing boxes and masks, on tiny made data sets and, where ZOO_DATA is, on real."""
from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.ops import box_iou
from torchvision.transforms import v2

from zoo.dense.boxes import box_dataset, collate_boxes
from zoo.dense.drawing import class_colours, draw_boxes, draw_masks
from zoo.dense.masks import mask_dataset, voc_masks
from zoo.dense.metrics import MeanIoU, coco_ap
from zoo.dense.transforms import BoxTransform, MaskTransform, detection_transforms, segmentation_transforms

DATA = Path(os.environ.get('ZOO_DATA', 'nowhere'))
CAMVID = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist')
needs_bccd = pytest.mark.skipif(not (DATA / 'bccd').is_dir(), reason='ZOO_DATA names no folder with bccd/')
needs_camvid = pytest.mark.skipif(not (DATA / 'camvid').is_dir(), reason='ZOO_DATA names no folder with camvid/')

HEIGHT, WIDTH = 40, 60


def save_image(path: Path, height: int = HEIGHT, width: int = WIDTH, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(levels).save(path, exif=exif)


def voc(root: Path, objects: dict[str, list[tuple]], splits: dict[str, list[str]], size: bool = True) -> Path:
    """A VOC-format folder; an object is (name, x0, y0, x1, y1) with 'difficult' behind it where it is."""
    for stem, rows in objects.items():
        save_image(root / 'JPEGImages' / f'{stem}.jpg')
        xml = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>' if size else ''
        for name, x0, y0, x1, y1, *difficult in rows:
            xml += (f'<object><name>{name}</name><difficult>{len(difficult)}</difficult><bndbox><xmin>{x0}</xmin>'
                    f'<ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>')
        (root / 'Annotations').mkdir(exist_ok=True)
        (root / 'Annotations' / f'{stem}.xml').write_text(f'<annotation>{xml}</annotation>')
    (root / 'ImageSets' / 'Main').mkdir(parents=True)
    for split, stems in splits.items():
        (root / 'ImageSets' / 'Main' / f'{split}.txt').write_text('\n'.join(stems) + '\n')
    return root


def coco(file: Path, boxes: dict[str, list[tuple]], images: str = '', **changes) -> Path:
    """A COCO-format file with categories 7 cat and 3 dog; a box is (category id, x, y, width, height, more fields)."""
    content = {'images': [], 'annotations': [], 'categories': [{'id': 7, 'name': 'cat'}, {'id': 3, 'name': 'dog'}]}
    for number, (name, rows) in enumerate(boxes.items()):
        save_image(file.parent / images / name)
        content['images'].append({'id': 100 + number, 'file_name': name, 'height': HEIGHT, 'width': WIDTH})
        for category, x, y, width, height, *more in rows:
            content['annotations'].append({'id': len(content['annotations']), 'image_id': 100 + number,
                                           'category_id': category, 'bbox': [x, y, width, height], **dict(*more)})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content | changes))
    return file


# Boxes


@pytest.fixture
def pets(tmp_path):
    return voc(tmp_path, {'a': [('dog', 1, 2, 31, 22), ('ant', 5, 5, 9, 9, 'difficult')], 'b': [('cat', 0, 0, 60, 40)],
                          'c': []}, {'train': ['b', 'a'], 'val': ['c']})


def test_voc_boxes(pets):
    data = box_dataset(pets, 'train')
    assert data.classes == ['ant', 'cat', 'dog'] and len(data) == 2 and not data.empty and not data.dropped
    assert [file.name for file in data.files] == ['b.jpg', 'a.jpg']
    image, target = data[1]
    assert image.shape == (3, HEIGHT, WIDTH) and image.dtype == torch.float32 and 0.9 < image.max() <= 1
    levels = np.asarray(Image.open(data.files[1]))
    assert torch.equal((image * 255).round().byte(), torch.from_numpy(levels.copy()).permute(2, 0, 1))
    assert target['boxes'].tolist() == [[1, 2, 31, 22], [5, 5, 9, 9]] and target['boxes'].dtype == torch.float32
    assert target['labels'].tolist() == [3, 1] and target['labels'].dtype == torch.int64
    assert target['area'].tolist() == [600, 16] and target['iscrowd'].tolist() == [0, 1] and target['image_id'] == 1


def test_classes_are_the_same_in_every_split(pets):
    assert box_dataset(pets, 'val').classes == box_dataset(pets, 'train').classes
    assert box_dataset(pets, 'train', classes=['dog', 'ant', 'cat'])[1][1]['labels'].tolist() == [1, 2]


def test_an_image_without_boxes(pets):
    data = box_dataset(pets, 'val')
    target = data[0][1]
    assert data.empty == data.files and target['boxes'].shape == (0, 4) and target['labels'].shape == (0,)
    assert target['labels'].dtype == torch.int64


def test_items_do_not_share_their_boxes(pets):
    data = box_dataset(pets, 'train')
    data[0][1]['boxes'].zero_()
    assert data[0][1]['boxes'].sum() == 100


def test_voc_without_sizes_takes_them_from_the_image(tmp_path):
    root = voc(tmp_path, {'a': [('dog', 1, 2, 59, 22)]}, {'train': ['a']}, size=False)
    save_image(root / 'JPEGImages' / 'a.jpg', WIDTH, HEIGHT, orientation=6)       # 60 x 40 in the file, shown 40 x 60
    image, target = box_dataset(root)[0]
    assert image.shape == (3, HEIGHT, WIDTH) and target['boxes'].tolist() == [[1, 2, 59, 22]]


def test_a_size_that_is_not_the_images_is_an_error(pets):
    save_image(pets / 'JPEGImages' / 'a.jpg', HEIGHT, WIDTH, orientation=6)
    with pytest.raises(ValueError, match=r'a\.jpg: the image is 60 x 40 .* annotation says 40 x 60'):
        box_dataset(pets, 'train')[1]


@pytest.mark.parametrize('box, reason', [
    ((5, 5, 5, 9), 'no width or no height'), ((5, 9, 8, 5), 'no width or no height'),
    ((5, 5, 61.5, 9), 'outside'), ((-2, 5, 9, 9), 'outside'), ((5, 50, 9, 60), 'outside'),
    ((60, 5, 60.5, 9), 'no width or no height'), (('nan', 5, 9, 9), 'no finite number'),
])
def test_bad_boxes(tmp_path, box, reason):
    root = voc(tmp_path, {'a': [('dog', *box), ('dog', 1, 2, 3, 4)], 'b': [('dog', *box)]}, {'train': ['a', 'b']})
    message = rf"a\.jpg: the box \({box[0]}, .*'dog' .*{reason}.*; the image is 40 x 60.*drop"
    with pytest.raises(ValueError, match=message):
        box_dataset(root)
    data = box_dataset(root, on_bad_box='drop')
    assert len(data.dropped) == 2 and 'a.jpg' in data.dropped[0] and reason in data.dropped[0]
    assert data[0][1]['boxes'].tolist() == [[1, 2, 3, 4]] and data.empty == data.files[1:]


def test_up_to_a_pixel_outside_is_cut_off(tmp_path):
    root = voc(tmp_path, {'a': [('dog', -0.9, -1, 60.75, 41)]}, {'train': ['a']})
    target = box_dataset(root)[0][1]
    assert target['boxes'].tolist() == [[0, 0, 60, 40]] and target['area'].tolist() == [2400]


def test_unknown_words_name_the_nearest(pets):
    with pytest.raises(ValueError, match=r"a\.jpg: Class 'dog' is not known. Did you mean 'dogs'"):
        box_dataset(pets, 'train', classes=['ant', 'cat', 'dogs'])
    with pytest.raises(ValueError, match="no split 'trian'; there are: train, val. Did you mean 'train'"):
        box_dataset(pets, 'trian')
    with pytest.raises(ValueError, match='no split was chosen; there are: train, val'):
        box_dataset(pets)
    with pytest.raises(ValueError, match="on_bad_box 'skip' is not known. Known: drop, error"):
        box_dataset(pets, 'train', on_bad_box='skip')
    for classes in ('dog', [], ['dog', 'dog'], ['__background__', 'dog']):
        with pytest.raises(ValueError, match='classes'):
            box_dataset(pets, 'train', classes=classes)


def test_lists_of_one_class_are_no_splits(pets):
    (pets / 'ImageSets' / 'Main' / 'dog_train.txt').write_text('a  1\nb -1\n')
    with pytest.raises(ValueError, match=r'there are: train, val\.'):
        box_dataset(pets, 'dog_train')


@pytest.mark.parametrize('names', [('images', 'labels', 'lists'), ('img/jpg', 'xml', '.')])
def test_voc_folders_of_other_names(pets, names):
    for usual, name in zip(('JPEGImages', 'Annotations', 'ImageSets/Main'), names):
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        for file in sorted((pets / usual).iterdir()) if name == '.' else ():
            file.rename(pets / file.name)
        if name != '.':
            (pets / usual).rename(pets / name)
    with pytest.raises(ValueError, match='annotations= names another folder'):
        box_dataset(pets, 'train')
    images, annotations, lists = names
    data = box_dataset(pets, 'train', images=images, annotations=annotations, lists=lists)
    assert data.classes == ['ant', 'cat', 'dog'] and [file.name for file in data.files] == ['b.jpg', 'a.jpg']
    assert data[1][1]['labels'].tolist() == [3, 1]
    with pytest.raises(ValueError, match='annotations= and lists= are folders of VOC-format'):
        box_dataset(coco(pets / 'boxes.json', {'x.png': []}), lists=lists)


def test_voc_folders_of_one_split_each_need_no_list(tmp_path):
    for split, stem, name in (('train', 'a', 'dog'), ('valid', 'b', 'ant')):
        voc(tmp_path / 'all', {stem: [(name, 1, 2, 31, 22)]}, {split: [stem]})
        (tmp_path / split).mkdir()
        for usual, suffix in (('JPEGImages', 'jpg'), ('Annotations', 'xml')):
            (tmp_path / 'all' / usual / f'{stem}.{suffix}').rename(tmp_path / split / f'{stem}.{suffix}')
        (tmp_path / 'all' / 'ImageSets' / 'Main' / f'{split}.txt').unlink()
        (tmp_path / 'all' / 'ImageSets' / 'Main').rmdir()
        (tmp_path / 'all' / 'ImageSets').rmdir()
    data = box_dataset(tmp_path, 'valid', images='{split}', annotations='{split}')
    assert data.classes == ['ant', 'dog'] and [file.name for file in data.files] == ['b.jpg']
    with pytest.raises(ValueError, match='say which split'):
        box_dataset(tmp_path, images='{split}', annotations='{split}')
    with pytest.raises(FileNotFoundError, match="test: there is no such folder; it is that of the split 'test'"):
        box_dataset(tmp_path, 'test', images='{split}', annotations='{split}')


@pytest.mark.parametrize('header', [
    'image,xmin,ymin,xmax,ymax,class', 'Filename,X1,Y1,X2,Y2,Label', 'path,x0,y0,x1,y1,name',
    'file,left,top,right,bottom,category', 'image_path,x_min,y_min,x_max,y_max,class_name'])
def test_boxes_in_a_table(tmp_path, header):
    for name in 'ab':
        save_image(tmp_path / 'jpg' / f'{name}.jpg')
    file = tmp_path / 'boxes.csv'
    file.write_text(f'{header},split\njpg/a.jpg,1,2,31,22.5,dog,train\njpg/b.jpg,,,,,,train\n'
                    'jpg/a.jpg,5,5,9,9,ant,train\njpg/b.jpg,0,0,60,40,cat,val\n')
    data = box_dataset(file, 'train')
    assert data.classes == ['ant', 'cat', 'dog'] and [path.name for path in data.files] == ['a.jpg', 'b.jpg']
    target = data[0][1]
    assert target['boxes'].tolist() == [[1, 2, 31, 22.5], [5, 5, 9, 9]] and target['labels'].tolist() == [3, 1]
    assert data.empty == [data.files[1]] and target['iscrowd'].tolist() == [0, 0] and target['image_id'] == 0
    assert box_dataset(file, 'val', classes=['cat', 'dog'])[0][1]['labels'].tolist() == [1]
    with pytest.raises(ValueError, match='no split was chosen'):
        box_dataset(file)
    with pytest.raises(ValueError, match=r"a\.jpg: Class 'dog' is not known"):
        box_dataset(file, 'train', classes=['ant', 'dogs'])


def test_tables_of_a_folder_are_its_splits(tmp_path):
    for split, row in (('train', 'a.jpg,1,2,31,22,dog'), ('test', 'b.jpg,1,2,31,22,ant')):
        save_image(tmp_path / 'photos' / row[:5])
        (tmp_path / f'{split}.csv').write_text(f'image,xmin,ymin,xmax,ymax,class\n{row}\n')
    data = box_dataset(tmp_path, 'train', images='photos')
    assert data.classes == ['ant', 'dog'] and data[0][1]['labels'].tolist() == [2]
    with pytest.raises(FileNotFoundError, match=r'a\.jpg: .*images= is the folder'):
        box_dataset(tmp_path, 'train')


@pytest.mark.parametrize('text, words', [
    ('image,x,y,w,h,class\na.jpg,1,2,3,4,dog', 'none of the usual columns for the sides of a box .* x_min, y_min'),
    ('image,xmin,ymin,xmax,ymax\na.jpg,1,2,3,4', 'usual columns for classes is there: class or label'),
    ('image,path,xmin,ymin,xmax,ymax,class\na.jpg,a.jpg,1,2,3,4,dog', '2 of the usual columns for images'),
    ('image,xmin,ymin,xmax,ymax,class\na.jpg,1,2,3,x,dog', 'row 1: a side of the box is no number'),
    ('image,xmin,ymin,xmax,ymax,class\na.jpg,1,2,3,4,', 'row 1: the box has no class'),
    ('image,xmin,ymin,xmax,ymax,class\na.jpg,5,2,3,4,dog', 'no width or no height'),
])
def test_a_bad_table_is_named(tmp_path, text, words):
    save_image(tmp_path / 'a.jpg')
    (tmp_path / 'boxes.csv').write_text(text)
    with pytest.raises(ValueError, match=words):
        box_dataset(tmp_path / 'boxes.csv')


def test_an_unreadable_image_is_an_error_when_it_is_asked_for(tmp_path):
    objects = {'a': [('dog', 1, 2, 59, 22)], 'b': [('dog', 1, 2, 59, 22)]}
    root = voc(tmp_path, objects, {'train': ['a', 'b']}, size=False)
    (root / 'JPEGImages' / 'a.jpg').write_bytes(b'no image')
    data = box_dataset(root)
    assert data[1][1]['boxes'].tolist() == [[1, 2, 59, 22]]
    with pytest.raises(ValueError, match=r'a\.jpg: not an image'):
        data[0]


def test_masks_in_folders_of_other_names(tmp_path):
    for split, stem in (('train', 'a'), ('val', 'b')):
        save_image(tmp_path / split / f'{stem}.jpg')
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / split / f'{stem}.jpg')
        (tmp_path / f'{split}annot').mkdir()
        Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(tmp_path / f'{split}annot' / f'{stem}.png')
    data = voc_masks(tmp_path, ['road', 'sky'], 'val', images='{split}', masks='{split}annot')
    assert [path.name for path in data.masks] == ['b.png'] and data[0][1].unique().tolist() == [1]


def test_missing_files_are_named(pets, tmp_path):
    (pets / 'JPEGImages' / 'a.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'JPEGImages.a\.jpg'):
        box_dataset(pets, 'train')
    (pets / 'Annotations' / 'b.xml').unlink()
    with pytest.raises(FileNotFoundError, match=r'Annotations.b\.xml'):
        box_dataset(pets, 'train')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        box_dataset(tmp_path / 'nowhere')


@pytest.mark.parametrize('xml, fault', [
    ('<annotation><object>', 'no element|mismatched|unclosed'), ('<annotation><object/></annotation>', 'has no name'),
    ('<annotation><object><name>a</name></object></annotation>', 'no bndbox/xmin'),
])
def test_a_broken_annotation_is_named(pets, xml, fault):
    (pets / 'Annotations' / 'a.xml').write_text(xml)
    with pytest.raises(ValueError, match=rf'a\.xml: .*({fault})'):
        box_dataset(pets, 'train')


def test_two_images_of_the_same_stem(pets):
    save_image(pets / 'JPEGImages' / 'a.png')
    with pytest.raises(ValueError, match=r'a\.jpg and a\.png'):
        box_dataset(pets, 'train')


def test_coco_boxes(tmp_path, capsys):
    file = coco(tmp_path / 'pets.json', {'x.png': [(7, 1, 2, 30, 20), (3, 5, 5.5, 4, 4, {'iscrowd': 1, 'area': 9})],
                                         'y.png': []}, images='images')
    data = box_dataset(file)
    target = data[0][1]
    assert data.classes == ['dog', 'cat'] and target['labels'].tolist() == [2, 1] and target['image_id'] == 100
    assert target['boxes'].tolist() == [[1, 2, 31, 22], [5, 5.5, 9, 9.5]]
    assert target['area'].tolist() == [600, 9] and target['iscrowd'].tolist() == [0, 1]
    assert [path.name for path in data.empty] == ['y.png']
    assert box_dataset(file, classes=['cat', 'dog'])[0][1]['labels'].tolist() == [1, 2]
    assert box_dataset(file, images=tmp_path / 'images').files == data.files
    assert capsys.readouterr() == ('', '')


def test_coco_bad_boxes(tmp_path):
    file = coco(tmp_path / 'pets.json', {'x.png': [(7, 1, 2, 59.5, 20), (7, 1, 2, 0, 20), (7, 50, 2, 20, 20)]})
    with pytest.raises(ValueError, match=r"x\.png: the box \(1, 2, 1, 22\) of class 'cat' has no width"):
        box_dataset(file)
    data = box_dataset(file, on_bad_box='drop')
    assert data[0][1]['boxes'].tolist() == [[1, 2, 60, 22]]
    assert ['no width' in line for line in data.dropped] == [True, False]
    with pytest.raises(ValueError, match="Class 'cat' is not known. Did you mean 'cats'"):
        box_dataset(file, classes=['cats', 'dog'])


@pytest.mark.parametrize('names', [
    ('annotations/instances_train.json', 'annotations/instances_val.json'), ('train.json', 'val.json'),
    ('train/_annotations.coco.json', 'val/_annotations.coco.json')])
def test_coco_folders(tmp_path, names):
    for split, name in zip(('train', 'val'), names):
        coco(tmp_path / name, {f'{split}.png': []}, images=f'../{split}' if '/' in name else split)
    (tmp_path / 'annotations').mkdir(exist_ok=True)
    if 'instances' in names[0]:
        (tmp_path / 'annotations' / 'captions_train.json').write_text('{}')
    for split in ('train', 'val'):
        assert [file.name for file in box_dataset(tmp_path, split).files] == [f'{split}.png']
    with pytest.raises(ValueError, match="no split 'test'; there are: train, val"):
        box_dataset(tmp_path, 'test')


def test_coco_missing_images(tmp_path):
    file = coco(tmp_path / 'pets.json', {'x.png': [], 'y.png': []})
    (tmp_path / 'y.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'y\.png: there is no such file'):
        box_dataset(file)
    (tmp_path / 'x.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'x\.png is in none of .*images='):
        box_dataset(file)


def test_files_that_are_not_coco_format(tmp_path):
    file = tmp_path / 'pets.json'
    file.write_text('{')
    with pytest.raises(ValueError, match=r'pets\.json: not a JSON file'):
        box_dataset(file)
    file.write_text('{"images": []}')
    with pytest.raises(ValueError, match='has no annotations, categories'):
        box_dataset(file)
    good = {'id': 1, 'image_id': 100, 'category_id': 7, 'bbox': [1, 2, 3, 4]}
    for change, fault in (({'bbox': [1, 2, 3]}, 'bbox'), ({'bbox': [1, 2, 3, 'x']}, 'bbox'),
                          ({'image_id': 5}, 'image_id 5'), ({'category_id': 1}, 'category_id 1')):
        coco(file, {'x.png': []}, annotations=[good | change])
        with pytest.raises(ValueError, match=f'annotation 1 has {fault}'):
            box_dataset(file)
    coco(file, {'x.png': []}, annotations=[{'id': 1, 'image_id': 100, 'caption': 'a cat'}])
    with pytest.raises(ValueError, match='entry of annotations has no category_id, bbox'):
        box_dataset(file)
    coco(file, {'x.png': []}, categories=[{'id': 1, 'name': 'cat'}, {'id': 1, 'name': 'dog'}])
    with pytest.raises(ValueError, match='2 categories have only 1 different ids'):
        box_dataset(file)
    with pytest.raises(ValueError, match="split='train' is for a folder"):
        box_dataset(file, 'train')
    file.unlink()
    with pytest.raises(ValueError, match='neither VOC-format .* nor COCO-format'):
        box_dataset(tmp_path)


def test_without_pycocotools_the_error_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith('pycocotools')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'pycocotools', None)
    root = voc(tmp_path / 'voc', {'a': [('dog', 1, 2, 3, 4)]}, {'train': ['a']})
    assert len(box_dataset(root)) == 1
    for call in (lambda: box_dataset(coco(tmp_path / 'pets.json', {'x.png': []})), lambda: coco_ap([], [], 1)):
        with pytest.raises(ImportError, match=r'pip install "zoo-image-models\[dense\]"'):
            call()


def test_boxes_are_loaded_by_workers(pets):
    data = box_dataset(pets, 'train', transforms=detection_transforms(True, (32, 48)))
    pickle.loads(pickle.dumps(data))
    images, targets = next(iter(DataLoader(data, batch_size=2, num_workers=1, collate_fn=collate_boxes)))
    assert [image.shape for image in images] == [(3, 32, 48)] * 2 and len(targets) == 2


# Masks


def save_mask(path: Path, levels: np.ndarray, mode: str = 'L') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(levels.astype(np.uint8))
    if mode == 'P':
        image.putpalette([value for colour in class_colours(256) for value in colour])
    (image.convert(mode) if mode not in ('L', 'P') else image).save(path)


@pytest.fixture
def levels():
    levels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3
    levels[0] = 255
    return levels


@pytest.fixture
def street(tmp_path, levels):
    for name in ('a', 'b'):
        save_image(tmp_path / 'images' / f'{name}.jpg')
        save_mask(tmp_path / 'masks' / f'{name}.png', levels, 'L' if name == 'a' else 'P')
    return tmp_path


def test_masks_of_grey_and_palette_files(street, levels):
    data = mask_dataset(street / 'images', street / 'masks', ['sky', 'road', 'car'])
    assert len(data) == 2 and [file.name for file in data.files] == ['a.jpg', 'b.jpg']
    for image, mask in (data[0], data[1]):
        assert image.shape == (3, HEIGHT, WIDTH) and image.dtype == torch.float32 and 0.9 < image.max() <= 1
        assert mask.dtype == torch.int64 and np.array_equal(mask.numpy(), levels)
    batch = next(iter(DataLoader(data, batch_size=2, num_workers=1)))
    assert batch[0].shape == (2, 3, HEIGHT, WIDTH) and batch[1].shape == (2, HEIGHT, WIDTH)


def test_indices_beyond_the_classes(street):
    folders = street / 'images', street / 'masks'
    with pytest.raises(ValueError, match=r'a\.png: the mask has 2; allowed are 0 to 1, for 2 classes, and 255 is ign'):
        mask_dataset(*folders, ['sky', 'road'])[0]
    with pytest.raises(ValueError, match='the mask has 255; .* and 2 is ignored'):
        mask_dataset(*folders, ['sky', 'road'], ignore_index=2)[0]
    with pytest.raises(ValueError, match='the mask has 255; .* nothing is ignored'):
        mask_dataset(*folders, ['sky', 'road', 'car'], ignore_index=None)[0]
    with pytest.raises(ValueError, match='different names'):
        mask_dataset(*folders, ['sky', 'sky'])


def test_pairs_that_do_not_match(street, levels):
    folders = street / 'images', street / 'masks'
    save_image(street / 'images' / 'lone.jpg')
    with pytest.raises(FileNotFoundError, match=r'masks: no mask for 1 of 3 images: lone\.jpg'):
        mask_dataset(*folders, CAMVID)
    (street / 'images' / 'lone.jpg').unlink()
    save_mask(street / 'masks' / 'alone.png', levels)
    with pytest.raises(FileNotFoundError, match=r'images: no image for 1 of 3 masks: alone\.png'):
        mask_dataset(*folders, CAMVID)
    (street / 'masks' / 'alone.png').unlink()
    save_mask(street / 'masks' / 'a.png', levels[:, 1:])
    with pytest.raises(ValueError, match=r'a\.png: the mask is 40 x 59 .* a\.jpg is 40 x 60'):
        mask_dataset(*folders, CAMVID)[0]
    save_mask(street / 'masks' / 'a.png', levels, 'RGB')
    with pytest.raises(ValueError, match=r'a\.png: the mask has mode RGB'):
        mask_dataset(*folders, CAMVID)[0]
    with pytest.raises(FileNotFoundError, match='none: there is no such folder'):
        mask_dataset(street / 'images', street / 'none', CAMVID)
    (street / 'none').mkdir()
    with pytest.raises(FileNotFoundError, match='none: no image in it'):
        mask_dataset(street / 'images', street / 'none', CAMVID)


def test_voc_masks(tmp_path, levels):
    for name in ('a', 'b', 'c'):
        save_image(tmp_path / 'JPEGImages' / f'{name}.jpg')
    for name in ('a', 'b'):
        save_mask(tmp_path / 'SegmentationClass' / f'{name}.png', levels, 'P')
    (tmp_path / 'ImageSets' / 'Segmentation').mkdir(parents=True)
    for split, stems in {'train': 'b', 'val': 'a', 'all': 'a\nc'}.items():
        (tmp_path / 'ImageSets' / 'Segmentation' / f'{split}.txt').write_text(stems)
    data = voc_masks(tmp_path, ['a', 'b', 'c'], 'train')
    assert [file.name for file in data.files] == ['b.jpg'] and np.array_equal(data[0][1].numpy(), levels)
    with pytest.raises(ValueError, match="no split 'test'; there are: all, train, val"):
        voc_masks(tmp_path, ['a', 'b', 'c'], 'test')
    with pytest.raises(FileNotFoundError, match='SegmentationClass: lacks 1 of 2 files of the split: c'):
        voc_masks(tmp_path, ['a', 'b', 'c'], 'all')


# Transforms


def marked(height: int = 40, width: int = 60) -> tuple[torch.Tensor, dict]:
    """An image black but for its box (10, 8, 30, 24), and a crowd elsewhere."""
    image = torch.zeros(3, height, width)
    image[:, 8:24, 10:30] = 1
    return image, {'boxes': torch.tensor([[10.0, 8, 30, 24], [40, 0, 60, 20]]), 'labels': torch.tensor([2, 1]),
                   'area': torch.tensor([320.0, 5]), 'iscrowd': torch.tensor([0, 1]), 'image_id': 4}


def test_detection_transforms_keep_boxes_on_their_objects():
    transform = detection_transforms(True, (48, 64))
    torch.manual_seed(0)
    seen, shown = 0, set()
    for _ in range(30):
        image, target = transform(*marked())
        assert image.shape == (3, 48, 64) and type(image) is torch.Tensor and type(target['boxes']) is torch.Tensor
        assert target['image_id'] == 4 and len(target['boxes']) == len(target['labels']) == len(target['iscrowd']) <= 1
        if len(target['boxes']):
            x0, y0, x1, y1 = target['boxes'][0].tolist()
            assert target['labels'].tolist() == [2]
            torch.testing.assert_close(target['area'], torch.tensor([(x1 - x0) * (y1 - y0)]))
            assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 48
            inner = image[:, round(y0 + 1):round(y1 - 1), round(x0 + 1):round(x1 - 1)]
            if inner.numel():
                assert inner.min() > 0.6                  # colour jitter leaves white light
                seen += 1
            shown.add(round(x1 - x0))
    assert seen > 15 and len(shown) > 5


def test_detection_transforms_of_evaluation_change_nothing():
    image, target = marked()
    same, kept = detection_transforms(False)(image, target)
    assert torch.equal(same, image)
    assert all(torch.equal(kept[key], target[key]) for key in ('boxes', 'labels', 'iscrowd'))
    image, resized = detection_transforms(False, (80, 60))(image, target)
    assert image.shape == (3, 80, 60) and resized['boxes'][0].tolist() == [10, 16, 30, 48]
    assert torch.equal(target['boxes'], marked()[1]['boxes'])


def test_boxes_without_size_only_flip():
    torch.manual_seed(0)
    first = {tuple(detection_transforms(True)(*marked())[1]['boxes'][0].tolist()) for _ in range(10)}
    assert first == {(10, 8, 30, 24), (30, 8, 50, 24)}


def test_boxes_that_are_cropped_away_are_removed():
    image, target = BoxTransform([v2.CenterCrop((40, 20))], skip_crowd=False)(*marked())
    assert target['boxes'].tolist() == [[0, 8, 10, 24]] and target['labels'].tolist() == [2]
    image, target = marked()
    empty = target | {key: target[key][:0] for key in ('boxes', 'labels', 'area', 'iscrowd')}
    assert detection_transforms(True, (32, 32))(image, empty)[1]['boxes'].shape == (0, 4)


def test_segmentation_transforms_keep_masks_on_their_image():
    transform = segmentation_transforms(True, (48, 64), ignore_index=11)
    torch.manual_seed(0)
    values, shares = set(), set()
    for _ in range(20):
        image, _ = marked()
        image, mask = transform(image, (image[0] * 7).long())
        assert image.shape == (3, 48, 64) and mask.shape == (48, 64) and mask.dtype == torch.int64
        assert type(image) is type(mask) is torch.Tensor
        values |= set(mask.unique().tolist())
        shares.add(int((mask == 7).sum()))
        light = image.mean(0)
        assert ((light > 0.42) == (mask == 7))[mask != 11].float().mean() > 0.93
    assert values == {0, 7, 11} and len(shares) > 10


def test_segmentation_transforms_of_evaluation():
    image, _ = marked()
    mask = (image[0] * 255).long()
    same, kept = segmentation_transforms(False)(image, mask)
    assert torch.equal(same, image) and torch.equal(kept, mask)
    image, mask = segmentation_transforms(False, (80, 120))(image, mask)
    assert image.shape == (3, 80, 120) and mask.unique().tolist() == [0, 255] and (mask == 255).sum() == 4 * 320
    assert MaskTransform([v2.CenterCrop(10)])(image, mask)[1].shape == (10, 10)


# Metrics


def truth(boxes: list, labels: list[int], **more) -> dict:
    return {'boxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), 'labels': torch.tensor(labels).long(),
            **{key: torch.tensor(value) for key, value in more.items()}}


A, B, C = [0, 0, 10, 10], [20, 20, 40, 40], [50, 0, 60, 30]
NOTHING = truth([], [], scores=[])
ONE = pytest.approx(1)                          # pycocotools adds a tiny number to what it divides by


def test_ap_of_all_and_of_nothing(capsys):
    targets = [truth([A, B], [1, 2]), truth([C], [2])]
    found = [target | {'scores': torch.ones(len(target['labels']))} for target in targets]
    perfect = coco_ap(found, targets, 2)
    assert [perfect['AP'], perfect['AP50'], perfect['AP75'], *perfect['AP50_per_class']] == pytest.approx([1] * 5)
    nothing = coco_ap([NOTHING] * 2, targets, 2)
    assert np.isnan([nothing.pop('AP_medium'), nothing.pop('AP_large')]).all()
    assert nothing == {'AP': 0, 'AP_small': 0, 'AP50': 0, 'AP75': 0, 'AP50_per_class': [0, 0]}
    assert capsys.readouterr() == ('', '')


def test_ap_worked_by_hand():
    targets = [truth([A, B], [1, 1])]
    # the false one first: precision 1/2 at recall 1/2 and 2/3 at 1; interpolated, 2/3 everywhere
    late = coco_ap([truth([C, A, B], [1, 1, 1], scores=[0.9, 0.8, 0.7])], targets, 1)
    assert late['AP50'] == pytest.approx(2 / 3)
    # the false one last costs nothing
    assert coco_ap([truth([C, A, B], [1, 1, 1], scores=[0.1, 0.8, 0.7])], targets, 1)['AP'] == ONE
    # one of two found: precision 1 at recalls 0, 0.01, ... 0.5, which are 51 of 101
    assert coco_ap([truth([A], [1], scores=[0.9])], targets, 1)['AP'] == pytest.approx(51 / 101)
    # the wrong class, and the same box twice: the second is false
    assert coco_ap([truth([A, B], [2, 2], scores=[0.9, 0.8])], targets, 2)['AP'] == 0
    twice = coco_ap([truth([A, A, B], [1, 1, 1], scores=[0.9, 0.8, 0.7])], targets, 1)
    assert twice['AP50'] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_ap_over_thresholds():
    wide = coco_ap([truth([[0, 0, 10, 16]], [1], scores=[1.0])], [truth([A], [1])], 1)     # IoU 0.625: 0.5, 0.55, 0.6
    assert wide['AP50'] == ONE and wide['AP75'] == 0 and wide['AP'] == pytest.approx(0.3)


def test_classes_without_objects_do_not_count():
    result = coco_ap([truth([A, B], [1, 3], scores=[0.9, 0.8])], [truth([A], [1])], 3)
    assert result['AP'] == ONE and result['AP50_per_class'][0] == ONE
    assert all(np.isnan(result['AP50_per_class'][1:]))
    assert np.isnan(coco_ap([NOTHING], [truth([], [])], 2)['AP']) and np.isnan(coco_ap([], [], 2)['AP'])


def test_crowds_are_neither_demanded_nor_punished():
    targets = [truth([A, B], [1, 1], iscrowd=[0, 1])]
    assert coco_ap([truth([A], [1], scores=[0.5])], targets, 1)['AP'] == ONE
    assert coco_ap([truth([A, B], [1, 1], scores=[0.5, 0.9])], targets, 1)['AP'] == ONE
    targets[0]['iscrowd'][1] = 0
    assert coco_ap([truth([A], [1], scores=[0.5])], targets, 1)['AP'] == pytest.approx(51 / 101)


def random_boxes(images: int, seed: int) -> tuple[list[dict], list[dict]]:
    random, predictions, targets = np.random.default_rng(seed), [], []
    for _ in range(images):
        low = random.uniform(0, 60, (8, 2))
        boxes = np.concatenate([low, low + random.uniform(5, 40, (8, 2))], 1)
        targets.append(truth(boxes.tolist(), random.integers(1, 4, 8).tolist()))
        moved = np.concatenate([boxes + random.normal(0, 1.5, (8, 4)), boxes[:3] + 9])
        labels = np.where(random.random(11) < 0.8, np.append(targets[-1]['labels'], [1, 2, 3]), 1)
        predictions.append(truth(moved.tolist(), labels.tolist(), scores=random.random(11).tolist()))
    return predictions, targets


def average_precision(predictions: list[dict], targets: list[dict], label: int, threshold: float) -> float:
    """One class at one threshold, straight from the definition, without crowds."""
    ranked, total = [], 0
    for prediction, target in zip(predictions, targets):
        goal, mine = target['boxes'][target['labels'] == label], prediction['labels'] == label
        boxes, scores = prediction['boxes'][mine], prediction['scores'][mine]
        total += len(goal)
        free = torch.ones(len(goal), dtype=torch.bool)
        for index in scores.argsort(descending=True).tolist():
            overlap = torch.where(free, box_iou(boxes[index:index + 1].double(), goal.double())[0], -1.0)
            hit = len(goal) > 0 and overlap.max().item() >= threshold
            if hit:
                free[overlap.argmax()] = False
            ranked.append((scores[index].item(), hit))
    hits = np.cumsum([hit for _, hit in sorted(ranked, reverse=True)])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / total
    return float(np.mean([max(precision[recall >= level], default=0) for level in np.linspace(0, 1, 101)]))


@pytest.mark.parametrize('seed', range(3))
def test_ap_is_what_its_definition_says(seed):
    predictions, targets = random_boxes(12, seed)
    ours = coco_ap(predictions, targets, 3)
    table = np.array([[average_precision(predictions, targets, label, threshold) for label in (1, 2, 3)]
                      for threshold in np.linspace(0.5, 0.95, 10)])
    assert 0.1 < ours['AP'] < ours['AP50'] < 0.95
    np.testing.assert_allclose(ours['AP50_per_class'], table[0], atol=1e-9)
    np.testing.assert_allclose([ours['AP'], ours['AP50'], ours['AP75']],
                               [table.mean(), table[0].mean(), table[5].mean()], atol=1e-9)


def test_ap_and_iou_are_those_of_torchmetrics():
    detection = pytest.importorskip('torchmetrics.detection')
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
    predictions, targets = random_boxes(12, 1)
    steps = dict(iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(), rec_thresholds=np.linspace(0, 1, 101).tolist())
    theirs = detection.MeanAveragePrecision(**steps)           # its own steps are rounded to float32
    theirs.update(predictions, targets)
    expected, ours = theirs.compute(), coco_ap(predictions, targets, 3)
    for key, name in (('AP', 'map'), ('AP50', 'map_50'), ('AP75', 'map_75')):
        assert ours[key] == pytest.approx(expected[name].item(), abs=1e-6)
    larger = [[{**one, 'boxes': one['boxes'] * 4} for one in many] for many in (predictions, targets)]
    theirs = detection.MeanAveragePrecision(**steps)
    theirs.update(*larger)
    expected, ours = theirs.compute(), coco_ap(*larger, 3)
    for area in ('small', 'medium', 'large'):
        assert ours[f'AP_{area}'] == pytest.approx(expected[f'map_{area}'].item(), abs=1e-6)
    assert 0 < ours['AP_small'] != ours['AP_medium'] != ours['AP_large'] > 0
    prediction, target = torch.randint(0, 5, (3, 20, 20)), torch.randint(0, 6, (3, 20, 20))
    iou = MeanIoU(5, 5)
    iou.update(prediction, target)
    result = iou.compute()
    jaccard = MulticlassJaccardIndex(5, average='macro', ignore_index=5)(prediction, target)
    accuracy = MulticlassAccuracy(5, average='micro', ignore_index=5)(prediction, target)
    assert result['mIoU'] == pytest.approx(jaccard.item(), abs=1e-6)
    assert result['pixel_accuracy'] == pytest.approx(accuracy.item(), abs=1e-6)


def test_ap_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match='1 predictions for 2 targets'):
        coco_ap([NOTHING], [truth([A], [1])] * 2, 1)
    for label in (0, 3):
        with pytest.raises(ValueError, match=f'target of image 0 has label {label}; allowed are 1 to 2'):
            coco_ap([NOTHING], [truth([A], [label])], 2)
    with pytest.raises(ValueError, match='prediction of image 0 has 1 boxes and 2 labels'):
        coco_ap([truth([A], [1, 1], scores=[0.5])], [truth([A], [1])], 2)


def test_iou_worked_by_hand():
    iou = MeanIoU(4, 9)
    iou.update(torch.tensor([[0, 0, 1]]), torch.tensor([[0, 1, 1]]))
    iou.update(torch.tensor([[2, 0, 1]]), torch.tensor([[2, 9, 9]]))
    result = iou.compute()
    assert result['IoU_per_class'][:3] == [0.5, 0.5, 1] and np.isnan(result['IoU_per_class'][3])
    assert result['mIoU'] == pytest.approx(2 / 3) and result['pixel_accuracy'] == 0.75
    assert iou.confusion[1].tolist() == [1, 1, 0, 0]


def test_iou_of_scores_is_that_of_the_highest():
    scores, target = torch.rand(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    batch, single, indices = MeanIoU(3), MeanIoU(3), MeanIoU(3)
    batch.update(scores, target)
    indices.update(scores.argmax(1), target)
    for index in range(2):
        single.update(scores[index], target[index])
    assert batch.compute() == indices.compute() == single.compute() and batch.confusion.sum() == 128


def test_iou_refuses_what_does_not_fit():
    target = torch.zeros(2, 4, 4, dtype=torch.int64)
    for prediction, fault in ((torch.rand(2, 5, 4, 4), '5 channels for 3 classes'), (torch.rand(2, 4, 4), 'float'),
                              (target[:1], 'same shape'), (target + 3, 'prediction has 3; allowed are 0 to 2'),
                              (target - 1, 'prediction has -1')):
        with pytest.raises(ValueError, match=fault):
            MeanIoU(3).update(prediction, target)
    with pytest.raises(ValueError, match='target has 255; allowed are 0 to 2'):
        MeanIoU(3, None).update(target, target + 255)
    assert np.isnan(MeanIoU(3).compute()['mIoU']) and np.isnan(MeanIoU(3).compute()['pixel_accuracy'])


# Drawing


def changed(picture: Image.Image, image: torch.Tensor) -> torch.Tensor:
    """Which pixels are not those of the image."""
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
    return (pixels[:, :image.shape[1], :image.shape[2]] != image).any(0)


def test_boxes_are_drawn_at_their_border_and_nowhere_else():
    image = torch.full((3, 60, 90), 127, dtype=torch.uint8)
    frame = torch.zeros(60, 90, dtype=torch.bool)
    frame[5:55, 10:90] = True
    frame[6:54, 11:89] = False
    assert torch.equal(changed(draw_boxes(image, torch.tensor([[10.0, 5, 90, 55]])), image), frame)
    text = changed(draw_boxes(image, torch.tensor([[10.0, 5, 90, 55]]), ['cat'], torch.tensor([0.5])), image)
    assert text[frame].all() and text[7:15, 12:30].any()
    frame[5:25, 10:70] = True
    assert not text[~frame].any()
    assert (image == 127).all()


def test_boxes_have_the_colours_of_their_classes():
    image, boxes = torch.zeros(3, 60, 90), torch.tensor([[10.0, 5, 40, 55], [50, 5, 80, 55]])
    picture = draw_boxes(image, boxes, ['dog', 'cat'], classes=['ant', 'cat', 'dog'])
    assert (picture.getpixel((10, 50)), picture.getpixel((50, 50))) == tuple(class_colours(3)[:0:-1])
    alone = draw_boxes(image, boxes[:1], ['dog'], classes=['ant', 'cat', 'dog'])
    assert alone.getpixel((10, 50)) == picture.getpixel((10, 50)) and alone.getpixel((50, 50)) == (0, 0, 0)
    assert len(set(class_colours(60))) == 60


def test_no_boxes_leave_the_image():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert not changed(draw_boxes(image, torch.zeros(0, 4), []), image).any()


def test_masks_are_drawn_on_their_pixels_with_a_legend():
    image = torch.full((3, 60, 90), 100, dtype=torch.uint8)
    mask = torch.full((60, 90), 255)
    mask[10:20, 10:20], mask[30:40, 30:40] = 0, 2
    palette = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    picture = draw_masks(image, mask, ['sky', 'road', 'car'], palette, alpha=0.5)
    assert torch.equal(changed(picture, image), mask != 255)
    assert picture.getpixel((10, 10)) == (150, 50, 50) and picture.getpixel((30, 30)) == (50, 50, 150)
    assert picture.height == 60 and picture.width > 110
    legend = [tuple(pixel) for pixel in np.asarray(picture)[:, 90:].reshape(-1, 3).tolist()]
    assert palette[0] in legend and palette[1] not in legend and palette[2] in legend
    assert legend.count((0, 0, 0)) > 60 and legend.count((255, 255, 255)) > 1000       # text and outlines on white


def test_a_long_legend_makes_the_picture_higher():
    picture = draw_masks(torch.zeros(3, 20, 30), torch.arange(600).reshape(20, 30) % 9, list('abcdefghi'))
    assert picture.height == 9 * 20
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    assert not changed(draw_masks(image, torch.full((20, 30), 255), ['a']), image).any()


def test_drawing_refuses_what_does_not_fit():
    image, boxes = torch.zeros(3, 20, 30), torch.tensor([[1.0, 2, 3, 4]])
    for call, fault in (
            (lambda: draw_boxes(image, boxes, ['a', 'b']), '2 labels for 1 boxes'),
            (lambda: draw_boxes(image, boxes, ['a'], [0.1, 0.2]), '2 scores for 1 boxes'),
            (lambda: draw_boxes(image, boxes, ['cat'], classes=['cats']), "Did you mean 'cats'"),
            (lambda: draw_boxes(image[None], boxes), 'expected'),
            (lambda: draw_masks(image, torch.zeros(20, 31), ['a']), r'\(20, 31\)'),
            (lambda: draw_masks(image, torch.zeros(20, 30), ['a', 'b'], [(0, 0, 0)]), '1 colours for 2 classes')):
        with pytest.raises(ValueError, match=fault):
            call()


# Real data


@needs_bccd
def test_blood_cells():
    with pytest.raises(ValueError, match=r'BloodImage_00343\.jpg: the box \(181, 329, 181, 329\)'):
        box_dataset(DATA / 'bccd', 'train')
    counts, dropped = torch.zeros(3, dtype=torch.int64), 0
    for split, length in (('train', 205), ('val', 87), ('test', 72)):
        data = box_dataset(DATA / 'bccd', split, on_bad_box='drop')
        assert data.classes == ['Platelets', 'RBC', 'WBC'] and len(data) == length
        for record in data._records:
            counts += torch.bincount(record.target['labels'] - 1, minlength=3)
        dropped += len(data.dropped)
    assert counts.tolist() == [361, 4153, 372] and dropped == 2
    image, target = data[0]
    assert image.shape == (3, 480, 640) and (target['boxes'][:, 2:] > target['boxes'][:, :2]).all()


@needs_bccd
def test_blood_cells_are_the_same_in_both_formats(tmp_path):
    ours = box_dataset(DATA / 'bccd', 'test')
    categories = [{'id': number, 'name': name} for number, name in enumerate(ours.classes)]
    content = {'images': [], 'annotations': [], 'categories': categories}
    for record in ours._records:
        number = record.target['image_id']
        content['images'].append({'id': number, 'file_name': record.file.name, 'height': 480, 'width': 640})
        for (x0, y0, x1, y1), label in zip(record.target['boxes'].tolist(), record.target['labels'].tolist()):
            content['annotations'].append({'id': len(content['annotations']), 'image_id': number,
                                           'category_id': label - 1, 'bbox': [x0, y0, x1 - x0, y1 - y0]})
    (tmp_path / 'test.json').write_text(json.dumps(content))
    theirs = box_dataset(tmp_path, images=DATA / 'bccd' / 'JPEGImages')
    targets = [record.target for record in theirs._records]
    assert theirs.files == ours.files and len(targets) == 72
    for one, other in zip(ours._records, targets):
        assert all(torch.equal(one.target[key], other[key]) for key in ('boxes', 'labels', 'area', 'iscrowd'))
    found = [target | {'scores': torch.ones(len(target['labels']))} for target in targets]
    assert coco_ap(found, targets, 3)['AP'] == ONE


@needs_camvid
def test_streets():
    train = mask_dataset(DATA / 'camvid' / 'train', DATA / 'camvid' / 'trainannot', CAMVID, ignore_index=11,
                         transforms=segmentation_transforms(True, (256, 320), 11))
    val = mask_dataset(DATA / 'camvid' / 'val', DATA / 'camvid' / 'valannot', CAMVID, ignore_index=11)
    assert (len(train), len(val)) == (367, 101) and train[0][1].shape == (256, 320)
    iou = MeanIoU(11, 11)
    for index in range(0, 101, 10):
        image, mask = val[index]
        assert image.shape == (3, 360, 480)
        iou.update(mask.clamp(max=10), mask)
    assert iou.compute()['mIoU'] == 1
    with pytest.raises(ValueError, match='the mask has 11; allowed are 0 to 10'):
        mask_dataset(DATA / 'camvid' / 'val', DATA / 'camvid' / 'valannot', CAMVID)[0]

"""Boxes around objects, from COCO's JSON files, Pascal VOC's folders and tables, as torchvision's detectors take them.

A box is (x0, y0, x1, y1) in pixels from the image's top left corner; labels start at 1, since 0 is the background.
"""
from __future__ import annotations

import contextlib
import copy
import importlib
import io
import json
import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from ..data.files import choose_split
from ..data.images import ORIENTATION, load_image
from ..spec import read_text, unknown
from .annotations import Annotation, must_exist, table_annotations, table_classes
from .files import SPLIT, checked_classes, images_by_stem, split_folders

AnyPath: TypeAlias = str | os.PathLike[str]
Target: TypeAlias = dict[str, Any]
JointTransform: TypeAlias = Callable[[torch.Tensor, Target], tuple[torch.Tensor, Target]]

ON_BAD_BOX = ('error', 'drop')
EXCESS = 1.0                         # pixels that a box may stick out of its image; they are cut off
SIDEWAYS = (5, 6, 7, 8)              # values of the EXIF orientation that swap height and width
VOC_FOLDERS = ('JPEGImages', 'Annotations', 'ImageSets/Main')
TABLES = ('.csv', '.tsv')


@dataclass(frozen=True)
class _Record:
    """One image with its checked boxes."""

    file: Path
    size: tuple[int, int] | None                                # None for an image that cannot be read
    target: Target


class BoxDataset(Dataset[tuple[torch.Tensor, Target]]):
    """Images with their boxes, as `box_dataset`, `coco_boxes`, `voc_boxes` and `table_boxes` read them.

    Item i is (image, target): the image as float32 (3, H, W) in 0..1, RGB, turned as its EXIF orientation says, and
    torchvision's dictionary for detectors: `boxes` float32 (N, 4), `labels` int64 (N,), `area` float32 (N,) in square
    pixels, `iscrowd` int64 (N,), `image_id` int. N is 0 for an image without boxes.

    Attributes:
        classes: the names of labels 1, 2, ...
        dropped: one line for each box that was left out, with its file and the reason.
    """

    def __init__(self, annotations: Iterable[Annotation], classes: Sequence[str], on_bad_box: str,
                 transforms: JointTransform | None):
        if on_bad_box not in ON_BAD_BOX:
            raise ValueError(unknown('on_bad_box', str(on_bad_box), ON_BAD_BOX))
        self.classes = checked_classes(classes)
        if {'background', '__background__'} & {name.lower() for name in self.classes}:
            raise ValueError(f'classes names no background, which is label 0; got {self.classes}.')
        self.transforms = transforms
        self.dropped: list[str] = []
        self._records = [self._record(annotation, on_bad_box) for annotation in annotations]

    @property
    def files(self) -> list[Path]:
        """The image files, in order."""
        return [record.file for record in self._records]

    @property
    def labels(self) -> list[set[int]]:
        """The labels that occur in each image."""
        return [set(record.target['labels'].tolist()) for record in self._records]

    @property
    def empty(self) -> list[Path]:
        """The images that have no box."""
        return [record.file for record in self._records if not len(record.target['labels'])]

    def take(self, numbers: Sequence[int]) -> BoxDataset:
        """These images alone."""
        part = copy.copy(self)
        part._records = [self._records[number] for number in numbers]
        return part

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        record = self._records[index]
        image = F.to_dtype(F.pil_to_tensor(load_image(record.file, exif=True)), torch.float32, scale=True)
        if record.size and image.shape[-2:] != record.size:
            raise ValueError(f'{record.file}: the image is {_shown(image.shape[-2:])} (height x width, turned as its '
                             f'EXIF orientation says), its annotation says {_shown(record.size)}.')
        target = {key: value.clone() if isinstance(value, torch.Tensor) else value
                  for key, value in record.target.items()}
        return self.transforms(image, target) if self.transforms else (image, target)

    def _record(self, annotation: Annotation, on_bad_box: str) -> _Record:
        """Check names and boxes, cut small excess off, and make tensors."""
        for name in annotation.names:
            if name not in self.classes:
                raise ValueError(f'{annotation.file}: {unknown("Class", name, self.classes)}')
        size = annotation.size or _size_on_disk(annotation.file)
        limit = torch.tensor([size[1], size[0]] * 2 if size else [math.inf] * 4, dtype=torch.float32)
        raw = torch.tensor(annotation.boxes, dtype=torch.float32).reshape(-1, 4)
        boxes = raw.clamp(min=torch.zeros(4), max=limit)
        reasons = [
            ((~raw.isfinite()).any(1).tolist(), 'has a coordinate that is no finite number'),
            ((raw - boxes).abs().gt(EXCESS).any(1).tolist(), 'is outside of the image'),
            ((boxes[:, 2:] <= boxes[:, :2]).any(1).tolist(), 'has no width or no height'),
        ]
        keep = []
        for index, box in enumerate(raw.tolist()):
            reason = next((text for bad, text in reasons if bad[index]), None)
            if reason is None:
                keep.append(index)
                continue
            shown = ', '.join(f'{value:g}' for value in box)
            message = (f'{annotation.file}: the box ({shown}) of class {annotation.names[index]!r} {reason}'
                       + (f'; the image is {_shown(size)} (height x width)' if size else ''))
            if on_bad_box == 'error':
                raise ValueError(f"{message}. Correct it, or leave such boxes out with on_bad_box='drop'.")
            self.dropped.append(message)
        boxes = boxes[keep]
        own = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).tolist()
        areas = [annotation.areas[index] for index in keep]
        return _Record(annotation.file, size, {
            'boxes': boxes,
            'labels': torch.tensor([self.classes.index(annotation.names[i]) + 1 for i in keep], dtype=torch.int64),
            'image_id': annotation.image_id,
            'area': torch.tensor([o if a is None else a for a, o in zip(areas, own)], dtype=torch.float32),
            'iscrowd': torch.tensor([annotation.crowds[i] for i in keep], dtype=torch.int64),
        })


def box_dataset(place: AnyPath, split: str | None = None, classes: Sequence[str] | None = None,
                on_bad_box: str = 'error', images: AnyPath | None = None, annotations: str | None = None,
                lists: str | None = None, transforms: JointTransform | None = None) -> BoxDataset:
    """Images with boxes in COCO's or Pascal VOC's format or in a table; which of them, the content says.

    Args:
        place: a COCO-format JSON file or a table (.csv, .tsv); a folder with such files: JSON files in it or in its
            `annotations/`, as `instances_<split>.json` or `<split>.json`, or as `<split>/_annotations.coco.json`, or
            tables as `<split>.csv` or `<split>/_annotations.csv`; or a VOC-format folder.
        split: which split of a folder, or of a table with a column 'split'. None is enough where there is only one,
            and all there is for a JSON file.
        classes: names of labels 1, 2, ... None takes those of the JSON file in the order of their ids, and else all
            that occur in any of the splits, sorted.
        on_bad_box: 'error', or 'drop' to leave out boxes without area or outside of their image and list them in
            `dropped`. Up to one pixel outside is cut off in either case.
        images: the folder of the images, by itself or in `place`. None looks beside a JSON file or table.
        annotations, lists: the other folders of VOC-format, where they have other names than usual; see `voc_boxes`.
        transforms: called with every (image, target); see `zoo.dense.transforms`.

    Raises:
        FileNotFoundError: nothing at `place`, or an image or an annotation file is missing.
        ValueError: the format is none of these, the split is not there, a class is unknown, a box is bad.
    """
    root = Path(place)
    if not root.exists():
        raise FileNotFoundError(f'{root}: there is no such file or folder.')
    if root.is_dir() and (annotations is not None or any((root / VOC_FOLDERS[1]).glob('*.xml'))):
        named = [usual if given is None else os.fspath(given)
                 for given, usual in zip((images, annotations, lists), VOC_FOLDERS)]
        return voc_boxes(root, split, classes, on_bad_box, transforms, *named)
    if annotations is not None or lists is not None:
        raise ValueError(f'{root}: annotations= and lists= are folders of VOC-format; this is '
                         f'{"a folder without Annotations/*.xml" if root.is_dir() else "a file"}.')
    if root.is_file() and root.suffix.lower() in TABLES:
        return table_boxes(root, split, _folder_in(root.parent, images), classes, on_bad_box, transforms)
    if root.is_file():
        if split is not None:
            raise ValueError(f'{root}: a JSON file is one split itself; split={split!r} is for a folder.')
        return coco_boxes(root, _folder_in(root.parent, images), classes, on_bad_box, transforms)
    if files := _coco_files(root):
        file = files[choose_split(split, files, root)]
        return coco_boxes(file, _folder_in(root, images), classes, on_bad_box, transforms)
    tables = {file.stem: file for suffix in TABLES for file in sorted(root.glob(f'*{suffix}'))}
    tables |= {file.parent.name: file for file in sorted(root.glob('*/_annotations.csv'))}
    if not tables:
        raise ValueError(f'{root}: neither VOC-format (no Annotations/*.xml; annotations= names another folder) nor '
                         'COCO-format (no *.json, annotations/*.json or */_annotations.coco.json) nor tables (*.csv).')
    if classes is None:
        classes = sorted({name for file in tables.values() for name in table_classes(file)})
    return table_boxes(tables[choose_split(split, tables, root)], None, _folder_in(root, images), classes, on_bad_box,
                       transforms)


def coco_boxes(file: AnyPath, images: AnyPath | None = None, classes: Sequence[str] | None = None,
               on_bad_box: str = 'error', transforms: JointTransform | None = None) -> BoxDataset:
    """Images with boxes of a COCO-format JSON file; arguments and errors as of `box_dataset`.

    `image_id` is that of the file; `area` too, where it has one. Categories are numbered anew, from 1.

    Raises:
        ImportError: pycocotools is not installed.
    """
    coco, place = import_coco('coco').COCO(), Path(file)
    coco.dataset = _coco_content(place)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    categories = {key: coco.cats[key]['name'] for key in sorted(coco.cats)}
    rows = list(coco.imgs.values())
    folder = Path(images) if images is not None else _image_folder(place, [row['file_name'] for row in rows])
    annotations = []
    for row in rows:
        annotation = Annotation(folder / row['file_name'], row['id'], _known_size(row.get('height'), row.get('width')))
        must_exist(annotation.file, f'an image that {place} names')
        for entry in coco.imgToAnns[row['id']]:
            x, y, width, height = entry['bbox']
            annotation.names.append(categories[entry['category_id']])
            annotation.boxes.append([x, y, x + width, y + height])
            annotation.areas.append(entry.get('area'))
            annotation.crowds.append(bool(entry.get('iscrowd', 0)))
        annotations.append(annotation)
    return BoxDataset(annotations, list(categories.values()) if classes is None else classes, on_bad_box, transforms)


def voc_boxes(root: AnyPath, split: str | None = None, classes: Sequence[str] | None = None,
              on_bad_box: str = 'error', transforms: JointTransform | None = None, images: str = VOC_FOLDERS[0],
              annotations: str = VOC_FOLDERS[1], lists: str = VOC_FOLDERS[2]) -> BoxDataset:
    """Images with boxes of a VOC-format folder; other arguments and errors as of `box_dataset`.

    It has Annotations/<stem>.xml, JPEGImages/<stem>.<any image suffix> and ImageSets/Main/<split>.txt. Coordinates are
    taken as they are written; those of Pascal VOC itself count pixels from 1. `image_id` is the place in the split.
    Objects marked difficult have `iscrowd` 1: `coco_ap` neither demands nor punishes them, and training skips them.

    Args:
        images, annotations, lists: the folders in `root`. Where '{split}' stands in one of the first two, as in
            '{split}/labels', it is the folder of one split, and no list is read.
    """
    root = Path(root)
    image_folder, folder, stems = split_folders(root, split, images, annotations, lists)
    found = images_by_stem(image_folder)
    if stems is None:
        stems = sorted(path.stem for path in folder.glob('*.xml'))
    if classes is None:
        parsed = (_voc_annotation(path, 0, image_folder, found)
                  for path in root.glob(f'{annotations.replace(SPLIT, "*")}/*.xml'))
        classes = sorted({name for annotation in parsed for name in annotation.names})
    rows = []
    for index, stem in enumerate(stems):
        must_exist(folder / f'{stem}.xml', 'the annotation of an image of the split')
        rows.append(_voc_annotation(folder / f'{stem}.xml', index, image_folder, found))
    for row in rows:
        must_exist(row.file, 'an image that has an annotation')
    return BoxDataset(rows, classes, on_bad_box, transforms)


def table_boxes(file: AnyPath, split: str | None = None, images: AnyPath | None = None,
                classes: Sequence[str] | None = None, on_bad_box: str = 'error',
                transforms: JointTransform | None = None) -> BoxDataset:
    """Images with boxes of a table, a row a box; other arguments and errors as of `box_dataset`.

    Its first row names the columns: image (or file, path, filename …), xmin, ymin, xmax and ymax (or x_min …; x1, y1,
    x2, y2; x0, y0, x1, y1; left, top, right, bottom) and class (or label, name, category, class_name), in any order and
    in small letters or capitals. A row with an image alone is an image without boxes. Other columns are not read, but
    for 'split' if there is one. `image_id` is the place of the image in the split.

    Args:
        images: the folder that paths are relative to, if not the table's.
    """
    path = Path(file)
    rows = table_annotations(path, split, path.parent if images is None else Path(images))
    return BoxDataset(rows, table_classes(path) if classes is None else classes, on_bad_box, transforms)


def collate_boxes(batch: Sequence[tuple[torch.Tensor, Target]]) -> tuple[list[torch.Tensor], list[Target]]:
    """The `collate_fn` of a DataLoader over boxes: images and targets as lists, since their sizes differ."""
    return [image for image, _ in batch], [target for _, target in batch]


def import_coco(module: str) -> Any:
    """pycocotools.<module>.

    Raises:
        ImportError: pycocotools is not installed; the message says how to.
    """
    try:
        return importlib.import_module(f'pycocotools.{module}')
    except ImportError as error:
        raise ImportError('COCO-format boxes and their average precision need pycocotools: '
                          'pip install "zoo-image-models[dense]"') from error


def _folder_in(root: Path, folder: AnyPath | None) -> Path | None:
    """A folder in `root` if there is such a one, else the folder by itself."""
    return None if folder is None else root / folder if (root / folder).is_dir() else Path(folder)


def _coco_files(root: Path) -> dict[str, Path]:
    """Split -> JSON file, of a COCO-format folder. Where some are called instances_*, only those hold boxes."""
    files = sorted([*root.glob('*.json'), *root.glob('annotations/*.json')])
    instances = [file for file in files if file.stem.startswith('instances_')]
    found = {file.stem.removeprefix('instances_'): file for file in instances or files}
    return found | {file.parent.name: file for file in sorted(root.glob('*/_annotations.coco.json'))}


def _coco_content(file: Path) -> dict[str, Any]:
    """The content of a COCO-format JSON file, after a look that everything which is read is there."""
    try:
        content: dict[str, Any] = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise ValueError(f'{file}: not a JSON file that can be read ({error}).') from error
    keys = ('images', 'annotations', 'categories')
    missing = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise ValueError(f'{file}: not COCO-format; it needs lists {", ".join(keys)}, and has no {", ".join(missing)}.')
    needed = {'images': ('id', 'file_name'), 'categories': ('id', 'name'),
              'annotations': ('image_id', 'category_id', 'bbox', 'id')}
    for key, fields in needed.items():
        for entry in content[key]:
            lacking = [name for name in fields if name not in entry]
            if lacking:
                raise ValueError(f'{file}: an entry of {key} has no {", ".join(lacking)}: {str(entry)[:200]}')
    known = {key: {entry['id'] for entry in content[key]} for key in ('images', 'categories')}
    for key, ids in known.items():
        if len(ids) < len(content[key]):
            raise ValueError(f'{file}: {len(content[key])} {key} have only {len(ids)} different ids.')
    for entry in content['annotations']:
        box = entry['bbox']
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, (int, float)) for value in box):
            raise ValueError(f'{file}: annotation {entry["id"]} has bbox {box!r}; expected [x, y, width, height].')
        for key, name in (('images', 'image_id'), ('categories', 'category_id')):
            if entry[name] not in known[key]:
                raise ValueError(f'{file}: annotation {entry["id"]} has {name} {entry[name]!r}, which none of '
                                 f'{key} has.')
    return content


def _image_folder(file: Path, names: Sequence[str]) -> Path:
    """The folder that has the first of the images that a COCO-format file names."""
    split = file.stem.removeprefix('instances_')
    bases, subfolders = (file.parent, file.parent.parent), ('', split, 'images', f'images/{split}')
    folders = [base / subfolder for base in bases for subfolder in subfolders]
    for folder in folders:
        if not names or (folder / names[0]).is_file():
            return folder
    raise FileNotFoundError(f'{file}: its image {names[0]} is in none of {", ".join(map(str, folders))}; '
                            'say where with images=.')


def _voc_annotation(path: Path, image_id: int, folder: Path, images: dict[str, Path]) -> Annotation:
    """One XML file; an image that is not among `images` gets the path it would be expected at."""
    try:
        root = ElementTree.parse(path).getroot()
        size = _known_size(root.findtext('size/height'), root.findtext('size/width'))
        file = images.get(path.stem, folder / f'{path.stem}.jpg')
        annotation = Annotation(file, image_id, size)
        for item in root.findall('object'):
            annotation.names.append(_text(item, 'name').strip())
            annotation.boxes.append([float(_text(item, f'bndbox/{key}')) for key in ('xmin', 'ymin', 'xmax', 'ymax')])
            annotation.areas.append(None)
            annotation.crowds.append((item.findtext('difficult') or '0').strip() == '1')
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f'{path}: not a VOC-format annotation that can be read ({error}).') from error
    return annotation


def _text(item: ElementTree.Element, key: str) -> str:
    text = item.findtext(key)
    if not text:
        raise ValueError(f'an object has no {key}')
    return text


def _known_size(height: Any, width: Any) -> tuple[int, int] | None:
    """(height, width), or None where an annotation leaves them out or has 0."""
    return (int(height), int(width)) if int(height or 0) and int(width or 0) else None


def _size_on_disk(file: Path) -> tuple[int, int] | None:
    """Height and width as shown, from the file's header; None where it cannot be read: asking for it fails."""
    try:
        with Image.open(file) as image:
            size = image.height, image.width
            return size[::-1] if image.getexif().get(ORIENTATION) in SIDEWAYS else size
    except Exception:                                       # decoders raise errors of many types on broken bytes
        return None


def _shown(size: Sequence[int]) -> str:
    return f'{size[0]} x {size[1]}'

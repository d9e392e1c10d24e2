"""Images with masks that give every pixel a class, from pairs of folders and from Pascal VOC's folders."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from ..data.images import load_image
from .boxes import AnyPath
from .files import checked_classes, images_by_stem, split_folders

JointTransform: TypeAlias = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

VOC_FOLDERS = ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation')
INDEX_MODES = ('1', 'L', 'P', 'I', 'I;16')         # Pillow's modes whose numbers can be indices


class MaskDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images with their masks, as `mask_dataset` and `voc_masks` find them.

    Item i is (image, mask): the image as float32 (3, H, W) in 0..1, RGB, and the mask as int64 (H, W) with indices into
    `classes` or `ignore_index`; both turned as their EXIF orientation says. Getting an item raises ValueError if the
    two differ in size, the mask's file has colours instead of indices, or an index is neither of a class nor ignored.

    Attributes:
        classes: the names of indices 0, 1, ...
        ignore_index: the index of pixels without a class, or None.
        files: the image files, in order.
        masks: their mask files.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], classes: Sequence[str], ignore_index: int | None = 255,
                 transforms: JointTransform | None = None):
        self.classes = checked_classes(classes)
        self.ignore_index = ignore_index
        self.transforms = transforms
        self.files = [image for image, _ in pairs]
        self.masks = [mask for _, mask in pairs]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = F.to_dtype(F.pil_to_tensor(load_image(self.files[index], exif=True)), torch.float32, scale=True)
        mask = self._mask(self.masks[index])
        if image.shape[-2:] != mask.shape:
            raise ValueError(f'{self.masks[index]}: the mask is {" x ".join(map(str, mask.shape))} (height x width), '
                             f'the image {self.files[index].name} is {" x ".join(map(str, image.shape[-2:]))}.')
        return self.transforms(image, mask) if self.transforms else (image, mask)

    def take(self, numbers: Sequence[int]) -> MaskDataset:
        """These images alone."""
        pairs = [(self.files[number], self.masks[number]) for number in numbers]
        return MaskDataset(pairs, self.classes, self.ignore_index, self.transforms)

    def _mask(self, file: Path) -> torch.Tensor:
        with Image.open(file) as opened:
            if opened.mode not in INDEX_MODES:
                raise ValueError(f'{file}: the mask has mode {opened.mode}; its pixels have to be indices of classes, '
                                 f'in a grey or palette image (mode {", ".join(INDEX_MODES)}).')
            mask = torch.from_numpy(np.asarray(ImageOps.exif_transpose(opened)).astype(np.int64))
        values = mask.unique().tolist()
        wrong = [value for value in values if value != self.ignore_index and not 0 <= value < len(self.classes)]
        if wrong:
            ignored = 'nothing is ignored' if self.ignore_index is None else f'{self.ignore_index} is ignored'
            raise ValueError(f'{file}: the mask has {", ".join(map(str, wrong[:5]))}; allowed are 0 to '
                             f'{len(self.classes) - 1}, for {len(self.classes)} classes, and {ignored}.')
        return mask


def mask_dataset(images: AnyPath, masks: AnyPath, classes: Sequence[str], ignore_index: int | None = 255,
                 transforms: JointTransform | None = None) -> MaskDataset:
    """Images of one folder with the masks of the same stem in another.

    Args:
        images: the folder of images.
        masks: the folder of masks: grey or palette images whose numbers are indices of classes.
        classes: the names of indices 0, 1, ...
        ignore_index: the index of pixels without a class, such as 255 in Pascal VOC and 11 in CamVid; None if every
            pixel has one. Where a mask says 255 for an object, 255 must not be it.
        transforms: called with every (image, mask); see `zoo.dense.transforms`.

    Raises:
        FileNotFoundError: a folder is missing or empty, an image has no mask, or a mask no image.
        ValueError: two files of a folder have the same stem, or the class names are not distinct.
    """
    found, given = images_by_stem(Path(images)), images_by_stem(Path(masks))
    for what, these, those, folder in (('image', found, given, masks), ('mask', given, found, images)):
        alone = [path.name for stem, path in these.items() if stem not in those]
        if alone:
            other = 'mask' if what == 'image' else 'image'
            raise FileNotFoundError(f'{folder}: no {other} for {len(alone)} of {len(these)} {what}s: '
                                    f'{", ".join(alone[:3])}{", ..." if len(alone) > 3 else ""}. '
                                    'An image and its mask have the same name up to the suffix.')
    return MaskDataset([(found[stem], given[stem]) for stem in found], classes, ignore_index, transforms)


def voc_masks(root: AnyPath, classes: Sequence[str], split: str | None = None, ignore_index: int | None = 255,
              transforms: JointTransform | None = None, images: str = VOC_FOLDERS[0], masks: str = VOC_FOLDERS[1],
              lists: str = VOC_FOLDERS[2]) -> MaskDataset:
    """Images and masks of a split of a VOC-format folder; other arguments as of `mask_dataset`.

    It has JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/<split>.txt.

    Args:
        images, masks, lists: the folders in `root`. Where '{split}' stands in one of the first two, as in
            '{split}annot', it is the folder of one split, and no list is read.

    Raises:
        FileNotFoundError: a folder is missing, or an image or a mask of the split.
        ValueError: there is no such split; the message lists those there are.
    """
    folders = split_folders(Path(root), split, images, masks, lists)
    stems = folders[2]
    if stems is None:
        return mask_dataset(folders[0], folders[1], classes, ignore_index, transforms)
    found = images_by_stem(folders[0]), images_by_stem(folders[1])
    for files, folder in zip(found, folders):
        missing = [stem for stem in stems if stem not in files]
        if missing:
            raise FileNotFoundError(f'{folder}: lacks {len(missing)} of {len(stems)} files of the split: '
                                    f'{", ".join(missing[:3])}{", ..." if len(missing) > 3 else ""}.')
    return MaskDataset([(found[0][stem], found[1][stem]) for stem in stems], classes, ignore_index, transforms)

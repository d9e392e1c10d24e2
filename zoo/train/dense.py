"""Detectors and segmenters as tasks of a run: images with boxes or masks, the network, its loss, its measure."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as images_as

from ..data import ImageSource
from ..data.config import per_channel
from ..data.files import NoSplit
from ..data.images import problem_of
from ..data.sources.base import Labels
from ..dense import create_detector, create_segmenter, evaluate, freeze
from ..dense.boxes import BoxDataset, box_dataset, import_coco
from ..dense.drawing import draw_boxes, draw_masks
from ..dense.evaluation import DenseEvaluation
from ..dense.masks import VOC_FOLDERS, MaskDataset, voc_masks
from ..dense.transforms import detection_transforms, segmentation_transforms
from ..profiling import profile
from .build import Network
from .groups import param_groups_scaled
from .holdout import held_out
from .loader import Batch, TrainImages
from .recipe import DataPart, Recipe
from .sources import Sources
from .task import Picture, Task

NO_CLASS = -100                     # cross entropy's own index for what does not count
HEADS = {'detect': 'fcos', 'segment': 'unet'}


class DenseSource(ImageSource):
    """The images of a dataset of boxes or masks, as runs count and compare them; `data` is the dataset.

    A target says which classes there are boxes of, as numbers 0 and 1; of a mask it is the file's name and length.
    """

    def __init__(self, data: BoxDataset | MaskDataset, description: str) -> None:
        self.data, self.boxes = data, isinstance(data, BoxDataset)
        targets: list[Any]
        if isinstance(data, BoxDataset):
            labels_there = range(1, len(data.classes) + 1)
            targets = [[float(label in present) for label in labels_there] for present in data.labels]
        else:
            targets = [(mask.name, mask.stat().st_size) for mask in data.masks]
        labels = Labels('detect' if self.boxes else 'segment', len(data.classes), data.classes)
        super().__init__(targets, labels, description)

    def name(self, index: int) -> str:
        """The path of the image as seen from the data's folder."""
        place, file = Path(self.description), self.data.files[index]
        root = place.parent if place.is_file() else place
        return file.relative_to(root).as_posix() if root in file.parents else str(file)

    def encoded(self, index: int) -> bytes:
        """The image file."""
        return self.data.files[index].read_bytes()

    def opened(self, index: int) -> BinaryIO:
        """The image file."""
        return open(self.data.files[index], 'rb')

    def problem(self, index: int) -> str:
        """Why the image, or its mask, cannot be read, by a cheap look at the files; '' where they can."""
        found = super().problem(index)
        if found or not isinstance(self.data, MaskDataset):
            return found
        mask = self.data.masks[index]
        found = problem_of(lambda: open(mask, 'rb'))
        return f'its mask {mask}: {found}' if found else ''

    def size(self, index: int) -> int:
        """The image file's length in bytes."""
        return self.data.files[index].stat().st_size

    known_size = size


class DenseImages(TrainImages):
    """Images with their boxes or masks, changed at random, by their place."""

    source: DenseSource

    def open(self, index: int) -> tuple[Tensor, Any]:
        """An image with its target.

        Raises:
            OSError, ValueError: the image or its mask cannot be read, or they do not fit.
        """
        return self.source.data[index]

    def distort(self, opened: tuple[Tensor, Any], index: int, kind: Any) -> tuple[tuple[Tensor, ...], Any]:
        """An image and its target, changed together."""
        image, target = self.transform(*opened)
        return (image,), target

    def collate(self, samples: list[Any]) -> Batch:
        """A batch: lists of images and targets with boxes, or both stacked with masks.

        Raises:
            ValueError: images of different sizes with masks.
        """
        images, targets, names, unreadable = zip(*samples)
        levels, named = [image for (image,) in images], (list(names), [one for some in unreadable for one in some])
        if self.source.boxes:
            return Batch(levels, [{key: target[key] for key in ('boxes', 'labels')} for target in targets], *named)
        if len({image.shape for image in levels}) > 1:
            raise ValueError(f'The images of a batch have different sizes ({", ".join(names)}): set dense.crop to the '
                             'height and width that are to be cut out, or data.batch_size to 1.')
        return Batch(torch.stack(levels), torch.stack(targets), *named)


class DenseObjective:
    """(network, images, targets) -> a detector's losses summed, or the mean cross entropy of pixels with a class."""

    def __init__(self, student: nn.Module, boxes: bool, ignore_index: int | None) -> None:
        self.student, self.boxes = student, boxes
        self.extra: list[nn.Parameter] = []
        self.ignore_index = NO_CLASS if ignore_index is None else ignore_index

    def __call__(self, network: nn.Module, images: Any, targets: Any) -> Tensor:
        loss: Tensor
        if self.boxes:
            return sum(network(images, targets).values())
        total = F.cross_entropy(network(images).float(), targets, ignore_index=self.ignore_index, reduction='sum')
        return total / (targets != self.ignore_index).sum().clamp_min(1)

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: there is nothing trained beside the network."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""


class DenseTask(Task):
    """Boxes or masks: the task of a recipe with `dense.task`."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.part, self.boxes = recipe.dense, recipe.dense.task == 'detect'
        if self.part.backbone_lr != 1:
            prefix = 'backbone.body.' if self.boxes else 'backbone.'
            self.groups = partial(param_groups_scaled, weight_decay=recipe.optimizer.weight_decay, prefix=prefix,
                                  scale=self.part.backbone_lr)

    def open_sources(self, class_names: list[str] | None) -> Sources:
        """The images of both splits.

        Raises:
            ValueError: besides what readers raise, no validation images.
        """
        part = self.recipe.data
        if not part.data:
            raise ValueError('The recipe names no images: data.data is a folder or a file with boxes or masks.')
        given = class_names or (list(self.part.classes) if self.part.classes else None)
        train, val = self._open(part.data, part.train_split, given), None
        if part.hold_out:
            parts = held_out(train, part.hold_out)
            train, val = (DenseSource(train.data.take(numbers), part.data) for numbers in parts)
        elif part.val_data or part.val_split:
            if not part.val_data and _is_split(part.data):
                raise ValueError(f'{part.data} is one split itself. Name validation images with data.val_data, keep '
                                 'some with data.hold_out=0.2, or do without by data.val_split=none.')
            val = self._open(part.val_data or part.data, part.val_split, train.class_names)
        return Sources(train, val, len(train.data.classes), train.class_names)

    def _open(self, place: str, split: str | None, classes: list[str] | None) -> DenseSource:
        try:
            return open_dense(place, split, layout_of(self.recipe), classes)
        except NoSplit as error:
            if split not in (DataPart.train_split, DataPart.val_split) or self.recipe.data.hold_out:
                raise
            raise ValueError(f'{error} To train with images that are not split, and keep some for validation: '
                             'data.train_split=none data.hold_out=0.2.') from error

    def build_network(self, sources: Sources, device: torch.device) -> Network:
        """The detector or segmenter, its backbone with its first weights.

        Raises:
            ValueError, TypeError: see `create_detector` and `create_segmenter`.
        """
        part, data = self.recipe.model, self.recipe.data
        if not part.model:
            raise ValueError('The recipe names no backbone: model.model is a name as zoo.list_models() has them.')
        named = dict(drop_path_rate=part.drop_path, bn_momentum=part.bn_momentum, bn_eps=part.bn_eps)
        options = {name: value for name, value in named.items() if value is not None} | part.model_kwargs
        chosen: dict[str, Any] = {'frozen_bn': self.part.frozen_bn} | {
            f'image_{name}': given and list(per_channel(given, 3, name))
            for name, given in (('mean', data.mean), ('std', data.std))}
        make: Callable[..., Any] = create_detector if self.boxes else create_segmenter
        model = make(
            part.model, self.part.head or HEADS['detect' if self.boxes else 'segment'], classes=sources.class_names,
            pretrained_backbone=part.initial_checkpoint or part.pretrained, backbone_options=options,
            **{name: value for name, value in chosen.items() if value is not None}, **self.part.head_kwargs)
        body = model.backbone.body if self.boxes else model.backbone
        if part.freeze:
            count = len(body.network.layer_names(coarse=True))
            if part.freeze > count:
                raise ValueError(f'model.freeze is 0 to {count} stages of this backbone; got {part.freeze}.')
            freeze(body, False, count - part.freeze)
            model.config['trainable_layers'] = count - part.freeze
        record = {'name': part.model, 'task': self.part.task, 'dense': model.config, 'layout': layout_of(self.recipe)}
        model.to(device, memory_format=torch.channels_last if part.channels_last else torch.preserve_format)
        statistics = {'mean': model.config['image_mean'], 'std': model.config['image_std']}
        return Network(model, statistics, record, [])

    def objective(self, network: Network, sources: Sources, device: torch.device) -> DenseObjective:
        """The network's loss."""
        return DenseObjective(network.model, self.boxes, self.part.ignore_index)

    def images(self, sources: Sources, config: dict[str, Any]) -> DenseImages:
        """The training images by their place in the run."""
        augment, part = self.recipe.augment, self.part
        jitter = augment.color_jitter or 0.0
        options = dict(hflip=augment.hflip, vflip=augment.vflip, fit=part.fit, scale=part.jitter,
                       colour=jitter if isinstance(jitter, tuple) else (jitter,) * 3)
        transform = detection_transforms(True, part.crop, **options) if self.boxes else segmentation_transforms(
            True, part.crop, NO_CLASS if part.ignore_index is None else part.ignore_index, **options)
        return DenseImages(sources.train, transform, self.recipe.run.seed)

    def inputs(self, sources: Sources, config: dict[str, Any], device: torch.device) -> _ToDevice:
        """(batch, epoch) -> images and targets on the device; they are changed already."""
        return _ToDevice(device, self.recipe.model.channels_last)

    def check_metrics(self, sources: Sources) -> None:
        """Fails now if the validation images cannot be measured with: pycocotools is missing, or every box."""
        if self.boxes:
            import_coco('cocoeval')
            if len(sources.val.data.empty) == len(sources.val):
                raise ValueError('There is no box in the validation images, and so nothing to measure by.')

    def evaluate(self, model: nn.Module, sources: Sources, config: dict[str, Any], objective: DenseObjective,
                 **options: Any) -> DenseEvaluation:
        """The network on the validation images; `options` are those of `zoo.dense.evaluate`. There is no loss: in
        evaluation a detector has none."""
        return evaluate(model, sources.val.data, **options)

    def cost(self, model: nn.Module, config: dict[str, Any]) -> list[str]:
        """Lines on what an image costs, and on what the network takes in."""
        if self.boxes:
            inputs = getattr(model, 'transform')
            sizes, most = inputs.min_size, inputs.max_size
            return [f'input          shorter side {", ".join(map(str, sizes))}, longer side at most {most}']
        size = (3, *(self.part.crop or (512, 512)))
        return [f'multiply-adds  {profile(model, size).gmacs:.3f} G at {size[1]}x{size[2]}', 'input          any size']

    def pictures(self, batch: tuple[Any, Any], sources: Sources, config: dict[str, Any]) -> Iterator[Picture]:
        """Each image with its boxes or classes drawn into it."""
        for image, target in zip(*batch):
            names = sources.class_names or []
            if self.boxes:
                labels = [names[label - 1] for label in target['labels'].tolist()]
                text = ', '.join(f'{count} {name}' for name, count in Counter(labels).most_common()) or 'no boxes'
                picture = draw_boxes(image.clamp(0, 1), target['boxes'], labels, classes=names)
            else:
                present = [index for index in target.unique().tolist() if 0 <= index < len(names)]
                text = ', '.join(names[index] for index in present)
                picture = draw_masks(image.clamp(0, 1), target, names, alpha=0.4)
                picture = picture.crop((0, 0, image.shape[2], image.shape[1]))                  # without the legend
            yield images_as.to_dtype(images_as.pil_to_tensor(picture), torch.float32, scale=True), text


class _ToDevice:
    """A batch on its device."""

    def __init__(self, device: torch.device, channels_last: bool) -> None:
        self.device, self.channels_last = device, channels_last

    def __call__(self, batch: Batch, epoch: int) -> tuple[Any, Any]:
        if isinstance(batch.levels, Tensor) and isinstance(batch.targets, Tensor):
            layout = torch.channels_last if self.channels_last else torch.preserve_format
            return (batch.levels.to(self.device, non_blocking=True, memory_format=layout),
                    batch.targets.to(self.device, non_blocking=True))
        images: Any = batch.levels
        return ([image.to(self.device, non_blocking=True) for image in images],
                [{key: value.to(self.device, non_blocking=True) for key, value in target.items()}
                 for target in batch.targets])


def layout_of(recipe: Recipe) -> dict[str, Any]:
    """How a recipe's data lie, for `open_dense`; a trained network's file keeps it."""
    part = recipe.dense
    return {'task': part.task, 'images': part.image_folder, 'annotations': part.annotation_folder,
            'lists': part.list_folder, 'on_bad_box': part.on_bad_box, 'ignore_index': part.ignore_index}


def open_dense(place: str, split: str | None, layout: dict[str, Any], classes: list[str] | None) -> DenseSource:
    """Images with boxes or masks.

    Args:
        place: as `zoo.dense.boxes.box_dataset` takes it; for masks a folder, see `zoo.dense.masks.voc_masks`.
        layout: see `layout_of`.
        classes: their names in order; None takes those of the boxes.

    Raises:
        FileNotFoundError, ValueError: see these readers.
    """
    folders = {key: layout[key] for key in ('images', 'annotations', 'lists')}
    if layout['task'] == 'detect':
        split = None if _is_split(place) else split
        return DenseSource(box_dataset(place, split, classes, layout['on_bad_box'], **folders), place)
    named = [usual if given is None else given for given, usual in zip(folders.values(), VOC_FOLDERS)]
    data = voc_masks(place, classes or (), split, layout['ignore_index'], None, *named)
    return DenseSource(data, place)


def _is_split(place: str) -> bool:
    """Whether this is a file that holds one split: one in COCO's format."""
    return Path(place).suffix.lower() == '.json'

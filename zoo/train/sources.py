"""The images and targets of a run, and which class is which: the same in training, evaluation and every later run."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..data import ImageSource, ImageStream, create_dataset
from ..data.files import NoSplit
from .holdout import hold_out
from .recipe import DataPart

TASKS = ('single', 'multi', 'regression')


class Sources(NamedTuple):
    """The data of a run.

    Attributes:
        train: the training images. val: those it is judged by, or None.
        num_outputs: how many outputs the network needs: classes, or numbers for regression.
        class_names: in the order of the outputs; None where nothing names them.
    """

    train: ImageSource
    val: Any
    num_outputs: int
    class_names: list[str] | None

    @property
    def task(self) -> str:
        """'single', 'multi' or 'regression', see `zoo.data.create_dataset`."""
        return self.train.task


def open_sources(part: DataPart, class_names: list[str] | None = None, num_classes: int | None = None) -> Sources:
    """Opens the images of both splits.

    Args:
        class_names: the classes of a run that is resumed, in the order of its outputs.
        num_classes: outputs of the network where the recipe says.

    Raises:
        ValueError: a stream; training images that cannot be numbered; validation images of another task, or of a class
            that the training images do not have; more classes than outputs.
        FileNotFoundError: there are no such images.
    """
    if not part.data:
        raise ValueError('The recipe names no images: data.data is a folder, a table, an archive or a named data set.')
    train = _numbered(part, class_names)
    if not hasattr(train, 'encoded'):
        raise ValueError(f'{part.data}: these images come one after the other. A run that can be stopped and gone on '
                         'with needs them by number: a folder, a tar file, a table or a stored data set.')
    names = class_names or train.class_names
    outputs = _outputs(train, num_classes)
    val: ImageSource | ImageStream | None = None
    if part.hold_out:
        train, val = hold_out(train, part.hold_out)
    elif part.val_data or part.val_split:
        known = part.class_map if names is None or part.class_map is not None else list(names)
        try:
            opened = create_dataset(part.val_data or part.data, part.val_split,
                                    class_map=None if train.task == 'regression' else known)
        except NoSplit as error:
            raise ValueError(f'{error.problem} To keep a share of the training images for validation: '
                             'data.hold_out=0.2; to train without any: data.val_split=none.') from error
        if opened.task != train.task:
            raise ValueError(f'The training images are for the task {train.task!r}, the validation images for '
                             f'{opened.task!r}.')
        val = opened
    return Sources(train, val, outputs, list(names) if names else None)


def _numbered(part: DataPart, class_names: list[str] | None) -> Any:
    """The training images; classes are numbered in sorted order unless something says otherwise.

    Raises:
        ValueError: besides others, no such split, with how to do without.
    """
    given = part.class_map if part.class_map is not None else class_names or 'sorted'
    try:
        return create_dataset(part.data, part.train_split, class_map=given)
    except NoSplit as error:
        if part.train_split != DataPart.train_split:
            raise
        keep = '' if part.hold_out else ' data.hold_out=0.2'
        raise ValueError(f'{error.problem} To train with images that are not split: data.train_split=none'
                         f'{keep}.') from error


def _outputs(train: ImageSource, num_classes: int | None) -> int:
    targets: Iterator[Any] = (train.target(i) for i in range(len(train)))
    if train.task == 'single':
        needed = train.num_classes or 1 + max(targets)
    else:
        first = next(targets)
        needed = len(first) if isinstance(first, (list, tuple)) else 1
    if num_classes is not None and (num_classes < needed or train.task != 'single' and num_classes != needed):
        raise ValueError(f'model.num_classes is {num_classes}, and the data has {needed} '
                         f'{"numbers an image" if train.task == "regression" else "classes"}.')
    return num_classes or needed

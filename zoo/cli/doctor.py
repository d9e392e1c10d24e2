"""`zoo doctor`: what works here, and what is missing for the rest."""
from __future__ import annotations

import argparse
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from zoo.export.converters import environments_folder, find_python
from zoo.export.formats import FORMATS, Format, missing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo doctor` to its parser."""
    parser.add_argument('--json', action='store_true', help='print one JSON object')


def run(args: argparse.Namespace) -> int:
    """Print the formats of `zoo export`."""
    found = {name: describe(name) for name in FORMATS}
    print(json.dumps({'export': found}, indent=2) if args.json else as_text(found))
    return 0


def describe(name: str) -> dict[str, Any]:
    """What there is of an export format here: packages with their versions, and what each precision lacks."""
    one = FORMATS[name]
    packages = [*one.packages, *(one.quantiser if 'int8' in one.precisions else ())]
    return {'suffix': one.suffix, 'for': one.text, 'works': not missing(name), 'converter': _converter(one),
            'packages': {package: _version(package) for package in packages},
            'missing': {precision: missing(name, precision) for precision in one.precisions}}


def as_text(found: dict[str, dict[str, Any]]) -> str:
    """The formats for people to read."""
    lines = ['zoo export --format']
    width = max(map(len, found))
    for name, one in found.items():
        ready = [precision for precision, absent in one['missing'].items() if not absent]
        lines.append(f'  {name:{width}}  {one["suffix"]:7}  {", ".join(ready) or "not here":16}  for {one["for"]}')
        absent = dict.fromkeys(package for each in one['missing'].values() for package in each)
        lacking = [precision for precision, each in one['missing'].items() if each]
        if absent:
            lines.append(f'  {"":{width}}  {", ".join(lacking)}: pip install {" ".join(absent)}')
        if one['converter']:
            lines.append(f'  {"":{width}}  {one["converter"]}')
    return '\n'.join(lines)


def _converter(one: Format) -> str:
    """Where the converter is that may live elsewhere; '' for others."""
    if not one.converter:
        return ''
    python = find_python(one.name)
    if python is None:
        return (f'{one.converter} is not here: zoo export makes {environments_folder() / one.name} for it, or takes '
                '--environment PATH')
    return f'converted by {one.converter} in {"this environment" if python == Path(sys.executable) else python.parents[1]}'


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

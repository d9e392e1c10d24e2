"""What a file that torch.save wrote holds, told from its opcodes, of which nothing is executed."""
from __future__ import annotations

import contextlib
import pickletools
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

BOOKKEEPING = {'PROTO', 'FRAME', 'MEMOIZE', 'BINPUT', 'LONG_BINPUT'}
HEADERS = 3                                            # pickles before the content in PyTorch's format before 1.6
DICTIONARIES = ('EMPTY_DICT', None), ('GLOBAL', 'collections OrderedDict')


def way_to_tensors(path: Path, wrappers: Sequence[str]) -> str:
    """Python code that reads a file which holds more than tensors, and writes its tensors alone.

    Args:
        wrappers: keys that state dicts, or whole networks, stand under in checkpoints, the best first.
    """
    if zipfile.is_zipfile(path) and any('/code/' in name for name in zipfile.ZipFile(path).namelist()):
        return 'torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)'
    opcodes = _opcodes(path)
    if next(opcodes, None) not in DICTIONARIES:
        return ('where the library that made it is installed, run model = torch.load(FILE, weights_only=False); '
                'torch.save(model.state_dict(), NEW_FILE)')
    found: dict[str, str] = {}
    key, before = None, ''
    for opcode, value in opcodes:
        if key and (opcode == 'GLOBAL' or (opcode, None) in DICTIONARIES):
            found.setdefault(key, '' if (opcode, value) in DICTIONARIES else '.state_dict()')
            key = None
        elif not (key and (opcode == 'MARK' or (before, value) == ('MARK', 'module'))):
            # not within ('module', class, …), which a network is before PyTorch 1.6
            key = value if value in wrappers else None
        before = opcode
    best = next((f'[{key!r}]{found[key]}' for key in wrappers if key in found), None)
    if best:
        return f'torch.save(torch.load(FILE, weights_only=False){best}, NEW_FILE)'
    return ('torch.save({key: value for key, value in torch.load(FILE, weights_only=False).items() '
            'if isinstance(value, torch.Tensor)}, NEW_FILE)')


def _opcodes(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and text arguments of the opcodes that make the content, as far as the file is whole."""
    with contextlib.ExitStack() as opened:
        stream: IO[bytes]
        if zipfile.is_zipfile(path):
            archive, headers = opened.enter_context(zipfile.ZipFile(path)), 0
            stream = archive.open(next(name for name in archive.namelist() if name.endswith('data.pkl')))
        else:
            stream, headers = opened.enter_context(open(path, 'rb')), HEADERS
        try:
            for _ in range(headers):
                for _ in pickletools.genops(stream):
                    pass
            for opcode, value, _ in pickletools.genops(stream):
                if opcode.name not in BOOKKEEPING:
                    yield opcode.name, value if isinstance(value, str) else None
        except ValueError:                                                 # the file ends here
            return

"""One run a folder: a file that says which process writes there."""
from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

LOCK = 'run.lock'
PATIENCE = 1.0              # seconds that a lock may be empty: between its making and its first words


class RunLock:
    """The lock of a run's folder. It is made by an operation that only one process can succeed with, also where the
    folder lies on a network; what a process of this machine left that is no longer there is taken over.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._held = folder / LOCK, False

    def check(self) -> None:
        """Raises FileExistsError where another run, or this process, writes to the folder."""
        text = self._text()
        if text is None or _is_left(text):
            return
        holder = json.loads(text)
        raise FileExistsError(
            f'{self.path.parent} is in use: process {holder["pid"]} on {holder["host"]} has trained into it since '
            f'{holder["since"]}. Wait for its end or choose another folder; if there is no such process any more, '
            f'delete {self.path}.')

    def take(self) -> None:
        """Takes the lock.

        Raises:
            FileExistsError: another run has it.
        """
        while True:
            try:
                handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                self.check()
                self._set_aside()
                continue
            with open(handle, 'w') as file:
                json.dump({'host': socket.gethostname(), 'pid': os.getpid(), 'began': _began(os.getpid()),
                           'since': time.strftime('%Y-%m-%d %H:%M:%S')}, file)
            self._held = True
            return

    def release(self) -> None:
        """Gives the lock back, if this has it."""
        if self._held:
            self._held = False
            self.path.unlink(missing_ok=True)

    def _text(self) -> str | None:
        """What the lock says, or None without one; it is given a moment to say something."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                text = self.path.read_text()
            except FileNotFoundError:
                return None
            if text.endswith('}') or time.monotonic() > until:
                return text
            time.sleep(0.05)

    def _set_aside(self) -> None:
        """Removes a lock that was left; of several that try, one succeeds, and none removes that of a living one."""
        aside = self.path.with_name(f'{LOCK}.{os.getpid()}')
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        if not _is_left(aside.read_text()):         # another process was quicker
            os.link(aside, self.path)
        aside.unlink()


def _is_left(text: str) -> bool:
    """Whether a lock was left by a process of this machine that has ended, or by one that ended while it wrote."""
    try:
        holder: dict[str, Any] = json.loads(text)
    except ValueError:
        return True
    if holder['host'] != socket.gethostname() or os.name != 'posix':
        return False
    try:
        os.kill(holder['pid'], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    began: str | None = holder['began']
    return _began(holder['pid']) != began                    # its number is another process' now, or it is a zombie


def _began(pid: int) -> str | None:
    """When a process began, in ticks since the system did; None for one that has ended, or where nothing says."""
    try:
        state, *fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return None
    return None if state == 'Z' else fields[18]

"""A lock on a run's folder: two processes would remove each other's unfinished files."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from core.errors import UnsupportedEnvironment

try:
    import fcntl
except ImportError:  # not on Windows, where runs are not guarded
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_held: dict[tuple[int, Path], int] = {}  # file descriptors by process (a fork holds no lock) and folder


def claim(folder: Path) -> None:
    """Lock `folder` for this process until it ends; locking it twice is harmless.

    The kernel releases the lock when its process dies, so a file that a killed run left locks nothing.

    Raises:
        UnsupportedEnvironment: another process holds the lock; the message names it.
    """
    key = os.getpid(), folder.resolve()
    if fcntl is None or key in _held:
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(handle, 200).decode(errors="replace").strip() or "another process"
        os.close(handle)
        if error.errno not in (errno.EACCES, errno.EAGAIN):  # a file system without locks
            return
        raise UnsupportedEnvironment(
            f"{folder} is in use",
            why=f"{owner} works in it",
            fix="wait until it has ended, or give this run another name",
        ) from error
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    _held[key] = handle

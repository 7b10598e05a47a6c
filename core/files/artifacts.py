"""Files that stages exchange: written atomically, hashed, described by JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import NO_SPACE, UnsupportedEnvironment, UserError, file_error

PROBE_BYTES = 1 << 20  # a disk with less free space counts as full


@contextmanager
def write_atomic(target: Path, *, empty: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is fsynced and renamed over `target`.

    A reader sees the old file or the new one, never half of one. On an exception the target is untouched.
    The temporary name keeps the target's suffix, since several writers choose a format by it.

    Args:
        empty: an empty file is a valid result.

    Raises:
        UserError: `target` is a folder, or no file can be made there.
        UnsupportedEnvironment: the disk is full or read-only, or no byte arrived.
    """
    if target.is_dir():
        raise UserError(f"{target} cannot be written", why="it is a folder", fix="name a file in it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
    except OSError as error:  # a file where a folder is needed, no permission, no space
        raise file_error(error, f"{target} cannot be written") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
            if not empty and not written.read(1):  # OpenCV and others report nothing when they could not write
                raise UnsupportedEnvironment(f"{target} cannot be written", why="its writer wrote nothing")
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        _require_made(target)
    except Exception as error:
        require_space(target, cause=error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_atomic(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that becomes `out`, in place of an older one, when the block succeeds.

    Raises:
        UserError: `out` is a file, or no folder can be made there.
        UnsupportedEnvironment: the disk is full or read-only.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise file_error(error, f"{out} cannot be written") from error
    try:
        yield folder
        folder.chmod(0o755)
        if out.exists():
            old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old."))
            out.replace(old / out.name)
            folder.replace(out)
            shutil.rmtree(old)
        else:
            folder.replace(out)
        _require_made(out)
    except Exception as error:
        require_space(out, cause=error)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_made(target: Path) -> None:
    """Raise `UnsupportedEnvironment` when a renamed file is missing: some network disks report errors late."""
    if not target.exists():
        raise UnsupportedEnvironment(f"{target} cannot be written", why="the file is missing after it was written")


def require_space(target: Path, cause: Exception | None = None) -> None:
    """Raise `UnsupportedEnvironment` when a file as large as `PROBE_BYTES` cannot be written beside `target`.

    Use it after failures without a reason: torch, OpenVINO and OpenCV give no errno. `cause` is such a failure.
    """
    if isinstance(cause, UserError):
        return
    try:
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            raise cause
        with tempfile.TemporaryFile(dir=target.parent) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise file_error(error, f"{target} cannot be written") from cause


def discard_unfinished(target: Path) -> None:
    """Remove temporary files that killed writers of `target` left behind; never call it while another process
    writes."""
    name = re.compile(rf"\.{re.escape(target.stem)}\.[a-z0-9_]{{8}}{re.escape(target.suffix)}")
    for path in target.parent.glob(".*"):  # no match where the folder does not exist
        if name.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with write_atomic(target, empty=not text) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write indented JSON atomically; raises `ValueError` for NaN or infinity, which JSON cannot hold."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_content(paths: Iterable[Path]) -> list[str]:
    """`sha256_file` of many files at once; a process reads an unchanged file only once."""
    with ThreadPoolExecutor() as pool:  # hashing large blocks releases Python's global lock
        return list(pool.map(_sha256_unchanged, paths))


def _sha256_unchanged(path: Path) -> str:
    stat = path.stat()
    return _sha256_version(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256_version(path: Path, _size: int, _mtime_ns: int) -> str:
    return sha256_file(path)


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

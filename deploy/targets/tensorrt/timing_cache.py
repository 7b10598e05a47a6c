"""Kernel timings of TensorRT's builder, kept beside the engines for the next build.

Timings hold for one version on one GPU, so both are in the file's name. Builders work on a copy; the last one to
finish replaces the file, whole.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.files.artifacts import write_atomic


def timing_cache_beside(engine: Path, version: str, gpu: str) -> Path:
    """File for the engines in the folder of `engine`.

    Args:
        version: of TensorRT, as `vendor_version` gives it.
        gpu: the product's name.
    """
    return engine.parent / re.sub(r"[^\w.]+", "-", f"timing-{version}-{gpu}.cache")


@contextmanager
def borrowed(cache: Path, copy: Path) -> Iterator[None]:
    """Copy `cache`, if it exists, to `copy` for the block; afterwards the file at `copy` becomes the new cache.

    A block that fails changes nothing.
    """
    if cache.is_file():
        shutil.copyfile(cache, copy)
    yield
    if copy.is_file():
        with write_atomic(cache) as temporary:
            shutil.copyfile(copy, temporary)

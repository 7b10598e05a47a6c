"""OpenCV's threads in forked processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Limit OpenCV to the calling thread within the block; afterwards it has as many threads as before.

    A forked process inherits OpenCV's pool without its threads. It waits for them forever when it lowers their number,
    as data workers often do, so the pool must end before the fork.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)

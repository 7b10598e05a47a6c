"""OpenCV's threads and processes that are forked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Within the block OpenCV works in the calling thread alone; afterwards it has as many threads as before.

    A forked process inherits OpenCV's pool without its threads and waits for them for ever when it lowers their number,
    as workers that load data often do: the pool must end before they are forked.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)

"""Room for signal handlers in processes that use OpenVINO.

OpenVINO's CPU plugin gives the thread that loads it an alternate signal stack of about 12 kB in place of any that is
there. A signal's frame took 11 kB of it, and Python's handlers, which run on that stack, wrote past its end. The
process then dies of a segmentation fault without a traceback, at the next SIGCHLD (a data worker, a child process) or
Ctrl-C. Seen in core dumps with OpenVINO 2026.4 on AVX-512. Source: sigaltstack(2).
"""

from __future__ import annotations

import ctypes
import sys

BYTES = 1 << 18
_stack = ctypes.create_string_buffer(BYTES) if sys.platform == "linux" else None  # the kernel keeps its address


class _SigAltStack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def size() -> int:
    """Bytes of this thread's alternate signal stack; 0 without one, and on systems that have none."""
    if sys.platform != "linux":
        return 0
    current = _SigAltStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(current))
    return int(current.size)


def make_room() -> None:
    """Give this thread a large alternate signal stack if it has a small one."""
    if _stack is None or not 0 < size() < BYTES:
        return
    wanted = _SigAltStack(ctypes.cast(_stack, ctypes.c_void_p), 0, BYTES)
    ctypes.CDLL(None).sigaltstack(ctypes.byref(wanted), None)

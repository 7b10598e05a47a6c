"""The model of this machine's CPU, and its vector instructions."""

from __future__ import annotations

import platform
from pathlib import Path

INTERESTING = frozenset(
    {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "bf16", "i8mm"}
)
BF16, UINT8 = "BF16 arithmetic", "sums of uint8 products in 32 bits"
_CPUINFO = Path("/proc/cpuinfo")


def cpu_flags() -> frozenset[str]:
    """Instruction sets that decide how fast INT8 and BF16 are; empty where the system lists none (not Linux)."""
    words: set[str] = set()
    for key, value in _cpuinfo():
        if key in ("flags", "Features"):
            words |= set(value.split())
    return INTERESTING & words


def cpu_model() -> str:
    """The CPU's name as the system gives it."""
    return next((value for key, value in _cpuinfo() if key == "model name"), platform.processor() or platform.machine())


def computes_bf16() -> bool:
    """Return True if BF16 products run in hardware rather than in emulation."""
    return not cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16", "bf16"})


def multiplies_uint8() -> bool:
    """Return True if products of uint8 and int8 are summed in 32 bits (VNNI, AMX, or an ARM CPU): none overflows."""
    return not cpu_flags().isdisjoint({"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})


def has_tiles() -> bool:
    """True if AMX multiplies tiles of int8, rows of 64 bytes at a time: three channels leave most of a row empty."""
    return "amx_int8" in cpu_flags()


def abilities() -> frozenset[str]:
    """The abilities of this CPU that decide how engines are built."""
    found = {BF16: computes_bf16(), UINT8: multiplies_uint8()}
    return frozenset(name for name, has in found.items() if has)


def _cpuinfo() -> list[tuple[str, str]]:
    if not _CPUINFO.exists():
        return []
    lines = (line.partition(":") for line in _CPUINFO.read_text(encoding="utf-8").splitlines())
    return [(key.strip(), value.strip()) for key, _, value in lines]

"""Whether INT8 pays: the limits behind `--gate`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Row


def missed(rows: Sequence[Row], max_drop_points: float) -> list[str]:
    """Every limit that an INT8 engine misses, in words; an empty list means the gate is passed.

    An engine must be no slower than the fastest float engine of its backend, lose at most `max_drop_points` of mIoU
    against that backend's FP32, and run convolutions in INT8. An engine that cannot run here is not judged, but
    one must be.
    """
    reasons = [f"{row.name} failed: {row.reason}" for row in rows if row.precision == "int8" and row.status == "failed"]
    measured = [row for row in rows if row.precision == "int8" and row.status == "ok"]
    for row in measured:
        reasons += _missed_by(row, max_drop_points)
    return reasons if measured or reasons else ["no INT8 engine was measured"]


def _missed_by(row: Row, max_drop_points: float) -> list[str]:
    reasons = []
    if row.speedup_vs_float is None or row.delta_miou is None:
        return [f"{row.name} has no float engine of the same backend to be judged against"]
    if row.speedup_vs_float.value < 1:
        ratio, baseline = row.speedup_vs_float.value, row.speedup_vs_float.baseline
        reasons.append(f"{row.name} is slower than {baseline}: {ratio:.2f} times its speed")
    if row.delta_miou < -max_drop_points:
        reasons.append(f"{row.name} loses {-row.delta_miou:.2f} points of mIoU, limit {max_drop_points:g}")
    if row.convs_int8 == 0:
        reasons.append(f"{row.name} runs no convolution in INT8")
    return reasons

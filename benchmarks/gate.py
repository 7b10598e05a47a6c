"""Whether INT8 pays: the limits behind `--gate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.results import LayerCost, LayerNoise, Row, find_row
from benchmarks.table import signed

WORST = 3  # classes and layers that a reason names


def missed(
    rows: Sequence[Row],
    max_drop_points: float,
    layers: Mapping[str, Sequence[LayerCost]] | None = None,
    noise: Mapping[str, Sequence[LayerNoise]] | None = None,
) -> list[str]:
    """Every limit that an INT8 engine misses, in words; an empty list means the gate is passed.

    An engine must be no slower than the fastest float engine of its backend, lose at most `max_drop_points` of mIoU
    against that backend's FP32, and run convolutions in INT8. An engine that cannot run here is not judged, but
    one must be. A loss of mIoU names the classes that lose most and the layers farthest from FP32, a loss of speed the
    slowest layers that are not in INT8.

    Args:
        layers: by row name, slowest first, where a profile tells them.
        noise: by row name, lowest SNR first.
    """
    reasons = [f"{row.name} failed: {row.reason}" for row in rows if row.precision == "int8" and row.status == "failed"]
    measured = [row for row in rows if row.precision == "int8" and row.status == "ok"]
    for row in measured:
        fp32 = find_row(rows, row.backend, "fp32")
        costs, far = (layers or {}).get(row.name, ()), (noise or {}).get(row.name, ())
        reasons += _missed_by(row, fp32, max_drop_points, costs, far)
    return reasons if measured or reasons else ["no INT8 engine was measured"]


def _missed_by(
    row: Row, fp32: Row | None, max_drop_points: float, layers: Sequence[LayerCost], noise: Sequence[LayerNoise]
) -> list[str]:
    reasons = []
    if row.speedup_vs_float is None or row.delta_miou is None:
        return [f"{row.name} has no float engine of the same backend to be judged against"]
    if row.speedup_vs_float.value < 1:
        ratio, baseline = row.speedup_vs_float.value, row.speedup_vs_float.baseline
        reasons.append(f"{row.name} is slower than {baseline}: {ratio:.2f} times its speed{_float_layers(layers)}")
    if row.delta_miou < -max_drop_points:
        loss = f"{row.name} loses {-row.delta_miou:.2f} points of mIoU, limit {max_drop_points:g}"
        named = "; ".join(filter(None, (_worst_classes(row, fp32), worst_layers(noise))))
        reasons.append(f"{loss} ({named})" if named else loss)
    if row.convs_int8 == 0:
        reasons.append(f"{row.name} runs no convolution in INT8")
    return reasons


def _worst_classes(row: Row, fp32: Row | None) -> str:
    before = (fp32.per_class_iou if fp32 else None) or {}
    changes = [
        (iou - reference, name)
        for name, iou in (row.per_class_iou or {}).items()
        if iou is not None and (reference := before.get(name)) is not None and iou < reference
    ]
    named = ", ".join(f"{name} {signed(change)}" for change, name in sorted(changes)[:WORST])
    return f"worst classes: {named}" if named else ""


def worst_layers(noise: Sequence[LayerNoise]) -> str:
    """The layers farthest from FP32, in words; empty where that is not known.

    Args:
        noise: lowest SNR first.
    """
    named = ", ".join(f"{layer.name} {layer.snr_db:.1f} dB" for layer in noise[:WORST])
    return f"layers with the lowest SNR: {named}" if named else ""


def _float_layers(layers: Sequence[LayerCost]) -> str:
    slowest = [layer for layer in layers if layer.precision != "int8"][:WORST]
    named = ", ".join(f"{layer.name} {layer.precision} {layer.ms:.2f} ms" for layer in slowest)
    return f" (slowest layers not in INT8: {named})" if named else ""

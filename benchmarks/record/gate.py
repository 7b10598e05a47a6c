"""Limits that INT8 must keep: against this project's float engines, and against the best baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.record.details import Layer
from benchmarks.record.rows import Row, best_baseline, best_float, find_row
from core.interval import signed
from deploy.checks.layer_snr import LayerSnr
from deploy.targets import title_of

WORST = 3  # classes and layers that a reason names

Noise = Mapping[str, Sequence[LayerSnr]]  # by row name, lowest SNR first


def missed(
    rows: Sequence[Row],
    max_drop_points: float,
    layers: Mapping[str, Sequence[Layer]] | None = None,
    noise: Noise | None = None,
) -> list[str]:
    """Every limit that an INT8 engine misses against float, in words; an empty list means the gate is passed.

    An engine must be no slower than the fastest float engine of its backend, lose at most `max_drop_points` of the
    task's metric against that backend's FP32, and run convolutions in INT8. An engine that cannot run here is skipped,
    but one must be. A loss of accuracy names the classes that lose most and the layers farthest from FP32, a loss of
    speed the slowest layers that are not in INT8.

    Args:
        layers: by row name, slowest first, where there is a profile.
    """
    reasons = [f"{row.name} failed: {row.reason}" for row in rows if row.is_ours and row.status == "failed"]
    measured = [row for row in rows if row.is_ours and row.status == "ok"]
    for row in measured:
        if row.speedup_vs_float is None or row.delta_score is None:
            reasons.append(f"{row.name} has no float engine of the same backend to be compared with")
            continue
        if row.speedup_vs_float.value < 1:
            speed = f"{row.speedup_vs_float.value:.2f} times its speed{_float_layers((layers or {}).get(row.name, ()))}"
            reasons.append(f"{row.name} is slower than {row.fastest_float}: {speed}")
        loss = f"{row.name} loses {-row.delta_score.value:.2f} points of {row.metric}"
        if row.delta_score.value < -max_drop_points:
            worst = _worst(row, find_row(rows, row.backend, "fp32"), noise)
            reasons.append(f"{loss}, limit {max_drop_points:g}{worst}")
        if row.convs_int8 == 0:
            reasons.append(f"{row.name} runs no convolution in INT8")
    return reasons if measured or reasons else ["no INT8 engine was measured"]


def missed_against_baselines(rows: Sequence[Row], max_drop_points: float, noise: Noise | None = None) -> list[str]:
    """Every limit that this project's engines miss against the baselines; an empty list means the gate is passed.

    On each backend ours must be no slower than the fastest float engine and the fastest baseline that keeps its
    accuracy, and not be below that baseline's metric by more than `max_drop_points`. A backend without such a baseline
    is skipped, but one must be there. A loss of accuracy names the worst classes and layers.
    """
    reasons, compared = [], False
    for backend in dict.fromkeys(row.backend for row in rows):
        ours, best = find_row(rows, backend, "int8"), best_baseline(rows, backend, max_drop_points)
        if best is None:
            continue
        compared = True
        if ours is None or ours.latency_ms is None:
            reasons.append(
                f"{title_of(backend)}: ours was not measured: {ours.reason if ours else 'it is not among the engines'}"
            )
            continue
        reasons += [
            f"{ours.name} takes {ratio.value:.2f} times as long as {other.tool or other.precision}"
            for other in (best, best_float(rows, backend))
            if other is not None and (ratio := other.ours_over_this) is not None and ratio.value > 1
        ]
        if ours.score is not None and best.score is not None and best.score - ours.score > max_drop_points:
            below = f"{ours.name} is {best.score - ours.score:.2f} points of {best.metric} below {best.tool}"
            reasons.append(f"{below}, limit {max_drop_points:g}{_worst(ours, best, noise)}")
    return reasons if compared else ["no baseline was measured"]


def _worst(row: Row, reference: Row | None, noise: Noise | None) -> str:
    """In brackets, the classes that lose most against `reference` and the layers farthest from FP32."""
    before = (reference.per_class if reference else None) or {}
    changes = [
        (iou - other, name)
        for name, iou in (row.per_class or {}).items()
        if iou is not None and (other := before.get(name)) is not None and iou < other
    ]
    classes = ", ".join(f"{name} {signed(change)}" for change, name in sorted(changes)[:WORST])
    layers = ", ".join(f"{layer.node} {layer.snr_db:.1f} dB" for layer in (noise or {}).get(row.name, ())[:WORST])
    named = [f"worst classes: {classes}"] if classes else []
    named += [f"layers with the lowest SNR: {layers}"] if layers else []
    return f" ({'; '.join(named)})" if named else ""


def _float_layers(layers: Sequence[Layer]) -> str:
    slowest = [layer for layer in layers if layer.precision != "int8"][:WORST]
    named = ", ".join(f"{layer.name} {layer.precision} {layer.ms:.2f} ms" for layer in slowest)
    return f" (slowest layers not in INT8: {named})" if named else ""

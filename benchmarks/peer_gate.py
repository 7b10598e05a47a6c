"""Whether our INT8 holds against the best peer: the limits behind `peers.py --gate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.gate import worst_layers
from benchmarks.peer_results import PeerRow, backends_of, best_float, best_peer, ours_on
from benchmarks.results import LayerNoise

WORST_CLASSES = 3


def missed(
    rows: Sequence[PeerRow], max_drop_points: float, noise: Mapping[str, Sequence[LayerNoise]] | None = None
) -> list[str]:
    """Every limit that our engines miss, in words; an empty list means the gate is passed.

    On each backend ours must be no slower than the fastest float engine and the fastest peer that keeps its mIoU,
    and not be below that peer's mIoU by more than `max_drop_points`. A backend without such a peer is not judged,
    but one must be. What is below names its worst classes and layers.

    Args:
        noise: by row name, lowest SNR first.
    """
    pairs = [(backend, best_peer(rows, backend, max_drop_points)) for backend in backends_of(rows)]
    reasons = [
        reason
        for backend, peer in pairs
        if peer is not None
        for reason in _missed_on(
            backend, ours_on(rows, backend), peer, best_float(rows, backend), max_drop_points, noise or {}
        )
    ]
    return reasons if any(peer is not None for _, peer in pairs) else ["no peer was measured"]


def _missed_on(
    backend: str,
    ours: PeerRow | None,
    peer: PeerRow,
    baseline: PeerRow | None,
    max_drop_points: float,
    noise: Mapping[str, Sequence[LayerNoise]],
) -> list[str]:
    if ours is None or ours.latency_ms is None:
        return [f"{backend}: ours was not measured: {ours.reason if ours else 'it is not among the engines'}"]
    reasons = [
        f"{ours.name} takes {ratio.value:.2f} times as long as {other.tool}"
        for other in (peer, baseline)
        if other is not None and (ratio := other.ours_over_this) is not None and ratio.value > 1
    ]
    if ours.miou is not None and peer.miou is not None and peer.miou - ours.miou > max_drop_points:
        classes = ", ".join(f"{name} {change:+.1f}" for name, change in _worst_classes(ours, peer))
        named = (f"worst classes: {classes}" if classes else "", worst_layers(noise.get(ours.name, ())))
        worst = "; ".join(filter(None, named))
        below = f"{peer.miou - ours.miou:.2f} points of mIoU below {peer.tool}, limit {max_drop_points:g}"
        reasons.append(f"{ours.name} is {below}" + (f" ({worst})" if worst else ""))
    return reasons


def _worst_classes(ours: PeerRow, peer: PeerRow) -> list[tuple[str, float]]:
    theirs = peer.per_class_iou or {}
    changes = [
        (name, iou - other)
        for name, iou in (ours.per_class_iou or {}).items()
        if iou is not None and (other := theirs.get(name)) is not None
    ]
    return sorted(changes, key=lambda pair: pair[1])[:WORST_CLASSES]

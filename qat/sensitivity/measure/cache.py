"""Finished probes on disk, one line each, so that a killed analysis goes on where it was."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.artifacts import sha256_json
from core.errors import UserError
from qat.processes.distributed import rank
from qat.sensitivity.measure.distance import Distance
from qat.sensitivity.measure.task import Evidence, counts_of

Key = tuple[str, int]  # which units were quantized, and the image


class ProbeCache:
    """Evidence by (set of quantized units, image). Every process appends to a file of its own and reads all of them.

    A line carries the fingerprint of everything that it depends on; lines of other fingerprints, and a last line
    that a kill cut short, are passed over.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.evidence: dict[Key, Evidence] = {}
        self.distances: dict[Key, dict[str, float]] = {}
        self.metrics: dict[str, float] = {}
        for found in sorted(path.parent.glob(f"{path.stem}*{path.suffix}")):
            self._read(found)
        self._own = path.with_name(f"{path.stem}.{rank()}{path.suffix}")
        if self._own.exists() and not self._own.read_bytes().endswith(b"\n"):  # a kill cut the last line short
            with open(self._own, "a", encoding="utf-8") as file:
                file.write("\n")

    def add(
        self,
        units: frozenset[str],
        images: tuple[int, ...],
        *,
        evidence: Sequence[Evidence] = (),
        distances: Sequence[Distance] = (),
    ) -> dict[str, Any]:
        """Keep what a probe found, image by image, and write it; returns the line for other processes."""
        line = {
            "fingerprint": self.fingerprint,
            "set": set_key(units),
            "images": list(images),
            "loss": [repr(item.loss) for item in evidence],
            "counts": _packed(counts_of(evidence)) if any(item.counts is not None for item in evidence) else None,
            "distances": [asdict(item) for item in distances],
        }
        self._write(line)
        self.take(line)
        return line

    def add_metric(self, name: str, value: float) -> dict[str, Any]:
        """Keep what the user's `evaluate` returned."""
        line = {"fingerprint": self.fingerprint, "metric": name, "value": repr(value)}
        self._write(line)
        self.take(line)
        return line

    def take(self, line: dict[str, Any]) -> None:
        """Use a line that this or another process made."""
        if "metric" in line:
            self.metrics[line["metric"]] = float(line["value"])
            return
        counts = _unpacked(line["counts"]) if line["counts"] else [None] * len(line["images"])
        for position, image in enumerate(line["images"]):
            key = (line["set"], image)
            if line["loss"] and (counts[position] is not None or key not in self.evidence):
                self.evidence[key] = Evidence(float(line["loss"][position]), counts[position])
            if line["distances"]:
                self.distances[key] = line["distances"][position]

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._own.parent.mkdir(parents=True, exist_ok=True)
            with open(self._own, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")  # survives a kill; fsync would cost more than some probes
        except OSError as error:
            raise UserError(f"cannot write {self._own}", why=str(error), fix="set cache to a writable path") from error

    def _read(self, file: Path) -> None:
        for text in file.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and line.get("fingerprint") == self.fingerprint:
                self.take(line)


def set_key(units: frozenset[str]) -> str:
    """Short name of a set of units."""
    return sha256_json(sorted(units))[:24]


def _packed(counts: np.ndarray[Any, Any]) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(counts.astype(np.int32).tobytes(), 1)).decode()
    return {"shape": list(counts.shape), "int32": data}


def _unpacked(packed: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed["int32"])), np.int32).reshape(packed["shape"])

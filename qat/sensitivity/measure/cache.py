"""Finished trials on disk, one line each, so that a killed analysis resumes where it stopped."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.files.artifacts import sha256_json
from qat.processes.distributed import rank
from qat.sensitivity.measure.task import Evidence, counts_of

Key = tuple[str, int]  # the set of quantized groups, and the image


class TrialCache:
    """Evidence by (set of quantized groups, image). Every process appends to its own file and reads all files.

    A line holds the fingerprint of everything that it depends on. Lines of other fingerprints, and a last line that a
    kill cut short, are ignored.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.evidence: dict[Key, Evidence] = {}
        self.distances: dict[Key, Mapping[str, float]] = {}
        self.metrics: dict[str, float] = {}
        for found in sorted(path.parent.glob(f"{path.stem}*{path.suffix}")):
            for text in found.read_bytes().splitlines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and line.get("fingerprint") == fingerprint:
                    self.take(line)
        self._own = path.with_name(f"{path.stem}.{rank()}{path.suffix}")
        if self._own.exists() and not self._own.read_bytes().endswith(b"\n"):  # a kill cut the last line short
            self._append("\n")

    def add(
        self,
        groups: frozenset[str],
        images: tuple[int, ...],
        *,
        evidence: Sequence[Evidence] = (),
        distances: Sequence[Mapping[str, float]] = (),
    ) -> dict[str, Any]:
        """Store the results of a trial, image by image, and write them; returns the line for other processes."""
        counts = counts_of(evidence).astype(np.int32) if any(item.counts is not None for item in evidence) else None
        return self._kept(
            set=set_key(groups),
            images=list(images),
            loss=[repr(item.loss) for item in evidence],
            shape=None if counts is None else counts.shape,
            counts="" if counts is None else base64.b64encode(zlib.compress(counts.tobytes(), 1)).decode(),
            distances=list(distances),
        )

    def add_metric(self, name: str, value: float) -> dict[str, Any]:
        """Store a result of the user's `evaluate`."""
        return self._kept(metric=name, value=repr(value))

    def take(self, line: dict[str, Any]) -> None:
        """Read a line that this or another process wrote."""
        if "metric" in line:
            self.metrics[line["metric"]] = float(line["value"])
            return
        counts: Any = [None] * len(line["images"])
        if line["counts"]:
            counts = np.frombuffer(zlib.decompress(base64.b64decode(line["counts"])), np.int32).reshape(line["shape"])
        for position, image in enumerate(line["images"]):
            key = (line["set"], image)
            if line["loss"] and (counts[position] is not None or key not in self.evidence):
                self.evidence[key] = Evidence(float(line["loss"][position]), counts[position])
            if line["distances"]:
                self.distances[key] = line["distances"][position]

    def _kept(self, **values: Any) -> dict[str, Any]:
        line = {"fingerprint": self.fingerprint, **values}
        self._append(json.dumps(line) + "\n")
        self.take(line)
        return line

    def _append(self, text: str) -> None:
        try:
            self._own.parent.mkdir(parents=True, exist_ok=True)
            with open(self._own, "a", encoding="utf-8") as file:
                file.write(text)  # a flush survives a kill; fsync would cost more than some trials
        except OSError as error:
            raise UserError(f"cannot write {self._own}", why=str(error), fix="set cache to a writable path") from error


def set_key(groups: frozenset[str]) -> str:
    """Short name of a set of groups."""
    return sha256_json(sorted(groups))[:24]

"""Paths of the files of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RunPaths:
    """Paths of one run, under the current directory."""

    run: str

    @property
    def dir(self) -> Path:
        return Path("runs") / self.run

    @property
    def manifest(self) -> Path:
        return self.dir / "manifest.json"

    @property
    def config(self) -> Path:
        return self.dir / "config.yaml"

    @property
    def fp32_checkpoint(self) -> Path:
        return self.dir / "fp32.pt"

    @property
    def float_onnx(self) -> Path:
        """The float network with FP32 weights."""
        return self.dir / "float.onnx"

    @property
    def fp16_onnx(self) -> Path:
        return self.dir / "fp16.onnx"

    @property
    def trained_onnx(self) -> Path:
        """The float network with the fine-tuned weights; `plan` belongs to it."""
        return self.dir / "trained.onnx"

    @property
    def plan(self) -> Path:
        """The quantization plan: every scale, its origin and its uses."""
        return self.dir / "plan.json"

    @property
    def calibrated_checkpoint(self) -> Path:
        """FP32 weights with calibrated ranges, as `python -m qat calibrate` writes them."""
        return self.dir / "calibrated.pt"

    @property
    def qat_checkpoint(self) -> Path:
        return self.dir / "qat.pt"

    @property
    def decision(self) -> Path:
        """The decision whether PTQ or the trained network ships, and its evidence."""
        return self.dir / "decision.json"

    @property
    def refused_checkpoint(self) -> Path:
        """The trained network, kept where PTQ ships instead."""
        return self.dir / "qat_refused.pt"

    @property
    def qdq_onnx(self) -> Path:
        """The portable Q/DQ graph, for other toolkits."""
        return self.dir / "qdq.onnx"

    @property
    def simulated(self) -> Path:
        """Answers of the fake-quantized model on the validation split, such as label maps."""
        return self.dir / "simulated.npz"

    @property
    def simulated_score(self) -> Path:
        """Score of the fake-quantized model on the validation split, and its toolkit."""
        return self.dir / "simulated.json"

    @property
    def parity(self) -> Path:
        """A few images and the fake-quantized model's logits for them."""
        return self.dir / "parity.npz"

    @property
    def calibration(self) -> Path:
        """Images of the training split, for scales that training did not measure."""
        return self.dir / "calibration.npz"

    def placed(self, target: str) -> Path:
        """The Q/DQ graph of one target."""
        return self.dir / f"{target}.onnx"

    def placement(self, target: str) -> Path:
        """The placement report of `placed(target)`: quantized uses, and every skip with its reason."""
        return self.dir / f"{target}.placement.json"

    def tuned(self, backend: str) -> Path:
        """The placement that `python -m deploy autotune` found fastest."""
        return self.dir / f"tuned-{backend}.json"

    @property
    def classes(self) -> Path:
        """Names and colours of the classes."""
        return self.dir / "classes.json"

    @property
    def metrics(self) -> Path:
        return self.dir / "metrics.jsonl"

    @property
    def results(self) -> Path:
        return Path("benchmarks") / "results" / self.run

    def bundle(self, backend: str, precision: str) -> Path:
        """Folder of the engine that `backend` builds at `precision`."""
        return Path("engines") / self.run / f"{backend}-{precision}"

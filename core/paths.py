"""Where a run keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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
    def fp32_onnx(self) -> Path:
        return self.dir / "fp32.onnx"

    @property
    def fp16_onnx(self) -> Path:
        return self.dir / "fp16.onnx"

    @property
    def calibrated_checkpoint(self) -> Path:
        """FP32 weights with calibrated ranges, as `python -m qat calibrate` writes them."""
        return self.dir / "calibrated.pt"

    @property
    def qat_checkpoint(self) -> Path:
        return self.dir / "qat.pt"

    @property
    def qdq_onnx(self) -> Path:
        return self.dir / "qdq.onnx"

    @property
    def simulated(self) -> Path:
        """Label maps of the fake-quantized model on the validation split."""
        return self.dir / "simulated.npz"

    @property
    def parity(self) -> Path:
        """A few images and the logits the fake-quantized model gives them."""
        return self.dir / "parity.npz"

    @property
    def quantizers(self) -> Path:
        """Range and origin of every quantizer, and the simulated score."""
        return self.dir / "quantizers.json"

    @property
    def calibration(self) -> Path:
        """Images of the training split, for scales that training did not need (see `deploy.plan.observe`)."""
        return self.dir / "calibration.npz"

    def placed(self, dialect: str) -> Path:
        """The Q/DQ graph in the form of a dialect."""
        return self.dir / f"placed-{dialect}.onnx"

    def placement(self, dialect: str) -> Path:
        """What is quantized in `placed(dialect)`, and every skip with its why."""
        return self.dir / f"placement-{dialect}.json"

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

"""The verbs of `pidnet-int8`, once: the module whose parser each belongs to, and one line about it."""

from __future__ import annotations

from dataclasses import dataclass

DEPLOY, QAT = "deploy.__main__", "qat.__main__"


@dataclass(frozen=True)
class Verb:
    """A command.

    Attributes:
        module: has `parser(prog)`. Those of `DEPLOY` and `QAT` have a subcommand of the verb's name.
        about: one line, in the list of verbs and in the help of the module.
        other: another name for it.
    """

    module: str
    about: str
    other: str = ""

    @property
    def is_subcommand(self) -> bool:
        """True where the module's parser takes the verb as its first word."""
        return self.module in (DEPLOY, QAT)


GROUPS: dict[str, dict[str, Verb]] = {
    "An ONNX file": {
        "quantize": Verb(DEPLOY, "an ONNX file and pictures to INT8 engines, compared with FP32"),
        "lint": Verb(DEPLOY, "parts of a Q/DQ graph that TensorRT refuses or is slow with"),
        "calibrate": Verb(DEPLOY, "a float ONNX file and images to float.onnx and plan.json"),
        "apply": Verb(DEPLOY, "a float ONNX file and its plan to the Q/DQ graph of a target"),
        "place": Verb(DEPLOY, "any Q/DQ ONNX file to the placement of a target"),
        "import-cache": Verb(DEPLOY, "a TensorRT calibration cache and its ONNX to a Q/DQ graph"),
    },
    "A PyTorch network": {
        "bench": Verb("benchmarks.run", "train, quantize, build, then measure all against FP32"),
        "ship": Verb(QAT, "the first engine within a tolerance of FP32, from PTQ to QAT"),
        "train": Verb(QAT, "FP32 weights, then quantization-aware training and export", "qat"),
        "build": Verb(DEPLOY, "place, verify and build the engines of a run", "engine"),
        "fp32": Verb(QAT, "only the FP32 weights and their export"),
        "ranges": Verb(QAT, "FP32 weights, then only the calibrated ranges"),
        "export": Verb(QAT, "Q/DQ ONNX of a checkpoint with quantizers"),
        "evaluate": Verb(QAT, "score of FP32, a checkpoint or its engine on val"),
        "summary": Verb(QAT, "parameters, GMACs and convolutions of the network"),
        "sensitivity": Verb("qat.sensitivity.__main__", "the layers that suffer from INT8"),
        "autotune": Verb(DEPLOY, "search for the placement that is fastest on an engine here"),
    },
    "An engine": {
        "run": Verb(DEPLOY, "segment an image, a folder, a video or a camera"),
        "inspect": Verb(DEPLOY, "the share of an engine that computes in INT8; its layers"),
        "trace": Verb(DEPLOY, "a tensor or layer on its way from the network to the engines"),
        "rules": Verb(DEPLOY, "list the placement rules"),
        "triton": Verb(DEPLOY, "write a Triton model repository"),
    },
    "Results and this machine": {
        "doctor": Verb(DEPLOY, "the engines that this machine can build and run"),
        "report": Verb("benchmarks.report.__main__", "write report.html again from the last results"),
        "peers": Verb("benchmarks.peers", "our INT8 against other toolkits' on the network of a run"),
        "quantizers": Verb("benchmarks.quantizers", "our INT8 against other toolkits' on any ONNX file"),
        "sweep": Verb("benchmarks.sweep", "cost over batch size and resolution"),
        "qat-table": Verb("benchmarks.qat_table", "QAT against PTQ and FP32, recipe by recipe"),
        "train-step": Verb("benchmarks.train_step", "cost of a step of quantization-aware training"),
    },
}
VERBS: dict[str, Verb] = {name: verb for group in GROUPS.values() for name, verb in group.items()}

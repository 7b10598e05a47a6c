"""Quantize with one baseline, in a process of its own: a toolkit that crashes or patches torch harms nothing else.

python -m benchmarks.baselines NAME --config FILE --out FOLDER
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from benchmarks.baselines.base import Source
from benchmarks.baselines.catalog import BASELINES, baseline
from core.cli.command import run_command
from core.cli.options import add_config_options, config_from
from core.cli.parser import Parser
from core.config import Config
from core.files.paths import RunPaths


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python -m benchmarks.baselines") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description="Quantize with one baseline.")
    made.add_argument("name", choices=[each.name for each in BASELINES], help="of the baseline")
    made.add_argument("--out", type=Path, required=True, help="folder for the quantized model, such as baseline")
    add_config_options(made)
    made.set_defaults(run=lambda given: quantize(given.name, config_from(given), given.out))
    return made


def quantize(name: str, config: Config, out: Path) -> None:
    """Let the baseline quantize the run's FP32 network into the folder `out`, whose files change only on success."""
    chosen = baseline(name)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".quantizing.") as folder:
        import_module(chosen.module).quantize(source_of(config), Path(folder) / chosen.file, **chosen.settings)
        for file in chosen.files:
            (Path(folder) / file).replace(out / file)


def source_of(config: Config) -> Source:
    """The run's FP32 export, its weights, and the calibration images that our own quantizers see."""
    from qat.models import build_model
    from qat.models.checkpoint import load_state
    from qat.pipeline.run import calibration_images
    from qat.tasks import dataset_of  # brings torch: a wrong option is refused before that loads

    paths = RunPaths(config.run)

    def network() -> object:
        model = build_model(config.model, augment=False)
        load_state(model, paths.fp32_checkpoint)
        return model.eval()

    train = dataset_of(config, "train")
    return Source(paths.float_onnx, [image.numpy() for image in calibration_images(config, train)], network)


if __name__ == "__main__":
    sys.exit(main())

"""Our post-training INT8 of any ONNX file against NNCF's and ONNX Runtime's: same pictures, one interleaved run.

python benchmarks/quantizers.py MODEL.onnx --data DIR [--baselines nncf,ort] [options of `python -m deploy quantize`]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

from benchmarks.baselines.base import Baseline, Source
from benchmarks.baselines.catalog import selected
from core.cli.command import run_command
from core.cli.naming import command, words_after
from core.cli.parser import Parser
from core.console import say
from core.errors import UserError, one_line
from deploy.apps.quantize.cli import add_options, options_of, show
from deploy.apps.quantize.command import Task, quantize
from deploy.apps.quantize.compare import Candidate
from deploy.apps.quantize.engines import Workshop, chosen_backends
from deploy.pipeline import BuildOutcome
from deploy.targets import get_backend

FAMILIES = "nncf,ort"  # the families that start from ONNX


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/quantizers.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=__doc__.partition("\n")[0])
    add_options(made)
    made.add_argument("--baselines", default=FAMILIES, metavar="A,B", help="toolkits to compare with")
    made.add_argument("--json", action="store_true", help="print the result as JSON")
    made.set_defaults(run=run)
    return made


def run(arguments: argparse.Namespace) -> None:
    """Quantize with everything, compare, and print one table."""
    families = [name.strip() for name in arguments.baselines.split(",") if name.strip()]
    baselines = [each for each in selected(families) if not each.toolkit.endswith("_torch")]
    options = options_of(arguments)
    backends = {backend.name for backend in chosen_backends(options.targets)}

    def others(task: Task, workshop: Workshop) -> Iterator[Candidate]:
        source = Source(workshop.float_onnx, list(task.parts.calibrate), _no_network)
        for baseline in baselines:
            for name in baseline.backends:
                if name in backends:
                    yield Candidate(f"{name} {baseline.name}", _outcome(baseline, name, source, workshop))

    words = words_after("quantizers")
    show(quantize(options, command("quantizers", *words), others), as_json=arguments.json)


def _no_network() -> None:
    raise UserError("there is no torch network", why="the network is an ONNX file")


def _outcome(baseline: Baseline, name: str, source: Source, workshop: Workshop) -> BuildOutcome:
    """A toolkit's failure is a row with its reason."""
    backend, folder = get_backend(name), workshop.folder / "baselines" / baseline.name
    missing = baseline.missing()
    if missing is not None:
        return BuildOutcome(name, "int8", None, "unavailable", str(missing))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        import_module(baseline.module).quantize(source, folder / baseline.file, **baseline.settings)
        bundle = backend.build(folder / baseline.file, folder / name, workshop.built_for("int8"))
    except Exception as error:  # toolkits raise what they like
        say(f"{baseline.name}: failed: {one_line(error)}")
        return BuildOutcome(name, "int8", None, "failed", one_line(error))
    return BuildOutcome(name, "int8", bundle, "ok", source=folder / baseline.file)


if __name__ == "__main__":
    sys.exit(main())

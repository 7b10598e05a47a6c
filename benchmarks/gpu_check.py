"""Everything that needs a GPU, in one command of at most five minutes, without network.

python benchmarks/gpu_check.py

Parts: the pipeline on CUDA, PIDNet-S engines with latency and mIoU, their layers, the cost of a training step, the GPU
tests. Each part is a command of this project in a process of its own: one that fails, crashes or hangs is a row of the
result. `gpu-check.json` and `gpu-check.md`, a section for docs/evidence/results.md, are written into the run's results.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

from benchmarks.measure import environment
from benchmarks.studies.gpu_check_report import CheckedPart, GpuCheck, markdown
from core.cli.command import run_command
from core.cli.options import add_common_options
from core.cli.parser import Parser
from core.console import say
from core.errors import EXIT_ENVIRONMENT, GateMissed, UnsupportedEnvironment
from core.files.artifacts import read_json, write_json, write_text
from core.files.paths import ROOT, RunPaths
from deploy.hardware import cuda_driver
from deploy.targets import title_of
from deploy.targets.packages import missing_package

BUDGET_S = 300.0
REASON_LINES = 6


def _installed() -> str:
    return "tensorrt_rtx" if missing_package("tensorrt") and not missing_package("tensorrt_rtx") else "tensorrt"


@dataclass(frozen=True)
class Plan:
    """The network, engines and tests of a check; the values are those for a GPU.

    Attributes:
        settings: overrides of `config`, as `--set` takes them; they name the run.
        backend: TensorRT where it is installed, else TensorRT-RTX.
        precisions: engines whose layers are counted.
        steps: options of `benchmarks/train_step.py`.
    """

    run: str = "gpu-check"
    config: Path = ROOT / "configs" / "pidnet_s_streets.yaml"
    settings: tuple[str, ...] = ("deploy.image_to_mask=[]", "bench.warmup_ms=1000", "bench.throughput_ms=0")
    backend: str = field(default_factory=_installed)
    precisions: tuple[str, ...] = ("fp16", "int8")
    steps: tuple[str, ...] = ("--precision", "fp32", "bf16")
    tests: Path = ROOT / "tests" / "gpu"


@dataclass(frozen=True)
class Part:
    """One command, and the function that reads its standard output.

    Attributes:
        share_s: time reserved for it; time that earlier parts left over is added.
        read: returns JSON; raises `UnsupportedEnvironment` where nothing could be measured on this machine.
    """

    name: str
    command: Sequence[str]
    share_s: float
    read: Callable[[str], Mapping[str, Any]]


def main() -> int:
    """Check the GPU; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/gpu_check.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=__doc__.partition("\n")[0])
    add_common_options(made)
    made.set_defaults(run=_main)
    return made


def _main(_: object) -> None:
    require_gpu()
    check(Plan(), BUDGET_S)


def require_gpu() -> None:
    """Raise `UnsupportedEnvironment` where the driver or PyTorch sees no GPU."""
    driver = cuda_driver.look()
    if driver.problem:
        raise UnsupportedEnvironment("gpu-check needs an NVIDIA GPU", why=driver.problem, fix=driver.fix)
    import torch

    if not torch.cuda.is_available():
        why = f"PyTorch {torch.__version__} cannot use {driver.gpus[0].name} ({driver})"
        raise UnsupportedEnvironment("gpu-check trains on the GPU", why=why, fix="install PyTorch for this CUDA")


def check(plan: Plan, budget_s: float) -> GpuCheck:
    """Run all parts, write and print what was found.

    Raises:
        GateMissed: a part failed; everything is written all the same.
    """
    started = time.monotonic()
    machine = environment.describe()
    checked = run_parts(parts(plan), budget_s)
    found = GpuCheck(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        environment=machine,
        seconds=time.monotonic() - started,
        parts=tuple(checked),
    )
    folder = RunPaths(plan.run).results
    write_json(folder / "gpu-check.json", found.model_dump(mode="json"))
    write_text(folder / "gpu-check.md", markdown(found))
    print(markdown(found))
    say(f"written: {folder / 'gpu-check.json'} and {folder / 'gpu-check.md'}")
    failed = [part.name for part in checked if part.status == "failed"]
    if failed:
        raise GateMissed(f"failed: {', '.join(failed)}", why="the reasons are above", fix="run their commands alone")
    return found


def parts(plan: Plan) -> list[Part]:
    """The commands of a plan, the one of unknown length last."""
    python = sys.executable
    options = ["--config", str(plan.config)]
    for setting in (f"run={plan.run}", f"deploy.backends=[{plan.backend}]", *plan.settings):
        options += ["--set", setting]
    paths = RunPaths(plan.run)
    return [
        Part("pipeline", [python, "-m", "qat", "run", *options], 90, lambda _: _simulated(paths)),
        Part("engines", [python, f"{ROOT}/benchmarks/run.py", *options, "--json"], 100, _engines),
        *(
            Part(
                f"layers of {title_of(plan.backend)} {precision}",
                [python, "-m", "deploy", "inspect", str(paths.bundle(plan.backend, precision)), "--json"],
                5,
                _layers,
            )
            for precision in plan.precisions
        ),
        Part(
            "training step",
            [python, f"{ROOT}/benchmarks/train_step.py", *options, "--json", "--no-memory", *plan.steps],
            45,
            json.loads,
        ),
        Part("GPU tests", [python, "-m", "pytest", "-q", "-rs", f"--rootdir={ROOT}", str(plan.tests)], 55, _tests),
    ]


def run_parts(wanted: Sequence[Part], budget_s: float) -> list[CheckedPart]:
    """Each part in turn; one that takes more than its share and the time left over is ended."""
    deadline = time.monotonic() + budget_s
    checked = []
    for index, part in enumerate(wanted):
        later_s = sum(other.share_s for other in wanted[index + 1 :])
        say(f"gpu-check: {part.name}")
        checked.append(_checked(part, max(deadline - time.monotonic() - later_s, 1.0)))
        say(f"gpu-check: {part.name}: {checked[-1].status} after {checked[-1].seconds:.0f} s")
    return checked


def _checked(part: Part, limit_s: float) -> CheckedPart:
    started = time.monotonic()
    status, reason, found = "ok", "", {}
    try:
        code, out, errors = _run(part.command, limit_s)
        if code:
            status = "unavailable" if code == EXIT_ENVIRONMENT else "failed"
            reason = f"exit code {code}: {_tail(errors.strip() or out)}"
        else:
            found = dict(part.read(out))
    except subprocess.TimeoutExpired:
        status, reason = "failed", f"not done after {limit_s:.0f} s"
    except UnsupportedEnvironment as error:
        status, reason = "unavailable", error.what
    except Exception as error:  # output that cannot be read is a failure of its part alone
        status, reason = "failed", f"{type(error).__name__}: {error}"
    return CheckedPart.model_validate(
        {
            **{"name": part.name, "command": shlex.join(part.command), "status": status, "reason": reason},
            **{"seconds": time.monotonic() - started, "found": found},
        }
    )


def _run(command: Sequence[str], limit_s: float) -> tuple[int, str, str]:
    """Exit code, output and errors; a process that runs too long is ended with its children."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=limit_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, out, errors


def _tail(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-REASON_LINES:])


def _simulated(paths: RunPaths) -> dict[str, Any]:
    return {"simulated_score": read_json(paths.simulated_score)["simulated"]["value"]}


def _engines(out: str) -> dict[str, Any]:
    """The rows of results.json."""
    rows = json.loads(out)["rows"]
    if not any(row["status"] == "ok" for row in rows):
        raise UnsupportedEnvironment("; ".join(dict.fromkeys(row["reason"] for row in rows)))
    return {"rows": rows}


def _layers(out: str) -> dict[str, Any]:
    """Counts of an inspection, see `deploy.apps.inspection.Inspection`."""
    found = json.loads(out)
    lists = ("conversions", "fused_adds", "float_outputs", "float_convolutions")
    return {"convolutions": found["convolutions"], **{name: len(found[name]) for name in lists}}


def _tests(out: str) -> dict[str, Any]:
    *lines, summary = out.strip().splitlines()
    if "passed" not in summary:
        raise UnsupportedEnvironment(next((line for line in lines if line.startswith("SKIPPED")), summary))
    return {"summary": summary}


if __name__ == "__main__":
    sys.exit(main())

"""The abilities of this machine, and the changes that would add others: `python -m deploy doctor`."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from core.backends import BACKEND_NAMES
from core.cli.naming import by_make
from deploy.hardware import cuda_driver, machine
from deploy.hardware.cpu import cpu_flags, cpu_model
from deploy.targets import get_backend, title_of
from deploy.targets.packages import missing_package

LOW_DISK_MIB = 10 << 10  # an environment with CUDA, a run and its engines take about this
LOW_MEMORY_MIB = 4 << 10
USUAL_FOLDERS = ("data", "../data", "/data", "~/data")

# Folders that identify a data set by its layout; see docs/guides/data.md.
LAYOUTS: dict[str, tuple[tuple[str, str], ...]] = {
    "camvid": (("train", "trainannot"),),
    "camvid_original": (("701_StillsRaw_full", "LabeledApproved_full"), ("images", "labels")),
    "cityscapes": (("leftImg8bit", "gtFine"),),
}

_WITHOUT_VNNI = (
    "INT8 without VNNI or AMX gains little, and 16-bit sums overflow: engines built here get smaller weights for it, "
    "those of other toolkits may compute nonsense; a newer CPU or a GPU would do better"
)
_INT8_FLAGS = {"avx512_vnni": "VNNI", "avx_vnni": "VNNI", "amx_int8": "AMX", "i8mm": "I8MM"}
_TOOLKITS = {
    "modelopt": ("nvidia-modelopt", "pip install nvidia-modelopt"),
    "pytorch_quantization": ("pytorch-quantization", "use an NGC container that has it; modelopt is its successor"),
    "nncf": ("nncf", "pip install nncf (only to compare with it)"),
}

State = Literal["ok", "missing", "optional", "warning"]
COLORS: dict[State, str] = {"ok": "green", "missing": "red", "optional": "dim", "warning": "yellow"}


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; `fix` says what would change a state that is not "ok".

    "missing" is needed by the default pipeline, "optional" is not.
    """

    topic: str
    name: str
    state: State
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Everything found, and the engines (`backend precision`) that can be built and run here."""

    findings: tuple[Finding, ...]
    builds: tuple[str, ...]
    runs: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def examine(folders: Sequence[Path], configs: Path = Path("configs")) -> Diagnosis:
    """Look at this machine. Nothing is built, nothing is downloaded.

    Args:
        folders: where to look for data sets, besides the usual places and `data.root` of the configs.
        configs: folder of run configs.
    """
    engines = [finding for name in BACKEND_NAMES for finding in _backend(name)]
    built = (*(finding for finding, _, _ in engines), *_rtx_int8())
    found = (*_system(), *_gpu(), *built, *_data(folders, configs), *_tools())
    return Diagnosis(
        found,
        tuple(finding.name for finding, build, _ in engines if build),
        tuple(finding.name for finding, _, run in engines if run),
    )


def _system() -> Iterable[Finding]:
    yield Finding("system", "Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    flags = sorted(cpu_flags())
    arithmetic = sorted({name for flag, name in _INT8_FLAGS.items() if flag in flags})
    slow = "" if arithmetic else _WITHOUT_VNNI
    cores = f"{machine.cpu_cores()} cores, {machine.cpu_threads()} logical for this process"
    yield Finding("system", "CPU", "warning" if slow else "ok", f"{cpu_model()}, {cores}", slow)
    half = [flag for flag in ("avx512_bf16", "amx_bf16", "bf16") if flag in flags]
    detail = f"INT8 products: {', '.join(arithmetic) or 'none'}; BF16: {', '.join(half) or 'none'}"
    yield Finding("system", "CPU instructions", "ok", f"{', '.join(flags) or 'none that matter'} ({detail})")
    memory = machine.memory_mib()
    if memory is not None:
        low = "close other programs, or lower train.batch_size" if memory[1] < LOW_MEMORY_MIB else ""
        amount = f"{memory[1] / 1024:.1f} of {memory[0] / 1024:.1f} GiB free"
        yield Finding("system", "memory", "warning" if low else "ok", amount, low)
    free = machine.disk_free_mib(Path.cwd())
    low = "free some space: the environment alone takes gigabytes" if free < LOW_DISK_MIB else ""
    yield Finding("system", "disk", "warning" if low else "ok", f"{free / 1024:.1f} GiB free here", low)


def _gpu() -> Iterable[Finding]:
    driver = cuda_driver.look()
    if driver.problem:
        yield Finding("system", "GPU", "optional", driver.problem, driver.fix)
    for gpu in driver.gpus:
        about = f"{gpu.memory_mib} MiB, compute capability {gpu.compute_capability}, {driver}"
        yield Finding("system", "GPU", "ok", f"{gpu.name}, {about}")


def _backend(name: str) -> Iterable[tuple[Finding, bool, bool]]:
    """A finding for each precision, and whether it can be built and run."""
    backend = get_backend(name)
    for precision in backend.precisions:
        engine = f"{title_of(name)} {precision}"
        build = backend.available(precision)
        missing = build or backend.runnable(precision)
        if missing is None:
            finding = Finding("engine", engine, "ok", f"builds and runs, {backend.version()}")
        else:
            state: State = "optional" if build or name.startswith("tensorrt") else "warning"
            detail = missing.why if build else f"builds, {backend.version()}; cannot run here: {missing.why}"
            finding = Finding("engine", engine, state, detail, missing.fix)
        yield finding, build is None, missing is None


def _rtx_int8() -> Iterable[Finding]:
    """Why INT8 does not pay on TensorRT-RTX, where it is installed; see docs/reference/engines.md."""
    if missing_package("tensorrt_rtx") is None:
        why = (
            "its INT8 convolutions write float: the INT8 engine of PIDNet-S moves 1.5 times the bytes of FP16 (RTX 1.7)"
        )
        yield Finding("engine", "TensorRT-RTX INT8", "warning", why, "ship its FP16 engine, or measure both")


def _data(folders: Sequence[Path], configs: Path) -> Iterable[Finding]:
    yield Finding("data", "streets", "ok", "built in")
    places = [*folders, *_roots(configs), *(Path(name).expanduser() for name in USUAL_FOLDERS)]
    candidates = [path for place in places for path in (place, *_folders_in(place))]
    for name, layouts in LAYOUTS.items():
        hits = (path for path in candidates if any(all((path / part).is_dir() for part in pair) for pair in layouts))
        hit = next(hits, None)
        if hit is None:
            fix = "see docs/guides/data.md, then set data.root"
            yield Finding("data", name, "optional", "not in data.root of a config nor in the usual folders", fix)
        else:
            yield Finding("data", name, "ok", str(hit))


def _roots(configs: Path) -> list[Path]:
    """`data.root` of every config that has one; a config that cannot be read is another command's affair."""
    roots = []
    for path in sorted(configs.glob("*.yaml")):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        data = content.get("data") if isinstance(content, dict) else None
        root = data.get("root") if isinstance(data, dict) else None
        roots += [Path(root)] if root else []
    return roots


def _folders_in(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:  # not there, not a folder, or not ours to read
        return []


def _tools() -> Iterable[Finding]:
    for module, (package, fix) in _TOOLKITS.items():
        there = util.find_spec(module) is not None
        detail = metadata.version(package) if there else "not installed"
        yield Finding("tool", package, "ok" if there else "optional", detail, "" if there else fix)
    opencv = util.find_spec("cv2") is not None
    yield Finding(
        "tool", "OpenCV", "ok" if opencv else "missing", "reads images and video", "" if opencv else by_make("setup")
    )
    ffmpeg = shutil.which("ffmpeg")
    absent = "not on the PATH; OpenCV brings its own"
    yield Finding("tool", "ffmpeg", "ok" if ffmpeg else "optional", ffmpeg or absent)


def print_diagnosis(found: Diagnosis) -> None:
    """A table per topic, what can be built and run, and as the last line the next command."""
    out = Console(soft_wrap=True, highlight=False)
    for topic in dict.fromkeys(finding.topic for finding in found.findings):
        table = Table(topic, "", Column("found", overflow="fold"), Column("fix", overflow="fold"))
        for finding in found.findings:
            if finding.topic == topic:
                state = f"[{COLORS[finding.state]}]{finding.state}[/]"
                table.add_row(escape(finding.name), state, escape(finding.detail), escape(finding.fix))
        out.print(table)
    out.print(f"builds here: {', '.join(found.builds) or 'nothing'}", markup=False)
    out.print(f"runs here: {', '.join(found.runs) or 'nothing'}", markup=False)
    missing = [finding for finding in found.findings if finding.state == "missing"]
    if found.runs and not missing:
        out.print(f"Ready: run `{by_make('bench')}`", style="green", markup=False)
    else:
        first = missing[0].fix if missing else f"run `{by_make('setup')}`"
        out.print(f"Not ready: {first}", style="red", markup=False)

"""A soak test: memory, file handles and CPU time over many frames, many opens, and several processes on one bundle.

python -m benchmarks.studies.soak BUNDLE [--minutes 30] [--opens 1000] [--processes 4] [--json]

BUNDLE is an image → mask engine. A short video goes through `deploy run` again and again for those minutes; the engine
is opened and closed that often; then several such processes run at once. The last samples of each part are compared
with the first ones after a warm-up. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from core.cli.command import run_command
from core.cli.options import add_common_options, count
from core.cli.parser import Parser
from core.console import say
from core.errors import GateMissed
from core.files.paths import ROOT
from deploy.apps.run.command import run
from deploy.bundle.store import read_bundle
from deploy.targets import get_backend

FRAMES = 50  # of the video
SAMPLES = 30
WARM_UP = 0.1  # share of the work before the first sample
MEMORY_MIB, HANDLES = 16.0, 4  # growth from the first sample to the last that is still called flat
COST = 1.25  # CPU time of one repetition: the last third's median over the first third's; wall time is the machine's


@dataclass(frozen=True)
class Soak:
    """The result of one part: growth of resident memory and of open files, and the ratio of late to early CPU time."""

    part: str
    done: int
    seconds: float
    memory_mib: float
    handles: int
    cost_ratio: float

    @property
    def flat(self) -> bool:
        """Within the limits of this module."""
        return self.memory_mib <= MEMORY_MIB and self.handles <= HANDLES and self.cost_ratio <= COST


def main() -> int:
    """Command line; 1 when something grows."""
    return run_command(parser())


def parser(prog: str = "python -m benchmarks.studies.soak") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("bundle", type=Path, help="folder of an image → mask engine")
    made.add_argument("--minutes", type=float, default=30.0, help="of `run`")
    made.add_argument("--opens", type=int, default=1000, help="how often the engine is opened")
    made.add_argument("--processes", type=count, default=4, help="that run it at once")
    made.add_argument("--json", action="store_true", help="print the measurements as JSON")
    add_common_options(made)
    made.set_defaults(run=soak)
    return made


def soak(arguments: argparse.Namespace) -> None:
    """Run the parts, print them, and raise `GateMissed` for one that is not flat."""
    found = [frames(arguments.bundle, 60 * arguments.minutes)] if arguments.minutes else []
    if arguments.opens:
        found.append(opens(arguments.bundle, arguments.opens))
    if arguments.processes > 1:
        found += together(arguments)
    if arguments.json:
        print(json.dumps([asdict(part) for part in found]))
    for part in found:
        say(
            f"{part.part}: {part.done} in {part.seconds:.0f} s, memory {part.memory_mib:+.1f} MiB, "
            f"handles {part.handles:+d}, late over early CPU time {part.cost_ratio:.3f}"
        )
    grown = [part.part for part in found if not part.flat]
    if grown:
        raise GateMissed(f"not flat: {', '.join(grown)}", why=f"limits are {MEMORY_MIB} MiB, {HANDLES} handles")


def frames(bundle: Path, seconds: float) -> Soak:
    """`deploy run` over the same short video again and again for `seconds`, from its file to a drawn file."""
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder) / "clip.avi", Path(folder) / "out.mp4"
        _write_clip(clip)
        found = _repeated("deploy run", lambda: run(bundle, str(clip), out), seconds=seconds)
    return replace(found, done=FRAMES * found.done)


def opens(bundle: Path, times: int) -> Soak:
    """Open and close the engine `times` times, with one inference each."""
    opened = read_bundle(bundle)
    backend, size = get_backend(opened.backend), opened.manifest["meaning"]["input"]
    picture = np.zeros((1, size["height_px"], size["width_px"], 3), np.uint8)

    def one() -> None:
        with backend.open(opened) as session:
            session.run({session.input_names[0]: picture})

    return _repeated("opens", one, times=times)


def together(arguments: argparse.Namespace) -> list[Soak]:
    """`deploy run` in several processes at once, each for a tenth of the time but at least ten seconds."""
    minutes = max(arguments.minutes / 10, 1 / 6)
    own = ["--minutes", str(minutes), "--opens", "0", "--processes", "1", "--json"]
    command = [sys.executable, "-m", "benchmarks.studies.soak", str(arguments.bundle), *own]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(arguments.processes)
    ]
    texts = [process.communicate()[0] for process in started]
    return [Soak(**{**json.loads(text)[0], "part": f"process {index}"}) for index, text in enumerate(texts)]


def _repeated(part: str, one: Callable[[], object], *, seconds: float = 0.0, times: int = 0) -> Soak:
    """Call `one` for `seconds`, or `times` times, and sample memory and handles on the way."""
    taken: list[float] = []
    samples: list[tuple[float, int]] = []
    start = time.perf_counter()

    def progress() -> float:
        return len(taken) / times if times else (time.perf_counter() - start) / seconds

    while progress() < 1:
        before = time.process_time()
        one()
        taken.append(time.process_time() - before)
        if progress() >= WARM_UP + len(samples) * (1 - WARM_UP) / SAMPLES:
            samples.append((_memory_mib(), len(os.listdir("/proc/self/fd"))))
    measured = np.array(taken[int(WARM_UP * len(taken)) :])
    third = max(1, len(measured) // 3)
    ratio = float(np.median(measured[-third:]) / np.median(measured[:third]))
    memory, handles = (samples[-1][0] - samples[0][0], samples[-1][1] - samples[0][1]) if samples else (0.0, 0)
    return Soak(part, len(taken), time.perf_counter() - start, memory, handles, ratio)


def _write_clip(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (640, 480))
    for seed in range(FRAMES):
        writer.write(np.random.default_rng(seed).integers(0, 256, (480, 640, 3), np.uint8))
    writer.release()


def _memory_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())

"""SIGTERM and Ctrl-C: a message, the shell's exit code, and nothing left behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.faults.commands import files_below, finish, options, start
from tests.small_line import CONFIG, settings

BUNDLE = "engines/openvino-fp32-mask"
SLOW_DATA = """
import subprocess, sys, time
import numpy as np


class Data:
    class_names = tuple(str(number) for number in range(11))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        open("started", "w").close()
        subprocess.run([sys.executable, "-c", "import time; open('child', 'w').close(); time.sleep(60)"])
        return np.zeros((32, 48, 3), np.uint8), np.zeros((32, 48), np.uint8)


def make():
    return Data()
"""


def wait_for(path, timeout_s=60.0):
    until = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.05)


def as_in_a_terminal():
    """Commands that a shell starts in the background ignore Ctrl-C, and so do their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def commands_below(folder):
    """Command lines of living processes whose current folder is `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder:
                found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("number", "code", "words", "name", "more"),
    [
        (signal.SIGTERM, 143, "terminated by SIGTERM", "run", []),
        (signal.SIGINT, 130, "interrupted", "train", ["model.checkpoint=null", "train.epochs=1"]),
    ],
)
def test_a_run_that_is_stopped_takes_its_children_along(tmp_path, number, code, words, name, more):
    (tmp_path / "own.py").write_text(SLOW_DATA)
    own = [*settings(tmp_path), "data.name=custom", f"data.factory={tmp_path}/own.py:make", *more]
    process = start("-m", "qat", name, *options(own, CONFIG), folder=tmp_path, before=as_in_a_terminal)
    wait_for(tmp_path / "child")
    process.send_signal(number)
    done = finish(process, timeout_s=20)
    assert done.code == code and words in done.err and "Traceback" not in done.err, done.err
    time.sleep(0.2)
    assert commands_below(tmp_path.resolve()) == []
    assert [path for path in (tmp_path / "runs").rglob(".*") if path.is_file() and path.name != ".lock"] == []


def test_a_video_that_is_stopped_leaves_the_previous_one(engines, clip, tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"previous")
    long = tmp_path / "long.avi"
    import cv2

    writer = cv2.VideoWriter(str(long), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (640, 480))
    picture = cv2.resize(cv2.VideoCapture(str(clip)).read()[1], (640, 480))
    for _ in range(400):
        writer.write(picture)
    writer.release()
    before = files_below(tmp_path)
    process = start("-m", "deploy", "run", BUNDLE, long, "-o", "out.mp4", folder=tmp_path)
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*.mp4")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    done = finish(process, timeout_s=20)
    assert done.code == 143 and "terminated by SIGTERM" in done.err, done.err
    assert files_below(tmp_path) == before

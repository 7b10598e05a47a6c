"""Two commands on one run: the second one is refused, and the lock of a dead owner does not count."""

from __future__ import annotations

import signal

from tests.faults.commands import Outcome, finish, options, start
from tests.faults.process.test_signals import wait_for
from tests.small_line import CONFIG, settings

WAITING = """
import time
from pathlib import Path

from tests.nets.residual import ResidualNet


def net(num_classes):
    open("started", "w").close()
    while not Path("go").exists():
        time.sleep(0.05)
    return ResidualNet(num_classes)
"""


def test_the_second_is_refused_and_the_first_ends_well(tmp_path, command):
    own = settings(tmp_path)
    (tmp_path / "net.py").write_text(WAITING)
    first = start("-m", "qat", "train", *options(own, CONFIG), folder=tmp_path)
    wait_for(tmp_path / "started")
    second = command("qat.__main__", "train", *options(own, CONFIG))
    second.refuses(3, "runs/small is in use", f"process {first.pid} on ")
    assert command("deploy.__main__", "build", *options(own, CONFIG)).code != 0
    (tmp_path / "go").touch()
    assert isinstance(done := finish(first), Outcome) and done.code == 0, done.err
    assert (tmp_path / "runs" / "small" / "float.onnx").is_file()


def test_a_lock_of_a_killed_command_holds_nobody_up(tmp_path, command):
    own = settings(tmp_path)
    (tmp_path / "net.py").write_text(WAITING)
    first = start("-m", "qat", "train", *options(own, CONFIG), folder=tmp_path)
    wait_for(tmp_path / "started")
    first.send_signal(signal.SIGKILL)
    finish(first)
    assert (tmp_path / "runs" / "small" / ".lock").is_file()
    (tmp_path / "go").touch()
    done = command("qat.__main__", "train", *options(own, CONFIG))
    assert done.code == 0, done.err

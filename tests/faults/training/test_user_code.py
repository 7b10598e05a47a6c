"""User code that raises or ends the program: the message names file and line, and no stage counts as done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.commands import options
from tests.small_line import CONFIG, FACTORY

DATA = """
import sys
import numpy as np

IMAGE, LABEL = np.zeros((32, 48, 3), np.uint8), np.zeros((32, 48), np.uint8)


class Data:
    class_names = tuple(str(number) for number in range(11))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        FAULT
        return IMAGE, LABEL


def make(split):
    return Data()
"""
MODEL = """
import sys
from tests.nets.residual import ResidualNet


class Net(ResidualNet):
    def forward(self, x):
        FAULT
        return super().forward(x)


def net(num_classes):
    return Net(num_classes)
"""
RULE = """
import sys
from deploy.placement.rules.base import Rule


def match(graph, node):
    FAULT


RULES = (Rule("mine", "a reason", "a source", match),)
"""
FAULTS = {"raise KeyError('left')": "KeyError: 'left'", "sys.exit(0)": "SystemExit: 0", "1 / 0": "ZeroDivisionError"}


def line_of(path, text):
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_factory(qat, tmp_path, fault):
    path = tmp_path / "net.py"
    path.write_text(f"import sys\n{FACTORY}".replace("    return", f"    {fault}\n    return"))
    qat("run").refuses(2, f"net.py, line {line_of(path, fault)}, in net", FAULTS[fault])


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", ["module", "getitem"])
def test_a_data_set(qat, tmp_path, where, fault):
    path = tmp_path / "own.py"
    body = DATA.replace("FAULT", fault) if where == "getitem" else f"{DATA.replace('FAULT', 'pass')}\n{fault}\n"
    path.write_text(body)
    done = qat("run", "data.name=custom", f"data.factory={path}:make")
    done.refuses(2, "own.py", f"line {line_of(path, fault)}", FAULTS[fault])
    assert not Path("runs/small/qat.pt").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_forward(qat, tmp_path, fault):
    path = tmp_path / "net.py"
    path.write_text(MODEL.replace("FAULT", fault))
    qat("run").refuses(2, f"net.py, line {line_of(path, fault)}, in forward", FAULTS[fault])
    assert not Path("runs/small/float.onnx").exists()


@pytest.mark.parametrize("fault", ["raise ValueError()", "if x.sum() > 0: pass"])
def test_a_forward_that_cannot_be_traced(qat, tmp_path, fault):
    path = tmp_path / "net.py"
    path.write_text(MODEL.replace("FAULT", fault))
    qat("run").refuses(
        2, "neither torch.fx nor torch.export can trace Net", f"net.py, line {line_of(path, fault)}, in forward"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule(exported, command, tmp_path, fault):
    path = tmp_path / "rule.py"
    path.write_text(RULE.replace("FAULT", fault))
    done = command("deploy.__main__", "place", exported.qdq, "placed.onnx", "--custom", path)
    done.refuses(2, f"rule.py, line {line_of(path, fault)}, in match", FAULTS[fault])
    assert not (tmp_path / "placed.onnx").exists()


@pytest.mark.parametrize("verdict", ["5", "'float'", "True"])
def test_a_rule_whose_verdict_is_none(exported, command, tmp_path, verdict):
    (tmp_path / "rule.py").write_text(RULE.replace("FAULT", f"return {verdict}"))
    done = command("deploy.__main__", "place", exported.qdq, "placed.onnx", "--custom", "rule.py")
    done.refuses(2, "placement rule mine", "a verdict is Match, Move, Keep, Skip or None")
    assert not (tmp_path / "placed.onnx").exists()


def test_debug_shows_the_traceback(command, tmp_path):
    (tmp_path / "net.py").write_text("def net():\n    raise KeyError('left')\n")
    own = ["model.name=custom", "model.factory=net.py:net"]
    with pytest.raises(KeyError, match="left"):
        command("qat.__main__", "summary", *options(own, CONFIG), "--debug")

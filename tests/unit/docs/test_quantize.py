"""The commands of docs/guides/quantize.md, run unchanged on a small network."""

import re
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest

from core.cli.verbs import VERBS
from deploy.apps.quantize.options import PRESETS
from tests.faults.commands import call
from tests.nets.picture_nets import network, pictures

PAGE = (Path(__file__).parents[3] / "docs" / "guides" / "quantize.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
RANGES = {"image": 2.5, "features": 4.0, "r2": 3.0, "sum": 6.0, "c3": 5.0}


def test_every_command_of_the_page_works_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network(Path("model.onnx"))
    names = sorted(path.name for path in pictures(Path("pictures"), 15).iterdir())
    Path("labels.csv").write_text("".join(f"{name},{index % 5}\n" for index, name in enumerate(names)))
    lines = [f"{name}: {struct.pack('>f', np.float32(value / 127)).hex()}" for name, value in RANGES.items()]
    Path("calib.cache").write_text("\n".join(["TRT-8601-EntropyCalibration2", *lines]) + "\n")
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "pidnet-int8" and VERBS[arguments[0]].module == "deploy.__main__"
        tolerant = ["--tolerance", "100"] if "--tolerance" in arguments else []  # random weights give close logits
        assert call("deploy.__main__", *arguments, *tolerant) == 0, command
    assert "× FP32" in capsys.readouterr().out
    assert Path("mended.onnx").is_file() and Path("imported/tensorrt.onnx").is_file()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_page_names_every_preset(preset):
    assert f"`{preset}`" in PAGE or f" {preset}`" in PAGE

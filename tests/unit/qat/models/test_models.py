"""The model factory: PIDNet by name, or a function from the user's own file."""

import pytest
from torch import nn

from core.config import ModelConfig
from core.errors import UserError
from qat.models import build_model
from qat.models.pidnet import PIDNet

SOURCE = """
from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass
class Widths:
    hidden: int = 4


def with_classes(num_classes):
    return nn.Conv2d(3, num_classes, 1)


def without_classes():
    return nn.Conv2d(3, Widths().hidden, 1)


def no_module():
    return [nn.ReLU()]


CONSTANT = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_net.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def custom(reference):
    return ModelConfig(name="custom", num_classes=7, factory=str(reference))


@pytest.mark.parametrize("augment", [True, False])
def test_pidnet_by_name(augment):
    model = build_model(ModelConfig(name="pidnet_s", num_classes=7), augment=augment)
    assert isinstance(model, PIDNet)
    assert model.final_layer.conv2.out_channels == 7
    assert hasattr(model, "seghead_p") is augment


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize(("function", "channels"), [("with_classes", 7), ("without_classes", 4)])
def test_custom_factory_gets_the_classes_if_it_takes_them(file, function, channels, augment):
    model = build_model(custom(f"{file}:{function}"), augment=augment)
    assert isinstance(model, nn.Conv2d)
    assert model.out_channels == channels


@pytest.mark.parametrize("name", ["absent", "CONSTANT"])
def test_name_that_is_no_function(file, name):
    with pytest.raises(UserError) as raised:
        build_model(custom(f"{file}:{name}"), augment=False)
    assert raised.value.why == f"{file} has no function {name}"


def test_reference_that_names_no_python_file(file, tmp_path):
    (tmp_path / "notes.txt").write_text("def with_classes(): ...")
    for reference in (file, f"{tmp_path}/absent.py:with_classes", f"{tmp_path}/notes.txt:with_classes", "with_classes"):
        with pytest.raises(UserError) as raised:
            build_model(custom(reference), augment=False)
        assert "no Python file" in raised.value.what
        assert raised.value.fix == "write file.py:function"


def test_factory_that_returns_no_module(file):
    with pytest.raises(UserError, match="returned list"):
        build_model(custom(f"{file}:no_module"), augment=False)


def test_factory_that_takes_the_classes_among_its_options(tmp_path):
    path = tmp_path / "options.py"
    path.write_text("from torch import nn\ndef f(**options):\n    return nn.Conv2d(3, options['num_classes'], 1)\n")
    assert build_model(custom(f"{path}:f"), augment=False).out_channels == 7


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(width): ...", "'width'"),
        ("def f(num_classes, /): ...", "'num_classes'"),
        ("def f(:", "SyntaxError"),
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_factory_that_cannot_be_called_or_imported(tmp_path, source, why):
    path = tmp_path / "broken.py"
    path.write_text(source + "\n")
    with pytest.raises(UserError) as raised:
        build_model(custom(f"{path}:f"), augment=False)
    assert why in raised.value.why

"""`qat.toolkit: auto`: its choice, the message and the record of it, and results that do not depend on it."""

from hashlib import sha256

import pytest

from core.errors import UnsupportedEnvironment
from core.files.artifacts import read_json
from core.files.paths import RunPaths
from qat.pipeline import run as pipeline
from qat.quantization import toolkits
from qat.quantization.quantizers import Quantizer
from qat.quantization.toolkits import AUTO, TOOLKITS, described, quantizer_class, with_toolkit_chosen
from tests.small_line import small_config


def absent():
    raise UnsupportedEnvironment("no", why="no module of that name")


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return small_config(tmp_path, "qat.toolkit=auto", "qat.epochs=1")


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(toolkits, "say", lines.append)
    return lines


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (("modelopt", "pytorch-quantization"), "modelopt"),
        (("pytorch-quantization",), "pytorch-quantization"),
        ((), "builtin"),
    ],
)
def test_auto_takes_the_first_that_can_be_imported(config, present, chosen, said, monkeypatch):
    for name in set(TOOLKITS) - {"builtin"}:
        monkeypatch.setitem(TOOLKITS, name, (lambda: Quantizer) if name in present else absent)
    assert with_toolkit_chosen(config).qat.toolkit == chosen
    (line,) = said
    assert line.startswith(f"quantizers: {described(chosen)} (qat.toolkit: auto")
    assert ("no modelopt: no module of that name" in line) == (chosen != "modelopt")


def test_a_toolkit_that_is_named_is_not_replaced(config, monkeypatch):
    monkeypatch.setitem(TOOLKITS, "modelopt", absent)
    named = config.model_copy(update={"qat": config.qat.model_copy(update={"toolkit": "modelopt"})})
    with pytest.raises(UnsupportedEnvironment):
        with_toolkit_chosen(named)


def test_reading_what_was_trained_imports_no_toolkit(config, monkeypatch):
    monkeypatch.setitem(TOOLKITS, "modelopt", lambda: pytest.fail("imported"))
    assert quantizer_class(AUTO) is Quantizer


def test_the_default_line_writes_the_builtin_files_and_names_its_toolkit(config):
    paths = RunPaths(config.run)
    files, recorded = {}, {}
    for name in (AUTO, "builtin"):
        pipeline.ensure(config.model_copy(update={"qat": config.qat.model_copy(update={"toolkit": name})}))
        files[name] = [sha256(path.read_bytes()).hexdigest() for path in (paths.float_onnx, paths.qdq_onnx)]
        recorded[name] = read_json(paths.simulated_score)["toolkit"]
    assert recorded["builtin"] == "builtin"
    if "pytorch-quantization" not in recorded[AUTO]:  # on CPUs the other two compute the same bits, in training too
        assert files[AUTO] == files["builtin"]
    assert recorded[AUTO] == described(with_toolkit_chosen(config).qat.toolkit)

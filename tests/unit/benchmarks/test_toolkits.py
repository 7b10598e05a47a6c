"""The baselines: each keeps its contract and reports missing packages, and a failure becomes a row, not a crash."""

import inspect
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import onnx
import pytest

from benchmarks.baselines.base import Source
from benchmarks.baselines.catalog import BASELINES, FAMILIES, baseline, selected
from core.errors import UserError
from deploy.bundle.types import BuildOptions
from deploy.targets import get_backend
from tests.nets.exported import SHAPE
from tests.nets.residual import residual_net

HEAVY = {"nncf", "modelopt"}  # their import alone takes seconds


@pytest.fixture(scope="module")
def source(exported):
    rng = np.random.default_rng(0)
    images = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(3)]
    return Source(exported.fp32, images, lambda: residual_net().eval())


@pytest.mark.parametrize("each", BASELINES, ids=lambda each: each.name)
def test_settings_are_what_the_function_takes(each):
    quantize = import_module(each.module).quantize
    inspect.signature(quantize).bind("source", "out", **each.settings)


def test_importing_the_catalog_imports_no_toolkit():
    code = "import sys; import benchmarks.baselines.catalog; sys.exit(any(n in sys.modules for n in sys.argv[1:]))"
    assert subprocess.run([sys.executable, "-c", code, "nncf", "modelopt", "torch"], check=False).returncode == 0


@pytest.mark.parametrize(
    "name", [pytest.param(each.name, marks=[pytest.mark.slow] * (each.family in HEAVY)) for each in BASELINES]
)
def test_quantizes_convolutions_and_the_engines_take_it(name, source, tmp_path):
    chosen = baseline(name)
    if (missing := chosen.missing()) is not None:
        pytest.skip(f"{missing.why}; {missing.fix}")
    out = tmp_path / chosen.file
    import_module(chosen.module).quantize(source, out, **chosen.settings)
    assert {path.name for path in tmp_path.iterdir()} >= set(chosen.files)
    backend = get_backend(chosen.backends[0])
    bundle = backend.build(out, tmp_path / "engine", BuildOptions("int8"))
    with backend.open(bundle) as session:
        logits = session.run({session.input_names[0]: source.images[0]})[session.output_names[0]]
    with get_backend("onnxruntime").open(
        get_backend("onnxruntime").build(source.fp32_onnx, tmp_path / "float", BuildOptions("fp32"))
    ) as session:
        expected = session.run({session.input_names[0]: source.images[0]})[session.output_names[0]]
    error = np.sqrt(np.mean((logits - expected) ** 2) / np.mean(expected**2))
    assert 0 < error < 0.2  # it was quantized, and the result is close
    if chosen.file.endswith(".onnx"):
        assert any(node.op_type == "QuantizeLinear" for node in onnx.load(str(out)).graph.node)


def test_families_choose_in_the_catalogs_order():
    assert [each.name for each in selected(["ort", "nncf"])] == [
        each.name for each in BASELINES if each.family in ("nncf", "ort")
    ]
    assert selected(["bf16"]) == []


def test_a_family_nobody_knows_is_refused():
    with pytest.raises(UserError, match="no baselines called tvm") as caught:
        selected(["ort", "tvm"])
    assert all(family in str(caught.value) for family in FAMILIES)


def test_a_baseline_without_its_package_says_which_and_how_to_get_it():
    absent = replace(baseline("ort-s8s8"), imports=("onnxruntime", "no_such_toolkit"))
    missing = absent.missing()
    assert missing is not None
    assert "no_such_toolkit" in missing.why and "onnxruntime" not in missing.why
    assert missing.fix == "run `make peers`"


def test_asked_names_the_call_and_every_setting():
    assert baseline("nncf-mixed").asked == "nncf.quantize of the OpenVINO model: preset=mixed"

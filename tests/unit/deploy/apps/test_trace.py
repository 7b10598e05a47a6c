"""`deploy trace`: one name on its way from the network's module to a layer of a built engine."""

import shutil

import pytest

from core.config import load_config
from core.errors import UserError
from core.files.paths import RunPaths
from deploy.apply.apply import apply
from deploy.apply.calibrate import complete
from deploy.apply.target import TargetConfig
from deploy.apps.provenance import provenance
from deploy.apps.trace import print_trace, trace
from deploy.bundle.store import read_bundle
from deploy.bundle.types import BuildOptions
from deploy.checks.write import write_verified
from deploy.graph import onnx_graph
from deploy.importing.import_plan import import_plan
from deploy.placement.rule_sets import select
from deploy.plan.plan import read_placement, read_plan, write_plan
from deploy.targets import get_backend, target_for
from tests.nets.exported import image
from tests.small_line import CONFIG

SKIPPED = "blocks.1.conv2"


@pytest.fixture(scope="module")
def folder(exported, tmp_path_factory):
    """A folder with a run that has a plan, and a built engine of OpenVINO; ONNX Runtime's graph is not made yet."""
    folder = tmp_path_factory.mktemp("trace")
    paths = RunPaths("r")
    graph, plan = import_plan(exported.qdq)
    goal = TargetConfig(target_for("openvino"), select("openvino"), (SKIPPED,))
    plan = complete(plan, graph, [image()], [goal])
    (folder / paths.dir).mkdir(parents=True)
    onnx_graph.save(graph, folder / paths.trained_onnx)
    portable = apply(graph, plan, TargetConfig(target_for("qdq"), select()))
    write_plan(portable.plan.of_graph(folder / paths.trained_onnx), folder / paths.plan)
    shutil.copyfile(exported.qdq, folder / paths.qdq_onnx)
    applied = apply(graph, plan, goal)
    write_verified(applied, goal.target, folder / paths.placed("openvino"))
    write_plan(applied.plan, folder / paths.placement("openvino"))
    backend = get_backend("openvino")
    backend.build(folder / paths.placed("openvino"), folder / paths.bundle("openvino", "int8"), BuildOptions("int8"))
    return folder


@pytest.fixture
def way(folder, monkeypatch):
    """Stops of a name as (where, text) pairs."""
    monkeypatch.chdir(folder)
    config = load_config(CONFIG, ["run=r", "deploy.backends=[openvino, onnxruntime]"])
    return lambda name: [(stop.where, stop.text) for stop in trace(config, name)]


def test_a_layer_leads_from_its_module_to_the_engine(way):
    stops = way("blocks.0.conv1")
    where = [place for place, _ in stops]
    engine = str(RunPaths("r").bundle("openvino", "int8"))
    assert list(dict.fromkeys(where)) == ["module", "plan.json", "openvino.onnx", engine]
    assert stops[0][1] == "blocks.0.conv1 (Conv), tensor blocks.0.bn1"
    for place in ("plan.json", "openvino.onnx"):
        weights, inputs = sorted(text for found, text in stops if found == place and "INT8" in text)
        assert inputs.startswith("stem → input 0 of blocks.0.conv1: INT8, scale ")
        assert inputs.endswith("(imported), rule weighted-ops")
        assert weights.startswith("blocks.0.conv1.weight → input 1 of blocks.0.conv1: INT8, scale ")
        assert " to " in weights, "the least and the largest of a weight's scales"
    (layer,) = (text for place, text in stops if place == engine)
    assert "Conv in int8" in layer


def test_the_scale_is_that_of_the_plan(way, folder):
    scale = read_plan(folder / RunPaths("r").plan).tensors["stem"].scale
    assert any(f"scale {scale:.6g} " in text for _, text in way("blocks.0.conv1"))


@pytest.mark.parametrize("name", ["blocks.0.bn1", "blocks.0.conv1", "blocks.0.conv1.weight"])
def test_a_tensor_and_a_weight_lead_to_the_layer_too(way, name):
    assert ("module", "blocks.0.conv1 (Conv), tensor blocks.0.bn1") in way(name)


def test_a_tensor_leads_to_its_maker_and_its_readers(way):
    modules = [text.partition(" ")[0] for place, text in way("stem") if place == "module"]
    assert modules == ["stem", "blocks.0.conv1", "add"]


def test_a_pattern_names_several_layers(way):
    modules = [text.partition(" ")[0] for place, text in way("blocks.*.conv?") if place == "module"]
    assert modules == [f"blocks.{block}.conv{i}" for block in (0, 1) for i in (1, 2)]


def test_a_layer_that_one_target_leaves_in_float_says_why(way):
    stops = way(SKIPPED)
    assert [text for place, text in stops if place == "openvino.onnx"] == [
        f"{SKIPPED}: float, config: named in placement.skip"
    ]
    assert any("INT8" in text for place, text in stops if place == "plan.json")
    (layer,) = (text for place, text in stops if place.startswith("engines"))
    assert "Conv in int8" not in layer


def test_what_is_not_made_yet_is_left_out(way):
    assert not [place for place, _ in way("head") if "onnxruntime" in place]


def test_a_name_that_nothing_has_is_refused_with_the_nearest(way):
    with pytest.raises(UserError, match=r"nothing in .*trained\.onnx is called blocks\.0\.conv3") as refused:
        way("blocks.0.conv3")
    assert "blocks.0.conv" in refused.value.fix


def test_a_run_without_a_plan_is_refused(way, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no .*trained\.onnx") as refused:
        way("stem")
    assert "qat" in refused.value.fix


def test_the_way_is_printed_a_stop_a_line(way, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    print_trace(trace(load_config(CONFIG, ["run=r", "deploy.backends=[openvino]"]), "head"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["module", "head", "(Conv),", "tensor", "head"]
    assert len({line.index(text) for line, (_, text) in zip(lines, way("head"), strict=True)}) == 1


def test_layers_of_the_engine_join_with_scale_rule_and_reason(folder):
    paths = RunPaths("r")
    plan = read_placement(folder / paths.placement("openvino"))
    layers = get_backend("openvino").layers(read_bundle(folder / paths.bundle("openvino", "int8")))
    joined = {layer.name: provenance(layer, plan) for layer in layers if layer.kind == "Conv"}
    float_ones = [found for found in joined.values() if found.why_float]
    assert [found.modules for found in float_ones] == [(SKIPPED,)]
    assert float_ones[0].scale is None
    for found in joined.values():
        if not found.why_float:
            reads = {
                tensor.scale for tensor in plan.activations.values() for use in tensor.uses if use.node in found.modules
            }
            assert found.scale in reads
            assert found.rule
            assert found.origin

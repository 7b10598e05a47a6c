"""Autotune: what may change, what is kept, and that a second run measures nothing again."""

from dataclasses import replace

import numpy as np
import pytest

from core.artifacts import write_json
from core.config import BenchConfig
from core.errors import UserError
from deploy.apply.target import TargetConfig
from deploy.checks.parity import Parity
from deploy.graph import onnx_graph
from deploy.importing.import_plan import import_plan
from deploy.placement.decide import placement
from deploy.placement.planning import record
from deploy.placement.rule_sets import select
from deploy.placement.rules import OTHERS, RULES
from deploy.plan.plan import QuantizationPlan, write_plan
from deploy.plan.scale import Scale
from deploy.targets import TARGETS, get_backend
from deploy.targets.tuned import Scheme, read_scheme, region_of, scheme_of
from deploy.tuning.choices import REQUIRED, Choice, global_choices, regional_choices
from deploy.tuning.compare import Comparer, Source
from deploy.tuning.search import search
from deploy.tuning.timing import Ratio
from tests.nets.exported import image, reference
from tests.rules.notation import net

BASE = TargetConfig(TARGETS["openvino"], select("openvino"))
START = scheme_of(BASE)
KNOWN = RULES + OTHERS


def ratio(value):
    return Ratio(value, value - 0.001, value + 0.001)


def test_a_change_is_kept_only_when_its_whole_interval_is_faster():
    compared = {
        "slower": ratio(1.02),
        "unsure": Ratio(0.98, 0.95, 1.001),
        "faster": ratio(0.9),
        "refused": "refused: x",
    }
    choices = [Choice(name, lambda scheme, name=name: Scheme((*scheme.rules, name))) for name in compared]
    best, trials = search(Scheme(()), choices, lambda _, changed: compared[changed.rules[-1]])
    assert best == Scheme(("faster",))
    assert [trial.verdict for trial in trials] == ["no faster", "no faster", "kept", "refused: x"]


def test_each_choice_is_tried_on_the_best_so_far():
    seen = []

    def compare(best, changed):
        seen.append((best.rules, changed.rules))
        return ratio(0.9)

    choices = [Choice(name, lambda scheme, name=name: Scheme((*scheme.rules, name))) for name in "ab"]
    best, _ = search(Scheme(()), choices, compare)
    assert seen == [((), ("a",)), (("a",), ("a", "b"))] and best.rules == ("a", "b")


def test_choices_toggle_every_rule_but_those_that_make_it_int8():
    changed = {choice.name: choice.apply(START) for choice in global_choices(START, KNOWN)}
    assert "residual-add" not in changed["without residual-add"].rules
    assert "concat" in changed["with concat"].rules
    assert changed["uint8 never"].unsigned == "never" and changed["uint8 always"].unsigned == "always"
    assert changed["with rewrite bn_as_conv"].rewrites == ("bn_as_conv",)
    assert not any(name.removeprefix("without ") in REQUIRED for name in changed)
    back = {choice.name: choice.apply(changed["with concat"]) for choice in global_choices(START, KNOWN)}
    assert back["with concat"] == START


def test_regions_are_silenced_one_by_one_and_vetoes_stay():
    graph = net("a = Conv(x, w)\ns = Add(a, x)\nu = Resize(s)\ny = Conv(u, w2)", "y", u={"mode": "linear"})
    placed = placement(graph, START.select(KNOWN))
    weights = [item.use.tensor for item in placed.weights]
    scales = {name: Scale(np.float32(0.1)) for name in (*placed.by_tensor, *weights)}
    plan, _ = record(placed, QuantizationPlan().with_scales(scales, "test"), graph.constants)
    names = {choice.name: choice.apply(START) for choice in regional_choices(START, plan)}
    assert set(names) == {"without residual-add in s"}
    silent = placement(graph, names["without residual-add in s"].select(KNOWN))
    assert {edge.edge.node for edge in placed.edges} - {edge.edge.node for edge in silent.edges} == {"s"}
    everywhere = Scheme(START.rules, frozenset({("resize", "u")}))
    assert placement(graph, everywhere.select(KNOWN)).edges == placed.edges


@pytest.mark.parametrize(
    ("node", "region"), [("/layer1/layer1.0/conv1/Conv", "layer1"), ("/Add_3", "Add_3"), ("spp.scale0", "spp")]
)
def test_region(node, region):
    assert region_of(node) == region


def test_scheme_survives_its_file(tmp_path):
    scheme = Scheme(("a", "b"), frozenset({("a", "layer1")}), "always", ("bn_as_conv",))
    write_json(tmp_path / "t.json", {"target": "openvino", "scheme": scheme.to_json()})
    assert read_scheme(tmp_path / "t.json") == scheme
    (tmp_path / "no.json").write_text("[]")
    for name in ("no.json", "missing.json"):
        with pytest.raises(UserError, match="no tuning file"):
            read_scheme(tmp_path / name)


@pytest.fixture
def source(exported, tmp_path):
    np.save(tmp_path / "calibration.npy", image())
    np.savez(tmp_path / "parity.npz", images=image(), logits=reference(exported.qdq, {"image": image()}))
    graph, plan = import_plan(exported.qdq)
    onnx_graph.save(graph, tmp_path / "trained.onnx")
    write_plan(plan.of_graph(tmp_path / "trained.onnx"), tmp_path / "plan.json")
    files = (tmp_path / name for name in ("trained.onnx", "plan.json", "calibration.npy", "parity.npz"))
    return Source(*files, BASE, KNOWN)


def comparer(source, folder):
    return Comparer(source, get_backend("onnxruntime"), BenchConfig(rounds=2, runs_per_round=1, warmup_ms=0), folder)


def test_what_was_timed_is_not_timed_again(source, tmp_path, monkeypatch):
    changed = Scheme(START.rules, unsigned="always")
    first = comparer(source, tmp_path / "tuning")(START, changed)
    assert isinstance(first, Ratio) and first.value > 0
    monkeypatch.setattr("deploy.tuning.compare.time_in_turns", None)
    again = comparer(source, tmp_path / "tuning")
    assert again(START, changed) == first
    assert again(START, replace(START, rules=(*START.rules, "average-pool"))) == "same graph"


def test_a_gain_has_to_show_twice(source, tmp_path, monkeypatch):
    measured = iter([ratio(0.9), ratio(1.01)])
    monkeypatch.setattr("deploy.tuning.compare.paired_ratio", lambda *_: next(measured))
    found = comparer(source, tmp_path / "tuning")(START, replace(START, unsigned="always"))
    assert found == ratio(1.01)


def test_a_scheme_that_loses_accuracy_is_refused(source, tmp_path, monkeypatch):
    found = comparer(source, tmp_path / "tuning")
    agreements = iter([1.0, 0.99])
    monkeypatch.setattr("deploy.tuning.compare.parity", lambda *_: Parity(next(agreements), 30.0, 1))
    assert found(START, Scheme(START.rules, unsigned="always")) == "refused: 1.00% of pixels change their class"

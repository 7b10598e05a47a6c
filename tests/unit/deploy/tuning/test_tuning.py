"""Autotune: what may change, what is kept, and that a second run measures nothing again."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from core.config import BenchConfig
from core.errors import UnsupportedEnvironment, UserError
from core.files.artifacts import write_json
from core.interval import Interval
from deploy.apply.target import TargetConfig
from deploy.graph import onnx_graph
from deploy.importing.import_plan import import_plan
from deploy.placement.decide import placement
from deploy.placement.planning import record
from deploy.placement.rule_sets import select
from deploy.placement.rules import OTHERS, RULES
from deploy.plan.plan import QuantizationPlan, write_plan
from deploy.plan.scale import Scale
from deploy.targets import TARGETS, get_backend
from deploy.targets.base import LayerInfo, LayerTime
from deploy.targets.tuned import Scheme, read_scheme, region_of, scheme_of
from deploy.tuning.choices import REQUIRED, Choice, global_choices, regional_choices
from deploy.tuning.compare import Comparer, Source
from deploy.tuning.objectives import Counted, Counters, moved
from deploy.tuning.search import combined, search
from tests.nets.exported import image, reference
from tests.rules.notation import net

BASE = TargetConfig(TARGETS["openvino"], select("openvino"))
START = scheme_of(BASE)
KNOWN = RULES + OTHERS


def adding(name):
    return Choice(name, lambda scheme: replace(scheme, rules=(*scheme.rules, name)))


def test_a_change_gains_only_when_its_whole_interval_does():
    compared = {
        "slower": Interval(0.02, 0.01, 0.03),
        "unsure": Interval(-0.02, -0.05, 0.001),
        "small": Interval(-0.001, -0.0012, -0.0008),
        "refused": "refused: x",
    }
    trials = search(Scheme(()), map(adding, compared), lambda _, after: compared[after.rules[-1]])
    assert [trial.verdict for trial in trials] == ["no gain", "no gain", "gains", "refused: x"]


def test_gains_are_found_on_the_start_and_added_up_largest_first():
    shares = {"a": -0.01, "b": -0.03, "c": -0.02, "d": 0.01}
    seen = []

    def compare(before, after):
        seen.append((before, after.rules))
        return Interval(*[shares[after.rules[-1]]] * 3)

    start = Scheme(())
    trials = search(start, map(adding, shares), compare)
    assert seen == [(start, (name,)) for name in shares]
    assert combined(start, trials, lambda _: "").rules == ("b", "c", "a")
    too_much = combined(start, trials, lambda scheme: "refused: pixels" if {"b", "c"} <= {*scheme.rules} else "")
    assert too_much.rules == ("b", "a")


def test_choices_toggle_every_rule_but_those_that_make_it_int8():
    changed = {choice.name: choice.apply(START) for choice in global_choices(START, KNOWN)}
    assert "residual-int8" not in changed["without residual-int8"].rules
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
    assert set(names) == {"without residual-int8 in s"}
    silent = placement(graph, names["without residual-int8 in s"].select(KNOWN))
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
        with pytest.raises(UserError, match="not a tuning file"):
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


def test_what_was_measured_is_not_measured_again(source, tmp_path, monkeypatch):
    changed = Scheme(START.rules, unsigned="always")
    first = comparer(source, tmp_path / "tuning").ratio(START, changed)
    assert first.value > 0
    monkeypatch.setattr("deploy.tuning.compare.time_in_turns", None)
    again = comparer(source, tmp_path / "tuning")
    assert again.ratio(START, changed) == first
    assert again.refused(START, replace(START, rules=(*START.rules, "average-pool"))) == "same graph"


def test_bytes_need_no_clock(source, tmp_path):
    compare = comparer(source, tmp_path / "tuning")
    counted = Counted(get_backend("onnxruntime"), "bytes", moved)
    found = compare.change(counted, START, replace(START, rules=("weighted-ops", "never-bias")))
    assert found.value != 0 and found.low == found.high == found.value


@dataclass
class Profiled:
    """A backend with two engines: a shared layer that gets slower by itself, and one that the change touches."""

    title = "Profiled"
    drift: float = 1.0

    def layers(self, engine):
        return [
            LayerInfo("shared", "Conv", "int8"),
            LayerInfo("touched", "Conv", "int8" if engine == "after" else "fp32"),
        ]

    def profile(self, engine, _feeds, _runs):
        self.drift *= 1.5
        touched = 0.9 if engine == "after" else 1.0
        return [LayerTime("shared", "Conv", "int8", 10.0 * self.drift), LayerTime("touched", "Conv", "int8", touched)]


def test_counters_compare_only_what_a_change_touches():
    found = Counters(Profiled(), feeds=lambda _: {}).change("before", "after")
    assert -0.1 < found.low <= found.value <= found.high < 0
    same = Counters(Profiled(), feeds=lambda _: {}).change("before", "before")
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_a_backend_without_counters_says_what_to_do():
    silent = SimpleNamespace(title="TensorRT", layers=lambda _: [], profile=lambda *_: None)
    with pytest.raises(UnsupportedEnvironment, match="no counters") as caught:
        Counters(silent, feeds=lambda _: {}).change("before", "after")
    assert "--objective bytes" in caught.value.fix

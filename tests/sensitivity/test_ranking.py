"""Which unit comes first, that it does so in every mode, and that nothing was changed on the way."""

from __future__ import annotations

import pytest
import torch

from qat.sensitivity.pipeline import analyse
from qat.sensitivity.weights import model_hash
from tests.sensitivity.users import PLAIN, RESIDUAL, UNTRACEABLE, write_user


@pytest.mark.parametrize("mode", ["one_in", "one_out"])
@pytest.mark.parametrize("part", ["both", "weight", "activation"])
@pytest.mark.parametrize("net", [PLAIN, UNTRACEABLE], ids=["plain", "untraceable"])
def test_the_planted_fault_comes_first(tmp_path, net, mode, part) -> None:
    found = analyse(write_user(tmp_path, net, fragile="conv3", mode=mode, part=part))
    assert found.ranking.units[0].unit == "conv3"
    assert {score.unit for score in found.ranking.units} == {unit.name for unit in found.judge.units}


def test_two_runs_agree(tmp_path) -> None:
    first = analyse(write_user(tmp_path, PLAIN, cache=str(tmp_path / "a.jsonl")))
    second = analyse(write_user(tmp_path, PLAIN, cache=str(tmp_path / "b.jsonl")))
    assert first.ranking.units == second.ranking.units
    assert first.judge.baseline == second.judge.baseline


def test_probes_leave_weights_buffers_and_modes_alone(tmp_path) -> None:
    found = analyse(write_user(tmp_path, PLAIN))
    model = found.subject.model
    assert model_hash(model) == found.judge.probes.hash
    before = {path: switch.saved() for path, switch in found.subject.switches().items()}
    with found.subject.only(found.judge.everything):
        quantized = model(torch.ones(1, 3, 8, 8))
    assert len(before) > 0
    assert not torch.equal(model(torch.ones(1, 3, 8, 8)), quantized)


def test_a_reused_value_gives_what_a_whole_pass_gives(tmp_path) -> None:
    found = analyse(write_user(tmp_path, RESIDUAL, exact_top=8, exact_images=24))
    probes = found.judge.probes
    assert probes.reuses
    for score in found.ranking.units:
        known = probes.of(frozenset({score.unit}), range(6))
        with found.subject.only(frozenset({score.unit})), torch.no_grad():
            batch = probes.images.together(range(6))
            losses = torch.nn.functional.cross_entropy(found.subject.model(batch[0]), batch[1], reduction="none")
        assert [item.loss for item in known] == pytest.approx(losses.tolist(), abs=1e-6)


def test_layers_on_one_tensor_are_one_unit(tmp_path) -> None:
    found = analyse(write_user(tmp_path, RESIDUAL))
    shared = next(unit for unit in found.judge.units if "conv2" in unit.layers)
    assert {"conv2", "conv4"} <= set(shared.layers)
    assert {"conv2.weight_quantizer", "conv4.weight_quantizer"} <= set(shared.quantizers)


@pytest.mark.parametrize("granularity", ["quantizer", "layer", "group", "block"])
def test_every_quantizer_is_in_one_unit(tmp_path, granularity) -> None:
    found = analyse(write_user(tmp_path, RESIDUAL, granularity=granularity))
    paths = [path for unit in found.judge.units for path in unit.quantizers]
    assert len(paths) == len(set(paths)) == len(found.subject.switches())
    assert len({unit.name for unit in found.judge.units}) == len(found.judge.units)


def test_an_untraceable_network_says_so(tmp_path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("qat.sensitivity.subject.say", said.append)
    found = analyse(write_user(tmp_path, UNTRACEABLE))
    assert found.subject.quantized_by == "layers"
    assert any("layer by layer" in line for line in said)

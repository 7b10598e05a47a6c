"""The ranking: the first group is the same in every mode, and ranking changes nothing in the network."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from core.errors import UserError
from qat.sensitivity.network.weights import model_hash
from qat.sensitivity.pipeline import analyse
from tests.sensitivity.users import PLAIN, RESIDUAL, UNTRACEABLE, write_user

SOURCES = {"plain": PLAIN, "untraceable": UNTRACEABLE}
NETS, PARTS, MODES = tuple(SOURCES), ("both", "weight", "activation"), ("one_in", "one_out")
# Every two of these settings meet in one of the fast cases.
CASES = [
    pytest.param(NETS[n], PARTS[p], MODES[m], marks=[pytest.mark.slow] if (n + p + m) % 2 else [])
    for n, p, m in product(range(2), range(3), range(2))
]


@pytest.mark.parametrize(("net", "part", "mode"), CASES)
def test_the_planted_fault_comes_first(tmp_path, net, mode, part) -> None:
    found = analyse(write_user(tmp_path, SOURCES[net], fragile="conv3", mode=mode, part=part))
    assert found.ranking.groups[0].group == "conv3"
    assert {score.group for score in found.ranking.groups} == {group.name for group in found.evaluator.groups}


@pytest.mark.parametrize(("net", "part", "mode"), [case for case in CASES if case.values[1] != "activation"])
def test_the_gradient_screen_alone_puts_the_planted_fault_first(tmp_path, net, mode, part) -> None:
    config = write_user(tmp_path, SOURCES[net], fragile="conv3", screen="gradient", exact_top=0, mode=mode, part=part)
    found = analyse(config)
    assert found.ranking.groups[0].group == "conv3"
    assert all(set(score.scores) == {"taylor"} and score.exact is None for score in found.ranking.groups)
    worst = found.ranking.groups[0].scores["taylor"]
    assert 0 < worst.low < worst.value < worst.high and worst.images == 4


def test_the_gradient_screen_is_the_change_of_the_loss_where_errors_are_small(tmp_path) -> None:
    """A network that is linear in its last layer's output, where the first-order term is nearly the whole change."""
    found = analyse(write_user(tmp_path, PLAIN, screen="gradient", exact_top=0, granularity="quantizer"))
    trials, images = found.evaluator.trials, found.evaluator.subset(4)
    group = next(group for group in found.evaluator.groups if group.name == "fc.weight_quantizer")
    trials.measure([frozenset(), frozenset({group.name})], images, "loss", "test")
    pairs = zip(trials.of(frozenset({group.name}), images), trials.of(frozenset(), images), strict=True)
    changes = [abs(after.loss - before.loss) for after, before in pairs]
    score = next(score for score in found.ranking.groups if score.group == group.name)
    assert score.scores["taylor"].value == pytest.approx(sum(changes) / 4, rel=0.1)


def test_a_network_without_gradients_cannot_be_screened_by_them(tmp_path) -> None:
    detached = PLAIN.replace("return self.fc(x.mean((2, 3)))", "return self.fc(x.mean((2, 3))).detach()")
    with pytest.raises(UserError, match="no gradient"):
        analyse(write_user(tmp_path, detached, screen="gradient"))


def test_scores_of_the_screen_have_intervals_over_its_images(tmp_path) -> None:
    found = analyse(write_user(tmp_path, PLAIN, fragile="conv3", screen_images=12))
    for score in found.ranking.groups:
        assert set(score.scores) == {"snr_db", "cosine", "kl"}
        assert all(value.low < value.value < value.high and value.images == 12 for value in score.scores.values())
    worst, rest = found.ranking.groups[0], found.ranking.groups[1:]
    assert all(worst.scores["snr_db"].high < score.scores["snr_db"].low for score in rest)


def test_two_runs_agree(tmp_path) -> None:
    first = analyse(write_user(tmp_path, PLAIN, cache=str(tmp_path / "a.jsonl")))
    second = analyse(write_user(tmp_path, PLAIN, cache=str(tmp_path / "b.jsonl")))
    assert first.ranking.groups == second.ranking.groups
    assert first.evaluator.baseline == second.evaluator.baseline


def test_trials_leave_weights_buffers_and_modes_alone(tmp_path) -> None:
    found = analyse(write_user(tmp_path, PLAIN))
    model = found.subject.model
    assert model_hash(model) == found.evaluator.trials.hash
    before = {path: switch.state() for path, switch in found.subject.switches().items()}
    with found.subject.only(found.evaluator.everything):
        quantized = model(torch.ones(1, 3, 8, 8))
    assert len(before) > 0
    assert not torch.equal(model(torch.ones(1, 3, 8, 8)), quantized)


def test_a_reused_value_gives_what_a_whole_pass_gives(tmp_path) -> None:
    found = analyse(write_user(tmp_path, RESIDUAL, exact_top=8, exact_images=24))
    trials = found.evaluator.trials
    assert trials.reuses
    for score in found.ranking.groups:
        known = trials.of(frozenset({score.group}), range(6))
        with found.subject.only(frozenset({score.group})), torch.no_grad():
            batch = trials.images.together(range(6))
            losses = torch.nn.functional.cross_entropy(found.subject.model(batch[0]), batch[1], reduction="none")
        assert [item.loss for item in known] == pytest.approx(losses.tolist(), abs=1e-6)


def test_layers_on_one_tensor_are_one_group(tmp_path) -> None:
    found = analyse(write_user(tmp_path, RESIDUAL))
    shared = next(group for group in found.evaluator.groups if "conv2" in group.layers)
    assert {"conv2", "conv4"} <= set(shared.layers)
    assert {"conv2.weight_quantizer", "conv4.weight_quantizer"} <= set(shared.quantizers)


@pytest.mark.parametrize("granularity", ["quantizer", "layer", "group", "block"])
def test_every_quantizer_is_in_one_group(tmp_path, granularity) -> None:
    found = analyse(write_user(tmp_path, RESIDUAL, granularity=granularity))
    paths = [path for group in found.evaluator.groups for path in group.quantizers]
    assert len(paths) == len(set(paths)) == len(found.subject.switches())
    assert len({group.name for group in found.evaluator.groups}) == len(found.evaluator.groups)


def test_an_untraceable_network_says_so(tmp_path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("qat.sensitivity.network.subject.say", said.append)
    found = analyse(write_user(tmp_path, UNTRACEABLE))
    assert found.subject.form == "layers"
    assert any("layer by layer" in line for line in said)

"""Intervals, the cache of finished trials, kills, several processes, and forms of user files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import UserError
from qat.sensitivity.measure.bootstrap import measured
from qat.sensitivity.measure.cache import TrialCache, set_key
from qat.sensitivity.measure.task import Evidence, counts_of, evidence, metric_value
from qat.sensitivity.measure.trials import in_most
from qat.sensitivity.network.switches import switches
from qat.sensitivity.pipeline import analyse
from qat.sensitivity.user.data import read_images
from qat.sensitivity.user.user_file import load_user_file
from qat.tasks.bootstrap import mean, multiplicities
from qat.tasks.metrics import confusion
from tests.sensitivity.network.pytorch_quantization_double import TensorQuantizer
from tests.sensitivity.users import PLAIN, whole_line, write_user

ROOT = Path(__file__).parents[3]
RANK = (
    "import sys; from pathlib import Path; from qat.sensitivity.config import load_sensitivity_config as load; "
    "from qat.sensitivity.pipeline import analyse; found = analyse(load(Path(sys.argv[1]))); "
    "print([(u.group, dict(u.scores), u.exact) for u in found.ranking.groups])"
)


def test_a_paired_interval_is_that_of_the_differences() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=200) * 10
    after = before + 0.5 + rng.normal(size=200) * 0.1
    found = measured(lambda weights: mean(after, weights) - mean(before, weights), 200, seed=0)
    standard_error = (after - before).std() / 200**0.5
    assert found.value == pytest.approx((after - before).mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.15)


def test_resamples_have_as_many_images_and_are_the_same_again() -> None:
    drawn = multiplicities(7, seed=3)
    assert (drawn.sum(axis=1) == 7).all()
    assert (drawn == multiplicities(7, seed=3)).all()


def test_an_image_without_a_loss_does_not_count() -> None:
    assert mean(np.array([1.0, np.nan, 3.0]), np.ones((1, 3)))[0] == 2.0


def test_miou_is_of_the_summed_matrix() -> None:
    counts = np.array([[[4, 0], [0, 0]], [[0, 0], [2, 2]]], np.int32)
    both, first = metric_value("mIoU", counts, np.array([[1.0, 1.0], [1.0, 0.0]]))
    assert both == pytest.approx(100 * (4 / 6 + 2 / 4) / 2)
    assert first == 100.0


def test_cached_trials_come_back_under_the_same_fingerprint_only(tmp_path) -> None:
    path, groups = tmp_path / "trials.jsonl", frozenset({"a", "b"})
    found = [Evidence(0.25, np.array([1], np.int32)), Evidence(float("nan"), np.array([0], np.int32))]
    apart = [{"signal": 1.0, "noise": 0.5}] * 2
    TrialCache(path, "x").add(groups, (3, 5), evidence=found, distances=apart)
    own = next(tmp_path.glob("trials*.jsonl"))
    with open(own, "a", encoding="utf-8") as file:
        file.write('{"fingerprint": "x", "set": "cut sho')
    again = TrialCache(path, "x")
    assert {image for _, image in again.evidence} == {3, 5}
    assert again.evidence[next(key for key in again.evidence if key[1] == 3)].loss == 0.25
    again.add_metric("m", 1.5)
    assert TrialCache(path, "x").metrics == {"m": 1.5}
    assert TrialCache(path, "y").evidence == {}


def test_counts_once_kept_are_not_lost_to_a_trial_that_asked_for_none(tmp_path) -> None:
    groups, key = frozenset({"a"}), (set_key(frozenset({"a"})), 3)
    cache = TrialCache(tmp_path / "trials.jsonl", "x")
    cache.add(groups, (3,), evidence=[Evidence(0.5, None)])
    assert cache.evidence[key].counts is None
    cache.add(groups, (3,), evidence=[Evidence(0.5, np.array([7], np.int32))])
    cache.add(groups, (3,), evidence=[Evidence(0.5, None)])
    assert all(found.evidence[key].counts == [7] for found in (cache, TrialCache(tmp_path / "trials.jsonl", "x")))


def test_what_the_metric_counts_is_counted_when_it_is_first_asked_for(tmp_path) -> None:
    trials = analyse(write_user(tmp_path, PLAIN)).evaluator.trials
    groups = frozenset({next(group.name for group in trials.subject.groups)})
    trials.measure([groups], [0, 1], "loss", "test")
    trials.measure([groups], [0, 1], "counts", "test")
    assert counts_of(trials.of(groups, [0, 1])).shape == (2, 1)
    before = trials.forwards
    trials.measure([groups], [0, 1], "counts", "test")
    assert trials.forwards == before


def test_pixels_are_counted_as_the_confusion_matrix_of_training_counts_them() -> None:
    logits, labels = torch.randn(1, 3, 8, 8), torch.randint(0, 3, (1, 8, 8), dtype=torch.uint8)
    labels[0, :2] = 255
    matrix = confusion(logits.argmax(1)[0].numpy().astype(np.uint8), labels[0].numpy(), 3)
    found = evidence(logits, labels, lambda output, target: output.mean(), "mIoU", images=1)
    assert (counts_of(found)[0] == matrix).all() and matrix.sum() == 48


def test_a_label_beyond_the_classes_is_refused() -> None:
    labels = torch.full((1, 8, 8), 3)
    with pytest.raises(UserError, match="not below 3"):
        evidence(torch.randn(1, 3, 8, 8), labels, lambda output, target: output.mean(), "mIoU", images=1)


def test_sets_measured_together_share_work_and_show_what_each_shows_alone(tmp_path) -> None:
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    evaluators = [analyse(write_user(tmp_path / name, PLAIN, exact_top=0)).evaluator for name in ("one", "two")]
    current = evaluators[0].everything - {"conv2"}
    sets = [current - {name} for name in sorted(current)]
    before = [evaluator.trials.forwards for evaluator in evaluators]
    evaluators[0].prepare(sets)
    together = [evaluators[0].damage(groups) for groups in sets]
    assert together == [evaluators[1].damage(groups) for groups in sets]
    spent = [evaluator.trials.forwards - start for evaluator, start in zip(evaluators, before, strict=True)]
    assert len(sets) == 4 and spent[0] < 0.9 * spent[1]


def test_what_most_sets_have_in_common_is_the_base_of_all() -> None:
    assert in_most([frozenset("a"), frozenset("b"), frozenset("c")]) == frozenset()
    assert in_most([frozenset("bc"), frozenset("ac"), frozenset("ab")]) == frozenset("abc")
    assert in_most([frozenset("abx"), frozenset("abd"), frozenset("bd"), frozenset("b")]) == frozenset("b")


@pytest.mark.parametrize("key", [{"seed": 1}, {"part": "weight"}, {"mode": "one_out"}])
def test_other_settings_do_not_use_the_cache(tmp_path, key) -> None:
    first = analyse(write_user(tmp_path, PLAIN)).evaluator.trials
    same = analyse(write_user(tmp_path, PLAIN)).evaluator.trials
    other = analyse(write_user(tmp_path, PLAIN, **key)).evaluator.trials
    assert first.cache.fingerprint == same.cache.fingerprint != other.cache.fingerprint
    assert same.forwards == 0 < other.forwards


@pytest.mark.slow
def test_a_killed_ranking_goes_on_and_ends_the_same(tmp_path) -> None:
    write_user(tmp_path, PLAIN)
    command = [sys.executable, "-c", RANK, str(tmp_path / "config.yaml")]
    whole = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    file = next(tmp_path.glob("best.trials*.jsonl"))
    lines = len(file.read_text().splitlines())
    for kills in range(2):
        file.unlink()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while not (file.exists() and len(file.read_bytes().splitlines()) > 2 + 4 * kills):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = len(file.read_bytes().splitlines())
        again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert again == whole
        written = [text for text in file.read_bytes().splitlines() if whole_line(text)]
        assert len(written) <= lines + 1 and kept <= len(written) + 1


@pytest.mark.slow
def test_two_processes_rank_as_one(tmp_path) -> None:
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder in (one, two):
        write_user(folder, PLAIN)
    script = tmp_path / "rank.py"
    script.write_text(RANK.replace("print(", "from qat.processes.stages import is_main; is_main() and print("))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    single = [sys.executable, str(script), str(one / "config.yaml")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    outputs = [
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        for command in (single, [*launch, str(script), str(two / "config.yaml")])
    ]
    assert outputs[0] == outputs[1] != ""


@pytest.mark.parametrize("missing", ["get_model", "get_data_loader", "get_optimizer", "get_criterion"])
def test_a_missing_function_is_named(tmp_path, missing) -> None:
    config = write_user(tmp_path, PLAIN)
    source = config.model_file.read_text().replace(f"def {missing}(", "def renamed(")
    config.model_file.write_text(source)
    with pytest.raises(UserError, match=missing):
        load_user_file(config)


def test_a_network_that_changes_itself_is_refused(tmp_path) -> None:
    counting = PLAIN.replace(
        "    def forward(self, x):\n",
        "        self.register_buffer('calls', torch.zeros(1))\n\n"
        "    def forward(self, x):\n        self.calls += 1\n        x = x if float(x.sum()) else x\n",
    )
    with pytest.raises(UserError, match="changed the network"):
        analyse(write_user(tmp_path, counting))


def test_the_user_s_metric_evaluators(tmp_path) -> None:
    score = (
        "\ndef evaluate(model, loader):\n    return sum(float((model(x).argmax(1) == y).sum()) for x, y in loader)\n"
    )
    found = analyse(write_user(tmp_path, PLAIN, extra=score, tolerance_kind="metric_drop", tolerance=1))
    assert found.evaluator.baseline.metric == "evaluate"
    assert found.evaluator.baseline.float_metric == 24
    assert found.evaluator.damage(frozenset()).value == 0


def test_shuffled_loaders_are_read_once() -> None:
    data = torch.utils.data.TensorDataset(torch.arange(12.0).reshape(6, 2), torch.arange(6))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    assert read_images(loader, None, 0).fingerprint() == read_images(loader, None, 0).fingerprint()


def test_foreign_quantizers_are_switched_by_their_own_flags() -> None:
    layer = torch.nn.Module()
    layer.input_quantizer, layer.weight_quantizer = TensorQuantizer(), TensorQuantizer()
    layer.output_quantizer = TensorQuantizer(disabled=True)
    found = switches(layer)
    assert {path: switch.part for path, switch in found.items()} == {
        "input_quantizer": "activation",
        "weight_quantizer": "weight",
    }
    before = found["input_quantizer"].state()
    found["input_quantizer"].turn(False)
    assert layer.input_quantizer._disabled
    found["input_quantizer"].restore(before)
    assert not layer.input_quantizer._disabled


def test_a_network_quantized_by_modelopt(tmp_path) -> None:
    pytest.importorskip("modelopt.torch.quantization", reason="nvidia-modelopt is not installed")
    quantize = (
        "\nimport modelopt.torch.quantization as mtq\n_float = get_model\n"
        "def get_model():\n    def loop(model):\n        model(torch.randn(8, 3, 8, 8))\n"
        "    return mtq.quantize(_float(), mtq.INT8_DEFAULT_CFG, loop)\n"
    )
    found = analyse(write_user(tmp_path, PLAIN, extra=quantize))
    assert {"conv1", "conv2", "conv3", "conv4", "fc"} == {group.name for group in found.evaluator.groups}
    assert found.subject.form == "given"

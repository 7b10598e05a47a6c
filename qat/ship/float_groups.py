"""Chooses the quantizer groups to leave in float by measured fidelity per millisecond."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from core.config import Config
from core.console import say
from core.files.artifacts import read_json, sha256_file, sha256_json, write_json
from core.stages import Stage
from core.stages import ensure as ensure_stage
from core.versions import source_hash
from deploy.targets.base import Backend
from qat.data import TuningSet, normalize
from qat.evaluation.evidence import predictor
from qat.pipeline.single_steps import load_quantized
from qat.sensitivity.decide.engines import Engines
from qat.sensitivity.decide.pareto import latency_table
from qat.sensitivity.measure.cache import TrialCache, set_key
from qat.sensitivity.measure.distance import scores
from qat.sensitivity.measure.trials import Trials
from qat.sensitivity.network.groups import groups_of
from qat.sensitivity.network.subject import Subject
from qat.sensitivity.network.switches import switches
from qat.sensitivity.types import QuantizerGroup
from qat.sensitivity.user.data import Images
from qat.ship.candidate import Candidate
from qat.ship.trial import Measuring

IMAGES = 8  # images of the tuning split on which fake quantizers compare groups
MOST = 8  # groups that are measured on engines
FLOOR = 0.01  # share of the engine's time; lower costs are raised to it


def subject_of(source: Candidate, base: Config) -> Subject:
    """The network of a candidate with a switch for each quantizer group."""
    plain = source.config.model_copy(update={"run": base.run})
    model = load_quantized(plain, source.paths.qat_checkpoint)
    found = switches(model)
    return Subject(model, groups_of(model, found, "group", "both"), "fx", found, model)


def cheapest_first(
    source: Candidate, subject: Callable[[], Subject], measuring: Measuring, backend: Backend
) -> list[QuantizerGroup]:
    """Groups that are worth their milliseconds in float, the best first; groups without a gain are left out.

    The gain is the drop in KL divergence from FP32 when a group is float and all others are INT8; the cost is the extra
    time of that engine. Fake quantizers choose the `MOST` promising groups; these are measured on engines. Ratios count
    to a power of two: noise in the timing seldom changes the order.
    """
    network, paths = subject(), source.paths
    hopes = _hopes(source, network, measuring.tuning)
    top = sorted(network.groups, key=lambda group: -hopes[group.name])[:MOST]
    engines = _engines(source, network, measuring.tuning, backend)
    costs = latency_table(engines, top, paths.dir / f"latency-{backend.name}.json")
    gains = _gains(source, top, engines, measuring, backend)
    floor = FLOOR * measuring.trial(source, backend).latency_ms
    least = {name: max(cost.value if not cost.is_noise else 0.0, floor) for name, cost in costs.items()}

    def worth(group: QuantizerGroup) -> tuple[int, float]:
        return -round(math.log2(gains[group.name] / least[group.name])), -gains[group.name]

    order = sorted((group for group in top if gains[group.name] > 0), key=worth)
    for group in order:
        say(f"float group {group.label}: KL −{gains[group.name]:.2g} for {costs[group.name].value:+.3f} ms")
    return order


def _gains(
    source: Candidate, groups: list[QuantizerGroup], engines: Engines, measuring: Measuring, backend: Backend
) -> dict[str, float]:
    """The drop in the engine's KL divergence with each group in float, by group."""
    paths = source.paths
    stored = paths.dir / f"gains-{backend.name}.json"

    def measure() -> None:
        before = measuring.trial(source, backend).score.divergence
        found = {}
        for group in groups:
            with backend.open(engines.bundle(group.layers)) as session:
                answers = measuring.evaluator.answers(predictor(session))
            found[group.name] = before - measuring.evaluator.score(answers).divergence
        write_json(stored, found)

    params = {"engines": engines.key, "groups": [group.name for group in groups]}
    ensure_stage(Stage(f"gains {backend.name}", (stored,), (paths.plan,), params), paths.manifest, measure)
    gains: dict[str, float] = read_json(stored)
    return gains


def _hopes(source: Candidate, network: Subject, tuning: TuningSet) -> dict[str, float]:
    """The drop in KL divergence with each group in float, by group, from fake quantizers on a few images."""
    data, count = source.config.data, min(IMAGES, len(tuning))
    samples = [tuning.dataset[(2 * index + 1) * len(tuning) // (2 * count)] for index in range(count)]
    batches = tuple(
        (torch.from_numpy(normalize(sample.image, data)[None]), torch.from_numpy(sample.label[None]).long())
        for sample in samples
    )
    images = Images(batches, 1)
    code = source_hash("qat.sensitivity.measure", "qat.sensitivity.network")
    fingerprint = sha256_json([sha256_file(source.paths.qat_checkpoint), images.fingerprint(), code])
    trials = Trials(network, images, _no_loss, TrialCache(source.paths.dir / "float_groups.jsonl", fingerprint))
    everything = frozenset(group.name for group in network.groups)
    sets = {group.name: everything - {group.name} for group in network.groups}
    indices = range(count)
    trials.measure([everything, *sets.values()], indices, "distances", "quantizer groups")

    def divergence(groups: frozenset[str]) -> float:
        found = [trials.cache.distances[(set_key(groups), index)] for index in indices]
        return scores(found, 0)["kl"].value

    before = divergence(everything)
    return {name: before - divergence(groups) for name, groups in sets.items()}


def _no_loss(_output: Tensor, _target: Tensor) -> Tensor:
    return torch.zeros(())


def _engines(source: Candidate, network: Subject, tuning: TuningSet, backend: Backend) -> Engines:
    assert network.graph is not None
    example = torch.from_numpy(normalize(tuning.dataset[0].image, source.config.data)[None])
    bench = source.config.bench.model_copy(update={"rounds": 7, "runs_per_round": 3, "warmup_ms": 500})
    folder: Path = source.paths.dir / "float_groups"
    with network.only(frozenset(group.name for group in network.groups)):
        return Engines(network.graph, example, backend.name, folder, bench, [example])

"""From a ranking to everything the analysis leaves behind: the choice, its proof on an engine, model and reports."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.config import BenchConfig
from core.console import say
from core.files.artifacts import sha256_file
from core.versions import installed
from deploy.hardware.cpu import cpu_flags, cpu_model
from deploy.tuning.timing import Ratio, paired_ratio
from qat.processes.stages import is_main
from qat.sensitivity.decide.engine_check import engine_check
from qat.sensitivity.decide.engines import NOT_BUILDABLE, Engines, on_main
from qat.sensitivity.decide.fastest import fastest_met, note_of_faster
from qat.sensitivity.decide.pareto import Milliseconds, Point, latency_table, pareto
from qat.sensitivity.decide.recover import recover
from qat.sensitivity.decide.search import Chosen, layers_of, search
from qat.sensitivity.measure.causes import causes_of
from qat.sensitivity.network.adopted import adopted
from qat.sensitivity.network.foreign import float_layers, range_of
from qat.sensitivity.network.save import quantization_of, save
from qat.sensitivity.network.subject import Subject
from qat.sensitivity.pipeline import Analysis
from qat.sensitivity.report.class_names import named, names_note
from qat.sensitivity.report.distributions import distributions
from qat.sensitivity.report.report_html import write_report
from qat.sensitivity.report.results import Findings, ranges_of, write_results
from qat.sensitivity.user.data import seed_user_code
from qat.tracing.inputs import Inputs, apply

WORST = 10
PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "openvino", "nvidia-modelopt")


@dataclass(frozen=True)
class OnEngine:
    """The choice after engines were built and timed; `note` says why none could be."""

    chosen: Chosen
    points: tuple[Point, ...] = ()
    table: Mapping[str, Milliseconds] = field(default_factory=dict)
    check: dict[str, Any] | None = None
    note: str = ""


def finish(analysis: Analysis) -> Findings:
    """Search, verify on the engine, recover if wanted, save, and write the reports beside `output_file`."""
    config, evaluator, subject = analysis.config, analysis.evaluator, analysis.subject
    how = config.search
    chosen = search(evaluator, analysis.ranking, how.window, how.max_evaluations, how.trial_images)
    folder = config.output_file.with_suffix(".sensitivity")
    example = evaluator.trials.inputs((0,))[0]
    engine = _on_engine(analysis, chosen, folder, example)
    chosen = engine.chosen
    quantized = evaluator.everything - set(chosen.float_groups)
    networks = {"float": frozenset[str](), "quantized": evaluator.everything, "chosen": quantized}
    ious = {name: classes for name, groups in networks.items() if (classes := evaluator.per_class(groups))}
    names = analysis.class_names
    by_name = {group.name: group for group in subject.groups}
    worst = [by_name[score.group] for score in analysis.ranking.groups[:WORST]]
    with subject.only(evaluator.everything):
        histograms = distributions(subject.model, example, worst)
    images = [evaluator.trials.inputs((index,))[0] for index in evaluator.subset(config.screen_images)]
    causes = causes_of(subject, worst, images, analysis.calibration)
    with subject.only(quantized):
        recovered = _recover(analysis)
        met = recovered["met"] if recovered else chosen.met
        how_quantized = quantization_of(subject, quantized, example)
        saved = on_main(lambda: save(subject.model, how_quantized, config.output_file, met=met))
    findings = Findings(
        tolerance=config.tolerance,
        tolerance_kind=config.tolerance_kind,
        groups=subject.groups,
        baseline=evaluator.baseline,
        ranking=analysis.ranking,
        chosen=chosen,
        ranges=ranges_of(subject.model),
        model=saved,
        command=shlex.join(["python", *sys.argv]),
        mode=config.mode,
        weights_sha256=sha256_file(config.model_path) if config.model_path.is_file() else None,
        environment=_environment(),
        per_class={network: named(classes, names) for network, classes in ious.items()},
        engine=engine.check,
        front=engine.points,
        latency=engine.table,
        recovered=recovered,
        causes=causes,
        histograms=histograms,
        left_float=float_layers(subject.model),
        notes=tuple(filter(None, [engine.note, _form_note(subject), _range_note(subject), names_note(ious, names)])),
    )
    if is_main():
        write_results(findings, folder)
        write_report(findings, folder / "report.html")
        say(f"wrote {saved} and {folder}/results.json, skip.yaml, report.html")
    return findings


def _on_engine(analysis: Analysis, chosen: Chosen, folder: Path, example: Inputs) -> OnEngine:
    """Build, search for faster engines, verify; a network that cannot be exported is a note, no error."""
    options, subject, evaluator = analysis.config.engine, analysis.subject, analysis.evaluator
    if options is None:
        return OnEngine(chosen, note="no engine was wanted")
    if subject.graph is None:
        return OnEngine(chosen, note="no engine: the network is not a traced graph, which the exporter needs")
    model = subject.model
    with torch.no_grad(), subject.only(evaluator.everything):
        output = apply(model, example)
    if not isinstance(output, Tensor):
        note = f"no engine: the network returns {type(output).__name__}, and an engine is built for one tensor"
        return OnEngine(chosen, note=note)
    bench = BenchConfig(rounds=options.rounds, runs_per_round=options.runs_per_round, threads=options.threads)
    try:
        with subject.only(evaluator.everything):
            graph = subject.graph if subject.graph is model else adopted(subject.graph, example)
            engines = Engines(graph, example, options.backend, folder, bench, analysis.calibration)
        points: list[Point] = []
        table: dict[str, Milliseconds] = {}
        if options.pareto_points:
            table = _latencies(analysis, engines, chosen, folder)
            points = _points(analysis, engines, chosen, table, options.pareto_points)
        if options.choose == "fastest" and chosen.met:

            def again(one: Point, other: Point) -> Ratio:
                skips = [layers_of(subject.groups, point.float_groups) for point in (one, other)]
                samples = on_main(lambda: engines.time(dict(zip(("one", "other"), skips, strict=True))))
                return paired_ratio(samples["one"], samples["other"])

            chosen = fastest_met(chosen, points, again)
        skip = layers_of(subject.groups, chosen.float_groups)
        with subject.only(evaluator.everything - set(chosen.float_groups)):
            check = on_main(lambda: engine_check(engines, skip, model, evaluator.score))
    except NOT_BUILDABLE as error:
        reason = " ".join(str(error).split())[:300]
        say(f"no engine: {reason}")
        return OnEngine(chosen, note=f"no engine: {type(error).__name__}: {reason}")
    note = note_of_faster(chosen, points) if options.choose == "smallest" else ""
    return OnEngine(chosen, tuple(points), table, check, note)


def _latencies(analysis: Analysis, engines: Engines, chosen: Chosen, folder: Path) -> dict[str, Milliseconds]:
    """The cost in float of the groups that were measured exactly or chosen; harmless groups stay quantized anyway."""
    names = {score.group for score in analysis.ranking.groups if score.exact is not None} | {*chosen.float_groups}
    groups = [group for group in analysis.subject.groups if group.name in names]
    table = on_main(lambda: latency_table(engines, groups, folder / "latency.json"))
    noise = sum(cost.is_noise for cost in table.values())
    if noise:
        say(f"latency: {noise} of {len(table)} groups cost no more than noise")
    return table


def _points(
    analysis: Analysis, engines: Engines, chosen: Chosen, table: Mapping[str, Milliseconds], count: int
) -> list[Point]:
    evaluator, images = analysis.evaluator, analysis.config.exact_images
    evaluator.prepare([evaluator.everything - {name} for name in table], images)
    full = evaluator.damage(evaluator.everything, images).value
    gains = {name: full - evaluator.damage(evaluator.everything - {name}, images).value for name in table}
    costs = {name: 0.0 if cost.is_noise else cost.value for name, cost in table.items()}
    return pareto(evaluator, engines, gains, costs, chosen, count)


def _recover(analysis: Analysis) -> dict[str, Any] | None:
    options, user, model = analysis.config.recover, analysis.user, analysis.subject.model
    if options is None:
        return None
    evaluator, trials = analysis.evaluator, analysis.evaluator.trials
    for parameter in model.parameters():
        parameter.grad = None

    def loss(batch: Any) -> Tensor:
        inputs, target = trials.prepared(batch)
        return trials.criterion(apply(model, inputs), target)

    seed_user_code(analysis.config.seed)
    batches, optimizer = user.loader("train"), user.optimizer(model)
    return recover(model, optimizer, loss, batches, options.steps, lambda: evaluator.damage_of(model), evaluator.met)


def _form_note(subject: Subject) -> str:
    if subject.graph is not None:
        return ""
    groups = "quantized layer by layer" if subject.form == "layers" else "groups are single layers"
    return f"torch.fx cannot trace the network: {groups}, without fusion"


def _range_note(subject: Subject) -> str:
    of_inputs = [switch.quantizer for switch in subject.all_switches.values() if switch.part == "activation"]
    without = sum(range_of(quantizer) is None for quantizer in of_inputs)
    return f"{without} quantizers have no range: each batch gets its own, and scores depend on it" if without else ""


def _environment() -> dict[str, str]:
    flags = ", ".join(sorted(cpu_flags()))
    return {"CPU": cpu_model(), "CPU flags": flags, "Python": platform.python_version(), **installed(PACKAGES)}

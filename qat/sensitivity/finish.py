"""From a ranking to everything the analysis leaves behind: the choice, its proof on an engine, model and reports."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from core.artifacts import sha256_file
from core.config import BenchConfig
from core.console import say
from core.errors import UserError
from core.versions import installed
from deploy.hardware.cpu import cpu_flags, cpu_model
from deploy.tuning.timing import Ratio, paired_ratio
from qat.export import export_onnx
from qat.processes.distributed import gathered
from qat.processes.stages import is_main
from qat.sensitivity.decide.engine_check import engine_check
from qat.sensitivity.decide.engines import Engines
from qat.sensitivity.decide.fastest import fastest_met, note_of_faster
from qat.sensitivity.decide.latency_table import Milliseconds, latency_table
from qat.sensitivity.decide.pareto import Point, pareto
from qat.sensitivity.decide.recover import recover
from qat.sensitivity.decide.search import Chosen, layers_of, search
from qat.sensitivity.measure.scoring import Scorer
from qat.sensitivity.network.adopted import adopted
from qat.sensitivity.network.foreign import float_layers, range_of
from qat.sensitivity.network.save import quantization_of, save
from qat.sensitivity.network.subject import Subject
from qat.sensitivity.pipeline import Analysis
from qat.sensitivity.report.distributions import distributions
from qat.sensitivity.report.report_html import write_report
from qat.sensitivity.report.results import Findings, ranges_of, write_results
from qat.sensitivity.types import Unit
from qat.sensitivity.user.data import seed_user_code
from qat.sensitivity.user.device import to_device
from qat.tracing.export import named_inputs
from qat.tracing.inputs import Inputs, apply

OPSET = 17
WORST = 10
PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "openvino", "nvidia-modelopt")
NOT_EXPORTABLE = (UserError, RuntimeError, ValueError, TypeError, LookupError)  # what exporters and builders raise

T = TypeVar("T")


@dataclass(frozen=True)
class OnEngine:
    """What the engine had to say; `note` says why it could not."""

    chosen: Chosen
    points: tuple[Point, ...] = ()
    table: Mapping[str, Milliseconds] = field(default_factory=dict)
    check: dict[str, Any] | None = None
    note: str = ""


def finish(analysis: Analysis) -> Findings:
    """Search, verify on the engine, recover if asked to, save, and write the reports beside `output_file`."""
    started = time.perf_counter()
    config, judge, subject = analysis.config, analysis.judge, analysis.subject
    how = config.search
    chosen = search(judge, analysis.ranking, how.window, how.max_evaluations, how.probe_images)
    searched = time.perf_counter()
    scorer, folder = Scorer(judge), results_folder(config.output_file)
    engine = _on_engine(analysis, chosen, scorer, folder)
    chosen = engine.chosen
    quantized = judge.everything - set(chosen.float_units)
    networks = {"float": frozenset[str](), "quantized": judge.everything, "chosen": quantized}
    per_class = {name: classes for name, units in networks.items() if (classes := scorer.per_class(units))}
    worst = [unit for score in analysis.ranking.units[:WORST] for unit in subject.units if unit.name == score.unit]
    with subject.only(judge.everything):
        histograms = distributions(subject.model, _example(analysis), worst)
    with subject.only(quantized):
        recovered = _recover(analysis, chosen, scorer)
        met = recovered["met"] if recovered else chosen.met
        how_quantized = quantization_of(subject, quantized, _example(analysis))
        saved = _on_main(lambda: save(subject.model, how_quantized, config.output_file, met=met))
    spent = {"search_s": searched - started, "finish_s": time.perf_counter() - searched}
    findings = Findings(
        tolerance=config.tolerance,
        tolerance_kind=config.tolerance_kind,
        units=subject.units,
        baseline=judge.baseline,
        ranking=analysis.ranking,
        chosen=chosen,
        ranges=ranges_of(subject.model),
        model=saved,
        command=shlex.join(["python", *sys.argv]),
        mode=config.mode,
        weights_sha256=sha256_file(config.model_path) if config.model_path.is_file() else None,
        cost=spent,
        environment=_environment(),
        per_class=per_class,
        engine=engine.check,
        front=[point.to_json() for point in engine.points],
        latency={name: {**asdict(cost), "told_apart": not cost.is_noise} for name, cost in engine.table.items()},
        recovered=recovered,
        histograms=histograms,
        left_float=float_layers(subject.model),
        notes=tuple(filter(None, [engine.note, _form_note(analysis), _range_note(subject)])),
    )
    if is_main():
        write_results(findings, folder)
        write_report(findings, engine.points, folder / "report.html")
        say(f"wrote {saved} and {folder}/results.json, skip.yaml, report.html")
    return findings


def results_folder(output_file: Path) -> Path:
    """Where everything but the model goes: beside it, under its name."""
    return output_file.with_suffix(".sensitivity")


def _on_engine(analysis: Analysis, chosen: Chosen, scorer: Scorer, folder: Path) -> OnEngine:
    """Build, search for faster engines, verify; a network that cannot be exported is a note, no error."""
    options, subject, judge = analysis.config.engine, analysis.subject, analysis.judge
    if options is None:
        return OnEngine(chosen, note="no engine was asked for")
    if subject.graph is None:
        return OnEngine(chosen, note="no engine: the network is not a traced graph, which the exporter needs")
    example, model = _example(analysis), subject.model
    with torch.no_grad(), subject.only(judge.everything):
        output = apply(model, example)
    if not isinstance(output, Tensor):
        note = f"no engine: the network returns {type(output).__name__}, and an engine is built for one tensor"
        return OnEngine(chosen, note=note)
    bench = BenchConfig(rounds=options.rounds, runs_per_round=options.runs_per_round, threads=options.threads)
    qdq = folder / "qdq.onnx"
    try:
        with subject.only(judge.everything):
            graph = subject.graph if subject.graph is model else adopted(subject.graph, example)
            example = to_device(example, torch.device("cpu"))
            _on_main(lambda: export_onnx(graph, example, qdq, OPSET))
        feeds = {name: value.numpy() for name, value in named_inputs(graph, example).items()}
        engines = Engines(qdq, options.backend, feeds, folder / "engines", bench)
        points: list[Point] = []
        table: dict[str, Milliseconds] = {}
        if options.pareto_points:
            table, points = _pareto(analysis, engines, chosen, folder)
            if options.choose == "fastest" and chosen.met:
                chosen = fastest_met(chosen, points, partial(_timed_again, subject.units, engines))
        skip = layers_of(subject.units, chosen.float_units)
        with subject.only(judge.everything - set(chosen.float_units)):
            check = _on_main(lambda: engine_check(engines, skip, model, scorer.score))
    except NOT_EXPORTABLE as error:
        reason = " ".join(str(error).split())[:300]
        say(f"no engine: {reason}")
        return OnEngine(chosen, note=f"no engine: {type(error).__name__}: {reason}")
    note = note_of_faster(chosen, points) if options.choose == "smallest" else ""
    return OnEngine(chosen, tuple(points), table, check, note)


def _pareto(
    analysis: Analysis, engines: Engines, chosen: Chosen, folder: Path
) -> tuple[dict[str, Milliseconds], list[Point]]:
    """The units measured exactly are worth a float kernel or not; the harmless rest is left alone."""
    judge, config = analysis.judge, analysis.config
    names = [score.unit for score in analysis.ranking.units if score.exact is not None]
    names += [name for name in chosen.float_units if name not in names]
    full = judge.damage(judge.everything, config.exact_images).value
    judge.prepare([judge.everything - {name} for name in names], config.exact_images)
    gains = {name: full - judge.damage(judge.everything - {name}, config.exact_images).value for name in names}
    units = [unit for unit in judge.units if unit.name in gains]
    table = _on_main(lambda: latency_table(engines, units, folder / "latency.json"))
    noise = [name for name, cost in table.items() if cost.is_noise]
    if noise:
        say(f"latency: {len(noise)} of {len(table)} units cost nothing that could be told from noise")
    assert config.engine is not None
    costs = {name: 0.0 if cost.is_noise else cost.value for name, cost in table.items()}
    return table, pareto(judge, engines, gains, costs, chosen, config.engine.pareto_points, _on_main)


def _timed_again(units: Sequence[Unit], engines: Engines, one: Point, other: Point) -> Ratio:
    skips = {"one": layers_of(units, one.float_units), "other": layers_of(units, other.float_units)}
    samples = _on_main(lambda: engines.time(skips))
    return paired_ratio(samples["one"], samples["other"])


def _recover(analysis: Analysis, chosen: Chosen, scorer: Scorer) -> dict[str, Any] | None:
    options, user, model = analysis.config.recover, analysis.user, analysis.subject.model
    if options is None:
        return None
    judge = analysis.judge
    for parameter in model.parameters():
        parameter.grad = None

    def loss(batch: Any) -> Tensor:
        inputs, target = judge.probes.prepared(batch)
        return judge.probes.criterion(apply(model, inputs), target)

    seed_user_code(analysis.config.seed)
    batches, optimizer = user.loader("train"), user.optimizer(model)
    return recover(model, optimizer, loss, batches, options.steps, lambda: scorer.damage(model), judge.met)


def _form_note(analysis: Analysis) -> str:
    if analysis.subject.graph is not None:
        return ""
    by_us = analysis.subject.quantized_by == "layers"
    units = "quantized layer by layer" if by_us else "units are single layers"
    return f"torch.fx cannot trace the network: {units}, without fusion groups"


def _range_note(subject: Subject) -> str:
    switches = subject.all_switches.values()
    of_inputs = [subject.model.get_submodule(switch.path) for switch in switches if switch.part == "activation"]
    without = sum(range_of(quantizer) is None for quantizer in of_inputs)
    return f"{without} quantizers have no range: each batch gets its own, and scores depend on it" if without else ""


def _example(analysis: Analysis) -> Inputs:
    return analysis.judge.probes.inputs((0,))[0]


def _on_main(work: Callable[[], T]) -> T:
    """What `work` returns in the first process, in all of them; the others wait, and fail where it fails."""
    outcome: list[Any] = [None, None]
    if is_main():
        try:
            outcome[0] = work()
        except NOT_EXPORTABLE as error:
            outcome[1] = str(error)
            gathered(outcome)
            raise
    value, failure = gathered(outcome)[0]
    if failure is not None:
        raise RuntimeError(failure)
    return cast(T, value)


def _environment() -> dict[str, str]:
    flags = ", ".join(sorted(cpu_flags()))
    return {"CPU": cpu_model(), "CPU flags": flags, "Python": platform.python_version(), **installed(PACKAGES)}

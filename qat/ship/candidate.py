"""Candidates: networks with a plan. Each is a separate run, so that stages reuse finished work and engines are built as
`make engine` builds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from torch import fx

from core.config import ActivationCalibrator, Config, section_dict
from core.files.artifacts import write_atomic
from core.files.paths import RunPaths
from core.stages import Stage
from core.stages import ensure as ensure_stage
from core.versions import source_hash
from deploy.apply.apply import apply
from deploy.apply.bias_correction import bias_correction
from deploy.apply.target import AS_PLANNED
from deploy.graph import onnx_graph
from deploy.graph.debug_session import watching
from deploy.pipeline import CODE, TRAINED, ensure_portable, target_config
from deploy.placement.planning import decide
from deploy.plan.histogram import Histogram
from deploy.plan.plan import read_plan, write_plan
from qat.calibration.approaches import finish
from qat.calibration.calibrators import calibrate_weights
from qat.calibration.statistics import calibrate, collect
from qat.device import device_for
from qat.evaluation.simulate import save_calibration, save_parity
from qat.pipeline import run as pipeline
from qat.quantization.toolkits import with_toolkit_chosen
from qat.sensitivity.network.subject import Subject
from qat.tasks import dataset_of


@dataclass(frozen=True)
class Candidate:
    """A quantized network that may ship.

    Attributes:
        step: of the ladder.
        title: for people, such as "PTQ, mse".
        config: of the run that holds its files.
        make: makes the missing files of the run.
        float_layers: nodes that stay in float.
    """

    step: str
    title: str
    config: Config
    make: Callable[[], None]
    float_layers: tuple[str, ...] = ()

    @property
    def paths(self) -> RunPaths:
        """Paths of its run."""
        return RunPaths(self.config.run)


def of_run(base: Config, slug: str, **sections: dict[str, Any]) -> Config:
    """`base` as the config of a candidate: another run that starts from the FP32 weights of `base`."""
    model = {"checkpoint": RunPaths(base.run).fp32_checkpoint}
    changed = {
        name: getattr(base, name).model_copy(update=update) for name, update in {"model": model, **sections}.items()
    }
    return base.model_copy(update={"run": f"{base.run}-ship-{slug}", **changed})


@dataclass
class Ptq:
    """Post-training quantization by any calibrator; all candidates share one network and one statistics pass."""

    base: Config
    _observed: tuple[fx.GraphModule, dict[str, Histogram]] | None = field(default=None)

    def candidate(self, method: ActivationCalibrator) -> Candidate:
        """The network calibrated by `method`."""
        calibration = self.base.qat.calibration.model_copy(update={"method": method})
        config = of_run(self.base, f"ptq-{method}", qat={"epochs": 0, "calibration": calibration})
        return Candidate("PTQ", f"PTQ, {method}", config, lambda: self._make(config))

    def _make(self, config: Config) -> None:
        paths, base = RunPaths(config.run), RunPaths(self.base.run)
        stage = Stage(
            name="ptq",
            outputs=(paths.qat_checkpoint, paths.trained_onnx, paths.plan, paths.parity, paths.calibration),
            inputs=(base.fp32_checkpoint, base.float_onnx, *config.placement.custom),
            params={
                "calibration": section_dict(config.qat.calibration),
                "placement": section_dict(config.placement),
                "code": source_hash(*CODE),
                **pipeline.data_params(config, "train"),
            },
        )
        ensure_stage(stage, paths.manifest, lambda: self._calibrate(config, paths))
        _finished(base, paths)

    def _calibrate(self, config: Config, paths: RunPaths) -> None:
        if self._observed is None:
            base = with_toolkit_chosen(self.base)
            model = pipeline.quantized_model(base, RunPaths(base.run)).to(device_for(base.device))
            train = dataset_of(base, "train")
            self._observed = model, collect(model, pipeline.calibration_images(base, train))
        model, histograms = self._observed
        calibrate_weights(model, config.qat.calibration)
        calibrate(model, histograms, config.qat.calibration)
        finish(model)
        save_calibration(config, paths)
        pipeline.save_network(model, config, paths)


def corrected(source: Candidate) -> Candidate:
    """`source` with bias correction: the same plan on a float graph with other biases."""
    config = source.config.model_copy(update={"run": f"{source.config.run}-bias"})
    paths, given = RunPaths(config.run), source.paths

    def make() -> None:
        stage = Stage(
            name="bias correction",
            outputs=(paths.trained_onnx, paths.plan, paths.parity, paths.calibration),
            inputs=(given.trained_onnx, given.plan, given.calibration),
            params={"code": source_hash(*CODE), "images": config.qat.calibration.images},
        )
        ensure_stage(stage, paths.manifest, correct)
        _finished(given, paths)

    def correct() -> None:
        _copied(given.calibration, paths.calibration)
        plan = read_plan(given.plan, given.trained_onnx)
        train = dataset_of(config, "train")
        images = [image.numpy() for image in pipeline.calibration_images(config, train)]
        graph, plan = bias_correction(images)(onnx_graph.load(given.trained_onnx), plan)
        portable = apply(graph, plan, AS_PLANNED).graph
        output = portable.outputs[0].name
        session = watching(gs.export_onnx(portable), [output])
        with np.load(given.parity) as stored:
            pictures = stored["images"]
        feed = session.get_inputs()[0].name
        logits = np.concatenate([session.run([output], {feed: image[np.newaxis]})[0] for image in pictures])
        with write_atomic(paths.parity) as temporary:
            np.savez(temporary, images=pictures, logits=logits, nudged=logits)
        onnx_graph.save(graph, paths.trained_onnx)
        write_plan(plan.of_graph(paths.trained_onnx), paths.plan)

    return Candidate("PTQ with bias correction", f"{source.title}, bias corrected", config, make)


def trained(base: Config, slug: str, title: str, qat: dict[str, Any]) -> Candidate:
    """The best epoch of fine-tuning with the changes `qat`; its engine decides if it is worth shipping."""
    epochs = max(base.qat.epochs, 1)
    config = of_run(base, slug, qat={"keep": "last", "epochs": epochs, "early_stop_epochs": epochs, **qat})
    return Candidate("QAT", title, config, lambda: pipeline.ensure(config))


def with_float(
    source: Candidate, groups: Sequence[str], layers: tuple[str, ...], subject: Callable[[], Subject]
) -> Candidate:
    """`source` with some quantizer groups in float: its plan, made again without them.

    Args:
        groups: their names.
        layers: the nodes that must stay in float for that.
        subject: gives the network of `source` with switches.
    """
    run = source.config.run.removesuffix("-float") + f"-float{len(groups)}"
    skip = (*source.config.placement.skip, *layers)
    placement = source.config.placement.model_copy(update={"skip": skip})
    config = source.config.model_copy(update={"run": run, "placement": placement})
    paths, given = RunPaths(run), source.paths

    def make() -> None:
        stage = Stage(
            name="float groups",
            outputs=(paths.trained_onnx, paths.plan, paths.parity, paths.calibration),
            inputs=(given.trained_onnx, given.plan, given.calibration),
            params={"skip": list(skip), "code": source_hash(*CODE)},
        )
        ensure_stage(stage, paths.manifest, edit)
        _finished(given, paths)

    def edit() -> None:
        for name in ("trained_onnx", "calibration"):
            _copied(getattr(given, name), getattr(paths, name))
        goal = target_config(config, TRAINED)
        view = onnx_graph.view(onnx_graph.load(paths.trained_onnx))
        plan, _ = decide(view, read_plan(given.plan, given.trained_onnx), goal.rules or (), goal.skip)
        write_plan(plan.of_graph(paths.trained_onnx), paths.plan)
        network = subject()
        everything = frozenset(group.name for group in network.groups)
        with network.only(everything - set(groups)):
            save_parity(network.model, config, paths)

    title = f"{source.title}, {len(groups)} group{'s' * (len(groups) > 1)} float"
    return Candidate(f"{source.step} with float groups", title, config, make, layers)


def _finished(given: RunPaths, paths: RunPaths) -> None:
    _copied(given.classes, paths.classes)
    ensure_portable(paths)


def _copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_atomic(target) as temporary:
        shutil.copyfile(source, temporary)

"""The quantization plan: the one carrier of ranges between training, calibration, search and the engines.

    plan.json   tensors   name → number format, scale, axis, shared-scale group, origin, uses with their rules
                skips     node, rule, reason: why an operator stays in float
                graph     sha256 of the float ONNX file whose tensors it names

Calibration, training, sensitivity analysis, autotune and the import of foreign graphs write or edit plans;
`deploy.apply` alone turns one into Q/DQ nodes. A tensor that is taken out of the plan stays in float in the engine, and
so does a node whose skip has the rule `snr-budget`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.cli.naming import by_make, command
from core.config.schema_errors import problems
from core.errors import UserError
from core.files.artifacts import read_json, sha256_file, write_json
from core.nearest import path_hint
from deploy.plan.picture import Picture
from deploy.plan.scale import Scale

EXACT = "exact"  # origin of a scale that a rewrite derives without rounding
OBSERVED = "observed"  # origin of a scale that only some targets need, from calibration images
BUDGET = "snr-budget"  # rule of a skip that a measurement decided: the node stays in float for every target


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Use(_Frozen):
    """One quantized use of a tensor: input number `input` of `node`, and the rule that requests it."""

    node: str
    input: int = Field(ge=0)
    rule: str


class TensorPlan(_Frozen):
    """The quantization of one tensor.

    Attributes:
        format: "int8": symmetric, zero-point 0; weights within ±127. A target may write the same values as uint8.
        scale: step size in units of the tensor, or one for each slice along `axis`.
        axis: of a weight with one scale per output channel; None for one scale.
        group: name shared by tensors that must have one scale.
        origin: how the range was found, such as "histogram-mse", "ema", "learned", "max" or "observed".
        weight: True for a constant weight.
        uses: uses that the rules quantize; empty for a tensor that only other targets quantize.
    """

    format: Literal["int8"] = "int8"
    scale: float | tuple[float, ...]
    axis: int | None = None
    group: str | None = None
    origin: str = Field(min_length=1)
    weight: bool = False
    uses: tuple[Use, ...] = ()

    @field_validator("scale")
    @classmethod
    def _positive(cls, scale: float | tuple[float, ...]) -> float | tuple[float, ...]:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused
            values = np.asarray(scale, np.float64).astype(np.float32)
        if not values.size or not np.isfinite(values).all() or not (values > 0).all():
            raise ValueError("scales must be finite and positive float32 numbers")
        return scale

    @model_validator(mode="after")
    def _axis_of_several(self) -> TensorPlan:
        if (self.axis is None) != isinstance(self.scale, float):
            raise ValueError("several scales need an `axis`, one scale has none")
        return self

    @classmethod
    def of(cls, scale: Scale, origin: str) -> TensorPlan:
        """The plan of a tensor that has no uses yet."""
        values = scale.values.astype(np.float32)
        stored = float(values.reshape(())) if scale.axis is None else tuple(map(float, values.reshape(-1)))
        return cls(scale=stored, axis=scale.axis, origin=origin)

    @property
    def as_scale(self) -> Scale:
        """float32, a scalar or one value per slice."""
        return Scale(np.asarray(self.scale, np.float32), self.axis)


class SkippedNode(_Frozen):
    """A node that a rule looked at and left in float, and why."""

    node: str
    rule: str
    why: str


class QuantizationPlan(_Frozen):
    """See the module. Names come from the float ONNX graph whose file has the hash `graph`; "" for none yet.

    With a `picture` engines take pixels, and the scale of the first weight is that of the folded weight (see
    `deploy.plan.picture`).
    """

    version: Literal[1] = 1
    graph: str = ""
    picture: Picture | None = None
    tensors: dict[str, TensorPlan] = Field(default_factory=dict)
    skips: tuple[SkippedNode, ...] = ()

    def scales(self) -> dict[str, Scale]:
        """The scale of every tensor by name."""
        return {name: tensor.as_scale for name, tensor in self.tensors.items()}

    def with_scales(self, scales: Mapping[str, Scale], origin: str = EXACT) -> QuantizationPlan:
        """The plan with exactly these scales: others are dropped, unchanged ones keep their entry.

        A changed scale keeps its origin; a tensor that is new to the plan gets `origin`.
        """
        tensors = {}
        for name, scale in scales.items():
            known = self.tensors.get(name)
            fresh = TensorPlan.of(scale, known.origin if known else origin)
            same = known is not None and (known.scale, known.axis) == (fresh.scale, fresh.axis)
            kept = {"group": known.group, "uses": known.uses, "weight": known.weight} if known else {}
            tensors[name] = known if known and same else fresh.model_copy(update=kept)
        return self.model_copy(update={"tensors": tensors})

    def adding(self, scales: Mapping[str, Scale], origin: str) -> QuantizationPlan:
        """The plan with further tensors; those it has stay as they are."""
        new = {name: TensorPlan.of(scale, origin) for name, scale in scales.items() if name not in self.tensors}
        return self.model_copy(update={"tensors": {**self.tensors, **new}})

    def without(self, names: Iterable[str]) -> QuantizationPlan:
        """The plan without some tensors, which stay in float."""
        dropped = set(names)
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in dropped}
        return self.model_copy(update={"tensors": kept})

    def in_float(self, nodes: Iterable[SkippedNode]) -> QuantizationPlan:
        """The plan with further nodes that stay in float by measurement; their rule is `BUDGET`."""
        return self.model_copy(update={"skips": (*self.skips, *nodes)})

    @property
    def measured_floats(self) -> dict[str, str]:
        """Nodes that stay in float by measurement, and why."""
        return {skip.node: skip.why for skip in self.skips if skip.rule == BUDGET}

    def of_graph(self, path: Path) -> QuantizationPlan:
        """The plan, bound to a float ONNX file."""
        return self.model_copy(update={"graph": sha256_file(path)})

    @property
    def quantized(self) -> dict[str, TensorPlan]:
        """The tensors that have uses."""
        return {name: tensor for name, tensor in self.tensors.items() if tensor.uses}

    @property
    def activations(self) -> dict[str, TensorPlan]:
        """The quantized tensors that are not weights."""
        return {name: tensor for name, tensor in self.quantized.items() if not tensor.weight}

    @property
    def weights(self) -> dict[str, TensorPlan]:
        """The quantized weights."""
        return {name: tensor for name, tensor in self.quantized.items() if tensor.weight}

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Tensors of each shared-scale group."""
        found: dict[str, list[str]] = {}
        for name, tensor in self.tensors.items():
            if tensor.group is not None:
                found.setdefault(tensor.group, []).append(name)
        return {group: tuple(members) for group, members in found.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.model_dump(mode="json", exclude_defaults=False)


def write_plan(plan: QuantizationPlan, path: Path) -> None:
    """Write `plan` as indented JSON, atomically."""
    write_json(path, plan.to_json())


def read_placement(path: Path) -> QuantizationPlan:
    """The plan in a placement report, which holds more beside it.

    Raises:
        UserError: the file is not such a report.
    """
    try:
        content = read_json(path)
        known = {key: content[key] for key in QuantizationPlan.model_fields if key in content}
        return QuantizationPlan.model_validate({**known, "skips": content["skips"]})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is not a placement report",
            why=f"{type(error).__name__}: {error}",
            fix="give TARGET.placement.json of a run, or the .placement.json that `place` wrote",
        ) from error


def read_plan(path: Path, graph: Path | None = None) -> QuantizationPlan:
    """The plan in a JSON file.

    Args:
        graph: the float ONNX file that it must belong to; None leaves that unchecked.

    Raises:
        UserError: no such file, a value that the schema refuses, or a plan of another graph.
    """
    fix = f"make one with `{by_make('qat')}` or `{command('calibrate')}`"
    if not path.is_file():
        raise UserError(f"no quantization plan {path}", fix=path_hint(path, fix))
    try:
        plan = QuantizationPlan.model_validate(read_json(path))
    except ValidationError as error:
        first = problems(error, QuantizationPlan)[0]
        raise UserError(f"{path} is not a quantization plan", why=first, fix=fix) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a quantization plan", why=str(error), fix=fix) from error
    if graph is not None and plan.graph != sha256_file(graph):
        raise UserError(
            f"{path} is the plan of another graph than {graph}", why="the graph's hash differs from the plan's", fix=fix
        )
    return plan

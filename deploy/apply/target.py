"""A target: the form of Q/DQ graph that suits one engine family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deploy.apply.bake import Form
from deploy.apply.insert import StoredAs
from deploy.apply.number_formats import Unsigned
from deploy.apply.passes import Pass
from deploy.placement.rules.base import Rule
from deploy.rewrites.stem import Block

Fallback = Literal["fp16", "fp32"]
Sums = Literal["int32", "int16"]


@dataclass(frozen=True)
class Target:
    """Rules, rewrites and number formats of one engine family.

    Attributes:
        name: of the graph's file and of its report.
        rule_set: key of `deploy.placement.rule_sets.RULE_SETS`.
        rewrites: exact passes before placement.
        unsigned: the activations that are uint8 (see `deploy.apply.number_formats`).
        floors: uint8 from the smallest value that a tensor can have (see `deploy.apply.number_formats`).
        overflows: its kernels need VNNI or AMX to add products exactly.
        sums: of two products in the kernels of this CPU; "int16" may overflow (see `deploy.apply.int16_sums`).
        fallback: fallback precision: of the float part of the graph.
        mask_form: form of the graph from image to mask (see `deploy.apply.bake`).
        block: side of the blocks of pixels that the first convolution reads (see `deploy.rewrites.pixel_stem`).
    """

    name: str
    rule_set: str
    rewrites: tuple[Pass, ...] = ()
    unsigned: Unsigned = "never"
    floors: bool = False
    overflows: bool = False
    sums: Sums = "int32"
    fallback: Fallback = "fp32"
    mask_form: Form = "bands"
    block: Block = 1

    def to_json(self) -> dict[str, Any]:
        """Plain values, for hashes."""
        return {**vars(self), "rewrites": [step.name for step in self.rewrites]}


# Plain int8 pairs where TensorRT fuses: the graph that is trained and handed to other toolkits.
PORTABLE = Target("qdq", "tensorrt")


@dataclass(frozen=True)
class TargetConfig:
    """A target under the user's restrictions.

    Attributes:
        target: the engine family.
        rules: its rules, restricted (see `deploy.placement.rule_sets.rules_of`); None for the uses of the plan.
        skip: patterns of nodes that stay in float.
        weights: how weights are stored.
    """

    target: Target
    rules: Sequence[Rule] | None
    skip: tuple[str, ...] = ()
    weights: StoredAs = "int8"


# The uses of the plan as they are: the trained ones, or the part that a user kept.
AS_PLANNED = TargetConfig(PORTABLE, rules=None)

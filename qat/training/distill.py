"""Distillation from the FP32 network: fine-tuning towards the outputs of the network before quantization.

Loss: T² · KL(teacher ‖ student) of softened class probabilities at the logits' own resolution (Hinton, Vinyals, Dean,
"Distilling the Knowledge in a Neural Network", 2015), the mean over pixels; optionally the squared distance of inner
features relative to the teacher's (Romero et al., "FitNets", ICLR 2015, without adapters, as the shapes are equal).
Without labels it is the whole loss, and masks are never read.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.config import DistillConfig
from core.errors import UserError
from deploy.placement.patterns import suggestion
from qat.tasks.losses import Loss


@contextmanager
def distilled(loss: Loss, student: nn.Module, teacher: nn.Module, config: DistillConfig) -> Iterator[Loss]:
    """Within the context, a loss that also pulls `student` towards `teacher`; `loss` itself when that is off.

    Args:
        student: the network in training; hooks record its inputs and features while the context lasts.
        teacher: float network of the same structure; it does not change.

    Raises:
        UserError: `config.features` names no module.
    """
    if config.weight == 0:
        yield loss
        return
    distillation = Distillation(loss, teacher, config)
    handles = distillation.watch(student)
    try:
        yield distillation
    finally:
        for handle in handles:
            handle.remove()


class Distillation:
    """A `Loss` that compares the student's latest outputs with the teacher's."""

    def __init__(self, loss: Loss, teacher: nn.Module, config: DistillConfig) -> None:
        self.loss, self.config = loss, config
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.expected: Tensor | None = None
        self.features: dict[str, dict[str, Tensor]] = {"student": {}, "teacher": {}}

    def watch(self, student: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        """Run the teacher on the student's inputs, and record both networks' features."""
        handles = [student.register_forward_hook(self._teach)]
        tops = [name for name, _ in self.teacher.named_children()]
        names = [name for name, _ in self.teacher.named_modules() if name]
        for pattern in self.config.features:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
                raise UserError(
                    f"qat.distill.features: {pattern} names no module", fix=suggestion(pattern, [*tops, *names])
                )
        for role, network in (("student", student), ("teacher", self.teacher)):
            for name in filter(self._is_feature, names):
                keep = partial(self._keep, self.features[role], name)
                handles.append(network.get_submodule(name).register_forward_hook(keep))
        return handles

    def __call__(self, outputs: Tensor, *targets: Tensor) -> dict[str, Tensor]:
        """The result of `Loss`, with "distill" and, with features, "features", both unweighted."""
        assert self.expected is not None, "the student has not been run under `watch`"
        terms = {"distill": soft_divergence(outputs, self.expected, self.config.temperature)}
        total = self.config.weight * terms["distill"]
        if self.config.features:
            pairs = [(self.features["student"][name], value) for name, value in self.features["teacher"].items()]
            terms["features"] = torch.stack([relative_distance(*pair) for pair in pairs]).mean()
            total = total + self.config.feature_weight * terms["features"]
        own: dict[str, Tensor] = {}
        if self.config.labels:
            own = self.loss(outputs, *targets)
            total = total + own["loss"]
        return {**own, "loss": total, **{name: value.detach() for name, value in terms.items()}}

    def _is_feature(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.config.features)

    def _teach(self, student: nn.Module, inputs: tuple[Tensor, ...], _outputs: Any) -> None:
        if not student.training:
            return
        with torch.no_grad():
            self.teacher.to(inputs[0].device)
            self.expected = self.teacher(inputs[0])

    @staticmethod
    def _keep(into: dict[str, Tensor], name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        into[name] = output


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student) over classes, mean over pixels or images; logits (N, classes, ...) of any type."""
    log_student = F.log_softmax(student.float() / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
    return temperature**2 * divergence.mean()


def relative_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference over the teacher's mean square."""
    return F.mse_loss(student.float(), teacher.float()) / teacher.float().square().mean().clamp_min(1e-12)

"""One training loop for FP32 training and for quantization-aware fine-tuning, in one process or several.

Several processes (started by `torchrun`, on GPUs also by `accelerate launch`) compute the same as one process with
their whole batch: the same images in each step, losses and gradients of the global batch, one set of weights. Three
things depend on the process of an image and differ: batch-norm statistics on CPUs (on GPUs they are synchronised), the
minimum share of pixels that OHEM keeps, and random layers of the model (dropout).

An interrupted training resumes from its last checkpoint and ends with the same weights, bit for bit on a CPU with the
same number of threads. No generator state is stored: the generators are seeded at every step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from core.errors import UserError
from core.files.artifacts import discard_unfinished
from qat.data.opencv_threads import one_opencv_thread
from qat.device import process_on
from qat.models.tensor_file import save_weights
from qat.processes.distributed import (
    average_gradients,
    broadcast_statistics,
    broadcast_weights,
    global_sum,
    rank,
    synchronised_batch_norm,
    world_size,
)
from qat.quantization.quantizers import quantizers
from qat.tasks.losses import Loss
from qat.training.checkpointing import Stateful, load_checkpoint, save_checkpoint
from qat.training.hooks import Hooks, NoHooks
from qat.training.sampler import EpochBatches
from qat.training.schedule import learning_rate
from qat.training.train_log import MetricsFile, Progress
from qat.training.train_plan import TrainPlan, uses_bf16

DIVERGED = 1e3  # limit of the loss as a multiple of the first loss of this start, or of 1 where that is less

Item = tuple[Tensor, ...]  # image float32 (3, H, W), then the loss's arguments besides the outputs, the label first


class Items(Protocol):
    """The items of one epoch; an item depends only on its index, not on earlier reads."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


Data = Callable[[int], Items]  # items by epoch, counted from 0; all epochs have the same length


def fit(model: nn.Module, data: Data, loss: Loss, plan: TrainPlan, hooks: Hooks | None = None) -> None:
    """Train `model` in place as `plan` says and write its state dict to `plan.weights`.

    Args:
        model: takes float32 (N, 3, H, W) and returns the input of `loss`.
        data: gives the items of an epoch, such as `qat.data.loader.TrainingBatches`.
        loss: training minimises its "loss"; its other values are only recorded.
        plan: duration, learning rate, and paths of results.
        hooks: the stage's work between steps.

    Raises:
        UserError: fewer images than one step needs, a loss that is not finite or has grown without bounds, or weights
            that are not finite at the end.
    """
    process = process_on(plan.device)
    batches = EpochBatches(len(data(0)), plan.batch_size, plan.seed, process.process_index, process.num_processes)
    hooks = hooks or NoHooks()
    if process.is_main_process:
        discard_unfinished(plan.resume)
    stepper = Stepper(model, loss, plan)
    with synchronised_batch_norm(model), one_opencv_thread():
        _run(model, data, batches, stepper, hooks)
        hooks.on_training_end()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # its stubs lack memory_format
    _require_finite_weights(model, plan)
    if process.is_main_process:
        save_weights(plan.weights, model)
        if not plan.keeps_checkpoint:
            plan.resume.unlink(missing_ok=True)
    process.wait_for_everyone()


class Stepper:
    """Runs single optimizer steps; `benchmarks.train_step` times them, too."""

    def __init__(self, model: nn.Module, loss: Loss, plan: TrainPlan) -> None:
        """Moves the model to the plan's device, in the fastest memory layout for the precision."""
        self.model, self.loss, self.plan = model, loss, plan
        self.bf16 = uses_bf16(plan.precision, plan.device)
        layout = torch.channels_last if self.bf16 else torch.contiguous_format
        model.to(device=plan.device, memory_format=layout)  # type: ignore[call-overload]  # its stubs lack memory_format
        self.optimizer = _optimizer(model, plan)

    def step(self, batch: Item, number: int, lr: float) -> dict[str, float]:
        """Train on this process's `batch`; returns the losses of the global batch."""
        _seed_step(self.plan.seed, number, rank())
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        image, *targets = (tensor.to(self.plan.device, non_blocking=True) for tensor in batch)
        if self.bf16:
            image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.plan.device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.model(image)
        losses = self.loss(outputs, *targets)
        self.optimizer.zero_grad()
        losses["loss"].backward()
        average_gradients(self.model)
        self._clip()
        self.optimizer.step()
        broadcast_statistics(self.model)
        means = global_sum(torch.stack([value.detach() for value in losses.values()])) / world_size()
        return dict(zip(losses, means.tolist(), strict=True))

    def _clip(self) -> None:
        """Clip weights and scales separately: gradients of scales have another order of magnitude."""
        if self.plan.clip_norm is None:
            return
        for group in self.optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], self.plan.clip_norm)


def _run(model: nn.Module, data: Data, batches: EpochBatches, stepper: Stepper, hooks: Hooks) -> None:
    plan, first = stepper.plan, rank() == 0
    total = plan.epochs * batches.steps_per_epoch
    key = plan.key(images=batches.images, processes=world_size(), bf16=stepper.bf16)
    parts: dict[str, Stateful] = {"model": model, "optimizer": stepper.optimizer, "hooks": hooks}
    done = load_checkpoint(plan.resume, key, parts)
    broadcast_weights(model)
    hooks.on_training_start(batches.steps_per_epoch)
    log = MetricsFile(plan.metrics, plan.stage, done, enabled=first)
    progress = Progress(plan.stage, done, total, enabled=first)
    divergence = _Divergence(plan)
    clock_s = time.monotonic()
    for epoch, batch in _batches_from(done, data, batches, plan):
        if hooks.stopped:
            return
        model.train()
        hooks.on_step_start(done, epoch)
        lr = learning_rate(plan.schedule, plan.lr, done, total, plan.poly_power, plan.warmup_steps)
        losses = stepper.step(batch, done, lr)
        hooks.on_step_end(done)
        done += 1
        divergence.check(losses, done)
        now_s = time.monotonic()
        rate = round(batches.global_batch / (now_s - clock_s), 2)
        log.append({"step": done, "epoch": epoch, "lr": lr, **losses, "images_per_s": rate})
        progress.report(done, losses["loss"])
        epoch_ended = done % batches.steps_per_epoch == 0
        if epoch_ended and (values := hooks.on_epoch_end(epoch)):
            log.append({"step": done, "epoch": epoch, **values})
        if first and (epoch_ended or done % plan.checkpoint_every_steps == 0):
            save_checkpoint(plan.resume, key, done, parts)
        clock_s = time.monotonic()


def _batches_from(done: int, data: Data, batches: EpochBatches, plan: TrainPlan) -> Iterator[tuple[int, Item]]:
    """(epoch, batch) of every step after the first `done` ones."""
    for epoch in range(done // batches.steps_per_epoch, plan.epochs):
        indices = batches.of(epoch)[max(0, done - epoch * batches.steps_per_epoch) :]
        loader: DataLoader[Item] = DataLoader(
            data(epoch),  # type: ignore[arg-type]  # a Dataset by its methods, not by inheritance
            batch_sampler=indices,
            num_workers=plan.workers,
            pin_memory=plan.device.type == "cuda",
        )
        for batch in loader:
            yield epoch, batch


def _optimizer(model: nn.Module, plan: TrainPlan) -> torch.optim.Optimizer:
    """The optimizer of all parameters: it skips those without a gradient until they get one."""
    scales = [parameter for quantizer in quantizers(model).values() for parameter in quantizer.parameters()]
    apart = {id(parameter) for parameter in scales}
    others = [parameter for parameter in model.parameters() if id(parameter) not in apart]
    groups: list[dict[str, Any]] = [{"params": others}]
    if scales:
        groups.append({"params": scales, "weight_decay": 0.0})
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=plan.lr, weight_decay=plan.weight_decay)
    return torch.optim.SGD(groups, lr=plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay)


def _seed_step(seed: int, step: int, rank: int) -> None:
    set_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


class _Divergence:
    """Stops a training whose loss is not a number, or is so far above the first loss that it cannot recover."""

    def __init__(self, plan: TrainPlan) -> None:
        self._plan = plan
        self._limit: float | None = None

    def check(self, losses: dict[str, float], step: int) -> None:
        """Raise `UserError` if a step's losses are like that."""
        loss = losses["loss"]
        if self._limit is None:
            self._limit = DIVERGED * max(1.0, loss)
        if math.isfinite(loss) and loss <= self._limit:
            return
        problem = "has grown without bounds" if math.isfinite(loss) else "is not finite"
        raise UserError(
            f"{self._plan.stage}: the loss of step {step} {problem}",
            why=", ".join(f"{name} {value:.4g}" for name, value in losses.items()),
            fix=f"lower the learning rate (now {self._plan.lr:g}); the metrics are in {self._plan.metrics}",
        )


def _require_finite_weights(model: nn.Module, plan: TrainPlan) -> None:
    """Raise `UserError` for weights that are not finite; no loss covers the last step's update."""
    ranges = tuple(f"{name}." for name in quantizers(model))  # NaN here means a range that is not calibrated yet
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith(ranges)}
    broken = [name for name, value in weights.items() if isinstance(value, Tensor) and _is_broken(value)]
    if broken:
        raise UserError(
            f"{plan.stage}: {len(broken)} weights are NaN or infinite after training: {', '.join(broken[:5])}",
            fix=f"lower the learning rate (now {plan.lr:g}), or start from sound weights",
        )


def _is_broken(value: Tensor) -> bool:
    return value.is_floating_point() and not bool(torch.isfinite(value).all())

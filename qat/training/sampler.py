"""The images of each step, determined by (seed, epoch) alone for any number of processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import UserError


@dataclass(frozen=True)
class EpochBatches:
    """Batches of one process.

    An epoch is a permutation of the data set cut into global batches of `processes * batch_size` images; remaining
    images are not used. Each process takes its slice of every global batch, so over all processes step k sees the
    images that one process with the whole batch would see.

    Attributes:
        images: size of the data set.
        batch_size: images per step and process.
        seed: with the epoch, decides the order.
        rank: index of this process among `processes`.

    Raises:
        UserError: the data set is smaller than one global batch.
    """

    images: int
    batch_size: int
    seed: int
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.images < self.global_batch:
            raise UserError(
                f"{self.images} training images do not fill one step",
                why=f"{self.processes} process(es) x batch size {self.batch_size} = {self.global_batch} images",
                fix="lower batch_size, raise data.train_images, or start fewer processes",
            )

    @property
    def global_batch(self) -> int:
        """Images per step over all processes."""
        return self.batch_size * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """Full global batches in the data set."""
        return self.images // self.global_batch

    def of(self, epoch: int) -> list[list[int]]:
        """Image indices of each step of `epoch`, for this process."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.images)
        used = order[: self.steps_per_epoch * self.global_batch]
        mine = used.reshape(self.steps_per_epoch, self.processes, self.batch_size)[:, self.rank]
        return [[int(index) for index in batch] for batch in mine]

"""The user's loader, read once into memory: images by number, the same in every trial even if the loader shuffles."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import length_hint
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from core.console import track
from core.errors import UserError
from qat.sensitivity.user.batch import input_and_target, like, map_tensors, shapes_of
from qat.sensitivity.user.device import in_float32
from qat.sensitivity.user.user_file import described


@dataclass(frozen=True)
class Images:
    """Samples as batches of one, in the loader's own structure.

    Attributes:
        samples: every tensor with a first dimension of 1. A batch that cannot be taken apart counts as one sample.
        batch: batch size of the loader and of trials.
    """

    samples: tuple[Any, ...]
    batch: int

    def __len__(self) -> int:
        return len(self.samples)

    def together(self, indices: Sequence[int]) -> Any:
        """One batch of these samples."""
        return _joined([self.samples[index] for index in indices])

    def chunks(self, indices: Sequence[int]) -> list[tuple[int, ...]]:
        """`indices` in groups that run at once; samples of other shapes start a new group."""
        found: list[tuple[int, ...]] = []
        for _, same in groupby(indices, key=lambda index: shapes_of(self.samples[index])):
            run = tuple(same)
            found += [run[start : start + self.batch] for start in range(0, len(run), self.batch)]
        return found

    def loader(self, indices: Sequence[int]) -> DataLoader[Any]:
        """Batches of these samples, for the user's `evaluate`."""
        chosen = Images(tuple(self.samples[index] for index in indices), self.batch)
        return DataLoader(chosen.samples, batch_sampler=chosen.chunks(range(len(chosen))), collate_fn=_joined)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Hex SHA-256 of every input and target."""
        digest = hashlib.sha256(str(self.batch).encode())
        for sample in self.samples:
            map_tensors(sample, lambda value: digest.update(value.cpu().contiguous().numpy().tobytes()))
        return digest.hexdigest()


def seed_user_code(seed: int) -> None:
    """Seed every generator that a loader, a loss or an optimizer draws from: torch's, numpy's and Python's."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def read_images(loader: Iterable[Any], limit: int | None, seed: int) -> Images:
    """All samples of `loader`, or the first `limit`; random loaders are seeded.

    Raises:
        UserError: the loader is empty, fails, or gives batches of an undocumented form.
    """
    seed_user_code(seed)
    samples: list[Any] = []
    largest = 1
    for batch in track(_batches(loader), "reading images", length_hint(loader) or None):
        input_and_target(batch)
        parts = _apart(in_float32(batch))
        largest = max(largest, len(parts))
        samples += parts
        if limit is not None and len(samples) >= limit:
            break
    if not samples:
        raise UserError("get_data_loader() gave no batches", fix="check data_path")
    return Images(tuple(samples[:limit]), largest)


def _batches(loader: Iterable[Any]) -> Iterator[Any]:
    """The loader's batches; an error in it is the user's."""
    done = 0
    try:
        for batch in loader:
            yield batch
            done += 1
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        what = f"get_data_loader()'s loader fails at batch {done}"
        raise UserError(what, described(error), "iterate over it alone") from error


def _apart(batch: Any) -> list[Any]:
    lengths = {shape[0] if shape else -1 for shape in shapes_of(batch)}
    if len(lengths) != 1 or -1 in lengths:
        return [batch]
    images = lengths.pop()
    return [_slice(batch, index, images) for index in range(images)]


def _slice(value: Any, index: int, images: int) -> Any:
    if isinstance(value, Tensor):
        return value[index : index + 1].detach().clone()
    if isinstance(value, Mapping):
        return {key: _slice(item, index, images) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if _is_of_plain_values(value):
        return value[index : index + 1] if len(value) == images else value
    return like(value, [_slice(item, index, images) for item in value])


def _is_of_plain_values(value: Sequence[Any]) -> bool:
    """Return True for a list such as file names, one for each image."""
    return bool(value) and not any(isinstance(item, Tensor | Mapping | list | tuple) for item in value)


def _joined(samples: list[Any]) -> Any:
    first = samples[0]
    if len(samples) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(samples)
    if isinstance(first, Mapping):
        return {key: _joined([sample[key] for sample in samples]) for key in first}
    if not isinstance(first, list | tuple):
        return first
    if _is_of_plain_values(first):
        return [item for sample in samples for item in sample]
    return like(first, [_joined([sample[position] for sample in samples]) for position in range(len(first))])

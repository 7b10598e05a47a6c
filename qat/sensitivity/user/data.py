"""The user's loader, read once into memory: images by number, the same in every probe whatever the loader shuffles."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import length_hint
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.console import track
from core.errors import UserError
from qat.sensitivity.user.batch import ONE_TENSOR, Parameters, input_and_target, like, map_tensors, shapes_of
from qat.sensitivity.user.precision import batch_in_float32
from qat.tracing.inputs import Inputs


@dataclass(frozen=True)
class Images:
    """Samples as batches of one, in the loader's own structure.

    Attributes:
        samples: (input, target, …) or a mapping; every tensor with a first dimension of 1. A batch that cannot be
            taken apart counts as one sample.
        batch: images that the loader gave at once, and that probes run at once.
        parameters: of the network's `forward`.
    """

    samples: tuple[Any, ...]
    batch: int
    parameters: Parameters = ONE_TENSOR

    def __len__(self) -> int:
        return len(self.samples)

    def together(self, indices: Sequence[int]) -> Any:
        """One batch of these samples."""
        chosen = [self.samples[index] for index in indices]
        return chosen[0] if len(chosen) == 1 else _joined(chosen)

    def split(self, batch: Any) -> tuple[Inputs, Any]:
        """The network's input and the criterion's target of one batch of this loader."""
        return input_and_target(batch, self.parameters)

    def chunks(self, indices: Sequence[int]) -> list[tuple[int, ...]]:
        """`indices` in groups that run at once; samples of other shapes start a new group."""
        groups: list[list[int]] = []
        for index in indices:
            fits = (
                groups
                and len(groups[-1]) < self.batch
                and shapes_of(self.samples[groups[-1][0]]) == shapes_of(self.samples[index])
            )
            if fits:
                groups[-1].append(index)
            else:
                groups.append([index])
        return [tuple(group) for group in groups]

    def fingerprint(self) -> str:
        """Hex SHA-256 of every input and target."""
        digest = hashlib.sha256(str(self.batch).encode())
        for sample in self.samples:
            map_tensors(sample, lambda value: digest.update(value.cpu().contiguous().numpy().tobytes()))
        return digest.hexdigest()


class Loader:
    """Batches of some images, for the user's `evaluate`."""

    def __init__(self, images: Images, indices: Sequence[int]) -> None:
        self.images, self.chunks, self.batch_size = images, images.chunks(indices), images.batch
        self.dataset = range(len(indices))

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[Any]:
        return (self.images.together(chunk) for chunk in self.chunks)


def seed_user_code(seed: int) -> None:
    """Every generator that a loader, a loss or an optimizer draws from: torch's, numpy's and Python's."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def read_images(loader: Iterable[Any], limit: int | None, seed: int, parameters: Parameters = ONE_TENSOR) -> Images:
    """All samples of `loader`, or the first `limit`; random loaders are seeded.

    Args:
        parameters: of the network's `forward`.

    Raises:
        UserError: the loader is empty or gives no (input, target) pairs.
    """
    seed_user_code(seed)
    samples: list[Any] = []
    largest = 1
    for given in track(_batches(loader), "reading images", length_hint(loader) or None):
        batch = batch_in_float32(given)
        target = input_and_target(batch, parameters)[1]
        parts = [batch] if isinstance(target, int | float) else _apart(batch)
        largest = max(largest, len(parts))
        samples += parts
        if limit is not None and len(samples) >= limit:
            break
    if not samples:
        raise UserError("get_data_loader() gave no batches", fix="check data_path")
    return Images(tuple(samples[:limit]), largest, parameters)


def _batches(loader: Iterable[Any]) -> Iterator[Any]:
    """What the user's loader gives; what goes wrong in it is the user's error."""
    done = 0
    try:
        for batch in loader:
            yield batch
            done += 1
    except UserError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"get_data_loader()'s loader fails at batch {done}", why, "iterate over it alone") from error


def _apart(batch: Any) -> list[Any]:
    lengths: set[int] = set()
    map_tensors(batch, lambda value: lengths.add(value.shape[0] if value.ndim else -1))
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
    """A list of file names or the like, one for each image."""
    return bool(value) and not any(isinstance(item, Tensor | Mapping | list | tuple) for item in value)


def _joined(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, Tensor):
        return torch.cat(samples)
    if isinstance(first, Mapping):
        return {key: _joined([sample[key] for sample in samples]) for key in first}
    if isinstance(first, list | tuple) and _is_of_plain_values(first):
        return [item for sample in samples for item in sample]
    if isinstance(first, list | tuple):
        return like(first, [_joined([sample[position] for sample in samples]) for position in range(len(first))])
    return first

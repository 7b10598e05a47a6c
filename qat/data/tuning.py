"""The tuning split: images of train that only choices are evaluated on, never training or calibration.

Frames of one video are alike: a network that has learned one of them knows its neighbours. So whole sequences are held
out where file names show several, else contiguous blocks with a gap on either side. For the same reason tuning images
are resampled by group (`TuningSet.groups`): a sequence, or a stretch of one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.config.data import TuningConfig
from core.errors import UserError
from core.files.artifacts import sha256_json
from qat.data.base import LabelledImages, Sample

By = Literal["auto", "sequence", "block", "image"]
LEAST_IMAGES = 10  # images of train; with fewer there is no tuning split
LEAST_TUNING = 4  # least number of held-out images
LEAST_IN_SEQUENCE = 3  # least average number of images for a prefix of names to count as a sequence
BLOCKED = 100  # three blocks are held out from this number of training images on, else one
GROUPS = 12  # groups for resampling tuning images, where sequences are fewer


@dataclass(frozen=True)
class Division:
    """Indices of train: images for training and calibration, and images for tuning with their groups."""

    train: tuple[int, ...]
    tuning: tuple[int, ...]
    groups: tuple[int, ...]


class Subset:
    """Some samples of a data set, in order."""

    def __init__(self, source: LabelledImages, indices: Sequence[int]) -> None:
        self.class_names, self.colors = source.class_names, source.colors
        self._source, self._indices = source, tuple(indices)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the chosen samples."""
        names = self._source.names
        return tuple(names[index] for index in self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._source[self._indices[index]]

    def fingerprint(self) -> str:
        return sha256_json([self._source.fingerprint(), self._indices])


@dataclass(frozen=True)
class TuningSet:
    """The tuning images and, for each, the number of the group that it is resampled with."""

    dataset: LabelledImages
    groups: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.groups)


def without_tuning(whole: LabelledImages, config: TuningConfig, by: By) -> Subset:
    """The images of train for training and calibration."""
    return Subset(whole, divide(whole.names, config, by).train)


def held_aside(whole: LabelledImages, config: TuningConfig, by: By) -> TuningSet:
    """The images of train that choices are evaluated on."""
    division = divide(whole.names, config, by)
    return TuningSet(Subset(whole, division.tuning), division.groups)


def divide(names: Sequence[str], config: TuningConfig, by: By = "auto") -> Division:
    """The tuning split of training images with these names, in the order of the data set.

    Args:
        by: `config.by`, or the replacement of its `auto`.

    Raises:
        UserError: `by: sequence`, but the names do not show several sequences.
    """
    count = len(names)
    if count < LEAST_IMAGES:
        return Division(tuple(range(count)), (), ())
    if by == "image":
        chosen = _thinned(range(count), max(LEAST_TUNING, round(config.share * count)))
        inside = sorted((index + config.fold) % count for index in chosen)
        used = _thinned(inside, config.images)
        return Division(tuple(index for index in range(count) if index not in inside), used, tuple(range(len(used))))
    sequences = [sequence_of(name) for name in names]
    held = None if by == "block" else _held_sequences(sequences, config, whatever=by == "sequence")
    if held is None and by == "sequence":
        raise UserError(
            "data.tuning.by: sequence needs training images of several sequences",
            why=f"the names begin with {', '.join(sorted(set(sequences))[:3])}",
            fix="use by: block, or let names begin with that of their sequence: drive1_0001",
        )
    if held is not None:
        inside = [index for index, sequence in enumerate(sequences) if sequence in held]
        train = [index for index, sequence in enumerate(sequences) if sequence not in held]
        used = _thinned(inside, config.images)
        return Division(tuple(train), used, groups_of([sequences[index] for index in used]))
    inside, gaps = _blocks(count, config)
    used = _thinned(inside, config.images)
    runs = [sum(other - 1 not in inside for other in inside if other <= index) for index in used]
    train = [index for index in range(count) if index not in {*inside, *gaps}]
    return Division(tuple(train), used, groups_of(list(map(str, runs))))


def sequence_of(name: str) -> str:
    """The sequence that a sample's name belongs to: its folder, else the text before the first separator."""
    folder, slash, stem = name.rpartition("/")
    if slash:
        return folder
    first = re.split(r"[_\-. ]", stem, maxsplit=1)[0]
    return first if first != stem else stem.rstrip("0123456789")


def _held_sequences(sequences: Sequence[str], config: TuningConfig, *, whatever: bool) -> set[str] | None:
    """The smallest sequences that make up the share, beginning with number `fold`.

    None where there is only one. Unless `whatever`, also None where all but the largest are too small together.
    """
    sizes = Counter(sequences)
    wanted = max(config.share * len(sequences), LEAST_TUNING)
    several = len(sizes) > 1 and len(sequences) >= LEAST_IN_SEQUENCE * len(sizes)
    enough = len(sequences) - max(sizes.values()) >= wanted / 2
    if not several or not (enough or whatever):
        return None
    order = sorted(sizes, key=lambda name: (sizes[name], name))
    first = config.fold % len(order)
    held: set[str] = set()
    for name in [*order[first:], *order[:first]]:
        if len(held) == len(order) - 1 or sum(sizes[other] for other in held) >= wanted:
            break
        held.add(name)
    return held


def _blocks(count: int, config: TuningConfig) -> tuple[list[int], set[int]]:
    """Images in evenly spread blocks that make up the share, and the images of the gaps around them."""
    blocks = 3 if count >= BLOCKED else 1
    length = max(LEAST_TUNING, round(config.share * count)) // blocks
    gap = min(config.gap_images, max(1, count // (8 * blocks)))
    room = count // blocks
    shift = config.fold * (length + gap) % (room - length + 1)
    starts = [block * room + shift for block in range(blocks)]
    inside = [index for start in starts for index in range(start, start + length)]
    around = {index for start in starts for index in range(start - gap, start + length + gap)}
    return inside, around - set(inside)


def _thinned(indices: Sequence[int], most: int) -> tuple[int, ...]:
    kept = min(len(indices), max(most, 1))
    return tuple(indices[index * len(indices) // kept] for index in range(kept))


def groups_of(sequences: Sequence[str]) -> tuple[int, ...]:
    """The group of each image, given its sequence: sequences where there are `GROUPS`, else about as many stretches."""
    if len(set(sequences)) >= GROUPS:
        order = list(dict.fromkeys(sequences))
        return tuple(order.index(sequence) for sequence in sequences)
    length = -(-len(sequences) // GROUPS)
    groups: list[int] = []
    inside = 0
    for index, sequence in enumerate(sequences):
        new = index == 0 or sequence != sequences[index - 1] or inside == length
        groups.append((groups[-1] if groups else -1) + new)
        inside = 1 if new else inside + 1
    return tuple(groups)

"""The user's own data set, from a function in a Python file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from core.config import MOST_CLASSES, DataConfig
from core.errors import UserError
from core.files.artifacts import sha256_content, sha256_file, sha256_json
from core.files.user_code import call_with, load_function
from qat.data.base import IGNORE, Sample

SEE = "see examples/my_data.py"
Colors = tuple[tuple[int, int, int], ...]
ReadLabel = Callable[[Any, tuple[int, int], int], NDArray[Any]]  # of label, image size and number of classes


class Custom:
    """The data set that the user's function returned: checks every sample and adds missing attributes.

    Raises:
        UserError: (on access) an image or label map of another type or shape, or a label outside the classes.
    """

    def __init__(self, source: Any, reference: str, root: Path | None, read_label: ReadLabel) -> None:
        """
        Args:
            source: has `class_names`, `len()`, and `[index]` giving (image, label), with None for a missing label.
                Maybe `colors`, `names` and `fingerprint()`.
            reference: "file.py:function" that returned it.
            root: folder of the data, if the config names one.
            read_label: of the task.
        """
        for needed in ("class_names", "__len__", "__getitem__"):
            if not hasattr(source, needed):
                raise UserError(f"data.factory: {reference} returned no data set", why=f"it has no {needed}", fix=SEE)
        self._source, self._reference, self._root, self._read_label = source, reference, root, read_label
        self.class_names = tuple(str(name) for name in source.class_names)
        given = getattr(source, "colors", None)
        self.colors = _colors(given) if given else palette(len(self.class_names))
        if len(self.colors) != len(self.class_names):
            raise UserError(
                f"data.factory: {reference} has {len(self.class_names)} class_names and {len(self.colors)} colors"
            )
        self.names = tuple(map(str, getattr(source, "names", range(len(source)))))
        if len(self.names) != len(source):
            raise UserError(f"data.factory: {reference} has {len(source)} samples and {len(self.names)} names")

    @property
    def classifies(self) -> bool:
        """Return True if the first label is one class for the whole image: such images are not video frames."""
        item = self._source[0]
        return isinstance(item, tuple | list) and len(item) == 2 and item[1] is not None and np.ndim(item[1]) == 0

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        item = self._source[index]
        if isinstance(item, Sample):
            return self._checked(item.image, item.label, item.name)
        if not isinstance(item, Sequence) or len(item) != 2:
            raise self._wrong(str(index), f"it is {type(item).__name__}, not a pair of image and label")
        image, label = item
        return self._checked(image, label, self.names[index])

    def fingerprint(self) -> str:
        """The data set's own fingerprint, else a hash of the Python file, the sample count, and all files of
        `data.root`."""
        own = getattr(self._source, "fingerprint", None)
        if own is not None:
            return str(own())
        files = sorted(path for path in self._root.rglob("*") if path.is_file()) if self._root else []
        code = sha256_file(Path(self._reference.rpartition(":")[0]))
        return sha256_json([code, len(self), [str(path) for path in files], sha256_content(files)])

    def _checked(self, image: Any, label: Any, name: str) -> Sample:
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise self._wrong(name, f"the image is {image.dtype} {image.shape}, not uint8 (height, width, 3), RGB")
        try:
            return Sample(image, self._read_label(label, image.shape[:2], len(self.class_names)), name)
        except ValueError as error:
            raise self._wrong(name, str(error)) from error

    def _wrong(self, name: str, why: str) -> UserError:
        return UserError(f"data.factory: {self._reference}: sample {name} is not usable", why=why, fix=SEE)


def label_map_of(label: Any, image_px: tuple[int, int], classes: int) -> NDArray[np.uint8]:
    """A label map as uint8 (H, W); one class may stand for all pixels. Raises `ValueError` with the reason."""
    if classes > MOST_CLASSES["segmentation"]:
        raise ValueError(f"{classes} classes are more than {MOST_CLASSES['segmentation']}: label maps are 8 bits")
    array = np.asarray(IGNORE if label is None else label)
    if not array.ndim:
        array = np.full(image_px, array)
    if array.shape != image_px or array.dtype.kind not in "iu":
        raise ValueError(f"the label map is {array.dtype} {array.shape}, the image {image_px}")
    strange = np.setdiff1d(array, [*range(classes), IGNORE])
    if strange.size:
        raise ValueError(f"labels {strange[:5].tolist()} are neither classes 0 to {classes - 1} nor {IGNORE}")
    return array.astype(np.uint8)


def custom(cfg: DataConfig, split: Literal["train", "val"], read_label: ReadLabel = label_map_of) -> Custom:
    """The data set that `cfg.factory` returns for `split`. It receives `split` and `root` by name; both are optional.

    Raises:
        UserError: the function is missing, needs other arguments, or returns an empty data set or none at all.
    """
    assert cfg.factory is not None
    what = f"data.factory: {cfg.factory}"
    source = call_with(load_function(cfg.factory, "data.factory"), {"root": cfg.root, "split": split}, what)
    found = Custom(source, cfg.factory, cfg.root, read_label)
    if not len(found):
        raise UserError(f"{what} has no samples for split {split}", fix="check data.root (DATA=…)")
    return found


def _colors(rows: Iterable[Iterable[Any]]) -> Colors:
    return tuple((int(red), int(green), int(blue)) for red, green, blue in rows)


def palette(count: int) -> Colors:
    """Colours of equal brightness, evenly spaced in hue."""
    hues = np.array([[[180 * i // count, 200, 220] for i in range(count)]], np.uint8)
    return _colors(cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0].tolist())

"""Picture files, decoded from bytes, with errors that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UserError


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any]:
    """The picture in `path` as OpenCV decodes it: (H, W, 3) BGR, or as `flags` of `cv2.imdecode` say.

    Raises:
        UserError: the file does not exist, is not a picture, is damaged, or is too large to decode.
    """
    # imread crashes on names that are not UTF-8, prints its own warnings, and accepts only ASCII names on Windows.
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        why = "it is a link to nothing" if path.is_symlink() and not path.exists() else error.strerror
        raise UserError(f"{path} cannot be read as an image", why or "", "check the path") from error
    try:
        image = cv2.imdecode(content, flags) if content.size else None
        why = "the file is empty, cut short or of another format"
    except cv2.error as error:
        image, why = None, f"OpenCV refuses it: {error.err or error}"
    if image is None:
        raise UserError(f"{path} cannot be read as an image", why=why, fix="unpack or download this file again")
    return np.asarray(image)

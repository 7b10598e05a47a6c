"""Files inside installed Python packages, such as published weights: `package:path/in/package`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"(?P<package>[A-Za-z_]\w+):(?P<file>[^\\/].*)")  # a drive letter is one character


def packaged(value: Any) -> Any:
    """The path of the file that `package:path` names; other values are returned unchanged. The package is not imported.

    Raises:
        ValueError: no such package is installed, or it has no such file.
    """
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    package, file = found["package"], found["file"]
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ValueError(f"the package {package} is not installed: pip install {package.replace('_', '-')}")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    path = next((folder / file for folder in folders if (folder / file).is_file()), None)
    if path is None:
        raise ValueError(f"the package {package} has no file {file}")
    return path

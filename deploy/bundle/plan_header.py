"""Tell which TensorRT built a `.plan` or `.engine` file, without TensorRT.

No header layout is documented. A plan of TensorRT begins with `ftrt` and holds major, minor, patch and build number in
bytes 24 to 27, as its maintainers said in https://github.com/NVIDIA/TensorRT/issues/3073. Plans of TensorRT-RTX 1.7
were looked at for this: the same four bytes, behind the magic `vtrt`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.nearest import path_hint

_KINDS = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}
_VERSION = slice(24, 28)


@dataclass(frozen=True)
class PlanHeader:
    """The builder of the plan: "TensorRT" or "TensorRT-RTX", and `major.minor.patch.build`."""

    kind: str
    version: str

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"


def read_plan_header(path: Path) -> PlanHeader:
    """The header of `path`; nothing is deserialized.

    Raises:
        UserError: no such file, or no plan of a kind that is known.
    """
    if not path.is_file():
        raise UserError(f"no engine {path}", fix=path_hint(path, "give a bundle's folder or a .plan / .engine file"))
    with open(path, "rb") as file:
        head = file.read(_VERSION.stop)
    kind = _KINDS.get(head[:4])
    if kind is None or len(head) < _VERSION.stop:
        raise UserError(f"{path} is not a TensorRT plan", why=f"it begins with {head[:4]!r}")
    return PlanHeader(kind, ".".join(map(str, head[_VERSION])))

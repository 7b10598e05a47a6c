"""How a network takes pictures: its one input, layout and size, and the float graph with that shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_graphsurgeon as gs

from core.cli.naming import command
from core.errors import UserError
from deploy.apps.quantize.options import Layout
from deploy.importing.import_plan import import_graph

PICTURE_CHANNELS = (1, 3)
MULTIPLE_PX = 32  # sides of a network with a free size: most networks halve the picture five times
LARGEST_PX = 1024  # of a side that nobody chose
_FLOATS = {np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)}
_ORDERS: dict[Layout, tuple[int, int, int]] = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}  # axes of C, H, W


@dataclass(frozen=True)
class PictureInput:
    """The network's input.

    Attributes:
        channels: 3, or 1 for grey pictures.
        size: height and width in pixels; None for a side that the file leaves open.
        pixels: True if it takes uint8 pixels themselves, not normalised floats.
    """

    name: str
    layout: Layout
    batch: int
    channels: int
    size: tuple[int | None, int | None]
    pixels: bool

    def shape(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The whole shape at a picture size."""
        sides = (height, width)
        return (self.batch, self.channels, *sides) if self.layout == "NCHW" else (self.batch, *sides, self.channels)


def picture_input(graph: gs.Graph, layout: Layout | None = None) -> PictureInput:
    """The input of `graph` that pictures go into.

    Args:
        layout: the user's word where the shape leaves two readings.

    Raises:
        UserError: several inputs, or one that is not a picture by shape and type.
    """
    inputs = [tensor for tensor in graph.inputs if isinstance(tensor, gs.Variable)]
    shown = ", ".join(f"{tensor.name} {_dtype_name(tensor)} {list(tensor.shape or ())}" for tensor in inputs)
    if len(inputs) != 1:
        raise UserError(
            f"the network has {len(inputs)} inputs",
            why=f"pictures go into one input; there are {shown or 'none'}",
            fix="export the network with the other inputs as constants",
        )
    tensor = inputs[0]
    pixels = tensor.dtype == np.uint8
    if tensor.shape is None or len(tensor.shape) != 4 or not (pixels or _is_float(tensor)):
        raise _unguessed(shown, "a picture is float or uint8 with four sides: batch, channels, height, width")
    sides = [side if isinstance(side, int) and side > 0 else None for side in tensor.shape]
    chosen = layout or _layout(tensor, sides)
    if chosen is None:
        raise _unguessed(shown, "which side holds the channels is not clear", "name it: --layout NCHW or --layout NHWC")
    channel, height, width = _ORDERS[chosen]
    channels = sides[channel] if sides[channel] is not None else max(PICTURE_CHANNELS)
    if channels not in PICTURE_CHANNELS:
        raise UserError(
            f"the network takes {channels} channels",
            why=f"pictures have 3, or 1 in grey; the input is {shown} read as {chosen}",
            fix="give --data as .npy of float32 (N, C, H, W), ready to feed, or another --layout",
        )
    return PictureInput(tensor.name, chosen, sides[0] or 1, channels, (sides[height], sides[width]), pixels)


def chosen_size(
    found: PictureInput, asked: tuple[int, int] | None, picture: tuple[int, int]
) -> tuple[tuple[int, int], str]:
    """Height and width to feed, and where they come from.

    Args:
        asked: the user's choice; None where there is none.
        picture: of a picture, for sides that nobody fixed: rounded to a multiple of `MULTIPLE_PX`.

    Raises:
        UserError: the file does not allow the size that the user chose.
    """
    fixed = found.size
    if asked is not None:
        if any(side not in (None, wanted) for side, wanted in zip(fixed, asked, strict=True)):
            raise UserError(
                f"--shape {asked[0]}x{asked[1]} does not fit the network",
                why=f"its input is fixed at {fixed[0] or 'any'}x{fixed[1] or 'any'}",
                fix="leave --shape out, or export the network with a dynamic size",
            )
        return asked, "--shape"
    height, width = (
        side or max(MULTIPLE_PX, round(min(own, LARGEST_PX) / MULTIPLE_PX) * MULTIPLE_PX)
        for side, own in zip(fixed, picture, strict=True)
    )
    return (height, width), "the file" if None not in fixed else "the first picture; --shape changes it"


def float_network(graph: gs.Graph, shape: Sequence[int], source: Path) -> gs.Graph:
    """The clean float graph with a fixed input shape, half precision widened, BatchNorm folded.

    Raises:
        UserError: the graph is quantized already, or an operator that ONNX Runtime and the rules do not know.
    """
    tensor = next(tensor for tensor in graph.inputs if isinstance(tensor, gs.Variable))
    if tuple(tensor.shape) != tuple(shape):
        for other in graph.tensors().values():
            if isinstance(other, gs.Variable):
                other.shape = None  # inferred again: a side that was open is known now
        tensor.shape = list(shape)
    _refuse_unknown_operators(graph, source)
    clean, plan = import_graph(graph)
    if plan.tensors:
        raise UserError(
            f"{source} is quantized already",
            why=f"it has {len(plan.tensors)} tensors with Q/DQ",
            fix=f"give the float model, or bring this one to an engine with `{command('place')}`",
        )
    for output in clean.outputs:
        output.shape = None
    return gs.import_onnx(onnx.shape_inference.infer_shapes(gs.export_onnx(clean)))


def _refuse_unknown_operators(graph: gs.Graph, source: Path) -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain in ("", "ai.onnx")}
    odd = sorted({f"{node.domain or 'ai.onnx'}:{node.op}" for node in graph.nodes if _is_foreign(node, known)})
    if odd:
        raise UserError(
            f"{source} has operators that are not ONNX's",
            why=f"there are no rules and no portable kernels for {', '.join(odd[:5])}",
            fix="export the network with standard ONNX operators",
        )


def _is_foreign(node: gs.Node, known: set[str]) -> bool:
    return node.domain not in (None, "", "ai.onnx", "com.microsoft") or (
        node.domain in (None, "", "ai.onnx") and node.op not in known
    )


def _layout(tensor: gs.Variable, sides: Sequence[int | None]) -> Layout | None:
    first, last = (sides[axis] in PICTURE_CHANNELS for axis in (1, 3))
    if first != last:
        return "NCHW" if first else "NHWC"
    readers = {node.op: node for node in tensor.outputs}
    if "Conv" in readers:
        return "NCHW"
    if "Transpose" in readers and list(readers["Transpose"].attrs.get("perm", ())) == [0, 3, 1, 2]:
        return "NHWC"
    return None if first or sides[1] is None else "NCHW"


def _unguessed(shown: str, why: str, fix: str = "export the network with an input (N, 3, H, W)") -> UserError:
    return UserError(f"the file does not say how pictures go into the network: {shown}", why=why, fix=fix)


def _is_float(tensor: gs.Variable) -> bool:
    dtype: Any = tensor.dtype
    return dtype == onnx.TensorProto.BFLOAT16 if isinstance(dtype, int) else np.dtype(dtype) in _FLOATS


def _dtype_name(tensor: gs.Variable) -> str:
    dtype: Any = tensor.dtype
    return onnx.TensorProto.DataType.Name(dtype) if isinstance(dtype, int) else str(np.dtype(dtype))

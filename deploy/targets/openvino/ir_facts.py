"""Manifest entries of a model in OpenVINO IR, as NNCF writes it."""

from __future__ import annotations

from typing import Any

from deploy.bundle.graph_facts import layout_of

_CONVOLUTIONS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"}
_INTEGERS = {"i8", "u8"}


def facts_of(model: Any) -> dict[str, Any]:
    """Inputs, outputs and quantized share of an `openvino.Model`, by the manifest's keys."""
    operations = model.get_ordered_ops()
    fakes = [node for node in operations if node.get_type_name() == "FakeQuantize" and not _is_constant(node, 0)]
    convolutions = [node for node in operations if node.get_type_name() in _CONVOLUTIONS]
    return {
        "tensors": {"inputs": list(map(_tensor, model.inputs)), "outputs": list(map(_tensor, model.outputs))},
        "placement": {
            "activations": len(fakes),
            "unsigned_activations": sum(bool((_source(node, 1).data >= 0).all()) for node in fakes),
            "weights": sum(_weight_type(node) in _INTEGERS for node in convolutions),
            "convolutions": len(convolutions),
            "quantized_convolutions": sum(
                _weight_type(node) in _INTEGERS and _source(node, 0).get_type_name() == "FakeQuantize"
                for node in convolutions
            ),
        },
    }


def _tensor(port: Any) -> dict[str, Any]:
    shape = [side.get_length() if side.is_static else None for side in port.get_partial_shape()]
    return {
        "name": port.get_any_name(),
        "dtype": port.get_element_type().to_dtype().name,
        "shape": shape,
        "layout": layout_of(port.get_any_name(), len(shape)),
    }


def _source(node: Any, index: int) -> Any:
    return node.input_value(index).get_node()


def _is_constant(node: Any, index: int) -> bool:
    return bool(_source(node, index).get_type_name() == "Constant")


def _weight_type(node: Any) -> str:
    """Element type of the constant behind a convolution's weight: NNCF stores integers, then Convert and Multiply."""
    source = _source(node, 1)
    while source.get_type_name() != "Constant" and source.get_input_size():
        source = _source(source, 0)
    return str(source.get_element_type().get_type_name())

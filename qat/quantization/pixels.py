"""Let the first layer compute with 8-bit pixels in training, as engines that take pixels do.

Pixels are 8-bit numbers, so the picture passes as it is, and the weight is rounded in the form that it has for pixels:
over the standard deviation of its channel (see `deploy.plan.picture`).
"""

from __future__ import annotations

import onnx_graphsurgeon as gs
import torch
from torch import fx

from core.console import say
from deploy.placement.decide import Placement
from deploy.plan.picture import Picture
from deploy.rewrites.stem import stem_of
from qat.quantization.quantized_layers import WEIGHT_QUANTIZER, fold_weight
from qat.quantization.quantizers import quantizers
from qat.tracing import fx_graph
from qat.tracing.export import PICTURE


def read_pixels(model: fx.GraphModule, where: Placement, graph: gs.Graph, picture: Picture) -> None:
    """Rewrite the first layer of a network with quantizers in place; a line says why where it stays as it is.

    Args:
        where: the placement of the quantizers.
        graph: the float ONNX graph of `model`.
    """
    layer = _first_layer(model, where, stem_of(graph, picture))
    if isinstance(layer, str):
        say(f"engines take normalised float pictures: {layer}")
        return
    fold_weight(layer, torch.from_numpy(picture.fold))
    image = next(node for node in model.graph.nodes if node.op == "placeholder")
    known = quantizers(model)
    for quantized in [node for node in image.users if node.op == "call_module" and node.target in known]:
        quantized.replace_all_uses_with(image)
        model.graph.erase_node(quantized)
    model.delete_all_unused_submodules()
    model.recompile()
    model.meta[PICTURE] = picture


def _first_layer(model: fx.GraphModule, where: Placement, conv: gs.Node | str) -> torch.nn.Module | str:
    if isinstance(conv, str):
        return conv
    readers = {edge.node for edge in where.by_tensor.get(conv.inputs[0].name, ())}
    weights = {item.use.node for item in where.weights}
    if readers != {conv.name} or conv.name not in weights:
        return f"{conv.name} is not quantized"
    names = {name: node for node, name in fx_graph.node_names(model).items()}
    owner = names.get(conv.name.partition("/")[0])
    layer = model.get_submodule(str(owner.target)) if owner is not None and owner.op == "call_module" else None
    if layer is None or not hasattr(layer, WEIGHT_QUANTIZER):
        return f"torch.fx does not see the layer of {conv.name}"
    return layer

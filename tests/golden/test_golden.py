"""The placement of known networks, as text for review: `UPDATE_GOLDEN=1 pytest tests/golden` rewrites it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from core.config import load_config
from deploy.graph import onnx_graph
from deploy.graph.opgraph import Edge, commutes
from deploy.placement.decide import Placement, placement
from deploy.placement.rules import RULES
from qat.models import build_model
from qat.models.pidnet import SIZES, PIDNet
from qat.models.resnet import RESNETS, ResNet
from qat.tracing import fx_graph
from qat.tracing.export import float_graph
from tests.golden.canonical import facts

FOLDER = Path(__file__).parent
ZOO = ("ddrnet_23_slim", "bisenetv2", "unet")
NETWORKS = {
    **{name: lambda name=name: PIDNet(SIZES[name], 11, augment=False) for name in SIZES},
    **{name: lambda name=name: ResNet(RESNETS[name], 10).eval() for name in RESNETS},
    **{name: lambda name=name: zoo(name) for name in ZOO},
}
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("pidnet_m", "pidnet_l", "resnet50")]
EXAMPLE = torch.zeros(1, 3, 64, 64)


def zoo(name):
    """The deployed network of a config in examples/zoo."""
    examples = FOLDER.parents[1] / "examples" / "zoo"
    model = load_config(examples / f"{name}.yaml").model
    file, _, function = model.factory.rpartition(":")
    return build_model(model.model_copy(update={"factory": f"{examples / Path(file).name}:{function}"}), augment=False)


@pytest.fixture(scope="module", params=["pidnet_s", "resnet18", *ZOO, *LARGE])
def network(request):
    """(name, traced model, view of its float ONNX graph, which placement is decided on)."""
    torch.manual_seed(0)
    model = fx_graph.trace(NETWORKS[request.param](), EXAMPLE)
    return request.param, model, onnx_graph.view(float_graph(model, EXAMPLE, 18)[0])


def as_text(where: Placement) -> str:
    """One line per tensor, then weights, groups and skips."""
    rules = {item.edge: item.rule for item in where.edges}
    lines = ["# tensor → reader [rule]"]
    for tensor, edges in where.by_tensor.items():
        lines.append(f"{tensor} → " + ", ".join(f"{edge.node} [{rules[edge]}]" for edge in edges))
    lines += ["", "# weight, axis"] + [f"{item.use.tensor} {item.use.axis}" for item in where.weights]
    lines += ["", "# one scale"] + [" = ".join(group) for group in where.groups]
    lines += ["", "# left in float"] + [f"{skip.node} [{skip.rule}] {skip.why}" for skip in where.skips]
    return "\n".join(lines) + "\n"


def test_placement_is_the_golden_one(network):
    name, _, view = network
    text = as_text(placement(view, RULES))
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_the_traced_network_s_view_gives_the_same_placement(network):
    name, model, view = network
    if name == "bisenetv2":
        pytest.skip("its dropout is an operator of the traced network alone")
    fx_view = fx_graph.view(model)
    assert facts(view, placement(view, RULES)) == facts(fx_view, placement(fx_view, RULES))


def test_every_convolution_is_int8_and_every_residual_add_is_fed_int8(network):
    name, _, view = network
    where = placement(view, RULES)
    small = {skip.node for skip in where.skips if skip.rule == "small-groups"}
    convs = {node.name for node in view.nodes if node.kind in ("Conv", "ConvTranspose", "Gemm")} - small
    assert {item.use.node for item in where.weights} == convs
    skipped = {skip.node for skip in where.skips if skip.rule == "residual-add"}
    quantized = {item.edge for item in where.edges}
    residual = [node for node in view.nodes if node.kind == "Add" and node.name not in skipped]
    assert bool(residual) == (name != "unet")
    assert all(fed_int8(view, quantized, node) for node in residual)


def fed_int8(view, quantized, node):
    """Return True if an input of `node` comes from a Q/DQ pair, perhaps through ops that commute with it."""
    for edge in (Edge(tensor, node.name, index) for index, tensor in enumerate(node.inputs)):
        producer = view.producer(edge.tensor)
        if edge in quantized or (producer and commutes(producer) and fed_int8(view, quantized, producer)):
            return True
    return False

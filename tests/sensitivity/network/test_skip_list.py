"""The `skip:` list means the same groups to the training graph and to the exported one."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import onnx_graphsurgeon as gs
import pytest
import torch
from torch import Tensor, nn

from core.config import PlacementConfig
from deploy.graph import onnx_graph
from deploy.placement.decide import Placement, module_path
from deploy.placement.rule_sets import rules_of
from deploy.plan.plan import QuantizationPlan
from qat.export import export_onnx
from qat.quantization.insert import insert_configured
from qat.quantization.quantizers import Mode, quantizers
from qat.sensitivity.decide.search import layers_of
from qat.sensitivity.network.groups import groups_of
from qat.sensitivity.network.switches import switches
from qat.sensitivity.types import QuantizerGroup
from qat.tracing import fx_graph
from qat.tracing.export import float_graph
from tests.nets.placing import place

IMAGE = torch.randn(1, 3, 16, 16)
GROUPS = ("stem", "side", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2", "add")  # of `Net`


class Block(nn.Module):
    """Two calls of one activation, and an addition that is a function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm, self.act = nn.BatchNorm2d(16), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv2(self.act(self.conv1(x)))) + x)


class Net(nn.Module):
    """Functions of every sort that groups are named after, and a method."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(Block(), Block())
        self.side, self.add = nn.Conv2d(16, 16, 1), nn.Conv2d(32, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.blocks(x).mul(2.0)
        z = self.add(torch.cat([self.side(x), y], 1))
        return torch.nn.functional.interpolate(z + y, scale_factor=2.0, mode="bilinear")


@cache
def traced() -> tuple[torch.fx.GraphModule, gs.Graph]:
    """The float network and its ONNX graph; neither is to be changed."""
    torch.manual_seed(0)
    model = fx_graph.trace(Net().eval(), IMAGE)
    return model, float_graph(model, IMAGE, 18)[0]


def quantized(skip: tuple[str, ...] = ()) -> tuple[torch.fx.GraphModule, Placement]:
    model, graph = copy.deepcopy(traced()[0]), traced()[1]
    where = insert_configured(model, PlacementConfig(skip=skip), graph=graph)
    for quantizer in quantizers(model).values():
        quantizer.set_mode(Mode.QUANTIZE)
        if quantizer.axis is None:
            quantizer.set_amax(4.0, "test")
    return model, where


@cache
def groups() -> tuple[QuantizerGroup, ...]:
    model, _ = quantized()
    return groups_of(model, switches(model), "group", "both")


def exported(skip: tuple[str, ...], file: Path) -> QuantizationPlan:
    """The layers of the exported graph that `make qat` and `make engine` leave in INT8."""
    model, _ = quantized(skip)
    export_onnx(model, IMAGE, file, 18)
    return place(file, rules_of(PlacementConfig()), skip).plan


def names(where: Placement) -> set[str]:
    """Module paths of layers that read an INT8 value."""
    return {module_path(edge.edge.node) for edge in where.edges} | {module_path(w.use.node) for w in where.weights}


def test_operations_have_one_name_in_both_graphs(tmp_path: Path) -> None:
    model, _ = quantized()
    float_model = fx_graph.trace(Net().eval(), IMAGE)
    export_onnx(model, IMAGE, tmp_path / "qdq.onnx", 18)
    export_onnx(float_model, IMAGE, tmp_path / "fp32.onnx", 18)
    wanted = {name for name in fx_graph.node_names(float_model).values() if not name.endswith("norm")} - {"x", "output"}
    for file in ("qdq.onnx", "fp32.onnx"):
        found = {module_path(node.name) for node in onnx_graph.clean(onnx_graph.load(tmp_path / file)).nodes}
        assert wanted <= found
    assert {"blocks_0_act", "blocks_0_act_1", "blocks_1_act_1", "add", "add_call", "add_1", "cat"} <= wanted


def test_groups_hold_functions() -> None:
    assert {group.name for group in groups()} == set(GROUPS)
    assert {"add_call", "cat"} <= {layer for group in groups() for layer in group.layers}


@pytest.mark.parametrize("name", GROUPS)
def test_the_group_is_float_in_both_graphs(tmp_path: Path, name: str) -> None:
    group = next(group for group in groups() if group.name == name)
    skip = layers_of(groups(), (group.name,))
    model, where = quantized(skip)
    elsewhere = {path for other in groups() if other != group for path in other.quantizers}
    assert not set(group.quantizers) & set(quantizers(model)) - elsewhere
    placed = exported(skip, tmp_path / "qdq.onnx")
    found = {module_path(use.node) for tensor in placed.tensors.values() for use in tensor.uses}
    assert found == names(where) and not found & set(skip)

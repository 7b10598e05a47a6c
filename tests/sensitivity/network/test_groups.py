"""qat/sensitivity/network/groups.py: members, names and attributes of groups."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor, fx, nn

from deploy.placement.rule_sets import select
from qat.quantization.insert import insert
from qat.quantization.quantizers import quantizers
from qat.sensitivity.config import Granularity
from qat.sensitivity.network.groups import groups_of
from qat.sensitivity.network.subject import quantize_traced
from qat.sensitivity.network.switches import switches
from qat.sensitivity.types import QuantizerGroup
from qat.tracing import fx_graph

BRANCHES = tuple(f"branches.{index}.0" for index in range(5))


class Inception(nn.Module):
    """Five branches of one tensor, joined; one more layer reads the first branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU()) for _ in BRANCHES)
        self.mix, self.side, self.head = nn.Conv2d(20, 8, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        parts = [branch(x) for branch in self.branches]
        return self.head(torch.relu(self.mix(torch.cat(parts, 1)) + x) + self.side(parts[0]))


def test_depthwise_layers_are_groups_too():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU())
    model = quantize_traced(net.append(nn.Conv2d(8, 2, 1)).eval(), torch.zeros(1, 3, 8, 8))
    for quantizer in quantizers(model).values():
        if not quantizer.is_set:
            quantizer.set_amax(1.0, "test")
    found = groups_of(model, switches(model), "layer", "both")
    assert [group.name for group in found] == ["0", "2", "4"]


@lru_cache
def network() -> fx.GraphModule:
    model = fx_graph.trace(Inception().eval(), torch.zeros(1, 3, 8, 8))
    insert(model, select())
    for quantizer in quantizers(model).values():
        if not quantizer.is_set:
            quantizer.set_amax(1.0, "test")
    return model


def groups(granularity: Granularity) -> dict[str, QuantizerGroup]:
    found = groups_of(network(), switches(network()), granularity, "both")
    assert len({group.name for group in found}) == len(found), "a name is one group's"
    return {group.label: group for group in found}


def test_a_group_lists_every_layer_that_is_switched_with_it() -> None:
    found = groups("group")
    assert list(found) == ["stem.0", "branches.0.0 +5", "side +2", "add_1", "head"]
    assert found["branches.0.0 +5"].layers == (*BRANCHES, "add")


def test_a_group_joined_by_a_concat_tells_all_tensors_that_share_its_range() -> None:
    joined = groups("group")["side +2"]
    assert joined.layers == ("side", "cat", "mix")
    assert joined.tensors == (*(f"branches.{index}.1" for index in range(5)), "cat")


def test_a_range_that_several_layers_share_does_not_pass_for_one_layer() -> None:
    found = groups("layer")
    assert found["quantizers.stem_1 (6 layers)"].quantizers == ("quantizers.stem_1",)
    assert found["branches.0.0"].quantizers == ("branches.0.0.weight_quantizer",)


@pytest.mark.parametrize(
    ("granularity", "label"), [("quantizer", "quantizers.branches_0_1 (3 layers)"), ("block", "branches.0 (6 layers)")]
)
def test_a_name_that_is_no_layer_tells_how_many_there_are(granularity: Granularity, label: str) -> None:
    assert label in groups(granularity)

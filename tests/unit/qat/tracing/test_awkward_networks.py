"""Networks in the style of other projects are traced, at any size, and placed."""

import pytest
import torch
from torch import nn

from core.config import PlacementConfig
from core.errors import UserError
from qat.quantization.insert import insert_configured
from qat.tracing import fx_graph
from tests.nets.awkward import Awkward, Computed
from tests.nets.randomized import randomized

EXAMPLE, OTHER = torch.randn(1, 3, 32, 48), torch.randn(2, 3, 64, 32)
FORMS = [("one", None), ("tuple of one", None), ("tuple", 1), ("list", 0), ("dict", "out")]


@pytest.mark.parametrize(("form", "output"), FORMS)
def test_the_deployed_output_is_computed_and_placed(form, output):
    network = randomized(Awkward(5, form))
    with torch.no_grad():
        expected = [network(image) for image in (EXAMPLE, OTHER)]
        if form not in ("one",):
            expected = [outputs[0 if output is None else output] for outputs in expected]
        model = fx_graph.trace(network, EXAMPLE, output=output)
        for image, wanted in zip((EXAMPLE, OTHER), expected, strict=True):
            assert torch.allclose(model(image), wanted, atol=1e-4 * float(wanted.abs().max()))
    assert fx_graph.output_shape(model) == (1, 5, 32, 48)
    assert form == "one" or "aux" not in dict(model.named_modules()), "what only the other head needs is gone"
    where = insert_configured(model, PlacementConfig())
    assert {item.use.tensor for item in where.weights} == {
        f"{name}.weight" for name in ("a.0", "b.0", "c.0", "d.0", "head")
    }


def test_several_outputs_without_a_name_are_refused_with_their_names():
    with pytest.raises(UserError, match="returns 2 outputs") as error:
        fx_graph.trace(Awkward(5, "dict"), EXAMPLE)
    assert error.value.fix == "set model.output to one of aux, out"


def test_nothing_writes_in_place_afterwards():
    model = fx_graph.trace(Awkward(5, "one"), EXAMPLE)
    assert not any(getattr(module, "inplace", False) for module in model.modules())
    assert not any(str(node.target).endswith("_") for node in model.graph.nodes if node.op == "call_method")
    kept = {}
    with torch.no_grad():
        interpreter = torch.fx.Interpreter(model)
        interpreter.garbage_collect_values = False
        interpreter.run(EXAMPLE)
        kept = {node: value.clone() for node, value in interpreter.env.items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(value, interpreter.env[node]) for node, value in kept.items())


def test_sizes_are_computed_at_every_size():
    network = randomized(Computed(5))
    model = fx_graph.trace(network, EXAMPLE)
    for image in (EXAMPLE, OTHER):
        with torch.no_grad():
            assert torch.allclose(model(image), network(image), atol=1e-5)
    insert_configured(model, PlacementConfig())
    import tests.nets.awkward as file

    assert "int" not in vars(file), "the network's file is as it was"


class ByValue(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x


class BySum(nn.Module):
    def forward(self, x):
        return x if int(x.sum().item()) else -x


@pytest.mark.parametrize("network", [ByValue, BySum])
def test_branches_on_values_are_refused(network):
    with pytest.raises(UserError, match=r"neither torch\.fx nor torch\.export can trace") as error:
        fx_graph.trace(network(), EXAMPLE)
    assert "test_awkward_networks.py" in error.value.why

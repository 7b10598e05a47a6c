"""PIDNet S, M and L: the published sizes and key names, and the places of quantizers."""

import pytest
import torch
from torch import nn

from deploy.placement.rules import RULES
from qat.models.pidnet import SIZES, PIDNet
from qat.quantization.insert import insert
from qat.quantization.quantizers import quantizers
from qat.tracing import fx_graph

CLASSES = 19
HEIGHT, WIDTH = 64, 128

COMMON_KEYS = {
    "conv1.0.bias",
    "conv1.3.weight",
    "conv1.4.running_var",
    "layer1.1.bn2.num_batches_tracked",
    "layer2.0.downsample.0.weight",
    "layer5.1.conv3.weight",
    "compression3.1.running_mean",
    "compression4.0.weight",
    "pag3.f_x.0.weight",
    "pag4.f_y.1.bias",
    "layer4_.0.conv2.weight",
    "layer5_.0.downsample.1.weight",
    "layer3_d.conv1.weight",
    "diff3.0.weight",
    "layer5_d.0.bn3.weight",
    "spp.scale0.0.weight",
    "spp.scale1.1.weight",
    "spp.scale4.3.weight",
    "spp.compression.2.weight",
    "spp.shortcut.0.running_var",
    "final_layer.bn1.weight",
    "final_layer.conv2.bias",
}
LIGHT_KEYS = {"spp.scale_process.2.weight", "dfm.conv_p.0.weight", "dfm.conv_i.1.weight", "layer4_d.0.conv3.weight"}
DEEP_KEYS = {"spp.process1.0.weight", "spp.process4.2.weight", "dfm.conv.0.weight", "dfm.conv.2.weight"}
HEAD_KEYS = {"seghead_p.conv1.weight", "seghead_p.conv2.bias", "seghead_d.bn2.running_mean"}


def network(name, *, augment=False):
    return PIDNet(SIZES[name], CLASSES, augment=augment)


@pytest.mark.parametrize(
    ("name", "parameters", "convs", "keys"),
    [("pidnet_s", 7_625_715, 75, 453), ("pidnet_m", 28_538_515, 75, 453), ("pidnet_l", 36_939_571, 86, 519)],
)
def test_size_is_the_published_one(name, parameters, convs, keys):
    model = network(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == convs
    state = model.state_dict()
    assert len(state) == keys
    light, deep = LIGHT_KEYS & state.keys(), DEEP_KEYS & state.keys()
    assert state.keys() >= COMMON_KEYS
    assert (light, deep) == ((set(), DEEP_KEYS) if name == "pidnet_l" else (LIGHT_KEYS, set()))
    assert not HEAD_KEYS & state.keys()


@pytest.mark.parametrize("name", SIZES)
def test_heads_and_their_shapes(name):
    model = network(name, augment=True).eval()
    assert model.state_dict().keys() >= HEAD_KEYS
    assert len(model.state_dict()) == len(network(name).state_dict()) + 26
    with torch.no_grad():
        p, final, d = model(torch.zeros(2, 3, HEIGHT, WIDTH))
    assert p.shape == final.shape == (2, CLASSES, HEIGHT // 8, WIDTH // 8)
    assert d.shape == (2, 1, HEIGHT // 8, WIDTH // 8)


def test_deployment_network_is_the_training_network_without_its_heads():
    training, deployed = network("pidnet_s", augment=True).eval(), network("pidnet_s").eval()
    leftover = deployed.load_state_dict(training.state_dict(), strict=False)
    assert not leftover.missing_keys
    image = torch.randn(1, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        logits = deployed(image)
        assert torch.equal(logits, training(image)[1])
    assert logits.shape == (1, CLASSES, HEIGHT // 8, WIDTH // 8)


def test_all_parameters_of_the_training_network_get_a_gradient():
    torch.manual_seed(0)
    model = network("pidnet_s", augment=True).train()
    sum(output.square().sum() for output in model(torch.randn(2, 3, HEIGHT, WIDTH))).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


@pytest.mark.parametrize(
    ("name", "activations", "weights", "convolution_inputs"),
    [
        ("pidnet_s", 79, 75, 61),
        pytest.param("pidnet_m", 79, 75, 61, marks=pytest.mark.slow),  # S with more channels
        ("pidnet_l", 92, 86, 74),
    ],
)
def test_quantizers_are_where_the_rules_put_them(name, activations, weights, convolution_inputs):
    model = fx_graph.trace(network(name), torch.zeros(1, 3, HEIGHT, WIDTH))
    where = insert(model, RULES)
    axes = [quantizer.axis for quantizer in quantizers(model).values()]
    assert (axes.count(None), axes.count(0)) == (activations, weights)
    convs = {item.use.node for item in where.weights}
    assert len({item.edge.tensor for item in where.edges if item.edge.node in convs}) == convolution_inputs


def test_trace_computes_what_the_network_computes():
    model = network("pidnet_s").eval()
    traced = torch.fx.symbolic_trace(model)
    image = torch.randn(1, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(traced(image), model(image))

"""Networks unlike PIDNet from the float model to the graphs of every target: calibrated, exported, placed, run."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from deploy.checks.verify import verify
from deploy.graph import onnx_graph
from deploy.placement.rule_sets import select
from deploy.targets import TARGETS
from qat.api import calibrate, export, quantize
from qat.quantization.quantizers import quantizers
from qat.tracing.attention import open_attention
from tests.nets.exported import reference
from tests.nets.placing import place


class Mobile(nn.Module):
    """Depthwise convolution, squeeze and excite, hard and soft swish, GroupNorm, nearest upsampling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.SiLU())
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.point, self.norm, self.head = nn.Conv2d(16, 24, 1), nn.GroupNorm(4, 24), nn.Conv2d(24, 3, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.depthwise(x)
        x = x + y * torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return F.interpolate(self.head(F.leaky_relu(self.norm(self.point(x)))), scale_factor=2, mode="nearest")


class Attention(nn.Module):
    """Patches, LayerNorm, one head of attention, GELU."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16)
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.head = nn.Conv2d(16, 3, 1)

    def forward(self, x):
        x = self.patches(x)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        mixed = torch.softmax(self.q(tokens) @ self.k(tokens).transpose(1, 2), -1) @ self.v(tokens)
        return self.head(F.gelu(x + mixed.transpose(1, 2).reshape(x.shape)))


class FusedAttention(Attention):
    """The same through PyTorch's one function, two heads, with positions added to the scores."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 1, 24, 24) * 0.1)

    def forward(self, x):
        x = self.patches(x)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = (layer(tokens).unflatten(2, (2, 8)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.positions)
        return self.head(F.gelu(x + mixed.transpose(1, 2).flatten(2).transpose(1, 2).reshape(x.shape)))


class ExportedAttention(FusedAttention):
    """torch.fx cannot call `torch.zeros` with a size that it traces."""

    def forward(self, x):
        return super().forward(x + torch.zeros(x.shape[0], 1, 1, 1))


class Shared(nn.Module):
    """One convolution called on both halves of the channels, PReLU, dropout, ConvTranspose, reflected edges."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.both = nn.Conv2d(3, 16, 3, padding=1), nn.PReLU(16), nn.Conv2d(8, 8, 3, padding=1)
        self.drop, self.up = nn.Dropout2d(0.1), nn.ConvTranspose2d(16, 8, 3, 2, 1, 1)
        self.head = nn.Conv2d(8, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, x):
        a, b = self.act(self.first(x)).chunk(2, 1)
        joined = self.drop(torch.cat([self.both(a), self.both(b)], 1))
        return self.head(self.up(F.max_pool2d(joined, 2)))


@pytest.mark.parametrize(("network", "weights"), [(Mobile, 5), (Attention, 5), (FusedAttention, 5), (Shared, 4)])
def test_network_goes_through(tmp_path, network, weights):
    torch.manual_seed(0)
    net, image = network().eval(), torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        expected = net(image).numpy()
        model = quantize(net, image)
        calibrate(model, [image, *torch.randn(3, 1, 3, 32, 48)])
        simulated = model(image).numpy()
    assert sum(quantizer.axis is not None for quantizer in quantizers(model).values()) == weights
    assert difference(simulated, expected) < 0.05
    export(model, image, tmp_path / "qdq.onnx")
    np.save(tmp_path / "images.npy", image.numpy())
    for name, wanted in TARGETS.items():
        target = tmp_path / f"{name}.onnx"
        placed = place(
            tmp_path / "qdq.onnx", select(wanted.rule_set), target=wanted, calibration=tmp_path / "images.npy"
        )
        onnx_graph.save(placed.graph, target)
        verify(target, placed.plan, wanted.unsigned)
        assert difference(reference(target, {"image": image.numpy()}), simulated) < 0.05, name


@pytest.mark.parametrize("network", [FusedAttention, ExportedAttention])
def test_the_products_inside_attention_are_quantized(tmp_path, network, capfd):
    torch.manual_seed(0)
    net, image = network().eval(), torch.randn(1, 3, 32, 48)
    model = quantize(net, image)
    assert ("torch.export" in "".join(capfd.readouterr())) == (network is ExportedAttention)
    calibrate(model, [image])
    export(model, image, tmp_path / "qdq.onnx")
    graph = onnx_graph.load(tmp_path / "qdq.onnx")
    products = [node for node in graph.nodes if node.op == "MatMul" and not _constant_behind(node.inputs[1])]
    assert len(products) == 2
    for node in products:
        assert all(_pair_behind(tensor) for tensor in node.inputs), node.name


def _pair_behind(tensor):
    while tensor.inputs and tensor.inputs[0].op in ("Transpose", "Reshape", "Unsqueeze", "Squeeze"):
        tensor = tensor.inputs[0].inputs[0]
    return bool(tensor.inputs) and tensor.inputs[0].op == "DequantizeLinear"


def _constant_behind(tensor):
    while tensor.inputs:
        tensor = tensor.inputs[0].inputs[0]
    return not isinstance(tensor, gs.Variable)


@pytest.mark.parametrize(
    "call",
    [
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(4, 4, dtype=torch.bool)),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.5),
    ],
    ids=["causal", "boolean mask", "dropout"],
)
def test_other_attention_stays_whole(call):
    class Net(nn.Module):
        def forward(self, q, k, v):
            return call(q, k, v)

    traced = fx.symbolic_trace(Net())
    ShapeProp(traced).propagate(*torch.randn(3, 1, 2, 4, 8))
    open_attention(traced)
    assert any(node.target is F.scaled_dot_product_attention for node in traced.graph.nodes)


def difference(one, other):
    """Mean deviation over mean magnitude."""
    return np.abs(one - other).mean() / np.abs(other).mean()

"""Networks of the real pytorch-quantization in the sensitivity analysis, whose own tests use a double of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qat.sensitivity.config import SensitivityConfig
from qat.sensitivity.network.adopted import adopted
from qat.sensitivity.network.save import load, quantization_of, save
from qat.sensitivity.network.subject import make_subject
from tests.sensitivity.network import pytorch_quantization_double as double

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def real(_pytorch_quantization_source):
    why = "pytorch-quantization is not installed, and PYTORCH_QUANTIZATION_SOURCE is not set"
    pytest.importorskip("pytorch_quantization.tensor_quant", reason=why, exc_type=ImportError)
    return pytest.importorskip("pytorch_quantization.nn", reason=why, exc_type=ImportError)


def calibrated(model: nn.Module, real) -> nn.Module:
    found = [module for module in model.eval().modules() if isinstance(module, real.TensorQuantizer)]
    for quantizer in found:
        quantizer.enable_calib()
        quantizer.disable_quant()
    model(IMAGES)
    for quantizer in found:
        quantizer.load_calib_amax()
        quantizer.disable_calib()
        quantizer.enable_quant()
    return model


def network(real) -> nn.Sequential:
    torch.manual_seed(0)
    convolutions = (real.QuantConv2d(3, 6, 3), nn.ReLU(), real.QuantConvTranspose2d(6, 4, 2, 2), nn.ReLU())
    return nn.Sequential(*convolutions, real.QuantAdaptiveAvgPool2d(1), nn.Flatten(), real.QuantLinear(4, 2))


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize(
    ("bits", "unsigned", "narrow"), [(8, False, False), (8, False, True), (8, True, False), (4, False, False)]
)
def test_the_double_computes_the_same(real, bits, unsigned, narrow, axis) -> None:
    from pytorch_quantization.tensor_quant import QuantDescriptor

    how = QuantDescriptor(num_bits=bits, unsigned=unsigned, narrow_range=narrow, axis=axis)
    theirs, ours = real.TensorQuantizer(how), double.TensorQuantizer(axis=axis)
    ours.num_bits, ours.unsigned, ours.narrow_range = bits, unsigned, narrow
    x = IMAGES.abs() if unsigned else IMAGES
    assert torch.allclose(theirs(x), ours(x), atol=1e-6)
    for quantizer in (theirs, ours):
        quantizer.register_buffer("_amax", torch.tensor(1.5))
    assert torch.allclose(theirs(x), ours(x), atol=1e-6)


def test_a_network_is_analysed_exported_and_comes_back(real, tmp_path) -> None:
    keys = dict.fromkeys(("model_path", "data_path", "output_file"), tmp_path / "best.pt")
    model = calibrated(network(real), real)
    subject = make_subject(model, IMAGES, [], SensitivityConfig(**keys, tolerance=0.1))
    assert [group.name for group in subject.groups] == ["0", "2", "4", "6"]
    with torch.no_grad():
        assert torch.allclose(adopted(subject.graph, IMAGES)(IMAGES), model(IMAGES), atol=1e-5)
        with subject.only(frozenset({"2"})):
            expected = model(IMAGES)
            path = save(model, quantization_of(subject, frozenset({"2"}), IMAGES), tmp_path / "best.pt", met=True)
        assert torch.equal(load(path, network(real))(IMAGES), expected)

import numpy as np
import pytest
import torch

from qat.quantization.quantizers import Mode, Quantizer, activation_quantizer, weight_quantizer


def expected(x: torch.Tensor, amax: float, low: int) -> torch.Tensor:
    """ONNX QuantizeLinear then DequantizeLinear, in float64."""
    scale = amax / 127
    steps = np.clip(np.rint(x.double().numpy() / scale), low, 127)
    return torch.from_numpy(steps * scale).float()


@pytest.mark.parametrize("mode", [Mode.QUANTIZE, Mode.LEARN])
def test_activation_equals_quantize_linear(mode):
    x = torch.linspace(-3, 3, 1001)
    quantizer = activation_quantizer()
    quantizer.set_amax(1.7, "test")
    quantizer.set_mode(mode)
    torch.testing.assert_close(quantizer(x), expected(x, 1.7, -128))


def test_weight_is_narrow_and_per_channel():
    weight = torch.tensor([[-1.0, 0.3, 0.9], [-20.0, 5.0, 7.0]])
    quantizer = weight_quantizer(weight, axis=0)
    quantizer.set_mode(Mode.QUANTIZE)
    assert quantizer.amax.tolist() == [1.0, 20.0]
    rows = [expected(row, float(amax), -127) for row, amax in zip(weight, (1.0, 20.0), strict=True)]
    torch.testing.assert_close(quantizer(weight), torch.stack(rows))
    quantizer.set_amax(quantizer.amax * 0.5, "test")
    assert (quantizer(weight) / quantizer.scale[:, None]).min().round() == -127


def test_float_mode_changes_nothing_and_unset_is_seen():
    quantizer = activation_quantizer()
    x = torch.randn(5)
    assert quantizer(x) is x
    assert not quantizer.is_set


def test_tracking_follows_an_exponential_moving_average_in_training_only():
    quantizer = Quantizer(axis=None, narrow=False, momentum=0.75)
    quantizer.set_mode(Mode.TRACK)
    quantizer.train()
    quantizer(torch.tensor([1.0, -4.0]))
    assert quantizer.amax == 4.0
    quantizer(torch.tensor([8.0]))
    assert quantizer.amax == 0.75 * 4 + 0.25 * 8
    quantizer.eval()
    quantizer(torch.tensor([100.0]))
    assert quantizer.amax == 5.0
    assert quantizer.origin == "ema"


def test_all_zero_tensor_gets_a_positive_scale():
    quantizer = activation_quantizer()
    quantizer.set_amax(0.0, "test")
    quantizer.set_mode(Mode.QUANTIZE)
    assert quantizer.is_set
    assert torch.equal(quantizer(torch.zeros(3)), torch.zeros(3))


def test_learned_gradient_is_lsq():
    x = torch.linspace(-2, 2, 64)
    quantizer = activation_quantizer()
    quantizer.set_amax(1.27, "test")
    quantizer.set_mode(Mode.LEARN)
    quantizer(x).sum().backward()
    scale = 0.01
    steps = x / scale
    inside = (steps > -128) & (steps < 127)
    by_scale = torch.where(inside, steps.round() - steps, steps.clamp(-128, 127)).sum() / (64 * 127) ** 0.5
    torch.testing.assert_close(quantizer.amax.grad, by_scale * 127, rtol=1e-3, atol=1e-3)


def test_straight_through_gradient_stops_where_values_clip():
    x = torch.tensor([0.5, 3.0, -3.0], requires_grad=True)
    quantizer = activation_quantizer()
    quantizer.set_amax(1.0, "test")
    quantizer.set_mode(Mode.QUANTIZE)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 0.0]


def test_mode_and_origin_survive_a_state_dict():
    first, second = activation_quantizer(), activation_quantizer()
    first.set_amax(2.0, "learned")
    first.set_mode(Mode.LEARN)
    second.load_state_dict(first.state_dict())
    assert (second.mode, second.origin, second.amax.item()) == (Mode.LEARN, "learned", 2.0)
    assert second.amax.requires_grad

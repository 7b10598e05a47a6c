"""Against PyTorch's fused kernels, which GPUs use: the same values, bit for bit, and the same gradients."""

import pytest
import torch

from qat.quantization.fake_quant import QMAX, fake_quantize, fake_quantize_learned, lsq_gain, magnitude

AXES = [None, 0, 1]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(params=LAYOUTS, ids=["contiguous", "channels_last"])
def x(request):
    generator = torch.Generator().manual_seed(0)
    values = 2 * torch.randn(6, 5, 4, 4, generator=generator)
    return values.contiguous(memory_format=request.param).requires_grad_()


def scale_of(x, axis):
    if axis is None:
        return torch.tensor(0.021)
    return torch.linspace(0.005, 0.03, x.shape[axis])


def fused(x, scale, axis, qmin):
    zero = torch.zeros(scale.shape, dtype=torch.int32)
    if axis is None:
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, qmin, QMAX)
    return torch.fake_quantize_per_channel_affine(x, scale, zero, axis, qmin, QMAX)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("qmin", [-128, -127])
def test_values_and_gradients_of_a_fixed_scale(x, axis, qmin, dtype):
    x = x.detach().to(dtype).requires_grad_()
    scale = scale_of(x, axis)
    expected, got = fused(x, scale, axis, qmin), fake_quantize(x, scale, axis=axis, qmin=qmin)
    assert got.dtype == dtype and torch.equal(got, expected)
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    by_got, by_expected = (torch.autograd.grad(y, x, gradient)[0] for y in (got, expected))
    assert torch.equal(by_got, by_expected)
    assert 0 < int((by_got == 0).sum()) < x.numel(), "some values saturate, some do not"


def test_without_saturation_the_gradient_passes_as_it_is(x):
    scale = magnitude(x, 0) / QMAX
    got = fake_quantize(x, scale, axis=0, qmin=-QMAX, saturates=False)
    assert torch.equal(got, fused(x, scale, 0, -QMAX))
    gradient = torch.randn(x.shape)
    assert torch.equal(torch.autograd.grad(got, x, gradient)[0], gradient)


@pytest.mark.parametrize("axis", AXES)
def test_learned_scale_has_the_gradients_of_the_fused_kernel(x, axis):
    gain, qmin = 0.37, -128
    mine, theirs = scale_of(x, axis).requires_grad_(), scale_of(x, axis).requires_grad_()
    got = fake_quantize_learned(x, mine, axis=axis, qmin=qmin, gain=gain)
    zero = torch.zeros_like(theirs)
    if axis is None:
        expected = torch._fake_quantize_learnable_per_tensor_affine(
            x, theirs.reshape(1), zero.reshape(1), qmin, QMAX, gain
        )
    else:
        expected = torch._fake_quantize_learnable_per_channel_affine(x, theirs, zero, axis, qmin, QMAX, gain)
    assert torch.equal(got, expected)
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    by_x, by_scale = torch.autograd.grad(got, (x, mine), gradient)
    expected_by_x, expected_by_scale = torch.autograd.grad(expected, (x, theirs), gradient)
    assert torch.equal(by_x, expected_by_x)
    torch.testing.assert_close(by_scale, expected_by_scale, rtol=1e-4, atol=1e-3)


def test_a_value_that_is_no_number_stays_visible():
    got = fake_quantize(torch.tensor([float("nan"), 1.0]), torch.tensor(0.1), axis=None, qmin=-128)
    assert got.isnan().tolist() == [True, False]


@pytest.mark.parametrize("axis", AXES)
def test_magnitude_is_the_largest_absolute_value(x, axis):
    dims = [dim for dim in range(4) if dim != axis]
    assert torch.equal(magnitude(x, axis), x.detach().abs().amax(dim=dims))


def test_gain_is_that_of_lsq():
    assert lsq_gain(values=640, scales=10) == pytest.approx((64 * 127) ** -0.5)

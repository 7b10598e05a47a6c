"""The contract of every toolkit's quantizers, which frees all other code from checking the toolkit."""

import math
from copy import deepcopy

import pytest
import torch

from core.errors import UnsupportedEnvironment
from qat.quantization.fake_quant import QMAX
from qat.quantization.quantizers import Mode, Quantizer, activation_quantizer, quantizers, weight_quantizer
from qat.quantization.toolkits import quantizer_class
from qat.training.checkpointing import load_checkpoint, save_checkpoint


def activation(toolkit, amax=1.7, mode=Mode.QUANTIZE):
    quantizer = activation_quantizer(toolkit)
    quantizer.set_amax(amax, "test")
    quantizer.set_mode(mode)
    return quantizer


def weight(toolkit, values, axis, mode=Mode.QUANTIZE):
    quantizer = weight_quantizer(values, axis, toolkit)
    quantizer.set_amax(quantizer.amax * 0.8, "test")
    quantizer.set_mode(mode)
    return quantizer


def values(*shape):
    return 1.5 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_quantized_as_by_the_engine(toolkit, dtype):
    x = values(2, 3, 16, 16).to(dtype)
    got = activation(toolkit)(x)
    assert got.dtype == dtype
    step = 1.7 / QMAX
    expected = (x.double() / step).round().clamp(-128, 127) * step
    close = 1e-6 if dtype == torch.float32 else 2**-7
    torch.testing.assert_close(got.double(), expected, rtol=close, atol=close)
    assert float(got.min()) == pytest.approx(-128 * step, rel=close)


@pytest.mark.parametrize(("shape", "axis"), [((6, 4, 3, 3), 0), ((6, 4, 2, 2), 1), ((5, 8), 0), ((1, 4, 1, 1), 0)])
def test_weights_are_quantized_by_channel_and_within_127(toolkit, shape, axis):
    x = values(*shape)
    got = weight(toolkit, x, axis)(x)
    expected = weight(Quantizer, x, axis)(x)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    amax = weight(Quantizer, x, axis).amax
    assert torch.allclose(got.abs().amax(dim=[d for d in range(x.ndim) if d != axis]), amax)


def test_gradient_passes_inside_the_range_only(toolkit):
    x = torch.tensor([0.5, -1.6, 3.0, -3.0], requires_grad=True)
    activation(toolkit)(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_weights_that_are_tracked_follow_their_range(toolkit):
    x = values(4, 3, 3, 3)
    quantizer = weight_quantizer(x, 0, toolkit).train()
    quantizer.set_mode(Mode.TRACK)
    moved = (2 * x).requires_grad_()
    got = quantizer(moved)
    assert torch.equal(quantizer.amax, moved.detach().abs().amax(dim=(1, 2, 3)))
    got.sum().backward()
    assert torch.equal(moved.grad, torch.ones_like(moved)), "no weight lies outside its own range"


def test_modes(toolkit):
    x = values(64)
    quantizer = activation_quantizer(toolkit)
    assert quantizer(x) is x and not quantizer.is_set
    quantizer.set_mode(Mode.TRACK)
    quantizer.train()(x)
    quantizer(2 * x)
    seen = float(x.abs().max())
    assert quantizer.amax.item() == pytest.approx(0.9 * seen + 0.1 * 2 * seen)
    assert quantizer.origin == "ema"
    quantizer.eval()(100 * x)
    assert quantizer.amax.item() == pytest.approx(1.1 * seen)


@pytest.mark.parametrize("axis", [None, 0])
def test_learned_scales_are_the_same_in_every_toolkit(toolkit, axis):
    x, grads = values(4, 3, 3, 3), {}
    for kind in (toolkit, Quantizer):
        make = activation(kind, mode=Mode.LEARN) if axis is None else weight(kind, x, axis, Mode.LEARN)
        make(x).square().sum().backward()
        grads[kind] = make.amax.grad
    assert grads[toolkit].isfinite().all()
    assert torch.equal(grads[toolkit], grads[Quantizer])


def test_a_range_changed_between_two_uses_counts_from_then_on(toolkit):
    """One quantizer may serve several tensors of a forward pass, and observes the range of each."""
    quantizer = activation(toolkit, amax=1.0)
    first, second = (torch.tensor([1.5], requires_grad=True) for _ in range(2))
    one = quantizer(first)
    quantizer.set_amax(2.0, "test")
    (one + quantizer(second)).backward()
    assert (first.grad.item(), second.grad.item()) == (0.0, 1.0)


def test_a_checkpoint_loads_under_every_toolkit(toolkit, tmp_path):
    for save, load in ((toolkit, Quantizer), (Quantizer, toolkit), (toolkit, toolkit)):
        saved, loaded = activation(save, 0.7, Mode.LEARN), activation_quantizer(load)
        save_checkpoint(tmp_path / "x.pt", "key", 3, {"model": saved})
        assert load_checkpoint(tmp_path / "x.pt", "key", {"model": loaded}) == 3
        assert (loaded.mode, loaded.origin) == (Mode.LEARN, "test")
        assert torch.equal(loaded.amax, saved.amax) and loaded.amax.requires_grad
        assert saved.state_dict().keys() == Quantizer(axis=None, narrow=False).state_dict().keys()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cpus_modelopt_computes_what_the_builtin_quantizers_do(layout, dtype):
    try:
        kinds = (quantizer_class("modelopt"), Quantizer)
    except UnsupportedEnvironment as error:
        pytest.skip(f"{error.why}; {error.fix}")
    filters, image = (values(4, 3, 8, 8).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    found = []
    for kind in kinds:
        for quantizer, given in ((activation(kind), image), (weight(kind, filters, 0), filters)):
            x = given.clone(memory_format=torch.preserve_format).requires_grad_()
            y = quantizer(x)
            y.square().sum().backward()
            found.append((y, x.grad))
            assert quantizer.axis is not None or y.is_contiguous(memory_format=layout), "no copy to another layout"
    for (ours, by_ours), (theirs, by_theirs) in zip(found[:2], found[2:], strict=True):
        assert torch.equal(ours, theirs) and torch.equal(by_ours, by_theirs)


def test_modelopt_quantizes_by_its_own_modules_and_they_copy():
    try:
        kind = quantizer_class("modelopt")
    except UnsupportedEnvironment as error:
        pytest.skip(f"{error.why}; {error.fix}")
    first = activation(kind)
    second = deepcopy(first)
    second.set_amax(0.5, "test")
    assert type(first.vendor).__module__.startswith("modelopt.") and first.vendor is not second.vendor
    x = values(64)
    assert not torch.equal(first(x), second(x))
    assert torch.equal(second(x), activation(Quantizer, 0.5)(x))


def test_only_our_quantizers_are_found_and_trained(toolkit):
    holder = torch.nn.ModuleDict({"a": activation_quantizer(toolkit)})
    assert list(quantizers(holder)) == ["a"]
    assert [name for name, _ in holder.named_parameters()] == ["a.amax"]
    assert math.isnan(holder["a"].amax.item())

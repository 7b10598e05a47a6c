import copy

import torch
from torch import nn

from qat.evaluation.simulate import nudge_layers
from qat.quantization.quantized_layers import quantize_layer


def test_rounding_is_added_to_quantized_layers_too():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3).eval()
    quantize_layer(layer, 0)
    nudged, x = copy.deepcopy(layer), torch.randn(1, 3, 8, 8)
    nudge_layers(nudged)
    with torch.inference_mode():
        change = (nudged(x) - layer(x)).abs().max()
    assert 0 < change < 1e-4


def test_rounding_is_the_same_each_time():
    torch.manual_seed(0)
    first, x = nn.Linear(5, 4), torch.randn(2, 5)
    second = copy.deepcopy(first)
    nudge_layers(first)
    nudge_layers(second)
    assert torch.equal(first(x), second(x))

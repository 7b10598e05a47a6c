"""The least value of a tensor: never above a value that it takes, and tight where activations have a minimum."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import parser

from deploy.graph.debug_session import watching
from deploy.graph.value_range import UNKNOWN, floor

FORMS = {
    "HardSwish": ("y = HardSwish(x)", -0.375),
    "by HardSigmoid": ("h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, h)", -0.375),
    "a steeper HardSigmoid": ("h = HardSigmoid<alpha = 0.2, beta = 0.5>(x) y = Mul(h, x)", -0.3125),
    "by Clip": ("a = Add(x, three) h = Clip(a, zero, six) p = Mul(x, h) y = Div(p, six)", -0.375),
    "Clip, then a factor": ("a = Add(x, three) h = Clip(a, zero, six) p = Mul(x, h) y = Mul(p, half)", -1.125),
    "Swish": ("h = Sigmoid(x) y = Mul(x, h)", -0.27846455),
    "behind a pool": ("h = HardSwish(x) y = MaxPool<kernel_shape = [1, 2]>(h)", -0.375),
    "gated": ("v = HardSwish(x) g = Sigmoid(z) y = Mul(v, g)", -0.375),
    "sum": ("v = HardSwish(x) r = Relu(z) y = Add(v, r)", -0.375),
    "joined": ("v = HardSwish(x) r = Relu(z) y = Concat<axis = 1>(v, r)", -0.375),
    "Clip from below": ("low = Neg(three) y = Clip(x, zero, six)", 0.0),
}
UNBOUNDED = {
    "itself": "y = Identity(x)",
    "another gate": "h = Sigmoid(z) y = Mul(x, h)",
    "gate of another tensor": "a = Add(z, three) h = Clip(a, zero, six) y = Mul(x, h)",
    "negative factor": "r = Relu(x) m = Neg(r) y = Add(m, m)",
    "cubic": 'v = HardSwish(x) y = Resize<mode = "cubic">(v, , scales)',
}


def made(body):
    text = f"""<ir_version: 8, opset_import: ["": 18]>
    g (float[1, 1, 40, 50] x, float[1, 1, 40, 50] z) => (float[1, A, B, C] y)
    <float three = {{3.0}}, float zero = {{0.0}}, float six = {{6.0}}, float half = {{0.5}},
     float[4] scales = {{1.0, 1.0, 2.0, 2.0}}> {{ {body} }}"""
    return parser.parse_model(text)


@pytest.mark.parametrize("form", FORMS)
def test_the_floor_is_below_every_value_and_close_to_the_least(form):
    body, expected = FORMS[form]
    model = made(body)
    low = floor(gs.import_onnx(model).outputs[0])
    assert low == pytest.approx(expected, abs=1e-6)
    x = np.linspace(-8, 8, 2000, dtype=np.float32).reshape(1, 1, 40, 50)
    z = np.random.default_rng(0).uniform(-20, 20, x.shape).astype(np.float32)
    values = watching(model, ["y"]).run(["y"], {"x": x, "z": z})[0]
    assert low - 1e-5 <= values.min() <= low + 0.1


@pytest.mark.parametrize("form", UNBOUNDED)
def test_no_floor_is_invented(form):
    assert floor(gs.import_onnx(made(UNBOUNDED[form])).outputs[0]) == UNKNOWN


def test_the_model_text_is_valid():
    for body, _ in FORMS.values():
        onnx.checker.check_model(made(body))

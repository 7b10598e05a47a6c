"""The first convolution of pixels is the one of the normalised picture, at the border too."""

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from deploy.plan.picture import STEP, Picture
from deploy.plan.scale import quantize_array
from deploy.rewrites.pixel_stem import pixel_stem
from deploy.rewrites.stem import axis, sides, stem_of
from tests.property.random_graphs import run
from tests.unit.deploy.rewrites.stems import OUT, PICTURE, normalized, pictures, plan_of, stem

SHAPES = [(3, 2, 1), (7, 2, 3), (5, 2, 2), (3, 2, 0), (2, 2, 0), (1, 2, 0), (4, 4, 0), (3, 1, 1), (5, 3, 1)]
FLOATS = 0.2  # steps of the accumulator by which sums of float32 differ


def rounded(graph, plan):
    """The network as training computes it: with the folded weight rounded, padded with zeros."""
    copy = graph.copy()
    weight, scale = copy.tensors()["weight"], plan.tensors["weight"].as_scale
    fold = PICTURE.fold.astype(np.float32).reshape(1, 3, 1, 1)
    steps = quantize_array(weight.values / fold, scale).astype(np.float32)
    weight.values = steps * scale.values.reshape(-1, 1, 1, 1) * fold
    return copy


def errors(graph, block, size):
    """Largest error inside and at the border, in steps of the integer accumulator; and the plan."""
    plan, feeds = plan_of(graph), {"image": normalized(pictures(size))}
    made, after = pixel_stem(graph.copy(), plan, block)
    (expected,), (got,) = run(rounded(graph, plan), feeds).values(), run(made, feeds).values()
    assert got.shape == expected.shape
    step = np.asarray(after.tensors["weight"].scale).reshape(1, -1, 1, 1) * STEP
    found = np.abs(got - expected) / step
    return found[:, :, 2:-2, 2:-2].max(initial=0), found.max(), made


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("kernel, stride, pad", SHAPES)
@pytest.mark.parametrize("size", [(12, 16), (13, 15)])
def test_equals_the_convolution_of_the_normalized_picture(kernel, stride, pad, size, block):
    graph = stem(kernel, stride, pad, size, relu=False)
    inside, border, made = errors(graph, block, size)
    blocks = block == 2 and stride == 2 and size == (12, 16)
    channels = made.tensors()["weight"].shape[1]
    assert channels == (16 if blocks else 4)
    assert inside < FLOATS
    outside = kernel**2  # taps; a block has several
    assert border < outside * 0.5 * (1 if blocks else 127) + FLOATS
    assert border > FLOATS or pad == 0 or blocks  # the bound is about something


def test_blocks_are_exact_to_half_a_step_for_each_block_outside():
    for seed in range(20):
        _, border, _ = errors(stem(seed=seed, relu=False), 2, (12, 16))
        assert border < 3 * 0.5 + FLOATS  # a corner has three


def test_a_convolution_without_bias_gets_one():
    inside, border, made = errors(stem(bias=False, relu=False), 2, (12, 16))
    assert inside < FLOATS and border < 3 * 0.5 + FLOATS
    assert len(made.nodes[-1].inputs) == 3


def test_pixels_are_whole_steps():
    graph = stem()
    made, plan = pixel_stem(graph.copy(), plan_of(graph), 2)
    made.outputs = [made.tensors()["pixels"]]
    (values,) = run(made.cleanup(), {"image": normalized(pictures())}).values()
    steps = values / plan.tensors["pixels"].scale
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert (steps.min(), steps.max()) == pytest.approx((-128, 127))
    assert set(np.rint(steps[0, [3, 7, 11, 15]]).reshape(4, -1)[:, 0]) == {127, 1}


def test_scales_and_uses_follow():
    graph = stem()
    before = plan_of(graph)
    _, after = pixel_stem(graph.copy(), before, 1)
    assert "image" not in after.tensors and after.picture is None
    assert after.tensors["pixels"].uses == before.tensors["image"].uses
    assert after.tensors["weight"].uses == before.tensors["weight"].uses and after.tensors["weight"].weight
    ratio = np.asarray(after.tensors["weight"].scale) / np.asarray(before.tensors["weight"].scale)
    np.testing.assert_allclose(ratio, PICTURE.weight_gain, rtol=1e-6)


def test_nothing_changes_without_a_picture_or_scales():
    graph = stem()
    for plan in (plan_of(graph, None), plan_of(graph).without(["image"]), plan_of(graph).without(["weight"])):
        made, after = pixel_stem(graph.copy(), plan, 2)
        assert [node.op for node in made.nodes] == ["Conv", "Relu"] and after == plan


def test_blocks_that_outweigh_their_constants_become_blocks_of_one_pixel():
    graph = stem(7, 2, 3)
    graph.tensors()["weight"].values = np.ones((OUT, 3, 7, 7), np.float32)
    black = Picture(mean=(0.37, 0.37, 0.37), std=(0.229, 0.224, 0.225))
    for picture, channels in ((PICTURE, 16), (black, 4)):
        plan = plan_of(graph).model_copy(update={"picture": picture})
        made, _ = pixel_stem(graph.copy(), plan, 2)
        assert made.tensors()["weight"].shape[1] == channels


def test_zeros_far_from_the_middle_of_pixels_are_not_padded_with():
    black = Picture(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert "far from the middle" in stem_of(stem(), black)
    assert not isinstance(stem_of(stem(pad=0), black), str)


def second_reader(graph):
    graph.nodes.append(gs.Node("Relu", "other", inputs=[graph.inputs[0]], outputs=[gs.Variable("x", np.float32)]))
    graph.outputs.append(graph.nodes[-1].outputs[0])


def second_input(graph):
    graph.inputs.append(gs.Variable("z", np.float32, [1]))


def other_channels(graph):
    graph.inputs[0].shape = [1, 4, 12, 16]


def any_size(graph):
    graph.inputs[0].shape = [1, 3, "height", 16]


def groups(graph):
    graph.nodes[0].attrs["group"] = 3


def dilations(graph):
    graph.nodes[0].attrs["dilations"] = [2, 2]


def own_padding(graph):
    graph.nodes[0].attrs["auto_pad"] = "SAME_UPPER"


def shared_weight(graph):
    graph.nodes.append(
        gs.Node("Identity", "i", inputs=[graph.tensors()["weight"]], outputs=[gs.Variable("x", np.float32)])
    )


def relu_first(graph):
    image = graph.inputs[0]
    graph.nodes[0].inputs[0] = gs.Variable("cut", np.float32, image.shape)
    graph.nodes.append(gs.Node("Relu", "first", inputs=[image], outputs=[graph.nodes[0].inputs[0]]))


@pytest.mark.parametrize(
    "change, reason",
    [
        (second_reader, "2 operators read image"),
        (second_input, "several inputs"),
        (other_channels, "not a picture"),
        (any_size, "fixed size"),
        (groups, "groups or dilations"),
        (dilations, "groups or dilations"),
        (own_padding, "no fixed padding"),
        (shared_weight, "another operator reads it"),
        (relu_first, "is not a convolution of it"),
    ],
)
def test_declines_and_says_why(change, reason):
    graph = stem()
    assert not isinstance(stem_of(graph, PICTURE), str)
    change(graph)
    assert reason in stem_of(graph, PICTURE)


def test_geometry_of_the_stem_that_most_networks_have():
    rows = axis(12, 3, 2, (1, 1), 2)
    assert (rows.size, rows.kernel, rows.stride, rows.pads) == (6, 2, 1, (1, 0))
    assert rows.taps == ((0, 1), (1, 0), (1, 1)) and rows.inside.tolist() == [False, True]
    assert axis(12, 7, 2, (3, 3), 2).kernel == 4
    assert sides(stem().nodes[0], 2)[0] == 2 and sides(stem(stride=1).nodes[0], 2)[0] == 1

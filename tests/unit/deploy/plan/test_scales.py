import numpy as np

from deploy.plan.carry import carry, unify
from deploy.plan.plan import QuantizationPlan
from deploy.plan.scale import Scale
from tests.rules.notation import net


def scale(value, axis=None):
    return Scale(np.asarray(value, np.float32), axis)


def plan(**scales):
    return QuantizationPlan().with_scales(scales, "test")


def values(plan):
    return {name: tensor.scale for name, tensor in plan.tensors.items()}


def test_forwards_past_a_chain_of_commuting_ops():
    graph = net("p = MaxPool(x)\nq = Reshape(p)\ny = Conv(q, w)", "y")
    assert values(carry(graph, plan(x=scale(2)))) == {"x": 2, "p": 2, "q": 2}


def test_backwards_to_what_nobody_else_reads():
    graph = net("r = Relu(x)\np = MaxPool(r)\nq = Reshape(p)\ny = Conv(q, w)", "y")
    assert values(carry(graph, plan(q=scale(2)))) == {"r": 2, "p": 2, "q": 2}


def test_not_backwards_to_what_somebody_else_reads():
    graph = net("p = Slice(x)\ny = Conv(p, w)\nz = Conv(x, w2)", "y z")
    assert values(carry(graph, plan(p=scale(2)))) == {"p": 2}


def test_trained_scales_stay():
    graph = net("p = MaxPool(x)\ny = Conv(p, w)", "y")
    assert values(carry(graph, plan(x=scale(3), p=scale(2)))) == {"x": 3, "p": 2}


def test_not_across_ops_that_compute_and_not_per_channel():
    graph = net("p = AveragePool(x)\nq = Reshape(w)\ny = Mul(p, q)", "y")
    assert carry(graph, plan(x=scale(2), w=scale([1, 2], 0))).tensors.keys() == {"x", "w"}


def test_a_group_gets_its_largest_scale_and_says_whose_grew():
    shared, widened = unify([("a", "b", "c", "absent")], plan(a=scale(1), b=scale(3), c=scale(3), d=scale(9)))
    assert values(shared) == {"a": 3, "b": 3, "c": 3, "d": 9}
    assert widened == ("a",)
    assert shared.groups == {"a": ("a", "b", "c")}


def test_a_group_without_any_scale_is_left():
    shared, widened = unify([("a", "b")], plan(d=scale(9)))
    assert values(shared) == {"d": 9} and widened == ()

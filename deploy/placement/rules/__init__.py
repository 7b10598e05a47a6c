"""The placement rules, in the order reports list them. Rules do not depend on each other: a Keep always wins.

RULES are TensorRT's; OTHERS belong to engines that need pairs where TensorRT does not.

Two rules of the design are not here because the data model already holds them: all uses of a tensor share one
Q/DQ pair (fan-out), and only uses by nodes can be quantized, so a graph output never is.
"""

from __future__ import annotations

from deploy.placement.rules import (
    average_pool,
    bias,
    commuting,
    concat,
    conv_bn_act,
    gates,
    integer_pointwise,
    pad_conv,
    pre_activation_bn,
    products,
    residual_add,
    residual_int8,
    resize,
    small_groups,
    weighted,
)
from deploy.placement.rules.base import Rule

RULES: tuple[Rule, ...] = (
    weighted.RULE,
    small_groups.RULE,
    products.RULE,
    bias.RULE,
    conv_bn_act.RULE,
    pad_conv.RULE,
    residual_add.RULE,
    pre_activation_bn.RULE,
    concat.RULE,
    average_pool.RULE,
    commuting.RULE,
    resize.RULE,
    gates.RULE,
)
OTHERS: tuple[Rule, ...] = (integer_pointwise.RULE, residual_int8.RULE)

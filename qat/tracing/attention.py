"""`F.scaled_dot_product_attention` as the products that it is made of, which rules see and quantizers reach.

    before   attention(q, k, v, mask)
    after    softmax(q @ k.transpose(-2, -1) * scale + mask) @ v

Source of the formula: PyTorch documentation of the function.

Look-alikes left whole: attention with dropout, a causal or a boolean mask, or fewer heads of keys than of queries.
"""

from __future__ import annotations

import operator
from typing import cast

import torch
from torch import fx
from torch.nn import functional as F

ATTENTION = (F.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default)
_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def open_attention(traced: fx.GraphModule) -> None:
    """Replace every call of an annotated graph (see `qat.tracing.fx_graph.annotate`) whose formula is the plain one."""
    for node in list(traced.graph.nodes):
        if node.op != "call_function" or node.target not in ATTENTION:
            continue
        given = {**dict(zip(_NAMES, node.args, strict=False)), **node.kwargs}
        if given.get("dropout_p") or given.get("is_causal") or given.get("enable_gqa") or not _adds(given):
            continue
        query, key, value = (cast(fx.Node, given[name]) for name in _NAMES[:3])
        mask = given.get("attn_mask")
        scale = given.get("scale") or query.meta["tensor_meta"].shape[-1] ** -0.5
        with traced.graph.inserting_before(node):
            call = traced.graph.call_function
            turned = traced.graph.call_method("transpose", (key, -2, -1))
            scores = call(operator.mul, (call(operator.matmul, (query, turned)), scale))
            scores = scores if mask is None else call(operator.add, (scores, mask))
            mixed = call(operator.matmul, (call(torch.softmax, (scores, -1)), value))
        node.replace_all_uses_with(mixed)
        traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()


def _adds(given: dict[str, object]) -> bool:
    """Return True if the mask is numbers to add, or there is none."""
    mask = given.get("attn_mask")
    meta = mask.meta.get("tensor_meta") if isinstance(mask, fx.Node) else None
    return mask is None or (meta is not None and meta.dtype.is_floating_point)

"""Mutants of a Python file: its source with one operator, constant or statement changed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
CHANGED = (
    *(ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Constant, ast.If, ast.IfExp, ast.Return, ast.comprehension),
    ast.Expr,
)


@dataclass(frozen=True)
class Mutant:
    """Changed source, with the place and kind of its change."""

    source: str
    line: int
    change: str


def mutants(source: str) -> Iterator[Mutant]:
    """One mutant per possible change; messages, docstrings, annotations and imports stay."""
    tree = ast.parse(source)
    count = len(list(ast.walk(tree)))
    skipped = _texts(tree)
    for index in range(count):
        original = _at(tree, index)
        if id(original) in skipped or not isinstance(original, CHANGED):
            continue
        for number in range(len(original.ops) if isinstance(original, ast.Compare) else 1):
            changed = copy.deepcopy(tree)
            node = _at(changed, index)
            told = _change(node, number)
            if told:
                yield Mutant(ast.unparse(ast.fix_missing_locations(changed)), getattr(original, "lineno", 0), told)


def _at(tree: ast.AST, index: int) -> ast.AST:
    return next(node for number, node in enumerate(ast.walk(tree)) if number == index)


def _texts(tree: ast.AST) -> set[int]:
    """Ids of nodes whose change no test should notice."""
    found: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.JoinedStr):
            parts = list(node.values)
        elif isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
            parts = [node.returns, *(argument.annotation for argument in arguments)]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            parts = [node]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("UserError", "TypeVar", "cast"):
            parts = [*node.args, *node.keywords]
        found |= {id(inner) for part in parts if part is not None for inner in ast.walk(part)}
    return found


def _change(node: ast.AST, number: int) -> str:
    """Change `node` in place and describe the change; "" where there is none. `number` selects a comparison's
    operator."""
    if isinstance(node, ast.Compare) and number < len(node.ops):
        before = node.ops[number]
        if type(before) not in COMPARISONS:
            return ""
        node.ops[number] = COMPARISONS[type(before)]()
        return f"{type(before).__name__} → {type(node.ops[number]).__name__}"
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return f"to {type(node.op).__name__}"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)
        return "without not"
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        before_op = type(node.op)
        node.op = OPERATORS[before_op]()
        return f"{before_op.__name__} → {type(node.op).__name__}"
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return f"to {node.value}"
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value += 1
        return f"to {node.value}"
    if isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition turned round"
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        node.value = ast.Constant(None)
        return "returns None"
    if isinstance(node, ast.comprehension) and node.ifs:
        node.ifs = []
        return "comprehension takes all"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        told = ast.unparse(node)[:60]
        node.value = ast.Constant(None)
        return f"without {told}"
    return ""


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None

"""`python -m tests.prose`: checks pages, docstrings, comments and messages against the rules in .vale/House.

The rule files are Vale's own (`existence` and `occurrence`), so that `vale docs` applies them in an editor. pip cannot
install Vale everywhere; this module reads the same files and needs only PyYAML. It skips code inside of prose.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
RULES = sorted((ROOT / ".vale" / "House").glob("*.yml"))
CODE = re.compile(r"```.*?```|^(?: {4}|\t).*?$|^\|[-| :]+\|$|<[^>]+>", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`[^`\n]*`|\]\([^)]*\)|https?://\S+")
ENTRY = re.compile(r"^\s*\w+(?:, \w+)*: ", re.MULTILINE)  # names of arguments and attributes in docstrings
COMMAND = re.compile(r"(?:type|fmt|ruff|mypy|pragma): |noqa|python3? -?\w|make \w+(?:$| \S*=)|\.venv/|--\w|>>> |\$ ")
DIAGRAM = re.compile(r"[─▶◀│└]")
SENTENCE = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z\"'(*`x])|\n\s*\n|\n\s*(?=[-*|#>]|\d+\. )|(?<=\|)\s")


@dataclass(frozen=True)
class Rule:
    """One rule file: a pattern, and the number of times that it may occur in a sentence."""

    name: str
    message: str
    pattern: re.Pattern[str]
    most: int | None  # None: it must not occur
    pages_only: bool


def rules() -> list[Rule]:
    """Every rule of .vale/House."""
    return [_rule(path) for path in RULES]


def _rule(path: Path) -> Rule:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    flags = re.IGNORECASE if content.get("ignorecase") else 0
    if content["extends"] == "occurrence":
        return Rule(path.stem, content["message"], re.compile(content["token"]), content["max"], pages_only=True)
    pattern = "|".join(f"(?:{token})" for token in content.get("raw", [])) or "|".join(
        rf"\b(?:{token})\b" for token in content["tokens"]
    )
    return Rule(path.stem, content["message"], re.compile(pattern, flags), None, pages_only=False)


def found(text: str, *, page: bool, among: list[Rule]) -> Iterator[tuple[str, str]]:
    """(rule's message, sentence) for each sentence of `text` that breaks a rule."""
    plain = SPAN.sub("x", CODE.sub("\n\n", text) if page else text)
    for sentence in filter(None, (" ".join(part.split()) for part in SENTENCE.split(plain) if part)):
        for rule in among:
            if rule.most is not None:
                if page and len(rule.pattern.findall(sentence)) > rule.most:
                    yield rule.message % rule.most if "%s" in rule.message else rule.message, sentence
            elif match := rule.pattern.search(sentence):
                yield rule.message.replace("%s", match.group(0)), sentence


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """(line, prose) of a Python file: docstrings, comments, and the strings of messages, each without code."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield getattr(node, "lineno", 1), ENTRY.sub("\n\n", _without_code(text))
        elif isinstance(node, ast.Call) and _name(node.func) in MESSAGES:
            for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                yield from ((node.lineno, text) for text in _strings(value))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], _without_code(token.string.lstrip("#! "))


def _without_code(text: str) -> str:
    """The text with an empty line in place of each line that is code, a directive for a tool, or a diagram."""
    return "\n".join("" if DIAGRAM.search(line) or _is_code(line.strip()) else line for line in text.splitlines())


def _is_code(line: str) -> bool:
    """Return True for Python code such as a call or an assignment, for a shell command, and for a directive."""
    if COMMAND.match(line):
        return True
    try:
        return any(isinstance(node, PROGRAM) for node in ast.walk(ast.parse(line)))
    except SyntaxError:
        return False


PROGRAM = (ast.Call, ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.Return, ast.Attribute, ast.Subscript)
MESSAGES = {"UserError", "GateMissed", "UnsupportedEnvironment", "Unavailable", "Skip", "say", "add_argument"}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _strings(node: ast.expr) -> Iterator[str]:
    """Every string that the expression may become or contain; `x` stands for inserted values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    elif isinstance(node, ast.IfExp | ast.BinOp | ast.BoolOp):
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                yield from _strings(part)


def main() -> int:
    """Print every sentence that breaks a rule; returns 1 when there are any."""
    listed = subprocess.check_output(["git", "ls-files", "*.md", "*.py"], cwd=ROOT, text=True).split()
    among, count = rules(), 0
    for name in listed:
        path = ROOT / name
        pieces = [(1, path.read_text(encoding="utf-8"))] if name.endswith(".md") else texts(path)
        for line, text in pieces:
            for message, sentence in found(text, page=name.endswith(".md"), among=among):
                count += 1
                print(f"{name}:{line}: {message}: {sentence[:100]}")
    print(f"prose: {count} sentences to change" if count else "prose: nothing to change")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())

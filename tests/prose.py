"""`python -m tests.prose`: hold pages, docstrings, comments and messages to the rules in .vale/House.

The rule files are Vale's own (`existence` and `occurrence`), so that `vale docs` applies them in an editor. Vale is a
program that pip cannot install everywhere; this reads the same files and needs only PyYAML.
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
SENTENCE = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z\"'(*`x])|\n\s*\n|\n\s*(?=[-*|#>]|\d+\. )|(?<=\|)\s")


@dataclass(frozen=True)
class Rule:
    """One rule file: what must not occur, or not as often, in a text or a sentence."""

    name: str
    message: str
    pattern: re.Pattern[str]
    most: int | None  # None: not at all
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
    """(line, prose) of a Python file: docstrings, comments, and the strings of messages."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield getattr(node, "lineno", 1), text
        elif isinstance(node, ast.Call) and _name(node.func) in MESSAGES:
            for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                if text := _string(value):
                    yield node.lineno, text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa", "#!")):
            yield token.start[0], token.string.lstrip("# ")


MESSAGES = {"UserError", "GateMissed", "UnsupportedEnvironment", "Unavailable", "Skip", "say", "add_argument"}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _string(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
    return ""


def main() -> int:
    """Print what breaks a rule; 1 when something does."""
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

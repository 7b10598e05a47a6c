"""Pages from templates that stand beside the code which fills them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates_in(folder: Path) -> Environment:
    """Templates of `folder`, and the style, script and charts of all pages, which they include by name.

    Values are escaped, a name that nobody gave is an error, and tags leave no blank lines.
    """
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

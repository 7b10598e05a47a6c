"""Hooks of the documentation site: links to repository files that the site lacks become plain names."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[(?P<text>[^\]]+)\]\((?:\.\./)+(?P<path>(?!docs/)[^)#]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with `[text](../../file)` as text and path where the path leaves the folder of pages."""
    depth = page.file.src_uri.count("/")

    def named(link: re.Match[str]) -> str:
        if link.group(0).count("../") <= depth:
            return link.group(0)
        text, path = link["text"].strip("`"), link["path"]
        return f"`{path}`" if text == path else f"{text} (`{path}`)"

    return _OUTSIDE.sub(named, markdown)

"""A real browser for tests of HTML pages: a page's DOM after its scripts ran, and what a script finds at a width."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-quic", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"),
    *("--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"),
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium and no google-chrome on the PATH")

# A window is never narrower than some 500 px, a frame in it may be.
FRAMED = """<!doctype html><iframe style="width: %dpx; height: 900px; border: 0"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  document.title = JSON.stringify({ over: root.scrollWidth - root.clientWidth, ...(%s)(page) });
};
frame.srcdoc = PAGE;
</script>"""


def opened(page: str, folder: Path) -> tuple[str, list[str]]:
    """The page's DOM after its scripts ran, and what they wrote to the console."""
    assert BROWSER is not None
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(folder)})
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def seen(page: str, width_px: int, script: str, folder: Path) -> dict[str, Any]:
    """The JSON values that `script`, a function of the document, gives in a window of that width.

    `over` is added: by how many pixels the page is wider than its window. Nothing may be written to the console.
    """
    quoted = json.dumps(page).replace("</", "<\\/")
    dom, console = opened((FRAMED % (width_px, script)).replace("PAGE", quoted), folder)
    assert console == []
    title = re.search(r"<title>({.*?})</title>", dom)
    assert title is not None
    found: dict[str, Any] = json.loads(title[1])
    return found

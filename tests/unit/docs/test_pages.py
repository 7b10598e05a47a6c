"""Pages that name fields of results and messages of errors agree with the code."""

import re
from pathlib import Path

import pytest

from benchmarks.record.files import Results
from benchmarks.record.rows import ImageToMask, Latency, Row, Throughput

ROOT = Path(__file__).parents[3]
SOURCES = [path for name in ("core", "deploy", "qat", "benchmarks") for path in (ROOT / name).rglob("*.py")]
# One long line without the joints of strings, so that a message is found whole.
CODE = re.sub(r'"\s*f?"', "", " ".join(path.read_text(encoding="utf-8") for path in SOURCES))
CODE += (ROOT / "Makefile").read_text(encoding="utf-8")


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_results_page_names_every_field_and_no_other():
    first, second = page("reference/results.md").split("## A row")
    assert set(re.findall(r"`(\w+)`", first.split("## The file")[1])) == set(Results.model_fields)
    inner = {*Latency.model_fields, *Throughput.model_fields, *ImageToMask.model_fields}
    inner |= set(re.findall(r"    (\w+): int", (ROOT / "deploy/targets/layer_work.py").read_text(encoding="utf-8")))
    named = set(re.findall(r"`(\w+)`", second)) - {"ok", "failed", "unavailable"}
    assert set(Row.model_fields) <= named <= {*Row.model_fields, *inner}


@pytest.mark.parametrize("message", re.findall(r"^\| `(.+?)` \|", page("guides/troubleshooting.md"), re.MULTILINE))
def test_messages_of_the_troubleshooting_page_exist(message):
    for part in filter(None, (part.strip() for part in message.split("…"))):
        assert part in CODE, part

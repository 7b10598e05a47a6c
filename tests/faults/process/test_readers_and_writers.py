"""Two processes write one file while two read it: every reader sees a whole file, and nothing else is left behind."""

from __future__ import annotations

import json
import sys

import pytest

from core.files.artifacts import read_json
from tests.faults.commands import finish, start

WRITER = """
import sys
from pathlib import Path
from core.files.artifacts import write_json
own = sys.argv[1]
for number in range(150):
    write_json(Path("shared.json"), {"by": own, "numbers": [number] * 5000})
"""
READER = """
from pathlib import Path
from core.files.artifacts import read_json
seen = set()
for _ in range(300):
    found = read_json(Path("shared.json"))
    assert len(found["numbers"]) == 5000 and len(set(found["numbers"])) == 1, found
    seen.add((found["by"], found["numbers"][0]))
print(len(seen))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced there")
def test_four_processes_on_one_file(tmp_path):
    (tmp_path / "shared.json").write_text(json.dumps({"by": "nobody", "numbers": [0] * 5000}))
    writers = [start("-c", WRITER, name, folder=tmp_path) for name in ("a", "b")]
    readers = [start("-c", READER, folder=tmp_path) for _ in range(2)]
    ended = [finish(process) for process in writers + readers]
    assert [outcome.code for outcome in ended] == [0] * 4, ended
    assert all(int(outcome.out) > 1 for outcome in ended[2:]), "readers met several versions"
    assert read_json(tmp_path / "shared.json")["numbers"] == [149] * 5000
    assert [path.name for path in tmp_path.iterdir()] == ["shared.json"]

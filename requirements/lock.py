"""Print the lock of an installation from pip's report: every package with its version and the hash of its file.

pip install --dry-run --ignore-installed --report report.json -r requirements/cpu.txt -r requirements/dev.txt
python requirements/lock.py report.json > requirements/lock-linux-x86_64-py311.txt
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Everything that cpu.txt and dev.txt bring on {system} {machine} with Python {python},
# with the hashes of the files.
# Made by requirements/lock.py. Install it with
#   make setup REQUIREMENTS=requirements/{name} \\
#       PIP_ARGS="--require-hashes --extra-index-url https://download.pytorch.org/whl/cpu"
# Other platforms take other files, so that each needs a lock of its own."""


def lock(report: dict[str, Any]) -> str:
    """The text of the lock file."""
    machine = report["environment"]
    python = machine["python_version"]
    system, architecture = machine["sys_platform"], machine["platform_machine"]
    name = f"lock-{system}-{architecture}-py{python.replace('.', '')}.txt"
    lines = [HEAD.format(system=system.capitalize(), machine=architecture, python=python, name=name)]
    for item in sorted(report["install"], key=lambda item: item["metadata"]["name"].lower()):
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{item['metadata']['name']}=={item['metadata']['version']} --hash=sha256:{digest}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(lock(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))

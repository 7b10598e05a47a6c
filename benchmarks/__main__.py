"""`pidnet-int8 VERB`: every command of the project behind one name; `python -m benchmarks VERB` is the same.

The rest of the command line belongs to the verb; `pidnet-int8 VERB --help` lists it.
"""

from __future__ import annotations

import importlib
import sys

from core.bootstrap import use_project_environment
from core.errors import EXIT_OK, EXIT_USER_ERROR

VERBS = {
    "bench": ("benchmarks.run", "the whole pipeline: engines, then latency and accuracy against FP32"),
    "qat": ("qat.__main__", "train or load FP32, quantize, calibrate, fine-tune, export"),
    "deploy": ("deploy.__main__", "place, build, inspect and run engines; what this machine can do"),
    "sensitivity": ("qat.sensitivity.__main__", "the layers that suffer from INT8"),
    "peers": ("benchmarks.peers", "our INT8 against other toolkits'"),
    "sweep": ("benchmarks.sweep", "cost over batch size and resolution"),
    "report": ("benchmarks.report.__main__", "report.html again from the last results"),
}


def main() -> int:
    """Run the verb's own command; returns its exit code."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        print(_usage())
        return EXIT_OK
    if verb not in VERBS:
        print(f"error: no verb {verb!r}\n{_usage()}", file=sys.stderr)
        return EXIT_USER_ERROR
    use_project_environment(needed=())
    del sys.argv[1]
    return importlib.import_module(VERBS[verb][0]).main() or EXIT_OK


def _usage() -> str:
    rows = "\n".join(f"  {verb:<12} {what}" for verb, (_, what) in VERBS.items())
    return f"usage: pidnet-int8 VERB [options]\n\n{rows}"


if __name__ == "__main__":
    sys.exit(main())

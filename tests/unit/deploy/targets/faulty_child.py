"""A step for `deploy.targets.child` that fails in the requested way."""

import os
import signal

from core.errors import UserError
from deploy.targets.child import serve


def step(request, folder):
    (folder / "partial").write_text("begun")
    if request["way"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if request["way"] == "refuse":
        raise UserError("no such thing", why="because", fix="do another")
    if request["way"] == "raise":
        raise ValueError("not foreseen")


if __name__ == "__main__":
    serve(step)

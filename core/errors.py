"""The one way this project says that something went wrong, and the exit code that goes with it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from core.console import show_messages

EXIT_OK = 0
EXIT_GATE_MISSED = 1
EXIT_USER_ERROR = 2
EXIT_ENVIRONMENT = 3


class UserError(Exception):
    """The user's input is wrong: says what happened, why, and what to do about it."""

    exit_code = EXIT_USER_ERROR

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.why:
            parts.append(f"  why: {self.why}")
        if self.fix:
            parts.append(f"  fix: {self.fix}")
        return "\n".join(parts)


class UnsupportedEnvironment(UserError):
    """The input is fine, but this machine lacks something (a package, a device, a driver)."""

    exit_code = EXIT_ENVIRONMENT


class GateMissed(UserError):
    """Everything ran, but a limit the user set was not met."""

    exit_code = EXIT_GATE_MISSED


def run_cli(main: Callable[[], int | None], *, debug: bool) -> int:
    """Run `main` and turn a `UserError` into its message and exit code; other errors keep their traceback.

    Args:
        main: the command; None counts as success.
        debug: re-raise `UserError` too, so that its traceback is shown.
    """
    show_messages()
    try:
        return main() or EXIT_OK
    except UserError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; finished stages are kept and will not run again", file=sys.stderr)
        return 130

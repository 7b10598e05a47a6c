"""The exceptions of this project and their exit codes."""

from __future__ import annotations

import errno

EXIT_OK = 0
EXIT_GATE_MISSED = 1
EXIT_USER_ERROR = 2
EXIT_ENVIRONMENT = 3

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MACHINE = NO_SPACE | {errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class UserError(Exception):
    """The user's input is wrong; the message gives the problem, the reason, and a fix."""

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
    """The input is fine, but this machine lacks something (a package, a device, a driver, space on a disk)."""

    exit_code = EXIT_ENVIRONMENT


class GateMissed(UserError):
    """Everything ran, but a limit that the user set was missed."""

    exit_code = EXIT_GATE_MISSED


def one_line(error: Exception) -> str:
    """`Type: message` without line breaks, for tables and lists of reasons."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def file_error(error: OSError, what: str = "") -> UserError:
    """The message for an error of the file system: the machine's fault (exit code 3), or a wrong path (2).

    Args:
        what: the beginning of the message; empty takes the path that the system call was made with.
    """
    why = error.strerror or str(error) or type(error).__name__
    what = what or (f"{error.filename} cannot be used" if error.filename else "a file cannot be used")
    if error.errno not in _MACHINE:
        return UserError(what, why, "check the path")
    fix = "make room on that disk" if error.errno in NO_SPACE else "name a place that this user may read and write"
    return UnsupportedEnvironment(what, why, fix)


def last_line(error: BaseException) -> str:
    """The last line of an error's text, where vendors' libraries state the cause; the error's type if there is no
    text."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__

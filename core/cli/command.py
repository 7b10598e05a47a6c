"""A command from its first line to its exit code: no fault of input, machine or user code ends in a traceback."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType

from core.cli.bootstrap import settled_environment
from core.cli.naming import by_make
from core.cli.parser import Parser
from core.console import show_messages
from core.errors import EXIT_OK, UnsupportedEnvironment, UserError, file_error
from core.files.user_code import fault_in_user_code

EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_BROKEN_PIPE = 130, 143, 141  # 128 + the signal, as shells have it

# Settings of the process that a command owns and a library must not touch; they hold for packages that are imported
# later. OpenCV's own threads would compete with those of torch and of data-loading workers for the same CPUs. It and
# its FFmpeg write a line for every frame that fails; we say it once, with the file's name.
_OPENCV = {"OPENCV_FOR_THREADS_NUM": "1", "OPENCV_LOG_LEVEL": "ERROR", "OPENCV_FFMPEG_LOGLEVEL": "-8"}


class Terminated(BaseException):
    """SIGTERM came; as an exception it lets every `finally` on the way out remove its temporary files."""


def run_command(parser: Parser, words: Sequence[str] | None = None) -> int:
    """Parse `words`, run what the parser's default `run` names with the arguments, and return the exit code.

    Args:
        words: None for those of this process.
    """
    arguments = parser.parse_args(words)
    level = logging.WARNING if arguments.quiet else logging.DEBUG if arguments.verbose else logging.INFO
    return run_cli(lambda: arguments.run(arguments), debug=arguments.debug, level=level)


def run_cli(main: Callable[[], int | None], *, debug: bool, level: int = logging.INFO) -> int:
    """Run `main` and turn its faults into a message and an exit code; a bug of our own keeps its traceback.

    Args:
        main: the command; None counts as success.
        debug: raise everything, so that the traceback is shown.
        level: of the messages that are shown.
    """
    accept_any_character()
    show_messages(level)
    os.environ.update({**_OPENCV, **settled_environment(os.environ)})
    try:
        with _sigterm_as_exception():
            return main() or EXIT_OK
    except KeyboardInterrupt:
        print("interrupted; finished stages are kept and will not run again", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Terminated:
        print("terminated by SIGTERM; finished stages are kept and will not run again", file=sys.stderr)
        return EXIT_TERMINATED
    except BrokenPipeError:  # as in `… | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (Exception, SystemExit) as error:
        told = _explained(error)
        if debug or told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return told.exit_code


def accept_any_character() -> None:
    """Let both output streams write characters that their encoding lacks (as "?") instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _explained(error: Exception | SystemExit) -> UserError | None:
    """The message for `error`; None for a bug of ours."""
    if isinstance(error, UserError):
        return error
    theirs = fault_in_user_code(error)
    if theirs is not None:
        return theirs
    if isinstance(error, OSError):
        return file_error(error)
    if isinstance(error, ModuleNotFoundError) and error.name is not None:  # also a package without its dist-info
        package = error.name.partition(".")[0]
        return UnsupportedEnvironment(
            f"the Python package {package} is missing or incomplete",
            f"{error}",
            f"run `{by_make('setup')}`, or install it",
        )
    if isinstance(error, MemoryError):
        return UnsupportedEnvironment("not enough memory", str(error), "use smaller images or batches")
    return None


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, once; in other threads than the main one nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not end the clearing up
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

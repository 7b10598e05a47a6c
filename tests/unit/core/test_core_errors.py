"""core/errors.py: messages and their exit codes."""

import pytest

from core.cli.command import run_cli
from core.errors import GateMissed, UnsupportedEnvironment, UserError


def raising(error: BaseException):
    def main() -> int:
        raise error

    return main


def test_message_holds_what_why_and_fix() -> None:
    assert str(UserError("it broke", why="no file", fix="make one")) == "it broke\n  why: no file\n  fix: make one"


@pytest.mark.parametrize(
    ("error", "text"),
    [(UserError("x"), "x"), (UserError("x", fix="y"), "x\n  fix: y"), (UserError("x", "w"), "x\n  why: w")],
)
def test_empty_parts_are_left_out(error: UserError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("error", "code"),
    [(GateMissed("x"), 1), (UserError("x"), 2), (UnsupportedEnvironment("x"), 3), (KeyboardInterrupt(), 130)],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert run_cli(raising(error), debug=False) == code


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_result_of_main_is_the_exit_code(result: int | None, code: int) -> None:
    assert run_cli(lambda: result, debug=False) == code


def test_user_error_goes_to_stderr_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(raising(UserError("no data", fix="give --set data.root=…")), debug=False)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: no data\n  fix: give --set data.root=…\n"


def test_debug_keeps_the_traceback() -> None:
    with pytest.raises(UserError):
        run_cli(raising(UserError("x")), debug=True)


def test_a_bug_is_not_dressed_up_as_a_user_error() -> None:
    with pytest.raises(ZeroDivisionError):
        run_cli(raising(ZeroDivisionError()), debug=False)

"""core/cli/parser.py: messages for mistyped words, and defaults in the help."""

import pytest

from core.cli.parser import Parser


@pytest.fixture
def parser():
    made = Parser(prog="tool")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    draw = commands.add_parser("draw")
    draw.add_argument("--colour", choices=["red", "green"], default="red", help="of the line")
    draw.add_argument("--width", required=True, help="such as 3")
    draw.add_argument("--note", help="such as hello")
    commands.add_parser("erase")
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("drw", "no 'drw'; did you mean draw?"),
        ("zzz", "choose from draw, erase"),
        ("draw --width 1 --colour rde", "no 'rde'; did you mean red?"),
        ("draw --widht 1", "did you mean --width for --widht?"),
        ("draw --width 1 --clour red", "did you mean --colour for --clour?"),
        ("draw --width 1 --zzz", "unrecognized arguments: --zzz"),
        ("draw --width 1 stray", "`tool draw --help` lists the options"),
        ("", "`tool --help` lists the commands"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(parser, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words.split())
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("error: ") and told.count("error: ") == 1 and "usage" not in told
    assert said in told


def test_help_names_defaults_and_stays_silent_about_none(parser):
    told = " ".join(parser.subcommand("draw").format_help().split())
    assert "of the line (default: red)" in told
    assert "None" not in told


def test_what_is_spelled_right_is_taken(parser):
    found = parser.parse_args(["draw", "--width", "3", "--note=--wdth"])
    assert (found.width, found.colour, found.note) == ("3", "red", "--wdth")

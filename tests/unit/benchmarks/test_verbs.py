"""`pidnet-int8`: its verbs, their parsers, and completion."""

import argparse
import re
import subprocess
import sys

import pytest

from benchmarks import __main__ as entry
from benchmarks.__main__ import actions_of, main, parser_of
from core.cli.command import run_command
from core.cli.completion import script
from core.cli.parser import Parser
from core.cli.verbs import DEPLOY, QAT, VERBS

COMMON = {"--debug", "--json", "--quiet", "--verbose"}


def called(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["pidnet-int8", *words])
    monkeypatch.setattr(entry, "use_project_environment", lambda: None)  # it may replace this process
    return main()


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_help_and_every_value_a_default_or_an_example(verb):
    actions = actions_of(verb)
    assert {option for action in actions for option in action.option_strings} >= COMMON
    for action in actions:
        if action.help == argparse.SUPPRESS:
            continue
        assert action.help, action
        if action.option_strings and action.nargs != 0:
            shown = argparse.ArgumentDefaultsHelpFormatter("x")._expand_help(action)
            example = re.search(r"such as|default|comma-separated|, or one ", action.help)
            assert example or action.default not in (None, [], ()) or action.choices, (action.option_strings, shown)


def test_the_verbs_of_a_package_are_all_that_it_has():
    for module in (DEPLOY, QAT):
        verbs = {name for name, verb in VERBS.items() if verb.module == module}
        made = parser_of(next(iter(verbs)))
        (commands,) = (each for each in made._actions if isinstance(each, argparse._SubParsersAction))
        assert {parser.prog.split()[-1] for parser in commands.choices.values()} == verbs


def test_help_is_80_columns_wide_groups_the_verbs_and_imports_nothing_heavy():
    code = "import sys; sys.argv[1:] = ['--help']; from benchmarks.__main__ import main; main(); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *lines, modules = told.splitlines()
    assert max(map(len, lines)) <= 80
    assert {"An ONNX file", "An engine"} <= set(lines)
    assert all(any(line.startswith(f"  {verb}") for line in lines) for verb in VERBS)
    assert not {"torch", "numpy", "onnx", "pydantic", "rich"} & set(modules.split())


def test_version(monkeypatch, capsys):
    assert called(monkeypatch, "--version") == 0
    assert re.match(r"pidnet-int8 (\d+\.\d+|\(not installed)", capsys.readouterr().out)


@pytest.mark.parametrize(("typed", "meant"), [("inspct", "inspect"), ("quantise", "quantize"), ("enginee", "engine")])
def test_a_mistyped_verb_is_answered_with_the_nearest(monkeypatch, capsys, typed, meant):
    assert called(monkeypatch, typed) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["qat", "engine"])
def test_another_name_of_a_verb_is_the_verb(monkeypatch, capsys, other):
    with pytest.raises(SystemExit) as ended:
        called(monkeypatch, other, "--help")
    assert ended.value.code == 0 and "usage: pidnet-int8" in capsys.readouterr().out


def test_a_verb_runs_the_command_of_its_module(monkeypatch, capsys):
    assert called(monkeypatch, "rules", "--json") == 0
    assert '"rule": "residual-add"' in capsys.readouterr().out


@pytest.mark.parametrize(("option", "shown"), [("-q", {"W"}), ("-v", {"D", "I", "W"}), ("--debug", {"I", "W"})])
def test_quiet_and_verbose_choose_the_messages(capsys, option, shown):
    from core.cli.options import add_common_options
    from core.console import detail, say, warn

    parser = Parser(prog="tool")
    add_common_options(parser)

    def run(_: object) -> None:
        detail("D")
        say("I")
        warn("W")

    parser.set_defaults(run=run)
    assert run_command(parser, [option]) == 0
    assert {line[-1] for line in capsys.readouterr().err.splitlines()} == shown


def completed(words, source):
    """The words that bash offers for the last of `words`."""
    code = f'{source}\nCOMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _tool; echo "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_completion_offers_verbs_options_and_choices():
    parser = Parser()
    parser.add_argument("--fit", choices=["stretch", "crop"])
    parser.add_argument("--data")
    source = script("tool", {"quantize": parser._actions, "lint": Parser()._actions})
    assert completed(["tool", "qu"], source) == ["quantize"]
    assert completed(["tool", "quantize", "--f"], source) == ["--fit"]
    assert completed(["tool", "quantize", "--fit", "c"], source) == ["crop"]
    assert completed(["tool", "lint", "--f"], source) == []
    assert completed(["tool", "quantize", "--data", "c"], source) == []  # files, which the shell completes itself


def test_the_script_holds_every_verb(monkeypatch, capsys):
    monkeypatch.setattr(entry, "actions_of", lambda name: ())
    assert called(monkeypatch, "completion") == 0
    offered = re.search(r"words='([^']*--version)'", capsys.readouterr().out)[1]
    assert offered.split() == [*VERBS, "--help", "--version"]

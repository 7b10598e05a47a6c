"""`pidnet-int8 VERB`: every command of the project behind one name; `python -m benchmarks VERB` is the same.

The parser of a verb is that of the module which `core.cli.verbs` names. Only that module is imported.
"""

from __future__ import annotations

import importlib
import sys
from argparse import Action
from collections.abc import Iterator, Sequence

from core.cli.bootstrap import use_project_environment
from core.cli.naming import PROGRAM
from core.cli.parser import Parser
from core.cli.verbs import GROUPS, VERBS, Verb
from core.errors import EXIT_OK, EXIT_USER_ERROR, UserError
from core.nearest import did_you_mean

COMPLETION = "completion"  # prints a script; no module has it


def main() -> int:
    """Run the verb's own command; returns its exit code."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print("\n".join(_usage()))
        return EXIT_OK
    if name == "--version":
        print(f"{PROGRAM} {_version()}")
        return EXIT_OK
    if name == COMPLETION:
        return _print_completion()
    verb = find(name)
    if verb is None:
        fix = f"{did_you_mean(name, _names())} `{PROGRAM} --help` lists the verbs"
        print(f"error: {UserError(f'no verb {name!r}', fix=fix)}", file=sys.stderr)
        return EXIT_USER_ERROR
    use_project_environment()
    from core.cli.command import run_command

    return run_command(parser_of(verb), [verb, *words] if VERBS[verb].is_subcommand else words)


def find(name: str) -> str | None:
    """The verb of that name, or of that other name; None where there is none."""
    return next((known for known, verb in VERBS.items() if name in (known, verb.other)), None)


def parser_of(name: str) -> Parser:
    """The parser of the module behind a verb; its subcommands are other verbs, too, where it has any."""
    verb = VERBS[name]
    made: Parser = importlib.import_module(verb.module).parser(PROGRAM if verb.is_subcommand else f"{PROGRAM} {name}")
    return made


def actions_of(name: str) -> Sequence[Action]:
    """Every argument and option of a verb."""
    made = parser_of(name)
    return (made.subcommand(name) if VERBS[name].is_subcommand else made)._actions


def _usage() -> Iterator[str]:
    yield f"usage: {PROGRAM} VERB [options]"
    for title, verbs in GROUPS.items():
        yield f"\n{title}"
        yield from (f"  {_title(name, verb):<15} {verb.about}" for name, verb in verbs.items())
    yield f"\n`{PROGRAM} VERB --help` lists its options; all take -q, -v, --json, --debug."
    yield f"  --version       the version of {PROGRAM}"
    yield f"  {COMPLETION:<15} a script for bash and zsh: source <({PROGRAM} {COMPLETION})"


def _title(name: str, verb: Verb) -> str:
    return f"{name}, {verb.other}" if verb.other else name


def _names() -> list[str]:
    return [name for known, verb in VERBS.items() for name in (known, verb.other) if name]


def _version() -> str:
    from core.versions import installed

    return installed([PROGRAM]).get(PROGRAM, "(not installed: the version is in pyproject.toml)")


def _print_completion() -> int:
    from core.cli.completion import script

    print(script(PROGRAM, {name: actions_of(name) for name in VERBS}), end="")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())

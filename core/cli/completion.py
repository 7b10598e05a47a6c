"""Completion of verbs, options and their choices for bash and zsh, written from the parsers themselves."""

from __future__ import annotations

from argparse import Action
from collections.abc import Mapping, Sequence


def script(program: str, verbs: Mapping[str, Sequence[Action]]) -> str:
    """A script to source; files are completed where neither an option nor a choice is.

    Args:
        program: that is completed.
        verbs: the actions of each verb's parser.
    """
    name = f"_{program.replace('-', '_')}"
    return "\n".join(
        [
            '[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit',
            f"{name}() {{",
            '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""',
            '  case "$COMP_CWORD ${COMP_WORDS[1]} $before" in',
            *(_line(f'"{_PLACE} {verb} {option}"', choices) for verb, option, choices in _choices(verbs)),
            _line('"1 "*', [*verbs, "--help", "--version"]),
            "    *)",
            '  case "${COMP_WORDS[1]} $word" in',
            *(_line(f'"{verb} -"*', _options(actions)) for verb, actions in verbs.items()),
            "  esac ;;",
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            f"complete -o default -F {name} {program}",
            "",
        ]
    )


_PLACE = '"*"'  # of the word in the command line, outside of the quotes of the pattern


def _line(pattern: str, words: Sequence[str]) -> str:
    return f"    {pattern}) words='{' '.join(words)}' ;;"


def _options(actions: Sequence[Action]) -> list[str]:
    return [option for action in actions for option in action.option_strings]


def _choices(verbs: Mapping[str, Sequence[Action]]) -> list[tuple[str, str, list[str]]]:
    return [
        (verb, option, [str(choice) for choice in action.choices])
        for verb, actions in verbs.items()
        for action in actions
        for option in action.option_strings
        if action.choices
    ]

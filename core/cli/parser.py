"""argparse with this project's messages: one sentence, the nearest name, and every default in the help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from core.errors import EXIT_USER_ERROR, UserError
from core.nearest import nearest


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the defaults that say something and that the text does not name itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.nargs == 0 or action.default in (None, [], (), "") or "default" in (action.help or "")
        return action.help if silent else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser whose subcommands are such parsers, too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": _Help, **options})
        self._words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; a word that the parser does not know is an error of the subcommand that it was given to."""
        self._words = list(sys.argv[1:] if args is None else args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def subcommand(self, name: str) -> Parser:
        """The parser of a subcommand."""
        found = next(action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        parser: Parser = found.choices[name]
        return parser

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(name) for name in action.choices]
            found = nearest(str(value), names)
            hint = f"did you mean {found[0]}?" if found else f"choose from {', '.join(names)}"
            raise argparse.ArgumentError(action, f"no {value!r}; {hint}")

    def error(self, message: str) -> NoReturn:
        """Print the message with the nearest option, and exit with the code for wrong input."""
        help_ = f"`{self.prog} --help` lists the {'options' if self._subparsers is None else 'commands'}"
        error = UserError(message, fix=" ".join([*self._misspelled(), help_]))
        self.exit(EXIT_USER_ERROR, f"error: {error}\n")

    def _misspelled(self) -> list[str]:
        """A question for each option that was given and does not exist, where one is alike."""
        if self._subparsers is not None:  # its words belong to a subcommand
            return []
        known = list(self._option_string_actions)
        given = [word.partition("=")[0] for word in self._words if word.startswith("--") and word != "--"]
        unknown = [word for word in given if not any(option.startswith(word) for option in known)]
        return [f"did you mean {near[0]} for {word}?" for word in unknown if (near := nearest(word, known))]

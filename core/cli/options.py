"""Options that every command shares."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from core.config import Config, load_config
from core.files.paths import ROOT

DEFAULT_CONFIG = Path("configs/pidnet_s_streets.yaml")


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """`--quiet --verbose --debug`, which `core.cli.command.run_command` reads."""
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings, errors and the result")
    parser.add_argument("-v", "--verbose", action="store_true", help="say every stage and every reason")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """`--config FILE --set a.b=c` and the common options."""
    parser.add_argument("--config", type=Path, default=default_config(), metavar="FILE", help="YAML file of the run")
    set_help = "another value for one key of the config, such as qat.epochs=3; may be repeated"
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="a.b=c", help=set_help)
    add_common_options(parser)


def default_config() -> Path:
    """The embedded default: the one below the current folder, else the one that came with the code."""
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else ROOT / DEFAULT_CONFIG


def count(text: str) -> int:
    """An option that is a whole number of at least 1; others end the command with argparse's message."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    """An option that is a time, such as 90s, 20m or 1.5h; others end the command with argparse's message."""
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        value = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 20m or 2h")
    return value


def points(text: str) -> float:
    """An option that is a number of points of at least 0; others end the command with argparse's message."""
    return _between(text, math.nextafter(math.inf, 0), "a number of points of at least 0")


def percent(text: str) -> float:
    """An option between 0 and 100; others end the command with argparse's message."""
    return _between(text, 100, "a number from 0 to 100")


def _between(text: str, most: float, form: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return value


def config_from(arguments: argparse.Namespace) -> Config:
    """The config those options name."""
    return load_config(arguments.config, arguments.overrides)


def reproducing(arguments: argparse.Namespace) -> list[str]:
    """The config options as given, for a command that does the same again."""
    options = ["--config", arguments.config.as_posix()]
    for override in arguments.overrides:
        options += ["--set", override]
    return options

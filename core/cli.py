"""Options that every command shares."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.config import Config, load_config


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """`--config FILE --set a.b=c --debug`."""
    parser.add_argument("--config", type=Path, default=Path("configs/pidnet_s_streets.yaml"), metavar="FILE")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="a.b=c")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def config_from(arguments: argparse.Namespace) -> Config:
    """The config those options name."""
    return load_config(arguments.config, arguments.overrides)


def reproducing(arguments: argparse.Namespace) -> list[str]:
    """The config options as given, for a command that does the same again."""
    options = ["--config", arguments.config.as_posix()]
    for override in arguments.overrides:
        options += ["--set", override]
    return options

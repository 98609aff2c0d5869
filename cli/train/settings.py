"""`--settings` and `--set`: settings of a run from a file and from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add both and `--dry-run`, last of all flags."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what the run would learn from, do and take, and write nothing",
    )
    parser.add_argument("--settings", type=Path, help="TOML file of settings (base: one table a stage)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting, for instance steps=2000; may be repeated",
    )


def settings_file(arguments: argparse.Namespace) -> dict[str, Any]:
    """The tables and values of `--settings`, none without it."""
    from ...training.engine.settings import read_toml

    return read_toml(arguments.settings) if arguments.settings else {}


def changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """The `name=value` words of `--set`; values as in TOML, anything else is text."""
    found: dict[str, Any] = {}
    for word in arguments.set:
        name, separator, value = word.partition("=")
        if not separator:
            raise ValueError(f"--set {word}: write NAME=VALUE, for instance steps=2000")
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

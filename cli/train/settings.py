"""`--settings` and `--set`: settings of a run from a file and from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..arguments import given

# Tables of a run.toml beside its settings.
OPTIONS, VERSIONS = "options", "versions"
# As TOML writes them.
_TRUTHS = {"true": True, "false": False}


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add both and `--dry-run`, last of all flags."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what the run would learn from, do and take, and write nothing",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        action=_SettingsFile,
        help="TOML file of settings (base: one table a stage), or a run's run.toml with all its options",
    )
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

    tables = read_toml(arguments.settings) if arguments.settings else {}
    return {name: value for name, value in tables.items() if name not in (OPTIONS, VERSIONS)}


class _SettingsFile(argparse.Action):
    """Options of a run.toml take the place of defaults; flags go before them wherever they stand."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: object
    ) -> None:
        from ...training.engine.settings import SettingsError, read_toml

        setattr(namespace, self.dest, values)
        actions = {action.dest: action for action in parser._actions}  # pyright: ignore[reportPrivateUsage]
        for name, value in read_toml(values).get(OPTIONS, {}).items():
            action = actions.get(name)
            if action is None:
                raise SettingsError(f"{values}: there is no option {name!r} in this action of train")
            action.required = False
            if name not in given(namespace) and getattr(namespace, name) is action.default:
                setattr(namespace, name, _read(action, value, values))


def _read(action: argparse.Action, value: Any, file: Path) -> Any:
    from ...training.engine.settings import SettingsError

    if action.type is None:
        return value
    words = "x".join(map(str, value)) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    try:
        return action.type(words)  # type: ignore[operator]
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise SettingsError(f"{file}: {action.dest} is {value!r}: {error}") from error


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
    if text in _TRUTHS:
        return _TRUTHS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    # A text as TOML has it; the shell has taken quotes of its own away.
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text

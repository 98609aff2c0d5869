"""Flags of a run, made of the fields of its dataclass, and the run made of the flags."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from ..arguments import Given, refuse_given, size

RunT = TypeVar("RunT")

CONTINUES = "A run that was interrupted continues from its last checkpoint, exactly as if it had not been."
_READERS: dict[Any, Any] = {tuple[int, int]: size, **{kind: kind for kind in (Path, str, int, float)}}


def add_options(parser: argparse.ArgumentParser, run: type, *, required: bool = True) -> None:
    """A flag for each field of a dataclass; `required` are those without a default, unless it is False."""
    hints = get_type_hints(run)
    for one in fields(run):
        name = one.metadata["flag"] or one.name
        kind = _kind(hints[one.name])
        words: dict[str, Any] = {"dest": one.name, "help": one.metadata["help"]}
        if kind is bool:
            words["action"] = _GivenTrue
        else:
            words |= {"type": _READERS[kind], "metavar": name.upper(), "action": Given}
        if one.default is MISSING:
            words["required"] = required
        elif kind is not bool:
            words["default"] = _as_typed(one)
        parser.add_argument(f"--{name.replace('_', '-')}", **words)


class _GivenTrue(Given):
    """A flag without a value, noted as given."""

    def __init__(self, option_strings: Sequence[str], dest: str, **words: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=False, **words)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: object
    ) -> None:
        super().__call__(parser, namespace, True)


def refuse_unread(arguments: argparse.Namespace, names: Sequence[str], purpose: str) -> None:
    """As `refuse_given`, but of a run that goes on, and may have been begun with them, it is only told."""
    try:
        refuse_given(arguments, names, purpose)
    except ValueError as error:
        from ...training.engine.checkpoint import has_run

        if not has_run(arguments.folder) and not (arguments.folder / "iterations").is_dir():
            raise
        logging.getLogger("instance_composer").warning("%s", error)


def refuse_unread_tuning(arguments: argparse.Namespace) -> None:
    """ValueError for options of feedback learning that nothing reads."""
    if not arguments.fidelity_weight:
        refuse_unread(arguments, ["discriminator_rate"], "--fidelity-weight, which is 0")
    if not arguments.ranking_weight:
        refuse_unread(arguments, ["ranking_reach"], "--ranking-weight, which is 0")
    if not arguments.reward_weight:
        refuse_unread(arguments, ["cap", "guidance"], "sampled pictures, and with --reward-weight 0 none are")


def read_options(arguments: argparse.Namespace, run: type[RunT]) -> RunT:
    """The dataclass made of the flags that `add_options` added for it."""
    return run(**{one.name: getattr(arguments, one.name) for one in fields(run)})  # type: ignore[arg-type]


def _kind(hint: Any) -> Any:
    """The type of a field's values, None left aside."""
    return (
        hint if hint is bool or hint in _READERS else next(one for one in get_args(hint) if one in _READERS)
    )


def _as_typed(one: Field[Any]) -> Any:
    """A default as it would be typed, which is how the help quotes it."""
    return "x".join(str(part) for part in one.default) if isinstance(one.default, tuple) else one.default

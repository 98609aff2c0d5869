"""`instance-composer train itercomp`: the whole loop of rankings, rewards and feedback learning."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...training.iterations.options import LoopRun
from ...training.iterations.stage_names import STAGE_NAMES
from ..arguments import Given, number, refuse_given
from .options import add_options, read_options, refuse_unread_tuning
from .settings import add_settings, changes, settings_file

HELP = "IterComp's loop: a gallery, rankings, rewards, feedback, again and again"
DESCRIPTION = (
    "Sample a gallery of models, rank their pictures, learn rewards from the rankings, tune the base by "
    "them, let it and new models join the gallery, and again: IterComp. A loop that was interrupted goes on "
    "where it was."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, how far to go, the loop's options, and settings."""
    parser.add_argument("folder", metavar="run", type=Path, help="where everything is kept")
    parser.add_argument(
        "--iterations",
        action=Given,
        type=number(1, whole=True),
        default=1,
        help="how many in all, earlier ones too (1)",
    )
    parser.add_argument(
        "--until",
        action=Given,
        choices=STAGE_NAMES,
        help="stop behind this stage of the present iteration",
    )
    parser.add_argument("--stage", choices=STAGE_NAMES, help="this stage alone, even if it was finished")
    parser.add_argument(
        "--iteration",
        action=Given,
        type=number(0, whole=True),
        default=0,
        help="of --stage, counted from 0 (0)",
    )
    add_options(parser, LoopRun)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Go on with the loop, and say where the reports are."""
    if arguments.stage is None:
        refuse_given(arguments, ["iteration"], "--stage, which is not given")
    else:
        refuse_given(
            arguments,
            ["until", "iterations"],
            "the whole loop, and --stage runs one stage alone; leave it out, or --stage",
        )
    refuse_unread_tuning(arguments)
    from ...training.iterations.loop import Loop

    loop = Loop(read_options(arguments, LoopRun), arguments.folder, _settings(arguments))
    if arguments.dry_run:
        alone = (int(arguments.iteration), arguments.stage) if arguments.stage else None
        for line in loop.foretell(int(arguments.iterations), arguments.until, alone):
            print(line)
        return 0
    if arguments.stage is not None:
        loop.do(int(arguments.iteration), arguments.stage, by_name=True)
    else:
        loop.go_on(int(arguments.iterations), arguments.until)
    for report in sorted(arguments.folder.glob("iterations/*/report.md")):
        print(report)
    return 0


def _settings(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Settings by stage: tables of the file, and words such as rewards.steps=400 over them."""
    read = settings_file(arguments)
    tables = {name: dict(table) for name, table in read.items() if isinstance(table, dict)}
    if loose := sorted(set(read) - set(tables)):
        raise ValueError(
            f"{arguments.settings}: {', '.join(loose)} stands in no table; put [rewards] or [feedback] above"
        )
    for name, value in changes(arguments).items():
        stage, dot, setting = name.partition(".")
        if not dot:
            raise ValueError(f"--set {name}: write of which stage, as rewards.{name} or feedback.{name}")
        tables.setdefault(stage, {})[setting] = value
    return tables

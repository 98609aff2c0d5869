"""`instance-composer train reward`: reward models from preferences, or the demo's from Shapes World."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from pathlib import Path

from ...training.demo_model.stage_names import REWARD_STAGE_NAMES
from ...training.itercomp.reward_options import REWARD_SETTINGS, RewardRun
from ..arguments import refuse_given
from .options import CONTINUES, add_options, read_options
from .settings import add_settings, changes, settings_file

HELP = "train reward models from preferences"
DESCRIPTION = (
    "Train a reward model: the better of two pictures shall get the higher reward. Without "
    f"--data, small models of all three aspects learn from Shapes World. {CONTINUES}"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the run's options, and settings."""
    parser.add_argument("folder", type=Path, help="where checkpoint, metrics and models are kept")
    parser.add_argument(
        "--stage",
        choices=REWARD_STAGE_NAMES,
        action="append",
        help="without --data: only this stage, which --init may start; may be repeated (all, in order)",
    )
    add_options(parser, RewardRun, required=False)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train from a file of preferences if there is one, else from Shapes World."""
    needed = [one.name for one in fields(RewardRun) if one.default is MISSING]
    missing = [name for name in needed if getattr(arguments, name) is None]
    if arguments.stage or missing == needed:
        return _world_rewards(arguments)
    if missing:
        given = ", ".join(f"--{name}" for name in missing)
        raise ValueError(f"to learn from a file of preferences, give {given} too")
    return _reward(arguments)


def _reward(arguments: argparse.Namespace) -> int:
    from ...training.engine.settings import read_settings
    from ...training.itercomp.reward_run import train_reward

    settings = read_settings({**settings_file(arguments), **changes(arguments)}, REWARD_SETTINGS)
    train_reward(read_options(arguments, RewardRun), settings, arguments.folder, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(arguments.folder / "model" / f"{arguments.aspect}.safetensors")
    return 0


def _world_rewards(arguments: argparse.Namespace) -> int:
    if given := [name for name in ("data", "validation", "aspect") if getattr(arguments, name) is not None]:
        raise ValueError(
            f"--stage is one of the demo's, which learn from Shapes World; leave out --{', --'.join(given)}"
        )
    refuse_given(arguments, ["frozen"], "--data, which is not given")
    if arguments.init is not None and len(arguments.stage) != 1:
        raise ValueError("--init is where one stage starts; say which with one --stage")
    from ...training.demo_model.rewards import train_world_rewards

    tables = settings_file(arguments)
    for name in arguments.stage or REWARD_STAGE_NAMES:
        tables[name] = {**tables.get(name, {}), **changes(arguments)}
    train_world_rewards(
        arguments.folder,
        tables,
        only=arguments.stage or (),
        start=arguments.init,
        dry_run=arguments.dry_run,
    )
    if not arguments.dry_run:
        last = max(arguments.stage or REWARD_STAGE_NAMES, key=REWARD_STAGE_NAMES.index)
        print(arguments.folder / last / "model")
    return 0

"""`instance-composer train base`: the demo model, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.demo_model.stage_names import STAGE_NAMES
from .options import CONTINUES
from .settings import add_settings, changes, settings_file

HELP = "train the demo model, one stage after the other"
DESCRIPTION = f"Train the demo model: autoencoder, then text encoders and UNet. {CONTINUES}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the stages, and settings."""
    parser.add_argument("folder", type=Path, help="where everything is kept, one folder a stage")
    parser.add_argument(
        "--stage",
        choices=STAGE_NAMES,
        action="append",
        help="only this stage; may be repeated (all, in order)",
    )
    parser.add_argument(
        "--init",
        type=Path,
        help="diffusers folder that one base stage starts from (what the stage before it has made)",
    )
    parser.add_argument("--pictures", type=int, help="how many pictures to encode for a base stage")
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train the stages that were chosen."""
    from ...training.demo_model.recipe import PicturesStage, choose_stage
    from ...training.demo_model.stage import train_or_tell

    if arguments.init is not None and len(arguments.stage or ()) != 1:
        raise ValueError("--init is where one stage starts; say which with one --stage")
    tables = settings_file(arguments)
    stages = [
        choose_stage(name, {**tables.get(name, {}), **changes(arguments)}, arguments.pictures, arguments.init)
        for name in arguments.stage or STAGE_NAMES
    ]
    if arguments.pictures is not None and not any(isinstance(stage, PicturesStage) for stage in stages):
        names = " and ".join(stage.name for stage in stages)
        raise ValueError(f"--pictures is for stages that encode pictures, and {names} does not; leave it out")
    for stage in stages:
        train_or_tell(stage, arguments.folder, arguments.dry_run)
    return 0

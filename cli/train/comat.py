"""`instance-composer train comat`: a LoRA that makes a model draw what its prompts say."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.comat.options import COMAT_SETTINGS, CoMatRun
from .options import CONTINUES, add_options, read_options
from .settings import add_settings, changes, settings_file

HELP = "train a LoRA that binds attributes, as CoMat does"
DESCRIPTION = (
    "Train a LoRA by what a captioner, masks of things and a discriminator say of the model's own pictures: "
    f"CoMat. No pictures are needed, only prompts. {CONTINUES}"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the run's options, and settings."""
    parser.add_argument("folder", type=Path, help="where checkpoint, metrics, samples and LoRA are kept")
    add_options(parser, CoMatRun)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the LoRA is."""
    from ...training.comat.run import train_comat
    from ...training.comat.task import LORA
    from ...training.engine.settings import read_settings

    settings = read_settings({**settings_file(arguments), **changes(arguments)}, COMAT_SETTINGS)
    train_comat(read_options(arguments, CoMatRun), settings, arguments.folder, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(arguments.folder / "model" / LORA)
    return 0

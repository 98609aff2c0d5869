"""`instance-composer train feedback`: an SDXL UNet tuned by reward models."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.itercomp.feedback_options import FEEDBACK_SETTINGS, FeedbackRun
from .options import CONTINUES, add_options, read_options, refuse_unread_tuning
from .settings import add_settings, changes, settings_file

HELP = "tune an SDXL UNet by reward models, as IterComp does"
DESCRIPTION = (
    "Tune a UNet so that reward models like its pictures: IterComp's multi-reward feedback "
    f"learning. {CONTINUES}"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the run's options, and settings."""
    parser.add_argument("folder", type=Path, help="where checkpoint, metrics, samples and UNet are kept")
    add_options(parser, FeedbackRun)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tune, and say where the UNet is, or the LoRA."""
    refuse_unread_tuning(arguments)
    from ...training.engine.settings import read_settings
    from ...training.itercomp.feedback_run import train_feedback
    from ...training.itercomp.feedback_task import LORA, UNET

    settings = read_settings({**settings_file(arguments), **changes(arguments)}, FEEDBACK_SETTINGS)
    options = read_options(arguments, FeedbackRun)
    train_feedback(options, settings, arguments.folder, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(arguments.folder / "model" / (LORA if options.rank else UNET))
    return 0

"""`instance-composer train captioner`: a small captioner of Shapes World."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.captioner.options import CAPTIONER_SETTINGS, CaptionerRun
from .options import CONTINUES, add_options, read_options, refuse_unread
from .settings import add_settings, changes, settings_file

HELP = "train a small captioner of Shapes World"
DESCRIPTION = (
    "Train a small BLIP on pictures of Shapes World and their captions, for training that asks how likely a "
    f"prompt is given a picture. {CONTINUES}"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the run's options, and settings."""
    parser.add_argument("folder", type=Path, help="where checkpoint, metrics and captioner are kept")
    add_options(parser, CaptionerRun)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the captioner is."""
    from ...training.captioner.run import check_sizes, train_captioner
    from ...training.engine.settings import read_settings

    settings = read_settings({**settings_file(arguments), **changes(arguments)}, CAPTIONER_SETTINGS)
    options = read_options(arguments, CaptionerRun)
    check_sizes(options)
    if options.model is None:
        refuse_unread(arguments, ["decoded", "drawn"], "pictures of --model, which is not given")
    train_captioner(options, settings, arguments.folder, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(arguments.folder / "model")
    return 0

"""`instance-composer train ifadapter`: an IFAdapter on any SDXL."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.ifadapter.options import AdapterRun
from .options import CONTINUES, add_options, read_options
from .settings import add_settings, changes, settings_file

HELP = "train an IFAdapter on a frozen SDXL"
DESCRIPTION = f"Train an IFAdapter: the paper's objective on a frozen model. {CONTINUES}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the run's options, and settings."""
    parser.add_argument("folder", type=Path, help="where checkpoint, metrics, samples and adapter are kept")
    add_options(parser, AdapterRun)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the adapter is."""
    from ...training.engine.settings import read_settings
    from ...training.ifadapter.run import train_adapter

    settings = read_settings({**settings_file(arguments), **changes(arguments)})
    train_adapter(read_options(arguments, AdapterRun), settings, arguments.folder, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(arguments.folder / "model" / "ifadapter.safetensors")
    return 0

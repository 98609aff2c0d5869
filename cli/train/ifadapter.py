"""`instance-composer train ifadapter`: an IFAdapter on any SDXL."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.ifadapter.options import AdapterRun
from .options import CONTINUES, add_options, read_options, refuse_unread
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
    _refuse_unread(arguments)
    from ...training.engine.settings import read_settings
    from ...training.ifadapter.run import train_adapter

    settings = read_settings({**settings_file(arguments), **changes(arguments)})
    train_adapter(read_options(arguments, AdapterRun), settings, arguments.folder, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(arguments.folder / "model" / "ifadapter.safetensors")
    return 0


def _refuse_unread(arguments: argparse.Namespace) -> None:
    if arguments.init is not None:
        refuse_unread(arguments, ["small"], "a fresh adapter, and --init is where this one starts")
    if arguments.data is not None:
        refuse_unread(arguments, ["pictures"], "Shapes World, whose place --data takes")
        return
    refuse_unread(arguments, ["leave_out"], "--data, which is not given")
    if not arguments.text_features:
        refuse_unread(arguments, ["latents"], "--data or --text-features, which are not given")

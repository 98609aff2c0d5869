"""`instance-composer train`: one module for each action.

It defines `HELP`, `DESCRIPTION`, `configure(parser)` and `run(arguments)`, and imports torch and the like
inside `run`, as the modules of the whole command line do.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

ACTIONS = ("base", "ifadapter", "pack", "reward", "feedback", "captioner", "comat", "itercomp")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    for name in ACTIONS:
        action = import_module(f".{name}", __name__)
        subparser = commands.add_parser(name, help=action.HELP, description=action.DESCRIPTION)
        action.configure(subparser)
        subparser.set_defaults(act=action.run)


def run(arguments: argparse.Namespace) -> int:
    """Do what was chosen; returns the exit code."""
    import logging

    from ...training.engine.processes import ending_together

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("instance_composer").setLevel(logging.INFO)
    with ending_together():
        return arguments.act(arguments)

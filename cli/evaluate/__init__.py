"""`instance-composer evaluate`: methods measured against each other, one file an action.

An action defines `PURPOSE` and `DESCRIPTION`, `configure(parser)` and `run(arguments)`.
"""

from __future__ import annotations

import argparse

from . import binding, layout

ACTIONS = {"layout": layout, "binding": binding}

_KEPT = "What is there is kept: stop it at any time, and start it again to go on or with more."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add every action."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    for name, action in ACTIONS.items():
        description = f"{action.DESCRIPTION} {_KEPT}"
        action.configure(commands.add_parser(name, help=action.PURPOSE, description=description))


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return ACTIONS[arguments.action].run(arguments)

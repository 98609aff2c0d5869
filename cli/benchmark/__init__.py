"""`instance-composer benchmark NAME STEP RUN`: published benchmarks, one file a step.

A step defines `PURPOSE`, `configure(parser)` and `run(arguments)`; `arguments.benchmark` is the name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import draw, prepare, report, score

STEPS = {"prepare": prepare, "draw": draw, "score": score, "report": report}
NAMES = {
    "ifg": "instances with their features in their boxes (IFAdapter's)",
    "coco-mig": "2 to 6 coloured things in their boxes (MIGC's)",
    "t2i-compbench": "attributes, relations, numbers and actions of prompts",
    "layoutsam-eval": "regions with long descriptions, by a judge (CreatiLayout's)",
    "overlap": "things that cover each other, the right one in front",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add every benchmark with every step."""
    names = parser.add_subparsers(dest="benchmark", required=True, metavar="name")
    for name, purpose in NAMES.items():
        steps = names.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        actions = steps.add_subparsers(dest="step", required=True, metavar="step")
        for step, module in STEPS.items():
            action = actions.add_parser(step, help=module.PURPOSE, description=f"{module.PURPOSE}.")
            action.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
            module.configure(action, name)


def run(arguments: argparse.Namespace) -> int:
    """Take the chosen step."""
    return STEPS[arguments.step].run(arguments)

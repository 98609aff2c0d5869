"""`instance-composer evaluate layout`: methods of placing things measured on the same layouts."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...generation.placing_methods import METHODS
from ..arguments import Given, number
from .scenes import (
    add_comparison,
    add_run,
    add_where,
    check_drawable,
    evaluate,
    listed,
    read_methods,
    read_sampling,
    read_scenes,
)

PURPOSE = "how well methods put things where they belong, with the right attributes"
DESCRIPTION = (
    "Sample the same layouts with every method in ComfyUI, judge the pictures, and write tables and a plot."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what is compared, the run and its place."""
    comparison = add_comparison(parser, METHODS, "2-5")
    comparison.add_argument(
        "--layouts",
        action=Given,
        type=number(3, 100_000, whole=True),
        default=300,
        help="how many; the report is of the first so many (300; with --report-only all that are there)",
    )
    comparison.add_argument(
        "--naming",
        default="all",
        help=(
            "what prompts name of the things of the same layouts, separated by commas: all (always), "
            "all-but-one, none, joined (all but one, and that caption behind it) (all)"
        ),
    )
    settings = add_run(parser)
    settings.add_argument(
        "--base",
        type=number(0, 1),
        default=1.0,
        help="weight of the whole prompt inside the regions, for mask and couple (1)",
    )
    where = add_where(parser)
    where.add_argument("--packs", type=Path, help="folder of other packs' checkouts (COMFYUI/custom_nodes)")


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, write the report and name it on standard output."""
    from ...evaluation.benchmarks.placement.plan import PlacementPlan
    from ...evaluation.benchmarks.placement.report import write_report
    from ...evaluation.scorers.placement import score

    methods = read_methods("--methods", arguments.methods, METHODS)
    check_drawable(arguments.model, methods, METHODS)
    plan = PlacementPlan(
        methods,
        arguments.layouts,
        read_scenes(arguments),
        read_sampling(arguments),
        arguments.base,
        _naming(arguments.naming),
    )
    packs = arguments.packs
    if packs is None and arguments.comfyui is not None:
        packs = arguments.comfyui / "custom_nodes"
    return evaluate(arguments, plan, score, write_report, "layouts", packs)


def _naming(text: str) -> tuple[str, ...]:
    from ...evaluation.benchmarks.placement.naming import NAMINGS

    unknown = [name for name in listed(text) if name not in NAMINGS]
    if unknown:
        raise ValueError(f"--naming: {', '.join(unknown)} is not known; choose from {', '.join(NAMINGS)}")
    if not listed(text):
        raise ValueError(f"--naming: none is named; name at least one of {', '.join(NAMINGS)}")
    return tuple(name for name in NAMINGS if name in listed(text))

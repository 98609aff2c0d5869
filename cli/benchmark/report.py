"""`benchmark NAME report RUN`: tables, plot and sheets of what is measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from .parts import benchmark_of, open_run

PURPOSE = "write the table with the published rows beside ours, a plot, and the best and worst pictures"


def configure(parser: argparse.ArgumentParser, name: str) -> None:
    """Add where the report goes."""
    parser.add_argument(
        "--report", type=Path, help="the .md to write; the rest goes beside it (RUN/report.md)"
    )
    parser.add_argument(
        "--official", action="store_true", help="also write the files that the official scorer would leave"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the report and name it on standard output."""
    from ...evaluation.harness.report import write_official_files, write_report
    from ...evaluation.harness.results import results
    from ...evaluation.scorers.world_models import WorldModels

    run_folder, benchmark = open_run(arguments), benchmark_of(arguments.benchmark)
    # Stages tell what had to be looked for; nothing is loaded.
    stages = benchmark.stages(WorldModels(), run_folder.list.shared)
    found = results(run_folder, benchmark, stages)
    if not found:
        raise ValueError(f"nothing is measured in {arguments.folder}; `score` does it")
    target = arguments.report or arguments.folder / "report.md"
    write_report(run_folder, benchmark, found, target)
    if arguments.official:
        for file in write_official_files(run_folder, benchmark, found):
            print(file)
    print(f"{target} ({len(found)} {'way' if len(found) == 1 else 'ways'})")
    return 0

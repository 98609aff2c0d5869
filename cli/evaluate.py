"""`instance-composer evaluate`: methods measured against each other on Shapes World."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import number, size

# In the order of the tables; the same as the evaluation's, which is not imported for --help.
_METHODS = "real,reconstructed,plain,area,mask,couple,ifadapter,no-appearance,no-eot"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `layout`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    layout = commands.add_parser(
        "layout",
        help="how well methods put things where they belong, with the right attributes",
        description="Sample the same layouts with every method in ComfyUI, judge the pictures, and write "
        "tables and a plot. What is there is kept: stop it at any time, and start it again to go on or with "
        "more.",
    )
    layout.add_argument("folder", type=Path, help="where pictures and records are kept")
    layout.add_argument(
        "--report", type=Path, help="the .md to write; a plot goes beside it (FOLDER/report.md)"
    )
    layout.add_argument("--report-only", action="store_true", help="write the report of what is there")
    what = layout.add_argument_group("what is compared")
    what.add_argument("--layouts", type=number(3, 100_000, whole=True), default=300, help="how many (300)")
    what.add_argument("--methods", default=_METHODS, help=f"separated by commas ({_METHODS})")
    what.add_argument("--figures", default="2-5", help="things in a picture: 2-5, 6-8, or 3 (2-5)")
    what.add_argument("--size", type=size, default=(256, 256), help="width x height in pixels (256x256)")
    what.add_argument("--split", choices=("held-out", "train", "all"), default="held-out", help="of looks")
    run = layout.add_argument_group("the run")
    run.add_argument("--steps", type=number(1, 1000, whole=True), default=20, help="sampling steps (20)")
    run.add_argument("--cfg", type=number(1), default=5.0, help="guidance (5)")
    run.add_argument("--sampler", default="euler", help="of ComfyUI (euler)")
    run.add_argument("--scheduler", default="normal", help="of ComfyUI (normal)")
    run.add_argument("--seed", type=number(0, 2**53, whole=True), default=0, help="of the first picture (0)")
    run.add_argument(
        "--base",
        type=number(0, 1),
        default=1.0,
        help="weight of the whole prompt inside the regions, for mask and couple (1)",
    )
    where = layout.add_argument_group("where it runs")
    where.add_argument("--model", type=Path, help="a packed demo model (the one that comes with the pack)")
    where.add_argument("--comfyui", type=Path, help="folder of a ComfyUI")
    where.add_argument("--packs", type=Path, help="folder of other packs' checkouts (COMFYUI/custom_nodes)")
    where.add_argument("--python", help="the Python that runs ComfyUI (this one)")
    where.add_argument("--threads", type=number(1, 256, whole=True), default=1, help="of that process (1)")


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, write the report and name it on standard output."""
    from tqdm import tqdm

    from ..demo import FOLDER, demo_folder
    from ..evaluation.plan import Plan, check_methods
    from ..evaluation.report import write_report
    from ..evaluation.runs import Evaluation

    methods = check_methods([name.strip() for name in arguments.methods.split(",") if name.strip()])
    plan = Plan(
        figures=_figures(arguments.figures),
        size=arguments.size,
        **{
            n: getattr(arguments, n)
            for n in ("split", "steps", "cfg", "sampler", "scheduler", "base", "seed")
        },
    )
    evaluation = Evaluation(arguments.folder, plan, demo_folder(arguments.model or FOLDER))
    if not arguments.report_only:
        missing = evaluation.missing(methods, arguments.layouts)
        packs = arguments.packs
        if packs is None and arguments.comfyui is not None:
            packs = arguments.comfyui / "custom_nodes"
        with tqdm(total=len(missing), desc="pictures", disable=None) as bar:
            evaluation.run(
                methods,
                arguments.layouts,
                arguments.comfyui,
                packs,
                arguments.python,
                arguments.threads,
                on_picture=bar.update,
            )
    report = arguments.report or arguments.folder / "report.md"
    count = write_report(evaluation, methods, report)
    print(f"{report} ({count} layouts)")
    return 0


def _figures(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise ValueError(f'--figures: a number like "3" or a range like "2-5" is needed, got "{text}"')
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 8:
        raise ValueError(f"--figures: a picture has 1 to 8 things, got {text}")
    return tuple(range(low, high + 1))

"""`instance-composer evaluate`: methods measured against each other on Shapes World."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..generation import binding_methods, placing_methods
from .arguments import number, size

if TYPE_CHECKING:
    from ..evaluation.records import Evaluation

_LAYERS = ("middle and decoder", "coarse", "fine", "all")
_KEPT = "What is there is kept: stop it at any time, and start it again to go on or with more."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `layout` and `binding`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    _add_layout(
        commands.add_parser(
            "layout",
            help="how well methods put things where they belong, with the right attributes",
            description="Sample the same layouts with every method in ComfyUI, judge the pictures, and write "
            f"tables and a plot. {_KEPT}",
        )
    )
    _add_binding(
        commands.add_parser(
            "binding",
            help="how well methods keep attributes on their nouns, without boxes and with",
            description="Sample the same prompts with every method in ComfyUI, judge the pictures wherever "
            f"things are, and write tables and plots. {_KEPT}",
        )
    )


def _add_layout(layout: argparse.ArgumentParser) -> None:
    what = _add_what(layout, placing_methods.METHODS, "2-5")
    what.add_argument("--layouts", type=number(3, 100_000, whole=True), default=300, help="how many (300)")
    run = _add_run(layout)
    run.add_argument(
        "--base",
        type=number(0, 1),
        default=1.0,
        help="weight of the whole prompt inside the regions, for mask and couple (1)",
    )
    where = _add_where(layout)
    where.add_argument("--packs", type=Path, help="folder of other packs' checkouts (COMFYUI/custom_nodes)")


def _add_binding(binding: argparse.ArgumentParser) -> None:
    what = _add_what(binding, binding_methods.METHODS, "2-4")
    what.add_argument("--prompts", type=number(3, 100_000, whole=True), default=300, help="how many (300)")
    _add_run(binding)
    guidance = binding.add_argument_group("guidance, as in the node Attribute Concentration")
    for name, told in (
        ("strength", "how far attention or the latent is moved"),
        ("token-weight", "weight of the token term"),
        ("pixel-weight", "weight of the pixel term"),
    ):
        guidance.add_argument(f"--{name}", type=number(0, 20), default=1.0, help=f"{told} (1)")
    guidance.add_argument("--start", type=number(0, 1), default=0.0, help="of the run, where it begins (0)")
    guidance.add_argument("--end", type=number(0, 1), default=1.0, help="of the run, where it stops (1)")
    guidance.add_argument("--layers", choices=_LAYERS, default=_LAYERS[0], help=f"which ({_LAYERS[0]})")
    sweep = binding.add_argument_group("strengths compared, with a plot of their own")
    sweep.add_argument("--strengths", help="separated by commas, such as 0,0.5,1,2,4")
    sweep.add_argument(
        "--weights", help="pairs of token and pixel weight, such as 1:1,1:0,0:1 (those of the node settings)"
    )
    sweep.add_argument("--sweep", default="local", help="methods, separated by commas (local)")
    _add_where(binding)


def _add_what(parser: argparse.ArgumentParser, methods: Iterable[str], figures: str) -> Any:
    parser.add_argument("folder", type=Path, help="where pictures and records are kept")
    parser.add_argument("--report", type=Path, help="the .md to write; plots go beside it (FOLDER/report.md)")
    parser.add_argument("--report-only", action="store_true", help="write the report of what is there")
    what = parser.add_argument_group("what is compared")
    listed = ",".join(methods)
    what.add_argument("--methods", default=listed, help=f"separated by commas ({listed})")
    what.add_argument("--figures", default=figures, help=f"things in a picture: 2-5, 6-8, or 3 ({figures})")
    what.add_argument("--size", type=size, default=(128, 128), help="width x height in pixels (128x128)")
    what.add_argument("--split", choices=("held-out", "train", "all"), default="held-out", help="of looks")
    return what


def _add_run(parser: argparse.ArgumentParser) -> Any:
    run = parser.add_argument_group("the run")
    run.add_argument("--steps", type=number(1, 1000, whole=True), default=20, help="sampling steps (20)")
    run.add_argument("--cfg", type=number(1), default=3.0, help="guidance (3)")
    run.add_argument("--sampler", default="euler", help="of ComfyUI (euler)")
    run.add_argument("--scheduler", default="normal", help="of ComfyUI (normal)")
    run.add_argument("--seed", type=number(0, 2**53, whole=True), default=0, help="of the first picture (0)")
    return run


def _add_where(parser: argparse.ArgumentParser) -> Any:
    where = parser.add_argument_group("where it runs")
    where.add_argument("--model", type=Path, help="a packed demo model (the one that comes with the pack)")
    where.add_argument("--comfyui", type=Path, help="folder of a ComfyUI")
    where.add_argument("--python", help="the Python that runs ComfyUI (this one)")
    where.add_argument("--threads", type=number(1, 256, whole=True), default=1, help="of that process (1)")
    return where


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, write the report and name it on standard output."""
    report = arguments.report or arguments.folder / "report.md"
    evaluate = _evaluate_binding if arguments.action == "binding" else _evaluate_layout
    print(f"{report} ({evaluate(arguments, report)})")
    return 0


def _evaluate_layout(arguments: argparse.Namespace, report: Path) -> str:
    from ..evaluation.benchmarks.placement.plan import Plan
    from ..evaluation.benchmarks.placement.report import write_report
    from ..evaluation.records import Evaluation
    from ..evaluation.scenes import check_methods

    methods = check_methods(_listed(arguments.methods), placing_methods.METHODS)
    plan = Plan(**_settings(arguments, "base"))
    evaluation = Evaluation(arguments.folder, plan, _model(arguments))
    packs = arguments.packs
    if packs is None and arguments.comfyui is not None:
        packs = arguments.comfyui / "custom_nodes"
    _make_missing(evaluation, methods, arguments.layouts, arguments, packs)
    return f"{write_report(evaluation, methods, report)} layouts"


def _evaluate_binding(arguments: argparse.Namespace, report: Path) -> str:
    from ..evaluation.benchmarks.binding.plan import BindingPlan, make_sweeps
    from ..evaluation.benchmarks.binding.report import write_binding_report
    from ..evaluation.records import Evaluation
    from ..evaluation.scenes import check_methods
    from ..evaluation.scorers.binding import score

    methods = check_methods(_listed(arguments.methods), binding_methods.METHODS)
    guidance = ("strength", "token_weight", "pixel_weight", "start", "end", "layers")
    plan = BindingPlan(**_settings(arguments, *guidance))
    if plan.start >= plan.end:
        raise ValueError(f"--start {plan.start:g} must come before --end {plan.end:g}")
    strengths = [_number("--strengths", one) for one in _listed(arguments.strengths or "")]
    weights = [_pair(one) for one in _listed(arguments.weights or "")]
    if weights and not strengths:
        raise ValueError("--weights: name the strengths to compare them at with --strengths")
    swept = check_methods(_listed(arguments.sweep), binding_methods.METHODS) if strengths else []
    sweeps = make_sweeps(swept, strengths, weights or [(plan.token_weight, plan.pixel_weight)])
    evaluation = Evaluation(arguments.folder, plan, _model(arguments), score)
    points = [name for sweep in sweeps for name in sweep.names(plan)]
    _make_missing(evaluation, list(dict.fromkeys([*methods, *points])), arguments.prompts, arguments)
    return f"{write_binding_report(evaluation, methods, sweeps, report)} prompts"


def _make_missing(
    evaluation: Evaluation[Any],
    methods: list[str],
    count: int,
    arguments: argparse.Namespace,
    packs: Path | None = None,
) -> None:
    from tqdm import tqdm

    if arguments.report_only:
        return
    missing = evaluation.missing(methods, count)
    with tqdm(total=len(missing), desc="pictures", disable=None) as bar:
        evaluation.run(
            methods,
            count,
            arguments.comfyui,
            packs,
            arguments.python,
            arguments.threads,
            on_picture=bar.update,
        )


def _model(arguments: argparse.Namespace) -> Path:
    from ..demo import FOLDER, demo_folder

    return demo_folder(arguments.model or FOLDER)


def _settings(arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Those of every plan, and some of its own."""
    names = ("size", "split", "steps", "cfg", "sampler", "scheduler", "seed", *more)
    return {"figures": _figures(arguments.figures), **{name: getattr(arguments, name) for name in names}}


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _number(option: str, text: str) -> float:
    try:
        return number(0, 20)(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{option}: {error}") from None


def _pair(text: str) -> tuple[float, float]:
    token, colon, pixel = text.partition(":")
    if not colon:
        raise ValueError(f'--weights: token and pixel weight are needed, such as "1:0", got "{text}"')
    return _number("--weights", token), _number("--weights", pixel)


def _figures(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise ValueError(f'--figures: a number like "3" or a range like "2-5" is needed, got "{text}"')
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 8:
        raise ValueError(f"--figures: a picture has 1 to 8 things, got {text}")
    return tuple(range(low, high + 1))

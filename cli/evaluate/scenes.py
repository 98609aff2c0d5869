"""Flags and run that every action on scenes of Shapes World has."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...generation.jobs import Sampling
from ...generation.methods import Method
from ..arguments import given, number, size

if TYPE_CHECKING:
    from ...evaluation.benchmark import Scorer
    from ...evaluation.records import Evaluation
    from ...evaluation.scenes import ScenePlan, Scenes
    from ...evaluation.statistics import Floats

    AnyPlan = TypeVar("AnyPlan", bound=ScenePlan)
    WriteReport = Callable[[Evaluation[AnyPlan], Callable[[int], Floats], Path], int]

_SAMPLING = Sampling()
# The part of a model whose features are measured.
_MEASURES = "VAE"


def add_comparison(parser: argparse.ArgumentParser, methods: Iterable[str], figures: str) -> Any:
    """Add the folder, the report, and what is compared; the last as a group that an action may add to."""
    parser.add_argument("folder", type=Path, help="where pictures and records are kept")
    parser.add_argument("--report", type=Path, help="the .md to write; plots go beside it (FOLDER/report.md)")
    parser.add_argument("--report-only", action="store_true", help="write the report of what is there")
    group = parser.add_argument_group("what is compared")
    names = ",".join(methods)
    group.add_argument("--methods", default=names, help=f"separated by commas ({names})")
    group.add_argument("--figures", default=figures, help=f"things in a picture: 2-5, 6-8, or 3 ({figures})")
    group.add_argument("--size", type=size, default=(128, 128), help="width x height in pixels (128x128)")
    group.add_argument("--split", choices=("held-out", "train", "all"), default="held-out", help="of looks")
    return group


def add_run(parser: argparse.ArgumentParser) -> Any:
    """Add the sampler's settings, as a group that an action may add to."""
    default = _SAMPLING
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--steps",
        type=number(1, 1000, whole=True),
        default=default.steps,
        help=f"sampling steps ({default.steps})",
    )
    group.add_argument("--cfg", type=number(1), default=default.cfg, help=f"guidance ({default.cfg:g})")
    group.add_argument("--sampler", default=default.sampler, help=f"of ComfyUI ({default.sampler})")
    group.add_argument("--scheduler", default=default.scheduler, help=f"of ComfyUI ({default.scheduler})")
    group.add_argument(
        "--seed",
        type=number(0, 2**53, whole=True),
        default=default.seed,
        help=f"of the first picture ({default.seed})",
    )
    return group


def add_where(parser: argparse.ArgumentParser) -> Any:
    """Add the model and the ComfyUI that draws, as a group that an action may add to."""
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--model",
        type=Path,
        help=(
            "a packed demo model (the one that comes with the pack), or the model/ of a run of `train base "
            "--stage transformer`"
        ),
    )
    group.add_argument("--comfyui", type=Path, help="folder of a ComfyUI")
    group.add_argument("--python", help="the Python that runs ComfyUI (this one)")
    group.add_argument("--threads", type=number(1, 256, whole=True), default=1, help="of that process (1)")
    return group


def read_methods(option: str, text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Names separated by commas, in the order of the tables; ValueError tells of which option."""
    from ...evaluation.benchmark import PlanError, check_methods

    try:
        return check_methods(listed(text), known)
    except PlanError as error:
        raise PlanError(f"{option}: {error}") from None


def read_scenes(arguments: argparse.Namespace) -> Scenes:
    """The scenes that the flags ask for."""
    from ...evaluation.scenes import Scenes

    return Scenes(_figures(arguments.figures), arguments.size, arguments.split)


def read_sampling(arguments: argparse.Namespace) -> Sampling:
    """The sampler's settings that the flags ask for."""
    return Sampling(arguments.steps, arguments.cfg, arguments.sampler, arguments.scheduler, arguments.seed)


def evaluate(
    arguments: argparse.Namespace,
    plan: AnyPlan,
    scorer: Scorer,
    write_report: WriteReport[AnyPlan],
    noun: str,
    packs: Path | None = None,
) -> int:
    """Draw and score what is missing of a plan, write the report and name it on standard output.

    1 if some pictures cannot be read, which are named and cost their own rows.
    """
    from dataclasses import replace

    from tqdm import tqdm

    from ...evaluation.records import Evaluation
    from ...evaluation.run import draw_missing, score_drawn
    from ...evaluation.scorers.features import PictureFeatures
    from ...hosts.comfyui_process import ComfyUIProcess, running_comfyui

    model, base = _model_and_base(arguments.model)
    weights = _weights(model, base)
    if arguments.report_only and arguments.model is None:
        # Nothing is drawn, and the model that did it may be gone: only the part that measures counts.
        weights = {_MEASURES: weights[_MEASURES]}
    plan = replace(plan, weights=weights)
    evaluation = Evaluation(arguments.folder, plan, begin=not arguments.report_only)
    if arguments.report_only and noun not in given(arguments):
        # A report of what is there is of all of it, unless fewer are asked for.
        evaluation.plan = replace(plan, count=max(plan.count, evaluation.reached))
    features = PictureFeatures(base)

    def open_drawer() -> AbstractContextManager[ComfyUIProcess]:
        if arguments.comfyui is None:
            raise ValueError("--comfyui: name the folder of a ComfyUI, in which the methods are run")
        return running_comfyui(arguments.comfyui, model, packs, arguments.python, arguments.threads)

    if not arguments.report_only:
        with tqdm(total=len(evaluation.missing()), desc="pictures", disable=None) as bar:
            draw_missing(evaluation, open_drawer, bar.update)
    with tqdm(desc="scores", unit="picture", disable=None) as bar:
        broken = score_drawn(evaluation, (scorer, features), bar.update)
    for file, reason in broken.items():
        print(f"{file} {reason}; delete it to have it drawn again", file=sys.stderr)
    report = arguments.report or arguments.folder / "report.md"
    kept = arguments.folder / "reference.npy"
    count = write_report(evaluation, lambda n: features.reference(plan.scenes, n, kept), report)
    print(f"{report} ({count} {noun})")
    return int(bool(broken))


def _model_and_base(given: Path | None) -> tuple[Path, Path]:
    """The model that draws, and the folder with its autoencoder: the demo's for a transformer."""
    from ...demo import FOLDER, demo_folder, holds_transformer

    if given is not None and holds_transformer(given):
        return given, demo_folder()
    folder = demo_folder(given or FOLDER)
    return folder, folder


def _weights(model: Path, base: Path) -> dict[str, str]:
    """Digests of what draws, by part: a transformer's texts and autoencoder are the base's."""
    from ...demo import ADAPTER
    from ...models.weights import digest_of_model, digest_of_weights

    weights = {**digest_of_model(base), **digest_of_model(model)}
    return {**weights, "IFAdapter": digest_of_weights([model / ADAPTER])} if model == base else weights


def check_drawable(model: Path | None, chosen: Iterable[str], methods: Mapping[str, Method]) -> None:
    """ValueError for methods that act on a UNet alone where a transformer draws."""
    from ...demo import holds_transformer

    if model is None or not holds_transformer(model):
        return
    if refused := [name for name in chosen if methods[name].unet]:
        others = [name for name, method in methods.items() if not method.unet]
        raise ValueError(
            f"--methods: {', '.join(refused)} act on a UNet, and {model} is a transformer; choose from "
            f"{', '.join(others)}"
        )


def listed(text: str) -> list[str]:
    """The words between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _figures(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise ValueError(f'--figures: a number like "3" or a range like "2-5" is needed, got "{text}"')
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 8:
        raise ValueError(f"--figures: a picture has 1 to 8 things, got {text}")
    return tuple(range(low, high + 1))

"""`benchmark NAME score RUN`: what models find in the pictures, one model at a time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import number
from .parts import add_machine, add_shard, benchmark_of, chosen_device, chosen_shard, open_run

if TYPE_CHECKING:
    from ...evaluation.harness.run_folder import RunFolder
    from ...evaluation.scorers.models import Models

PURPOSE = "measure what is drawn; stop it at any time and start it again to go on"


def configure(parser: argparse.ArgumentParser, name: str) -> None:
    """Add what is measured, the models and where they run."""
    parser.add_argument("--ways", help="separated by commas (all that are there)")
    parser.add_argument(
        "--pictures",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="pictures of any other system, under the benchmark's file names; may be given several times",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="the judge of Shapes World in the place of all models"
    )
    models = parser.add_argument_group("models: folders, or names on Hugging Face's hub")
    for option, purpose in _OPTIONS[name].items():
        models.add_argument(f"--{option}", help=purpose)
    parser.add_argument("--batch", type=number(1, 4096, whole=True), default=4, help="pictures at once (4)")
    add_shard(parser)
    add_machine(parser)


_DETECTOR = "a Grounding DINO"
_CLIP = "a CLIP (ViT-L/14), for the CLIP score"
_DEPTH = "a depth estimator (dpt-hybrid-midas)"
_SAM = "a checkpoint of SAM, as segment-anything has it (sam_vit_h_4b8939.pth)"
_OPTIONS: dict[str, dict[str, str]] = {
    "ifg": {"detector": _DETECTOR, "vlm": "a vision-language model that chats", "clip": _CLIP},
    "coco-mig": {"detector": f"{_DETECTOR} (grounding-dino-tiny is the official one)", "sam": _SAM},
    "t2i-compbench": {
        "blip-vqa": "a BLIP for questions (blip-vqa-capfilt-large), for attributes and complex",
        "detector": f"{_DETECTOR}, for spatial, 3d_spatial, numeracy and complex",
        "depth": f"{_DEPTH}, for 3d_spatial",
        "clip": "a CLIP (ViT-B/32), for non_spatial and complex",
    },
    "layoutsam-eval": {"vlm": "a vision-language model that chats"},
    "overlap": {
        "detector": _DETECTOR,
        "depth": _DEPTH,
        "clip": _CLIP,
    },
}


def run(arguments: argparse.Namespace) -> int:
    """Measure every way and say what became of the pictures; 1 if some could not be read."""
    from tqdm import tqdm

    from ...evaluation.harness.measuring import measure

    run_folder, benchmark, shard = (
        open_run(arguments),
        benchmark_of(arguments.benchmark),
        chosen_shard(arguments),
    )
    _add_folders(run_folder, arguments)
    stages = benchmark.stages(_models(arguments), run_folder.list.shared)
    run_folder.add_models(_model_names(arguments))
    failed = False
    for way in _ways(run_folder, arguments.ways):
        total = len(stages) * sum(
            run_folder.picture(way, case).is_file() for case in shard.of(run_folder.cases)
        )
        with tqdm(total=total, desc=way, unit="look", disable=None) as bar:
            outcome = measure(
                run_folder, way, stages, batch=arguments.batch, shard=shard, on_pictures=bar.update
            )
        print(
            f"{way}: {outcome.measured} measured, {outcome.missing} not there, "
            f"{len(outcome.broken)} not readable"
        )
        for file, reason in outcome.broken.items():
            print(f"{way}: {file} {reason}; mend it or delete it to have it drawn again", file=sys.stderr)
        failed = failed or bool(outcome.broken)
    return int(failed)


def _add_folders(run_folder: RunFolder, arguments: argparse.Namespace) -> None:
    given = list(arguments.pictures)
    real = arguments.folder / "real"
    if arguments.tiny and real.is_dir():
        given.append(f"real={real}")
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals or not Path(folder).is_dir():
            raise ValueError(
                f'--pictures: a name and a folder that is there are needed, "NAME=FOLDER", got "{text}"'
            )
        run_folder.add_way(name, {"label": name, "folder": str(Path(folder).resolve())})


def _ways(run_folder: RunFolder, text: str | None) -> list[str]:
    known = list(run_folder.ways())
    if not known:
        raise ValueError(f"nothing is drawn in {run_folder.folder}; `draw` does it, or name --pictures")
    chosen = [one.strip() for one in text.split(",") if one.strip()] if text else known
    unknown = [one for one in chosen if one not in known]
    if unknown:
        raise ValueError(f"--ways: there is no {', '.join(unknown)}; there is {', '.join(known)}")
    return chosen


def _model_names(arguments: argparse.Namespace) -> dict[str, str]:
    """The models of this run by their options, folders by name alone."""
    from ...evaluation.harness.report import WORLD_JUDGE

    given = {option: getattr(arguments, option.replace("-", "_")) for option in _OPTIONS[arguments.benchmark]}
    if arguments.tiny:
        return dict.fromkeys(given, WORLD_JUDGE)
    return {
        option: Path(name).name if Path(name).exists() else name for option, name in given.items() if name
    }


def _models(arguments: argparse.Namespace) -> Models:
    if arguments.tiny:
        from ...evaluation.scorers.world_models import WorldModels

        return WorldModels()
    from ...evaluation.scorers.library_models import LibraryModels

    place, dtype = chosen_device(arguments)
    names: dict[str, Any] = {
        option.replace("-", "_"): getattr(arguments, option.replace("-", "_"))
        for option in _OPTIONS[arguments.benchmark]
    }
    return LibraryModels(names, place, dtype, arguments.batch)

"""`benchmark NAME score RUN`: what models find in the pictures, one model at a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import Given, number, refuse_given
from .needed_models import check_named, options_of
from .parts import (
    add_machine,
    add_shard,
    benchmark_of,
    chosen_device,
    chosen_precision,
    chosen_shard,
    open_run,
)

if TYPE_CHECKING:
    from ...evaluation.harness.measuring import Item, Measure, Outcome, Stage
    from ...evaluation.harness.run_folder import RunFolder, Shard
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
        models.add_argument(f"--{option}", action=Given, help=purpose)
    real = parser.add_argument_group("distance from real pictures: FID and KID (the extra fid)")
    real.add_argument("--reference", type=Path, help="folder of real pictures")
    real.add_argument("--inception", type=Path, help="weights of torch-fidelity's Inception V3, a file")
    real.add_argument(
        "--resize",
        action=Given,
        choices=_RESIZINGS,
        default=_RESIZINGS[0],
        help=f"how pictures get its size: as clean-fid or as the first FID did ({_RESIZINGS[0]})",
    )
    parser.add_argument("--batch", type=number(1, 4096, whole=True), default=4, help="pictures at once (4)")
    add_shard(parser)
    add_machine(parser)


_DISTANCES = "FID and KID"
# As `models.vision.inception` has them, which is read when something is measured.
_RESIZINGS = ("bicubic", "tensorflow")
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
        "clip": "a CLIP, for the CLIP scores (OverLayBench has CLIP-ViT-B-32-laion2B-s34B-b79K)",
        "vlm": "a vision-language model that says boxes in pixels, for OverLayBench's own measures (none)",
    },
}


# Models that run in the precision that is asked for; the others are always in float32.
_IN_PRECISION = ("vlm", "blip-vqa", "depth")
# The benchmark whose boxes are found by another rule than those of earlier versions, and how that is noted.
_SUREST_TOKEN = "coco-mig", "by its surest token"
_GOES_ON = (
    "{folder} goes on with the rule of an earlier version, by which a class's tokens have to exceed the "
    "threshold on average: the official scorer finds more boxes. Copy the folder without findings/ and "
    "models.json to measure as it does"
)


def run(arguments: argparse.Namespace) -> int:
    """Measure every way and say what became of the pictures; 1 if some could not be read."""
    from tqdm import tqdm

    from ...evaluation.harness.measuring import measure

    if arguments.tiny:
        options = [option.replace("-", "_") for option in _OPTIONS[arguments.benchmark]]
        refuse_given(arguments, options, "models, in whose place --tiny has the judge of Shapes World")
    if arguments.reference is None and arguments.inception is None:
        refuse_given(arguments, ["resize"], "FID and KID, which need --reference and --inception")
    run_folder, benchmark, shard = (
        open_run(arguments),
        benchmark_of(arguments.benchmark),
        chosen_shard(arguments),
    )
    if arguments.tiny:
        _check_of_the_world(run_folder)
    _add_folders(run_folder, arguments)
    reference = _reference(arguments, run_folder)
    averaging = _averages(run_folder, arguments)
    noting = _Noting(
        run_folder, _model_names(arguments, averaging), _model_weights(arguments), _precisions(arguments)
    )
    if averaging:
        print(_GOES_ON.format(folder=run_folder.folder), file=sys.stderr)
    stages = benchmark.stages(_models(arguments, averaging), run_folder.list.shared)
    stages = [stage for stage in stages if _wanted(stage, arguments)]
    ways, failed = _ways(run_folder, arguments.ways), False
    options = {} if arguments.tiny else options_of(benchmark, run_folder)
    check_named(run_folder, ways, stages, options, shard, noting.names)
    stages = [noting.of(stage, options.get(stage.name)) for stage in stages]
    for way in ways:
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
        failed = _tell_broken(way, outcome) or failed
    if reference is not None:
        failed = _measure_features(arguments, run_folder, reference, ways, shard, noting) or failed
    return int(failed)


def _check_of_the_world(run_folder: RunFolder) -> None:
    """ValueError for pictures that the judge of Shapes World cannot read."""
    from ...evaluation.harness.report import WORLD

    if not run_folder.list.shared.get(WORLD):
        raise ValueError(
            "--tiny: the judge of Shapes World reads scenes of that world alone, and "
            f"{run_folder.folder} has {run_folder.list.source}; leave --tiny out and name the models"
        )


def _averages(run_folder: RunFolder, arguments: argparse.Namespace) -> bool:
    """Whether an earlier version has found boxes by another rule, which is kept to."""
    benchmark, rule = _SUREST_TOKEN
    if arguments.tiny or arguments.benchmark != benchmark:
        return False
    found = any(file.stat().st_size for file in (run_folder.folder / "findings").glob("*/boxes.*.jsonl"))
    return found and not run_folder.models().get("detector", "").endswith(rule)


class _Noting:
    """What is noted of the models of this run: each as soon as it has measured something, for a name with a
    slip in it loads nothing and is not to stand in the way of the right one.

    `PlanError` at once where findings of others are there.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        names: Mapping[str, str],
        weights: Mapping[str, str],
        precisions: Mapping[str, str],
    ) -> None:
        self.run_folder, self.names, self.weights, self.precisions = run_folder, names, weights, precisions
        run_folder.check_models(names, weights, precisions)

    def of(self, stage: Stage, option: str | None) -> Stage:
        """A stage that notes the model of an option, or all of them where one judge stands for them."""

        def load() -> Measure:
            measure, noted = stage.load(), False

            def look(items: Sequence[Item]) -> Sequence[Any]:
                nonlocal noted
                found = measure(items)
                # Before anything of it is kept, and after another process may have noted its own.
                if not noted:
                    self._note(option)
                    noted = True
                return found

            return look

        return replace(stage, load=load)

    def _note(self, option: str | None) -> None:
        names, weights, precisions = (
            {
                use: value
                for use, value in noted.items()
                if use == option or (option is None and use != _DISTANCES)
            }
            for noted in (self.names, self.weights, self.precisions)
        )
        self.run_folder.add_models(names, weights, precisions)


def _wanted(stage: Stage, arguments: argparse.Namespace) -> bool:
    """Whether a stage that is left out without its model has one."""
    return (
        not stage.option or arguments.tiny or getattr(arguments, stage.option.replace("-", "_")) is not None
    )


def _tell_broken(way: str, outcome: Outcome) -> bool:
    for file, reason in outcome.broken.items():
        print(f"{way}: {file} {reason}; mend it or delete it to have it drawn again", file=sys.stderr)
    return bool(outcome.broken)


def _reference(arguments: argparse.Namespace, run_folder: RunFolder) -> RunFolder | None:
    """The real pictures that are compared with; ValueError where half of what it takes is named."""
    from ...evaluation.harness.distances import reference_run

    if arguments.reference is None and arguments.inception is None:
        return None
    if arguments.reference is None or arguments.inception is None:
        missing, purpose = (
            ("--reference", "the folder of real pictures")
            if arguments.reference is None
            else ("--inception", "the weights by which they are compared")
        )
        raise ValueError(f"{missing}: name {purpose}; FID and KID need both")
    return reference_run(run_folder, arguments.reference)


def _measure_features(
    arguments: argparse.Namespace,
    run_folder: RunFolder,
    reference: RunFolder,
    ways: Sequence[str],
    shard: Shard,
    noting: _Noting,
) -> bool:
    """Features of the real pictures and of each way's; whether some cannot be read."""
    from tqdm import tqdm

    from ...evaluation.harness.distances import REFERENCE, features_stage
    from ...evaluation.harness.measuring import measure
    from ...models.vision.inception import InceptionFeatures

    place, _ = chosen_device(arguments)
    load = cache(
        lambda: InceptionFeatures.load(arguments.inception, place, arguments.resize, arguments.batch)
    )
    stages, failed = [noting.of(features_stage(load), _DISTANCES)], False
    for run, way in ((reference, REFERENCE), *((run_folder, one) for one in ways)):
        with tqdm(total=len(shard.of(run.cases)), desc=f"{way}, features", disable=None) as bar:
            outcome = measure(run, way, stages, batch=arguments.batch, shard=shard, on_pictures=bar.update)
        print(f"{way}: features of {outcome.measured} pictures")
        failed = _tell_broken(way, outcome) or failed
    return failed


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
    chosen = known if text is None else [one.strip() for one in text.split(",") if one.strip()]
    if not chosen:
        raise ValueError(f"--ways: none is named; leave it out for all, or name one of {', '.join(known)}")
    unknown = [one for one in chosen if one not in known]
    if unknown:
        raise ValueError(f"--ways: there is no {', '.join(unknown)}; there is {', '.join(known)}")
    return chosen


def _model_names(arguments: argparse.Namespace, averaging: bool) -> dict[str, str]:
    """The models of this run by their options, folders by name without what they are in."""
    from ...evaluation.harness.report import WORLD_JUDGE

    given = {option: getattr(arguments, option.replace("-", "_")) for option in _OPTIONS[arguments.benchmark]}
    if arguments.tiny:
        found = dict.fromkeys(given, WORLD_JUDGE)
    else:
        found = {
            option: Path(name).name if Path(name).exists() else name for option, name in given.items() if name
        }
        if "detector" in found and arguments.benchmark == _SUREST_TOKEN[0] and not averaging:
            found["detector"] += f", {_SUREST_TOKEN[1]}"
    if arguments.inception is not None:
        found[_DISTANCES] = f"{arguments.inception.name}, resized {arguments.resize}"
    return found


def _model_weights(arguments: argparse.Namespace) -> dict[str, str]:
    """Digests of the models of this run that are on this machine under a path, by their options."""
    from ...models.weights import CheckpointError, digest_of_model

    given = {option: getattr(arguments, option.replace("-", "_")) for option in _OPTIONS[arguments.benchmark]}
    given = {**({} if arguments.tiny else given), _DISTANCES: arguments.inception}
    found: dict[str, str] = {}
    for use, name in given.items():
        if name and Path(name).exists():
            # What cannot be read is told where it is loaded.
            with suppress(CheckpointError):
                digests = digest_of_model(Path(name))
                found |= {use: digests["model"]} if "model" in digests else {}
    return found


def _precisions(arguments: argparse.Namespace) -> dict[str, str]:
    """The precision of those models of this run that have a choice, by their options."""
    if arguments.tiny:
        return {}
    named = [option for option in _OPTIONS[arguments.benchmark] if option in _IN_PRECISION]
    chosen = [option for option in named if getattr(arguments, option.replace("-", "_"))]
    return dict.fromkeys(chosen, chosen_precision(arguments)) if chosen else {}


def _models(arguments: argparse.Namespace, averaging: bool) -> Models:
    if arguments.tiny:
        from ...evaluation.scorers.world_models import WorldModels

        return WorldModels()
    from ...evaluation.scorers.library_models import LibraryModels

    place, dtype = chosen_device(arguments)
    names: dict[str, Any] = {
        option.replace("-", "_"): getattr(arguments, option.replace("-", "_"))
        for option in _OPTIONS[arguments.benchmark]
    }
    return LibraryModels(names, place, dtype, arguments.batch, averaging)

"""T2I-CompBench and T2I-CompBench++ (arXiv 2307.06350): attributes, relations, numbers and actions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from ....layout import Canvas, Layout
from ....models.entities.pipelines import parse_sentences
from ....models.vision.interfaces import DepthEstimator, Detector
from ....shapes_world import SHAPES, Sample
from ...benchmark import PlanError
from ...harness.cases import Case, CaseList
from ...harness.measuring import Item, Measure, Stage
from ...harness.results import Column, Quoted, Scored
from ...harness.run_folder import Found
from ...rules import attribute_binding, numeracy, occlusion, prompt_objects, spatial, three_in_one
from ...scorers.models import Models
from ...scorers.world_models import plural
from .detecting import pixels
from .world_data import samples

name, title, main = "t2i-compbench", "T2I-CompBench", "score"
DATA = "a folder with the official lists (color_val.txt, …), new_objects.txt and unidet_labels.json"
ATTRIBUTES = ("color", "shape", "texture")
CATEGORIES = (*ATTRIBUTES, "spatial", "3d_spatial", "numeracy", "non_spatial", "complex")
PICTURES = 10
_SEED = 42
_SIDE = 1024
_DETECTED = ("spatial", "3d_spatial", "numeracy", "complex")
_DIGITS = 6
# At which the official scorer looks at depth.
_DEPTH_SIDE = 480
# The largest share of one thing that another covers, where scenes of Shapes World show depth.
_COVERED = 0.6
columns = tuple(Column(category, category.replace("_", " ")) for category in CATEGORIES)
_ORDER = (*ATTRIBUTES, "spatial", "non_spatial", "complex")


def _row(label: str, source: str, *values: float) -> Quoted:
    return Quoted(label, dict(zip(_ORDER, values, strict=True)), source)


quoted = (
    _row("SDXL", "T2I-R1's Table 1", 0.5879, 0.4687, 0.5299, 0.2131, 0.3119, 0.3237),
    _row("SDXL", "Diffusion-Sharpening's Table 1", 0.6369, 0.5408, 0.5637, 0.2032, 0.3110, 0.4091),
    _row("Attend-and-Excite", "T2I-R1's Table 1", 0.6400, 0.4517, 0.5963, 0.1455, 0.3109, 0.3401),
    _row("CoMat-SDXL", "T2I-R1's Table 1", 0.7827, 0.5329, 0.6468, 0.2428, 0.3187, 0.3680),
    _row("IterPO", "Diffusion-Sharpening's Table 1", 0.6637, 0.5593, 0.6167, 0.2128, 0.3207, 0.4377),
    _row("RealCompo", "its paper", 0.7741, 0.6032, 0.7427, 0.3173, 0.3294, 0.4657),
    _row("FLUX.1-dev", "T2I-R1's Table 1", 0.7407, 0.5718, 0.6922, 0.2863, 0.3127, 0.3703),
)
notes = (
    "Spatial, 3d spatial, numeracy and the spatial part of complex are detected by an open-vocabulary "
    "detector that is given UniDet's 722 names, since UniDet is in no package: these compare among the rows "
    "measured here. Names must match as the official scorer has it, so that spatial cannot exceed 0.667.",
    "Published rows of one base model differ by up to 0.08; measure the base model too.",
)


def read(
    data: Path,
    limit: int | None = None,
    *,
    categories: Sequence[str] | None = None,
    pictures: int = PICTURES,
    side: int = _SIDE,
) -> CaseList:
    """The cases of the official lists, `pictures` for each prompt; `limit` prompts of each category.

    `PlanError` for a list that is not there or a name that is no category.
    """
    chosen = categories or [one for one in CATEGORIES if (data / f"{one}_val.txt").is_file()]
    unknown = [one for one in chosen if one not in CATEGORIES]
    if unknown:
        raise PlanError(f"there is no category {', '.join(unknown)}; choose from {', '.join(CATEGORIES)}")
    if not chosen:
        raise PlanError(f"{data} holds none of the lists {', '.join(f'{one}_val.txt' for one in CATEGORIES)}")
    facts = _Facts(data, chosen)
    cases: list[Case] = []
    for category in chosen:
        prompts = _lines(data / f"{category}_val.txt")[:limit]
        for number, (prompt, own) in enumerate(zip(prompts, facts.of(category, prompts), strict=True)):
            for index in range(pictures):
                running = number * pictures + index
                file = f"{category}/samples/{prompt}_{running:06d}.png"
                layout = Layout((), Canvas(side, side), prompt)
                identifier = f"{category}-{running:06d}"
                unit = f"{category}-{number}"
                cases.append(Case(identifier, file, layout, _SEED + index, unit, category, own))
    shared = {"labels": _labels(data)} if any(one in _DETECTED for one in chosen) else {}
    each = "prompt" if limit is None else f"of the first {limit} prompts of each"
    source = f"{len(cases)} pictures of {', '.join(chosen)}, {pictures} for each {each}"
    return CaseList(name, source, tuple(cases), shared)


class _Facts:
    """What the scorers read from prompts, read once and frozen with the cases."""

    def __init__(self, data: Path, categories: Sequence[str]) -> None:
        self._data = data
        self._nouns = (
            numeracy.Nouns.read(_text(data / "new_objects.txt")) if "numeracy" in categories else None
        )

    def of(self, category: str, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """The facts of each prompt of a category."""
        docs = parse_sentences(prompts)
        if category in ATTRIBUTES:
            return [{"questions": _questions(doc)} for doc in docs]
        if category == "spatial":
            return [{"objects": list(prompt_objects.simple_objects(doc))} for doc in docs]
        if category == "3d_spatial":
            relations = prompt_objects.RELATIONS_3D
            return [{"objects": list(prompt_objects.simple_objects(doc, relations))} for doc in docs]
        if category == "numeracy":
            assert self._nouns is not None
            return [{"things": list(map(list, numeracy.counted_things(one, self._nouns)))} for one in prompts]
        if category == "non_spatial":
            return [{"text": prompt} for prompt in prompts]
        lists = [
            {three_in_one.key(line) for line in _lines(self._data / f"complex_val_{part}.txt")}
            for part in ("spatial", "action")
        ]
        return [
            {
                "questions": _questions(doc),
                "objects": list(prompt_objects.complex_objects(doc)),
                "text": three_in_one.action_text(doc),
                "kind": three_in_one.kind(prompt, *lists),
            }
            for prompt, doc in zip(prompts, docs, strict=True)
        ]


def write_tiny(folder: Path, number: int) -> tuple[Path, dict[str, Sample]]:
    """Lists of prompts about Shapes World, `number` of each category; samples by unit."""
    data = folder / "t2i_compbench"
    data.mkdir(exist_ok=True)
    shown: dict[str, Sample] = {}
    spatial_lines: list[str] = []
    for category in CATEGORIES:
        prompts: list[str] = []
        fits, covered = (_one_covered, _COVERED) if category == "3d_spatial" else (_two_shapes, 0.0)
        for index, sample in enumerate(samples(number, (2,), fits, covered)):
            prompts.append(_tiny_prompt(category, sample))
            shown[f"{category}-{index}"] = sample
        _write_lines(data / f"{category}_val.txt", prompts)
        if category == "complex":
            spatial_lines = prompts
    _write_lines(data / "complex_val_spatial.txt", spatial_lines)
    _write_lines(data / "complex_val_action.txt", [])
    _write_lines(data / "new_objects.txt", [f"{shape} - {plural(shape)}" for shape in SHAPES])
    (data / "unidet_labels.json").write_text(json.dumps(list(SHAPES)), encoding="utf-8")
    return data, shown


def _two_shapes(sample: Sample) -> bool:
    """Two things of different shapes, beside each other rather than above."""
    first, second = sample.scene.figures
    across, down = (abs(a - b) for a, b in zip(first.center, second.center, strict=True))
    return first.look.shape != second.look.shape and across > 1.5 * down


def _one_covered(sample: Sample) -> bool:
    """Two things of different shapes, one of them before the other."""
    first, second = (pixels(one.box, _SIDE, _SIDE) for one in sample.layout.instances)
    looks = [figure.look.shape for figure in sample.scene.figures]
    return looks[0] != looks[1] and bool(occlusion.deep_pairs([first, second]))


def _tiny_prompt(category: str, sample: Sample) -> str:
    first, second = sample.scene.figures
    side = "left" if first.center[0] < second.center[0] else "right"
    one, other = first.look.shape, second.look.shape
    if category == "spatial":
        return f"a {one} on the {side} of a {other}"
    if category == "3d_spatial":
        return f"a {other} in front of a {one}"
    if category == "numeracy":
        return f"one {one} and one {other}"
    if category == "complex":
        named, beside = (item.caption.partition(" ")[2] for item in sample.layout.instances)
        return f"The {named} is on the {side} of the {beside}."
    return sample.layout.prompt


def stages(models: Models, shared: Mapping[str, Any]) -> Sequence[Stage]:
    """Answers about attributes, boxes, depth of two boxes, similarity to the text."""

    def load_answers() -> Measure:
        scorer = models.yes_scorer()

        def answers(items: Sequence[Item]) -> list[Any]:
            asked = [(item.picture, question) for item in items for question in item.case.facts["questions"]]
            said = iter(scorer.yes([one for one, _ in asked], [text for _, text in asked]) if asked else [])
            return [[next(said) for _ in item.case.facts["questions"]] for item in items]

        return answers

    def load_boxes() -> Measure:
        detector = models.detector(spatial.CONFIDENCE, spatial.CONFIDENCE / 2)
        return lambda items: _detections(detector, [item.picture for item in items], shared["labels"])

    def load_depth() -> Measure:
        estimator = models.depth()
        return lambda items: _scores_3d(estimator, items)

    def load_similarity() -> Measure:
        similarity = models.similarity()
        return lambda items: [
            round(value, _DIGITS)
            for value in similarity.similarities(
                [item.picture for item in items], [item.case.facts["text"] for item in items]
            )
        ]

    return (
        Stage("answers", load_answers, _in(*ATTRIBUTES, "complex")),
        Stage("boxes", load_boxes, _in(*_DETECTED)),
        Stage("depth", load_depth, lambda case, found: case.group == "3d_spatial" and "boxes" in found),
        Stage("similarity", load_similarity, _in("non_spatial", "complex")),
    )


def _in(*groups: str) -> Any:
    return lambda case, found: case.group in groups


def _detections(detector: Detector, pictures: Sequence[Image], labels: Sequence[str]) -> list[Any]:
    """Label, box in the scorer's frame and confidence, best first."""
    seen = detector.detect(pictures, [labels] * len(pictures))
    return [
        [
            [one.word, pixels(one.box, *frame(picture.size)), round(one.score, _DIGITS)]
            for one in sorted(own, key=lambda one: -one.score)
            if one.score >= spatial.CONFIDENCE
        ]
        for picture, own in zip(pictures, seen, strict=True)
    ]


def frame(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height at which the scorer looks at a picture of that size."""
    scale = min(spatial.SHORTER_SIDE / min(size), spatial.LONGER_SIDE / max(size))
    return round(size[0] * scale), round(size[1] * scale)


def _scores_3d(estimator: DepthEstimator, items: Sequence[Item]) -> list[Any]:
    """Scores of relations of depth, which need the whole map."""
    scores: list[Any] = []
    depths = estimator.depths([item.picture for item in items], _DEPTH_SIDE)
    for item, depth in zip(items, depths, strict=True):
        # Kept as a grey picture of eight bits by the official scorer, then scaled as the picture is.
        grey = np.rint(255 * depth.cpu().numpy()).astype(np.uint8)
        scaled = _resized(grey, frame(item.picture.size)).astype(np.float32) / 255
        scores.append(round(spatial.score_3d(_objects(item.case), _found(item.found), scaled), _DIGITS))
    return scores


def _resized(grey: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image as Pictures

    return np.asarray(Pictures.fromarray(grey).resize(size, Pictures.Resampling.BILINEAR))


def scored(case: Case, found: Found) -> Scored:
    """The score of a picture, under its category."""
    value = _score(case, found)
    return Scored({case.group: (value, 1.0), main: (value, 1.0)})


def _score(case: Case, found: Found) -> float:
    if case.group in ATTRIBUTES:
        return attribute_binding.score(found["answers"])
    if case.group == "spatial":
        return spatial.score_2d(_objects(case), _found(found))
    if case.group == "3d_spatial":
        return found["depth"]
    if case.group == "numeracy":
        things = [numeracy.Counted(*one) for one in case.facts["things"]]
        return numeracy.score(things, _found(found))
    if case.group == "non_spatial":
        return found["similarity"]
    return three_in_one.score(
        case.facts["kind"],
        attribute_binding.score(found["answers"]),
        spatial.score_2d(_objects(case), _found(found)),
        found["similarity"],
    )


_OUTPUT = {
    **dict.fromkeys(ATTRIBUTES, "annotation_blip/vqa_result.json"),
    "spatial": "labels/annotation_obj_detection_2d/vqa_result.json",
    "3d_spatial": "labels/annotation_obj_detection_3d/vqa_result.json",
    "numeracy": "annotation_num/vqa_result.json",
    "non_spatial": "annotation_clip/vqa_result.json",
    "complex": "annotation_3_in_1/vqa_result.json",
}


def official_files(rows: Sequence[tuple[Case, Found]]) -> Mapping[str, Any]:
    """The result file of each category, where its scorer would put it."""
    files: dict[str, list[dict[str, Any]]] = {}
    for case, found in rows:
        number = int(case.id.rpartition("-")[2])
        answer = (
            attribute_binding.printed(_score(case, found))
            if case.group in ATTRIBUTES
            else _score(case, found)
        )
        files.setdefault(f"{case.group}/{_OUTPUT[case.group]}", []).append(
            {"question_id": number, "answer": answer}
        )
    return {path: sorted(own, key=lambda one: one["question_id"]) for path, own in files.items()}


def _objects(case: Case) -> prompt_objects.Objects:
    return prompt_objects.Objects(*case.facts["objects"])


def _found(found: Found) -> list[spatial.Found]:
    return [spatial.Found(label, box, score) for label, box, score in found["boxes"]]


def _questions(doc: Any) -> list[str]:
    return [attribute_binding.as_asked(one) for one in attribute_binding.questions(doc)]


def _labels(data: Path) -> list[str]:
    file = data / "unidet_labels.json"
    try:
        labels = json.loads(_text(file))
    except ValueError as error:
        raise PlanError(f"{file} is no JSON list of names: {error}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise PlanError(f"{file} is no JSON list of names")
    return labels


def _text(file: Path) -> str:
    if not file.is_file():
        raise PlanError(f"there is no {file}; it belongs to T2I-CompBench's data, see docs/benchmarks.md")
    return file.read_text(encoding="utf-8")


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in _text(file).splitlines() if line.strip()]


def _write_lines(file: Path, lines: Iterable[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

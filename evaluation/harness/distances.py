"""FID and KID of a way's pictures from real ones: features on disk, distances by torch-fidelity."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...layout import Canvas, Layout
from ...models.vision.inception import HOW_TO_INSTALL, WIDTH, InceptionFeatures
from ...pictures.reading import ALL_ENDINGS
from ..benchmark import PlanError
from ..statistics import Estimate
from .cases import Case, CaseList
from .measuring import Item, Measure, Stage
from .run_folder import RunFolder

STAGE, REFERENCE = "inception", "reference"
FID, KID = "fid", "kid"
_SUBSETS = 100
_SUBSET, _FEWEST = 1000, 4
_FLOATS = "<f4"


class Distances(NamedTuple):
    """Distances of a way, their numbers of pictures, and that of the subsets that KID was taken on."""

    fid: float
    kid: Estimate
    pictures: int
    references: int
    subset: int


def features_stage(load: Callable[[], InceptionFeatures]) -> Stage:
    """Inception's features of every picture, as text of float32, which keeps all of them in a quarter."""

    def loaded() -> Measure:
        model = load()

        def look(items: Sequence[Item]) -> list[str]:
            found = model.features([item.picture for item in items]).numpy().astype(_FLOATS)
            return [b64encode(one.tobytes()).decode() for one in found]

        return look

    return Stage(STAGE, loaded)


def reference_run(run: RunFolder, pictures: Path | None = None) -> RunFolder | None:
    """The real pictures as a run of one way, `reference`; without `pictures` those of before, if any.

    `PlanError` for a folder without pictures, and for another than was compared with before.
    """
    place = run.folder / REFERENCE
    before = place / "ways" / f"{REFERENCE}.json"
    if pictures is None:
        if not before.is_file():
            return None
        about = json.loads(before.read_text(encoding="utf-8"))
        return RunFolder(place, _cases(about["files"]))
    folder = pictures.resolve()
    files = sorted(
        one.relative_to(folder).as_posix()
        for one in folder.rglob("*")
        if one.suffix.lower() in ALL_ENDINGS and one.is_file()
    )
    if not files:
        raise PlanError(f"--reference: there are no pictures in {pictures}; a folder of real ones is needed")
    found = RunFolder(place, _cases(files))
    about = {"folder": str(folder), "files": files}
    known = found.ways_of(REFERENCE)
    if known and known != about:
        raise PlanError(
            f"--reference: {run.folder} was compared with {len(known['files'])} pictures of "
            f"{known['folder']}; copy it without {REFERENCE}/ to compare with others"
        )
    found.add_way(REFERENCE, about)
    return found


def describe(reference: RunFolder) -> str:
    """The reference in words: how many pictures of which folder, and a checksum of their names."""
    files = [case.file for case in reference.cases]
    names = hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]
    folder = Path(reference.ways_of(REFERENCE)["folder"]).name
    return f"{len(files)} pictures of {folder} (checksum of their names {names})"


def read_features(run: RunFolder, way: str) -> NDArray[np.float64]:
    """Features (n, 2048) of a way, in the order of the cases; those that are not there are left out."""
    places = {case.id: place for place, case in enumerate(run.cases)}
    found = np.full((len(places), WIDTH), np.nan)
    for case, text in run.each_finding(way, STAGE):
        if case in places:
            found[places[case]] = np.frombuffer(b64decode(text), dtype=_FLOATS)
    return found[~np.isnan(found[:, 0])]


def distances(run: RunFolder, ways: Sequence[str]) -> dict[str, Distances]:
    """Distances of the ways whose features are there; `PlanError` where the library is missing."""
    reference = reference_run(run)
    if reference is None:
        return {}
    if find_spec("torch_fidelity") is None:
        raise PlanError(f"{HOW_TO_INSTALL}, or take {run.folder / REFERENCE} away to report without them")
    real = read_features(reference, REFERENCE)
    found = {way: read_features(run, way) for way in ways}
    return {way: distance(own, real) for way, own in found.items() if min(len(own), len(real)) >= _FEWEST}


def distance(features: NDArray[np.float64], real: NDArray[np.float64]) -> Distances:
    """FID and KID of features (m, d) from real ones (n, d), at least four of each.

    KID is the mean over subsets without repetition, which leaves it without bias; its interval holds 95 % of
    the subsets. FID has no interval: its bias grows as pictures repeat, so that a bootstrap shifts it.
    """
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    both = [torch.from_numpy(one) for one in (features, real)]
    fid = fid_statistics_to_metric(*map(fid_features_to_statistics, both), False)
    subset = min(_SUBSET, min(len(features), len(real)) // 2)
    kids = [
        kid_features_to_metric(*both, kid_subsets=1, kid_subset_size=subset, rng_seed=seed, verbose=False)
        for seed in range(_SUBSETS)
    ]
    values = [one[KEY_METRIC_KID_MEAN] for one in kids]
    low, high = np.percentile(values, (2.5, 97.5))
    kid = Estimate(float(np.mean(values)), float(low), float(high))
    return Distances(next(iter(fid.values())), kid, len(features), len(real), subset)


def _cases(files: Sequence[str]) -> CaseList:
    nothing = Layout((), Canvas(1, 1), "")
    return CaseList(REFERENCE, "real pictures", tuple(Case(one, one, nothing, 0, one) for one in files))

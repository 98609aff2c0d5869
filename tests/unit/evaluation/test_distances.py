"""FID and KID: what is kept on disk, what is refused, and distances that are known."""

from __future__ import annotations

from base64 import b64encode

import numpy as np
import pytest
from PIL import Image

from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.benchmarks.published import ifg
from instance_composer.evaluation.harness.cases import FILE, Case, CaseList
from instance_composer.evaluation.harness.distances import (
    REFERENCE,
    STAGE,
    Distances,
    describe,
    distance,
    distances,
    read_features,
    reference_run,
)
from instance_composer.evaluation.harness.measuring import Stage, measure
from instance_composer.evaluation.harness.report import write_report
from instance_composer.evaluation.harness.results import Result
from instance_composer.evaluation.harness.run_folder import RunFolder, Shard
from instance_composer.evaluation.statistics import Estimate
from instance_composer.layout import Canvas, Layout
from instance_composer.models.vision.inception import WIDTH

NEEDS_LIBRARY = "FID and KID need torch-fidelity, the extra fid, which the test environment leaves out"


def gaussian(seed, count, mean, spread):
    """Samples whose mean and covariance (a diagonal) are exactly these."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(axis=0)
    whitened = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False)).T)
    return whitened * np.asarray(spread) + np.asarray(mean)


def make_run(folder, count=6):
    folder.mkdir(parents=True, exist_ok=True)
    cases = tuple(Case(str(n), f"{n}.png", Layout((), Canvas(8, 8), "p"), n, str(n)) for n in range(count))
    CaseList("ifg", "made up", cases).write(folder / FILE)
    return RunFolder(folder)


def write_pictures(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def features(value):
    return b64encode(np.full(WIDTH, value, dtype="<f4").tobytes()).decode()


def test_fid_of_gaussians_is_the_closed_form():
    pytest.importorskip("torch_fidelity", reason=NEEDS_LIBRARY)
    first = gaussian(0, 400, (0, 1, 2, 3), (1, 2, 1, 3))
    second = gaussian(1, 300, (1, 1, 0, 3), (2, 2, 1, 1))
    # Squared distance of means; for diagonal covariances (a - b)² in each deviation.
    expected = (1 + 0 + 4 + 0) + (1 + 0 + 0 + 4)
    assert distance(first, second).fid == pytest.approx(expected, abs=1e-9)
    assert distance(second, first).fid == pytest.approx(expected, abs=1e-9)
    itself = distance(first, first)
    assert itself.fid == pytest.approx(0, abs=1e-9)
    assert (itself.pictures, itself.references, itself.subset) == (400, 400, 200)


def test_kid_has_no_bias_where_fid_has():
    pytest.importorskip("torch_fidelity", reason=NEEDS_LIBRARY)
    draw = np.random.default_rng(5).normal
    few = [distance(draw(size=(40, 16)), draw(size=(40, 16))) for _ in range(8)]
    many = distance(draw(size=(2000, 16)), draw(size=(2000, 16)))
    # Of one distribution: FID stays well above 0 with few, KID scatters around it.
    assert np.mean([one.fid for one in few]) > 10 * many.fid > 0
    spread = np.std([one.kid.value for one in few])
    assert abs(np.mean([one.kid.value for one in few])) < 2 * spread
    assert abs(many.kid.value) < spread / 5
    assert many.kid.low < 0 < many.kid.high
    apart = distance(draw(size=(200, 16)) + 1, draw(size=(200, 16)))
    assert apart.kid.low > many.kid.high


def test_real_pictures_are_a_run_of_their_own_that_goes_on(tmp_path):
    run = make_run(tmp_path / "run")
    folder = write_pictures(tmp_path / "real", 5)
    (folder / "5.png").write_bytes(b"\x89PNG broken")
    assert reference_run(run) is None
    reference = reference_run(run, folder)
    assert "6 pictures of real" in describe(reference)
    looked: list[str] = []

    def load():
        def look(items):
            looked.extend(item.case.id for item in items)
            return [features(item.picture.getpixel((0, 0))[0]) for item in items]

        return look

    for index in range(2):
        measure(reference, REFERENCE, [Stage(STAGE, load)], batch=2, shard=Shard(index, 2))
    outcome = measure(reference, REFERENCE, [Stage(STAGE, load)])
    assert list(outcome.broken) == ["5.png"]
    assert sorted(looked) == [f"{number}.png" for number in range(5)]
    found = read_features(reference_run(run), REFERENCE)
    assert (found.shape, sorted(found[:, 0])) == ((5, WIDTH), [0, 1, 2, 3, 4])
    write_pictures(tmp_path / "others", 2)
    with pytest.raises(PlanError, match="was compared with 6 pictures"):
        reference_run(run, tmp_path / "others")
    (tmp_path / "none").mkdir()
    with pytest.raises(PlanError, match="no pictures"):
        reference_run(make_run(tmp_path / "other"), tmp_path / "none")


def test_the_report_says_what_the_distances_are_taken_between(tmp_path):
    run = make_run(tmp_path / "run")
    reference_run(run, write_pictures(tmp_path / "real", 5))
    run.add_way("plain", {"label": "plain"})
    shares = dict.fromkeys((case.file for case in run.cases), 0.5)
    rows = [(case, {}) for case in run.cases]
    apart = Distances(31.25, Estimate(0.0021, 0.0011, 0.0031), 6, 5, 2)
    result = Result("plain", "plain", {"ifs": Estimate(0.5, 0.4, 0.6)}, rows, shares, [], distances=apart)
    write_report(run, ifg, [result], tmp_path / "report.md")
    report = (tmp_path / "report.md").read_text()
    assert "| FID | KID × 1000 |" in report
    assert "| 31.25 | 2.10 [1.10, 3.10] |" in report
    assert "6 pictures a way, from 5 pictures of real" in report
    assert "fewer than it has features" in report
    # IFAdapter's published FID, which has its place beside ours.
    assert "| *22* |" in report
    assert "*IFAdapter, quoted from IFAdapter's Table 1, QwenVL*" in report
    assert "marked *quoted* are published ones and were not measured here" in report


def test_a_report_without_the_library_says_what_is_missing(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    assert distances(run, ["plain"]) == {}
    reference_run(run, write_pictures(tmp_path / "real", 5))
    monkeypatch.setattr("instance_composer.evaluation.harness.distances.find_spec", lambda name: None)
    with pytest.raises(PlanError, match="pip install torch-fidelity"):
        distances(run, ["plain"])

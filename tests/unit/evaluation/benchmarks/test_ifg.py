"""IFG's layouts: a folder and those in it, each under the way to it."""

from __future__ import annotations

import json

import pytest

from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.benchmarks.published import BENCHMARKS
from instance_composer.layout import Box, Canvas, Instance, Layout

CAT = Layout((Instance("1", Box(0.1, 0.1, 0.6, 0.6), "a cat"),), Canvas(512, 512), "a cat on a sofa")


def test_layouts_below_a_folder_are_taken_too_and_readers_are_heard(tmp_path, caplog):
    for way in ("a.json", "00000/a.json", ".hidden/b.json"):
        (tmp_path / way).parent.mkdir(exist_ok=True)
        (tmp_path / way).write_text(CAT.to_json())
    # A comma too many is mended with a warning.
    element = json.dumps({"type": "obj", "bbox": [100, 100, 600, 600], "desc": "a dog"})
    (tmp_path / "grid.json").write_text(f"[{element},]")
    found = BENCHMARKS["ifg"].read(tmp_path)
    assert sorted(case.id for case in found.cases) == ["00000/a", "a", "grid"]
    assert sorted(case.file for case in found.cases) == ["00000/a.png", "a.png", "grid.png"]
    assert "3 of 3 layouts" in found.source
    assert "grid.json: " in caplog.text


def test_layouts_beside_files_of_overlaybench_are_not_passed_over(tmp_path):
    (tmp_path / "a.json").write_text(CAT.to_json())
    (tmp_path / "rows.parquet").write_bytes(b"")
    with pytest.raises(PlanError, match=r"Parquet files of OverLayBench and a\.json; give .* each a folder"):
        BENCHMARKS["overlap"].read(tmp_path)

"""Rows of data sets as JSON lines and as Parquet: the same cases, pictures never read, faults by place."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from instance_composer.evaluation.benchmark import PlanError
from instance_composer.evaluation.benchmarks.published import BENCHMARKS, table_rows

LAYOUTSAM = BENCHMARKS["layoutsam-eval"]
NEEDS_PYARROW = "Parquet needs pyarrow, which is not installed"


@pytest.fixture
def lines(tmp_path):
    """LayoutSAM-Eval's rows of three scenes, as a file of JSON lines."""
    file, _ = LAYOUTSAM.write_tiny(tmp_path, 3)
    return file


def write_parquet(file, rows):
    """Rows with a column of pictures, which no reader of layouts may touch."""
    arrow = pytest.importorskip("pyarrow", reason=NEEDS_PYARROW)
    parquet = pytest.importorskip("pyarrow.parquet", reason=NEEDS_PYARROW)
    pictures = [{"image": {"bytes": b"no picture", "path": None}, **row} for row in rows]
    parquet.write_table(arrow.Table.from_pylist(pictures), file)


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_parquet_gives_the_cases_of_the_same_rows_as_lines(lines, tmp_path):
    rows, folder = rows_of(lines), tmp_path / "test"
    folder.mkdir()
    write_parquet(folder / "test-00000-of-00002.parquet", rows[:2])
    write_parquet(folder / "test-00001-of-00002.parquet", rows[2:])
    read = LAYOUTSAM.read(folder)
    assert len(read.cases) == 3
    assert read.checksum == LAYOUTSAM.read(lines).checksum
    assert LAYOUTSAM.read(folder, 2).checksum == LAYOUTSAM.read(lines, 2).checksum
    first = folder / "test-00000-of-00002.parquet"
    assert LAYOUTSAM.read(first).cases == read.cases[:2]
    assert [set(row) for _, row in table_rows.rows(first, ("file_name",))] == [{"file_name"}, {"file_name"}]


def test_faults_of_parquet_are_told_by_their_row(lines, tmp_path):
    good, bad = rows_of(lines)[:2]
    write_parquet(tmp_path / "rows.parquet", [good, {**bad, "bbox_list": "[[0, 0, 9, 9]]"}])
    with pytest.raises(PlanError, match=r"row 2 of .*rows.parquet is no row of LayoutSAM-Eval: 1 boxes"):
        LAYOUTSAM.read(tmp_path / "rows.parquet")
    write_parquet(tmp_path / "short.parquet", [{"file_name": "a.jpg"}])
    with pytest.raises(PlanError, match=r"row 1 of .*it has no 'width'"):
        LAYOUTSAM.read(tmp_path / "short.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(PlanError, match="cannot be read as Parquet"):
        LAYOUTSAM.read(tmp_path / "broken.parquet")


def test_a_split_of_overlaybench_is_told_by_the_name_of_its_parquet_file(tmp_path):
    thing = {"bbox": [0, 0, 512, 512], "local_prompts": "a cat", "category": "cat"}
    said = {"caption": "a cat", "annotations": {"cat_1": thing}, "relations": {}, "valid_overlap": []}
    annotation = str(said)
    write_parquet(tmp_path / "hard-00000-of-00001.parquet", [{"image_id": "7", "annotation": annotation}])
    (case,) = BENCHMARKS["overlap"].read(tmp_path).cases
    assert (case.file, case.group) == ("hard/42/7.png", "hard")


@pytest.mark.skipif(find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_without_pyarrow_it_is_said_what_to_install(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(PlanError, match=r"needs pyarrow: pip install pyarrow, or write the rows"):
        LAYOUTSAM.read(tmp_path / "rows.parquet")


def test_what_is_neither_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlanError, match=r"no file ending \.parquet"):
        LAYOUTSAM.read(tmp_path / "empty")
    (tmp_path / "rows.bin").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PlanError, match="is no text"):
        LAYOUTSAM.read(tmp_path / "rows.bin")
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\nno json\n')
    with pytest.raises(PlanError, match=r"line 1 of .* is no row of LayoutSAM-Eval: it has no 'width'"):
        LAYOUTSAM.read(tmp_path / "rows.jsonl")

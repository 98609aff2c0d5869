"""`instance-composer layout` as a user types it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from instance_composer.cli import main
from instance_composer.layout import Layout, formats

LINES = "a pair\n0.1 0.2 0.5 0.6: a red cat\n0.4 0.4 0.9 0.9: a blue vase\n"
DATASET = {"caption": "hats", "annotations": [{"box": [192, 96, 384, 192], "caption": ["a red hat"]}]}


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "pair.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def run(*words: str | Path) -> int:
    return main(["layout", *map(str, words)])


@pytest.mark.parametrize("name", formats.FORMATS)
def test_every_format_is_written_and_read_again(
    name: str, lines: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    other = tmp_path / "other"
    assert run("convert", lines, other, "--to", name) == 0
    assert run("convert", other, "-", "--canvas", "1024x1024") == 0
    layout = Layout.from_json(capfdbinary.readouterr().out)
    assert [item.caption for item in layout.instances] == ["a red cat", "a blue vase"]


def test_standard_input_and_output_serve_as_files() -> None:
    words = [
        sys.executable,
        "-m",
        "instance_composer.cli",
        "layout",
        "convert",
        "-",
        "-",
        "--to",
        "ifadapter",
    ]
    done = subprocess.run(words, input=LINES.encode(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["caption"] == "a pair"


def test_warnings_go_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.txt"
    path.write_text("0.1 0.1 0.11 0.11: a fly", encoding="utf-8")
    assert run("convert", path, "-") == 0
    assert 'warning: Instance "1" ("a fly"), box: covers 0.01%' in capsys.readouterr().err


def test_what_a_format_does_not_keep_goes_to_standard_error(
    lines: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", lines, "-", "--to", "bounding-boxes") == 0
    told = "warning: bounding-boxes does not keep the prompt, the canvas size, exact boxes (they are rounded)"
    assert capfd.readouterr().err.splitlines() == [told]
    assert run("convert", lines, "-", "--to", "llm") == 0
    assert capfd.readouterr().err == ""


def test_a_preview_tells_what_was_mended(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines.write_text('[{"box_2d": [0, 0, 500, 500], "label": "a cat"},]', encoding="utf-8")
    assert run("preview", lines, "--out", tmp_path / "preview.png") == 0
    assert "warning: the text is not quite JSON" in capsys.readouterr().err


def test_reading_options_reach_the_format(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = tmp_path / "boxes.json"
    frames = [[], [{"x": 20, "y": 20, "width": 80, "height": 40, "label": "cat"}]]
    path.write_text(json.dumps(frames), encoding="utf-8")
    assert run("convert", path, "-", "--canvas", "200x100", "--frame", "1") == 0
    assert Layout.from_json(capfdbinary.readouterr().out).instances[0].box.x1 == 0.5
    path.write_text('[{"label": "cat", "box": [1, 2, 3, 4]}]', encoding="utf-8")
    options = ("--from", "llm", "--units", "percent", "--order", "xywh")
    assert run("convert", path, "-", *options) == 0
    assert Layout.from_json(capfdbinary.readouterr().out).instances[0].box.y1 == pytest.approx(0.06)


def test_check_says_what_was_found(lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = tmp_path / "hats.json"
    dataset.write_text(json.dumps(DATASET), encoding="utf-8")
    assert run("check", lines, dataset) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{lines}: plain lines (lines), fraction, xyxy, 2 instances on 1024 × 1024, 2 take part"
    told = "IFAdapter dataset layout (ifadapter), pixel, xywh, 1 instance on 768 × 768, 1 takes part"
    assert second == f"{dataset}: {told}"


def test_check_fails_on_errors_and_goes_on(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, nonsense = tmp_path / "broken.txt", tmp_path / "nonsense.json"
    broken.write_text("0.5 0.1 0.1 0.5: a cat\x1b[31m", encoding="utf-8")
    nonsense.write_bytes(b'{"version": 1,\n "canvas": }')
    assert run("check", broken, nonsense, tmp_path / "missing.json", lines) == 1
    told = capsys.readouterr().out
    assert 'error: Instance "1"' in told
    assert "inverted" in told
    assert "\x1b" not in told
    assert "nonsense.json: error: line 2, column 12: not JSON" in told
    assert "missing.json: error: No such file" in told
    assert f"{lines}: plain lines (lines), fraction, xyxy, 2 instances" in told


def test_what_cannot_be_converted_leaves_the_old_file(
    lines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_text("0.5 0.1 0.1 0.5: a cat", encoding="utf-8")
    assert run("convert", broken, lines) == 2
    assert "inverted" in capsys.readouterr().err
    assert lines.read_text(encoding="utf-8") == LINES


def test_preview_draws_over_a_picture(lines: Path, tmp_path: Path) -> None:
    background, out = tmp_path / "room.png", tmp_path / "preview.jpg"
    Image.new("RGBA", (96, 64), (0, 90, 0, 255)).save(background)
    assert run("preview", lines, "--background", background, "--out", out) == 0
    assert size_of(out) == (96, 64)
    assert run("preview", lines, "--size", "80x40", "--opacity", "0.1", "--out", out) == 0
    assert size_of(out) == (80, 40)


def test_preview_writes_a_png_to_standard_output(
    lines: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run("preview", lines, "--size", "64x64", "--out", "-") == 0
    assert Image.open(io.BytesIO(capfdbinary.readouterr().out)).format == "PNG"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "preview.txt"), "no ending of a picture"),
        (("--out", "preview"), "no ending of a picture"),
        (("--out", "a.png", "--opacity", "3"), "0 to 1 is allowed"),
        (("--out", "a.png", "--background", "pair.txt"), "pair.txt cannot be read as a picture"),
        (("--out", "a.png", "--background", "missing.png"), "missing.png cannot be read as a picture"),
    ],
)
def test_preview_says_what_is_wrong(
    options: tuple[str, ...],
    words: str,
    lines: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(lines.parent)
    assert run("preview", lines, *options) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in lines.parent.iterdir()] == ["pair.txt"]


@pytest.mark.parametrize("size", ["1024", "0x5", "axb", "-5x5", "99999x5"])
def test_sizes_are_checked(size: str, lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("check", lines, f"--canvas={size}")
    assert caught.value.code == 2
    assert "pixels a side" in (told := capsys.readouterr().err) or 'like "1024x768"' in told


@pytest.mark.parametrize("action", ["convert", "check", "preview"])
def test_every_action_has_help(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(action, "--help")
    assert caught.value.code == 0
    assert "--canvas" in capsys.readouterr().out


def test_warnings_about_the_text_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answer.txt"
    path.write_text('[{"box_2d": [480, 52, 910, 430], "label": "a cat"},]', encoding="utf-8")
    assert run("check", path) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith(
        "language model JSON (llm), grid1000, yxyx, 1 instance on 1024 × 1024, 1 takes part"
    )
    assert told[1].startswith("  warning: the text is not quite JSON")


def test_one_image_is_read_out_of_a_file_larger_than_a_text_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [
        {"id": number, "width": 640, "height": 480, "file_name": f"{number}.jpg", "note": "x" * 500_000}
        for number in range(24)
    ]
    things = [
        {"id": number, "image_id": str(number), "category_id": 1, "bbox": [64, 48, 128, 96]}
        for number in range(24)
    ]
    path = tmp_path / "large.json"
    data = {"info": {}, "annotations": things, "images": images, "categories": [{"id": 1, "name": "dog"}]}
    path.write_text(json.dumps(data), encoding="utf-8")
    for image in ("7", "7.jpg"):
        assert run("check", path, "--image", image) == 0
        line = "COCO annotations (coco), pixel, xywh, 1 instance on 640 × 480, 1 takes part"
        assert capsys.readouterr().out == f"{path}: {line}\n"
    assert run("check", path) == 1
    assert "choose by id or file name (--image)" in capsys.readouterr().out
    assert run("check", path, "--image", "77.jpg") == 1
    assert '0 images have the id or file name "77.jpg"; the ids are 0, 1, 2' in capsys.readouterr().out
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert run("check", path, "--image", "7") == 1
    assert "not JSON" in capsys.readouterr().out


def test_a_layout_is_read_out_of_a_picture_that_carries_one(
    lines: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from PIL.PngImagePlugin import PngInfo

    layout = formats.read(LINES)
    for compressed in (False, True):
        info, path = PngInfo(), tmp_path / "picture.png"
        info.add_itxt("layout", layout.to_json(), zip=compressed)
        Image.new("RGB", (8, 8)).save(path, pnginfo=info)
        assert run("convert", path, "-") == 0
        assert Layout.from_json(capfdbinary.readouterr().out) == layout
    Image.new("RGB", (8, 8)).save(path)
    assert run("convert", path, "-") == 2
    assert b"the picture carries no layout" in capfdbinary.readouterr().err

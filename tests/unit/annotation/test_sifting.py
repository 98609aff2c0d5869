"""Small pictures and copies of others: what is left out, what stays, and what is not read twice."""

from __future__ import annotations

import json
import time

import pytest
from PIL import Image, ImageDraw, ImageEnhance

from instance_composer.annotation import fingerprints
from instance_composer.annotation.fingerprints import Fingerprint, fingerprint_pictures
from instance_composer.annotation.sifting import ListError, Reason, Rules, read_list, sift, write_list
from instance_composer.cli import main


def scene(seed: int, size: tuple[int, int] = (192, 128), color: str = "red") -> Image.Image:
    """Three shapes on a background, elsewhere for each seed."""
    image = Image.new("RGB", (192, 128), "white")
    draw = ImageDraw.Draw(image)
    for number, fill in enumerate((color, "navy", "gold")):
        x, y = (37 * seed + 71 * number) % 120, (53 * seed + 29 * number) % 70
        draw.ellipse((x, y, x + 60, y + 50), fill=fill)
    return image.resize(size, Image.Resampling.LANCZOS)


def write(folder, **pictures: Image.Image) -> None:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        ending, settings = ("jpg", {"quality": 60}) if name.endswith("jpg") else ("png", {})
        picture.save(folder / f"{name}.{ending}", **settings)


def known(folder) -> fingerprints.Known:
    return fingerprint_pictures(sorted(folder.glob("*.*g")), folder / "fingerprints")


def kinds(found) -> dict[str, str]:
    return {name: reason.kind for name, reason in found.items()}


def test_copies_and_small_ones_are_left_out_and_the_largest_stays(tmp_path):
    write(
        tmp_path,
        a=scene(1),
        b=scene(1),
        c_jpg=scene(1, (96, 64)),
        d=scene(1, (384, 256)),
        e=scene(2),
        f=scene(1, color="lime"),
        g=scene(3, (40, 30)),
        h=scene(4, (192, 40)),
    )
    (tmp_path / "i.png").write_bytes(b"no picture")
    found = sift(known(tmp_path), Rules(shortest_side=32, stretched=3))
    assert kinds(found) == {
        "a.png": "alike",
        "b.png": "copy",
        "c_jpg.jpg": "alike",
        "g.png": "small",
        "h.png": "stretched",
        "i.png": "unreadable",
    }
    assert found["a.png"].text == "looks like d.png"
    assert found["b.png"].text == "the same pixels as a.png"
    assert found["g.png"].text == "40 × 30 pixels"
    assert kinds(sift(known(tmp_path), Rules(copies="same"))) == {"b.png": "copy", "i.png": "unreadable"}
    assert kinds(sift(known(tmp_path), Rules(copies="keep"))) == {"i.png": "unreadable"}


def test_what_looks_alike_bears_compression_and_light_but_no_mirror(tmp_path):
    one = scene(5)
    brighter = ImageEnhance.Brightness(one).enhance(0.96)
    mirrored = one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    write(tmp_path, a=one, b_jpg=one, c=brighter, d=mirrored)
    assert sorted(sift(known(tmp_path), Rules())) == ["b_jpg.jpg", "c.png"]


def test_alike_is_no_chain():
    """b is like a and c is like b, but c is not like a: c stays."""

    def made(edges: int) -> Fingerprint:
        return Fingerprint(8, 8, f"{edges:032x}", f"{edges:032x}", "80" * 12)

    chain = {"a": made(0), "b": made(0b111111), "c": made(0b111111111111)}
    assert sorted(sift(chain, Rules(distance=6))) == ["b"]
    assert sorted(sift(chain, Rules(distance=5))) == []
    assert sorted(sift(chain, Rules(distance=12))) == ["b", "c"]


@pytest.mark.parametrize("distance", [0, 3, 15])
def test_nothing_that_is_near_is_missed(distance):
    """Against a comparison of all pairs."""
    import random

    choose = random.Random(3)
    made: dict[str, Fingerprint] = {}
    whole: list[int] = []
    for number in range(150):
        edges = choose.getrandbits(128)
        if number % 2:
            edges = choose.choice(whole)
            for bit in choose.sample(range(128), choose.randrange(20)):
                edges ^= 1 << bit
        whole.append(edges)
        made[f"{number:03}"] = Fingerprint(8, 8, f"{number:032x}", f"{edges:032x}", "80" * 12)
    kept: list[int] = []
    expected = []
    for number, edges in enumerate(whole):
        if any((edges ^ other).bit_count() <= distance for other in kept):
            expected.append(f"{number:03}")
        else:
            kept.append(edges)
    assert sorted(sift(made, Rules(distance=distance))) == expected


def test_shares_read_each_picture_once_and_a_changed_one_again(tmp_path, monkeypatch):
    write(tmp_path, a=scene(1), b=scene(2), c=scene(3))
    pictures, folder = sorted(tmp_path.glob("*.png")), tmp_path / "fingerprints"
    read: list[str] = []
    original = fingerprints.read_picture
    monkeypatch.setattr(fingerprints, "read_picture", lambda path: read.append(path.name) or original(path))
    assert sorted(fingerprint_pictures(pictures, folder, (0, 2))) == ["a.png", "c.png"]
    assert sorted(fingerprint_pictures(pictures, folder, (1, 2))) == ["a.png", "b.png", "c.png"]
    everything = fingerprint_pictures(pictures, folder)
    assert (sorted(everything), read) == (["a.png", "b.png", "c.png"], ["a.png", "c.png", "b.png"])
    # Killed while it wrote a line, and another picture under an old name.
    file = folder / "1-of-2.jsonl"
    file.write_text(file.read_text()[:-20])
    time.sleep(0.01)
    scene(9).save(tmp_path / "a.png")
    again = fingerprint_pictures(pictures, folder)
    assert read[3:] == ["a.png", "b.png"]
    assert again["a.png"] != everything["a.png"]
    assert again["b.png"] == everything["b.png"]
    assert fingerprint_pictures(pictures, folder) == again
    assert len(read) == 5


def test_what_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    """A disk or a right that comes back leaves a file as large and as old as it was."""
    write(tmp_path, a=scene(1))

    def fail(path):
        raise OSError("Input/output error")

    with monkeypatch.context() as without_disk:
        without_disk.setattr(fingerprints, "read_picture", fail)
        assert known(tmp_path) == {"a.png": "Input/output error"}
    found = known(tmp_path)
    assert found["a.png"] == Fingerprint.of(scene(1))
    # As an earlier version kept it.
    file = tmp_path / "fingerprints" / "0-of-1.jsonl"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({"name": "a.png", "stamp": kept["stamp"], "failure": "it is locked"}) + "\n")
    assert known(tmp_path) == found


@pytest.mark.parametrize(("times", "stays"), [("0", 2), ("1", 1), ("1.5", 2)])
def test_how_stretched_a_picture_may_be(times, stays, tmp_path, capsys):
    write(tmp_path, a=scene(1, (64, 64)), b=scene(2, (96, 64)))
    assert main(["sift", str(tmp_path), "--stretched", times]) == 0
    assert f"{stays} of 2 pictures stay" in capsys.readouterr().out


@pytest.mark.parametrize("times", ["0.5", "0.999", "-1", "nan", "inf"])
def test_a_ratio_that_no_picture_has_is_refused(times, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sift", str(tmp_path), "--stretched", times])
    assert ended.value.code == 2
    assert "is needed, got" in capsys.readouterr().err


def test_pictures_of_folders_below_are_compared_too(tmp_path):
    write(tmp_path, a=scene(1))
    write(tmp_path / "below", a=scene(1), b=scene(2))
    assert main(["sift", str(tmp_path)]) == 0
    assert (tmp_path / "left-out.tsv").read_text() == "below/a.png\tcopy: the same pixels as a.png\n"
    assert main(["sift", str(tmp_path)]) == 0
    assert len((tmp_path / "fingerprints" / "0-of-1.jsonl").read_text().splitlines()) == 3


def test_the_command_counts_and_lists_what_is_left_out(tmp_path, capsys):
    write(tmp_path / "in", a=scene(1), b=scene(1), c=scene(2, (30, 20)))
    command = ["sift", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--shortest-side", "32"]
    for share in ("0/2", "1/2"):
        assert main([*command, "--share", share]) == 0
        assert not (tmp_path / "out" / "left-out.tsv").exists()
    assert main(command) == 0
    assert "1 of 3 pictures stay; left out: 1 copy, 1 small" in capsys.readouterr().out
    written = (tmp_path / "out" / "left-out.tsv").read_text()
    assert written == "b.png\tcopy: the same pixels as a.png\nc.png\tsmall: 30 × 20 pixels\n"
    assert read_list(tmp_path / "out" / "left-out.tsv") == {"b.png", "c.png"}


def test_lists_of_people_are_read_too(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("a.png\n\n b.png \n")
    assert read_list(file) == {"a.png", "b.png"}
    write_list({}, file)
    assert read_list(file) == set()
    with pytest.raises(ListError, match="cannot be read as a list of pictures"):
        read_list(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    "name", ["caf\udce9.jpg", "a\u2028b.jpg", "a\x0cb.jpg", "a\x85b.jpg", " a.jpg", "below /a.jpg"]
)
def test_every_name_of_a_file_comes_back(tmp_path, name):
    """As Python has names: bytes that are no UTF-8 are halves of surrogates."""
    file = tmp_path / "left-out.tsv"
    write_list({name: Reason("small", "1 × 1 pixels"), "b.jpg": Reason("copy", "of it")}, file)
    assert read_list(file) == {name, "b.jpg"}
    assert [one.name for one in tmp_path.iterdir()] == ["left-out.tsv"]


def test_a_list_in_another_encoding_is_refused(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("a.jpg\n", encoding="utf-16")
    with pytest.raises(ListError, match="is not UTF-8 text"):
        read_list(file)

"""A folder annotated: what is read, what is written, what happens on the second run."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from PIL import Image

from instance_composer.annotation.annotator import Annotator, Subject, crop_around
from instance_composer.annotation.contact_sheet import write_contact_sheet
from instance_composer.annotation.fingerprints import fingerprint_pictures
from instance_composer.annotation.folder import FolderError, PictureFolder, annotate_folder
from instance_composer.annotation.sifting import Reason, Rules, sift
from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.vision.interfaces import Detection
from instance_composer.training.data.picture_files import PictureFiles

WORDS = ("left", "right")


class Halves:
    """A detector that finds "left" and "right" where they are, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    def detect(self, pictures, words):
        self.asked += words
        boxes = {"left": Box(0, 0, 0.5, 1), "right": Box(0.5, 0, 1, 1)}
        return [[Detection(word, boxes[word], 0.5) for word in some if word in boxes] for some in words]


NAMES = {"red": " a red\nthing", "blue": "a blue thing", "black": " "}


class Colors:
    """A captioner that names the middle pixel; it does not know black."""

    def caption_pictures(self, pictures):
        return [f"{picture.width} wide" for picture in pictures]

    def caption_instances(self, crops, words):
        middles = [crop.getpixel((crop.width // 2, crop.height // 2)) for crop in crops]
        # JPEG shifts colours a little.
        colors = ["red" if red > 128 else "blue" if blue > 128 else "black" for red, _, blue in middles]
        return [NAMES[color] for color in colors]


def picture(left: str = "red", right: str = "blue", size: tuple[int, int] = (80, 40)) -> Image.Image:
    image = Image.new("RGB", size, left)
    image.paste(Image.new("RGB", (size[0] // 2, size[1]), right), (size[0] // 2, 0))
    return image


def annotator(words=WORDS, **settings) -> Annotator:
    return Annotator(
        Halves(), Colors(), lambda captions: [tuple(c.split()) for c in captions], words, **settings
    )


def captions(layout: Layout) -> dict[str, str]:
    return {item.caption: str(item.extra["annotation"]["word"]) for item in layout.instances}


def read(file) -> Layout:
    return Layout.from_json(file.read_bytes())


def test_each_thing_is_described_from_its_own_part_of_its_own_picture():
    subjects = [Subject(picture()), Subject(picture("blue", "black"), "halves")]
    one, two = annotator().annotate(subjects)
    assert captions(one) == {"a red thing": "left", "a blue thing": "right"}
    # The word stands in where the captioner says nothing.
    assert captions(two) == {"a blue thing": "left", "right": "right"}
    assert [layout.prompt for layout in (one, two)] == ["80 wide", "halves"]
    assert (one.canvas.width, one.canvas.height) == (80, 40)


def test_without_words_nouns_of_the_caption_are_looked_for_and_tags_as_well():
    asking = annotator(words=())
    subjects = [Subject(picture(), "the left"), Subject(picture(), "nothing", ("Right", "the"))]
    one, two = asking.annotate(subjects)
    assert asking.detector.asked == [("the", "left"), ("nothing", "right", "the")]  # pyright: ignore
    assert [list(captions(layout).values()) for layout in (one, two)] == [["left"], ["right"]]
    assert two.extra["annotation"]["tags"] == ["Right", "the"]


def test_layouts_are_beside_their_pictures_and_a_second_run_does_what_is_missing(tmp_path):
    for name in ("a.png", "b.jpg", "c.WEBP"):
        picture().save(tmp_path / name, quality=100)
    folder = PictureFolder(tmp_path, tmp_path)
    first = annotate_folder(annotator(), folder, batch=2)
    assert (first.annotated, first.kept, first.failures) == (3, 0, [])
    mine = Layout((Instance("1", Box(0.0, 0.0, 0.5, 1.0), "mine"),)).to_json()
    (tmp_path / "a.json").write_text(mine)
    (tmp_path / "b.json").unlink()
    done = []
    second = annotate_folder(annotator(), folder, on_pictures=done.append)
    assert (second.annotated, second.kept, sum(done)) == (1, 2, 3)
    assert (tmp_path / "a.json").read_text() == mine
    assert annotate_folder(annotator(), folder, force=True).annotated == 3
    assert len(read(tmp_path / "a.json").instances) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("a.json", "a.png", "b.jpg", "b.json", "c.WEBP", "c.json")
    ]


def test_a_file_that_is_no_layout_is_listed_and_stays(tmp_path):
    for name in ("a", "b", "c"):
        picture().save(tmp_path / f"{name}.jpg")
    # As img2dataset writes beside its pictures; a layout that was cut off; an empty one.
    beside = {"a": '{"url": "http://x/a", "caption": "a cat", "key": "a"}', "b": '{"version": 1', "c": ""}
    for name, text in beside.items():
        (tmp_path / f"{name}.json").write_text(text)
    folder = PictureFolder(tmp_path, tmp_path)
    outcome = annotate_folder(annotator(), folder)
    assert (outcome.annotated, outcome.kept) == (0, 0)
    assert [name for name, _ in outcome.failures] == ["a.jpg", "b.jpg", "c.jpg"]
    assert all(f"{name[0]}.json is no layout" in reason for name, reason in outcome.failures)
    assert {name: (tmp_path / f"{name}.json").read_text() for name in beside} == beside
    apart = annotate_folder(annotator(), PictureFolder(tmp_path, tmp_path / "out"))
    assert (apart.annotated, apart.failures) == (3, [])


def test_an_interrupted_run_leaves_whole_layouts_only_and_goes_on(tmp_path):
    for number in range(4):
        picture().save(tmp_path / f"{number}.png")

    class Interrupted(Halves):
        def detect(self, pictures, words):
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().detect(pictures, words)

    stopped = Annotator(Interrupted(), Colors(), lambda _: [], WORDS)
    folder = PictureFolder(tmp_path, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        annotate_folder(stopped, folder)
    layouts = sorted((tmp_path / "out").glob("*.json"))
    assert [file.name for file in layouts] == ["0.json", "1.json"]
    assert [len(read(file).instances) for file in layouts] == [2, 2]
    assert annotate_folder(annotator(), folder).annotated == 2


def test_what_a_mac_and_other_programs_leave_is_passed_over(tmp_path):
    picture().save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (tmp_path / ".thumbnail.jpg").write_bytes(b"hidden")
    (tmp_path / "a.txt").write_text("a caption")
    (tmp_path / "scan.tif").write_bytes(b"II*")
    folder = PictureFolder(tmp_path, tmp_path)
    outcome = annotate_folder(annotator(), folder)
    assert (outcome.annotated, outcome.failures) == (1, [])
    assert [file.name for file in folder.others()] == ["scan.tif"]


def test_what_was_decided_about_a_file_is_noted(tmp_path):
    picture().save(tmp_path / "a.webp", save_all=True, append_images=[picture("blue")], lossless=True)
    outcome = annotate_folder(annotator(), PictureFolder(tmp_path, tmp_path))
    assert outcome.notes == [("a.webp", "it has 2 frames or pages; the first one is read")]


def test_another_folder_gets_the_pictures_too(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    picture().save(source / "a.png")
    folder = PictureFolder(source, target)
    for force in (False, True):
        assert annotate_folder(annotator(), folder, force=force).annotated == 1
        assert sorted(file.name for file in target.iterdir()) == ["a.json", "a.png"]
        assert (target / "a.png").read_bytes() == (source / "a.png").read_bytes()
    assert [file.name for file in source.iterdir()] == ["a.png"]


def test_a_picture_of_the_same_name_from_elsewhere_is_told_and_not_counted_as_done(tmp_path):
    first, second, target = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    for source, side in ((first, 64), (second, 96)):
        source.mkdir()
        picture().resize((side, side)).save(source / "a.png")
    assert annotate_folder(annotator(), PictureFolder(first, target)).annotated == 1
    assert annotate_folder(annotator(), PictureFolder(first, target)).kept == 1
    before = (target / "a.json").read_bytes()
    other = annotate_folder(annotator(), PictureFolder(second, target))
    assert (other.annotated, other.kept) == (0, 0)
    ((name, reason),) = other.failures
    assert name == "a.png"
    assert "has another picture of this name" in reason
    assert (target / "a.json").read_bytes() == before
    assert annotate_folder(annotator(), PictureFolder(second, target), force=True).annotated == 1
    assert annotate_folder(annotator(), PictureFolder(second, target)).kept == 1


def test_folders_below_are_looked_into_and_have_their_like_in_another(tmp_path):
    source, target = tmp_path / "in", tmp_path / "in" / "made"
    for way in ("a.png", "00000/a.png", "00000/b.png", "00001/deep/a.png", ".hidden/c.png"):
        (source / way).parent.mkdir(parents=True, exist_ok=True)
        picture().save(source / way)
    (source / "00000" / "a.tags").write_text("left | right")
    (source / "00001" / "notes.md").write_text("")
    folder = PictureFolder(source, target, tag_files=True)
    outcome = annotate_folder(annotator(), folder, left_out={"00000/b.png", "b.png"})
    assert (outcome.annotated, outcome.left_out, outcome.failures) == (3, 1, [])
    written = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    assert written == {f"{way}.{end}" for way in ("a", "00000/a", "00001/deep/a") for end in ("png", "json")}
    assert list(read(target / "00000" / "a.json").extra["annotation"]["tags"]) == ["left", "right"]
    # What was made in it is none of its pictures, and no file of somebody else.
    (source / "contact-sheet-2.html").write_text("")
    assert annotate_folder(annotator(), folder, left_out={"00000/b.png"}).kept == 3
    assert [file.name for file in folder.others()] == ["notes.md"]
    without = folder.without(".tags", folder.pictures())
    assert without == ["00000/b.png", "00001/deep/a.png", "a.png"]


def test_what_cannot_be_read_is_left_out_and_listed(tmp_path):
    picture().save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("not a picture")
    picture(size=(8, 8)).save(tmp_path / "tiny.png")
    picture().save(tmp_path / "good.webp")
    picture().save(tmp_path / "latin.png")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    outcome = annotate_folder(annotator(), PictureFolder(tmp_path, tmp_path, caption_files=True), batch=4)
    assert outcome.annotated == 1
    reasons = dict(outcome.failures)
    assert set(reasons) == {"broken.png", "text.jpg", "tiny.png", "good.webp", "latin.png"}
    assert all(str(tmp_path) not in reason for reason in reasons.values())
    assert "cannot be read as a picture" in reasons["broken.png"]
    assert "cannot be read as a picture" in reasons["text.jpg"]
    assert "16 to 16384 pixels" in reasons["tiny.png"]
    assert "good.png would have the same layout file" in reasons["good.webp"]
    assert "latin.txt is not UTF-8" in reasons["latin.png"]


def test_files_beside_a_picture_are_its_caption_and_tags_when_asked_for(tmp_path):
    picture().save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("two  halves\n", encoding="utf-8-sig")
    (tmp_path / "a.tags").write_text("left, Right")
    plain = PictureFolder(tmp_path, tmp_path).read(tmp_path / "a.png")
    told = PictureFolder(tmp_path, tmp_path, caption_files=True, tag_files=True).read(tmp_path / "a.png")
    assert (plain.caption, plain.tags) == (None, ())
    assert (told.caption, told.tags) == ("two  halves", ("left", "right"))
    (layout,) = annotator(words=()).annotate([told])
    assert (layout.prompt, len(layout.instances)) == ("two halves", 2)


def shard(file, members):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            one = tarfile.TarInfo(name)
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))


def png(**how):
    buffer = io.BytesIO()
    picture(**how).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("apart", [False, True])
def test_pictures_of_shards_are_annotated_where_training_finds_their_layouts(apart, tmp_path):
    source = tmp_path / "source"
    own = Layout(prompt="own").to_json().encode()
    members = {
        "b.png": png(),
        "b.txt": b"two halves",
        "b.json": b'{"url": "https://example.org"}',
        "c.png": png(),
        "c.layout.json": own,
        "d.png": b"no picture",
    }
    shard(source / "more" / "00000.tar", members)
    picture().save(source / "a.png")
    before = (source / "more" / "00000.tar").read_bytes()
    folder = PictureFolder(source, tmp_path / "out" if apart else source, caption_files=True)
    names = ["a.png", *(f"more/00000.tar/{one}.png" for one in "bcd")]
    assert [folder.name(one) for one in folder.pictures()] == names
    outcome = annotate_folder(annotator(), folder, batch=3)
    assert (outcome.annotated, outcome.kept) == (2, 1)
    assert [name for name, _ in outcome.failures] == names[3:]
    assert (source / "more" / "00000.tar").read_bytes() == before
    # What annotation has written is a data set of its own, with the caption out of the shard.
    data = PictureFiles(folder.target)
    assert list(data.names) == names[:3]
    found = {name: json.loads(data.layout(number)) for number, name in enumerate(data.names)}
    assert found["more/00000.tar/b.png"]["prompt"] == "two halves"
    assert found["more/00000.tar/c.png"]["prompt"] == "own"
    assert not folder.others()
    assert folder.without(".txt", folder.pictures()) == [name for name in names if name[-5] != "b"]
    again = annotate_folder(annotator(), folder)
    assert (again.annotated, again.kept) == (0, 3)
    forced = annotate_folder(annotator(), folder, force=True)
    assert "is in the shard, which is never written to" in dict(forced.failures)[names[2]]
    done = [(one, folder.layout_file(one)) for one in folder.pictures()[:2]]
    sheet, failures = write_contact_sheet(done, folder.target)
    assert not failures
    assert sheet.read_text(encoding="utf-8").count("<article>") == 2


def test_a_shard_that_had_to_be_copied_is_copied_once_and_anew_when_it_changes(tmp_path):
    """As across file systems, where no second name of a file can be made."""
    source, copy = tmp_path / "source" / "0.tar", tmp_path / "out" / "0.tar"
    shard(source, {"a.png": png(), "b.png": png()})
    copy.parent.mkdir()
    shutil.copyfile(source, copy)
    made = copy.stat()
    folder = PictureFolder(source.parent, copy.parent)
    assert annotate_folder(annotator(), folder).annotated == 2
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    shard(source, {"a.png": png(), "c.png": png()})
    assert annotate_folder(annotator(), PictureFolder(source.parent, copy.parent)).annotated == 1
    assert copy.read_bytes() == source.read_bytes()


def test_processes_that_place_the_same_shard_at_once_do_not_take_it_from_each_other(tmp_path, monkeypatch):
    """As those of a launcher do across file systems: both have made their copy before either is named."""
    source, target = tmp_path / "source", tmp_path / "out"
    shard(source / "0.tar", {"a.png": png(), "b.png": png()})
    both, copy = Barrier(2, timeout=60), shutil.copyfile

    def refuse(*_):
        raise OSError("there are no second names of files here")

    def copy_slowly(one, other):
        copy(one, other)
        both.wait()

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", copy_slowly)
    folders = [PictureFolder(source, target) for _ in range(2)]
    with ThreadPoolExecutor(2) as processes:
        starts = [
            processes.submit(annotate_folder, annotator(), folder, share=(place, 2))
            for place, folder in enumerate(folders)
        ]
        assert [start.result().annotated for start in starts] == [1, 1]
    assert (target / "0.tar").read_bytes() == (source / "0.tar").read_bytes()
    assert sorted(one.name for one in target.iterdir()) == ["0", "0.tar"]


def test_fingerprints_of_pictures_in_shards_are_kept_until_their_shard_changes(tmp_path):
    shard(tmp_path / "0.tar", {"a.png": png(), "b.png": png()})
    folder = PictureFolder(tmp_path, tmp_path)

    def known():
        pictures = folder.pictures()
        return fingerprint_pictures(pictures, tmp_path / "prints", source=tmp_path)

    first = known()
    assert first["0.tar/a.png"] == first["0.tar/b.png"]
    assert sift(first, Rules()) == {"0.tar/b.png": Reason("copy", "the same pixels as 0.tar/a.png")}
    (file,) = (tmp_path / "prints").glob("*.jsonl")
    lines = file.read_text()
    assert known() == first
    assert file.read_text() == lines
    shard(tmp_path / "0.tar", {"a.png": png(size=(96, 64)), "b.png": png()})
    folder = PictureFolder(tmp_path, tmp_path)
    assert known()["0.tar/a.png"].width == 96


def test_a_broken_shard_is_named(tmp_path):
    shard(tmp_path / "0.tar", {"a.png": png()})
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[:600])
    with pytest.raises(FolderError, match=r"cut off within a\.png"):
        PictureFolder(tmp_path, tmp_path).pictures()


@pytest.mark.parametrize("files", [[], ["note.txt", "a.gif"]])
def test_a_folder_without_pictures_is_refused(files, tmp_path):
    for name in files:
        (tmp_path / name).write_text("")
    with pytest.raises(FolderError, match="no picture in"):
        PictureFolder(tmp_path, tmp_path).pictures()
    with pytest.raises(FolderError, match="there is no folder"):
        PictureFolder(tmp_path / "none", tmp_path).pictures()


def test_a_picture_lies_as_its_camera_noted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    picture(size=(80, 40)).save(tmp_path / "a.png", exif=exif)
    subject = PictureFolder(tmp_path, tmp_path).read(tmp_path / "a.png")
    assert subject.picture.size == (40, 80)
    assert subject.picture.getpixel((20, 10)) == (255, 0, 0)
    assert subject.picture.getpixel((20, 70)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("box", "size", "margin", "expected"),
    [
        (Box(0.25, 0.25, 0.75, 0.75), (400, 200), 0.0, (100, 50, 300, 150)),
        (Box(0.25, 0.25, 0.75, 0.75), (400, 200), 0.5, (0, 0, 400, 200)),
        (Box(0.5, 0.5, 0.51, 1.0), (1000, 500), 0.0, (489, 250, 521, 500)),
        (Box(0.99, 0.0, 1.0, 0.01), (1000, 500), 0.0, (968, 0, 1000, 32)),
        (Box(0.0, 0.0, 0.1, 0.1), (20, 20), 0.0, (0, 0, 20, 20)),
    ],
)
def test_a_thing_is_cut_out_with_its_margin_and_never_too_small_to_be_seen(box, size, margin, expected):
    assert crop_around(box, size, margin) == expected


def test_shares_do_everything_once(tmp_path):
    for number in range(7):
        picture().save(tmp_path / f"{number}.png")
    folder = PictureFolder(tmp_path, tmp_path)
    done = []
    for place in range(3):
        counted = []
        outcome = annotate_folder(annotator(), folder, batch=2, share=(place, 3), on_pictures=counted.append)
        assert sum(counted) == outcome.annotated == len(range(place, 7, 3))
        done.append(outcome.annotated)
    assert sum(done) == 7
    assert annotate_folder(annotator(), folder).kept == 7


class Choosy(Colors):
    """Fails on small pictures."""

    def caption_pictures(self, pictures):
        if any(one.width < 50 for one in pictures):
            raise RuntimeError("too small for my patches")
        return super().caption_pictures(pictures)


def test_a_picture_on_which_models_fail_is_named_and_the_others_go_on(tmp_path):
    for number in range(4):
        picture(size=(40 if number == 1 else 80, 40)).save(tmp_path / f"{number}.png")
    folder = PictureFolder(tmp_path, tmp_path)
    one = Annotator(Halves(), Choosy(), lambda captions: [()] * len(captions), WORDS)
    outcome = annotate_folder(one, folder, batch=4)
    assert outcome.annotated == 3
    reason = "the models failed on it (RuntimeError: too small for my patches)"
    assert outcome.failures == [("1.png", reason)]


def test_models_that_never_succeed_end_the_run(tmp_path):
    for number in range(12):
        picture(size=(40, 40)).save(tmp_path / f"{number:02}.png")
    one = Annotator(Halves(), Choosy(), lambda captions: [()] * len(captions), WORDS)
    with pytest.raises(
        FolderError, match=r"failed on every picture so far, last on 08\.png \(RuntimeError: too small"
    ):
        annotate_folder(one, PictureFolder(tmp_path, tmp_path), batch=4)


def test_failures_of_names_do_not_end_a_run_in_which_models_fail_once(tmp_path):
    for number in range(9):
        picture().save(tmp_path / f"x{number}.jpg")
        picture().save(tmp_path / f"x{number}.png")
    picture(size=(40, 40)).save(tmp_path / "a.png")
    one = Annotator(Halves(), Choosy(), lambda captions: [()] * len(captions), WORDS)
    outcome = annotate_folder(one, PictureFolder(tmp_path, tmp_path), batch=4)
    assert outcome.annotated == 9
    assert (len(outcome.failures), outcome.by_models) == (10, 1)


def test_what_a_list_names_is_left_out_and_counted(tmp_path):
    for name in ("a", "b", "c"):
        picture().save(tmp_path / f"{name}.png")
    (tmp_path / "left-out.tsv").write_text("b.png\tsmall: 80 × 40 pixels\n")
    folder = PictureFolder(tmp_path, tmp_path)
    outcome = annotate_folder(annotator(), folder, left_out={"b.png"})
    assert (outcome.annotated, outcome.left_out, outcome.failures) == (2, 1, [])
    assert not (tmp_path / "b.json").exists()
    assert folder.others() == ()

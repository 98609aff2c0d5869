"""A folder of pictures annotated one after the other; what is done stays done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ..layout import Canvas, Layout
from ..pictures.reading import PICTURE_ENDINGS, FolderContents, list_pictures_below, read_noted
from .annotator import Annotator, Subject
from .contact_sheet import is_sheet
from .fingerprints import FOLDER as FINGERPRINTS
from .sifting import FILE as LEFT_OUT
from .words import read_words

CAPTION_ENDING, TAGS_ENDING = ".txt", ".tags"

# Failures of models without a single success, after which they are at fault and not the pictures.
_MOST_FAILURES = 8


class FolderError(ValueError):
    """A folder that holds nothing to annotate."""


@dataclass
class Outcome:
    """The outcome of a run: numbers of pictures, and the file and text of each failure and note."""

    annotated: int = 0
    empty: int = 0
    kept: int = 0
    left_out: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class PictureFolder:
    """Pictures `name.png` (`PICTURE_ENDINGS`) in `source` and their layouts `name.json` in `target`.

    Folders below `source` have their like below `target`. Where these are two folders, pictures are linked or
    copied over, so that `target` is a data set by itself; one that lies in `source` is none of its pictures.
    `caption_files`: `name.txt` is the caption where there is one. `tag_files`: `name.tags` holds tags.
    """

    source: Path
    target: Path
    caption_files: bool = False
    tag_files: bool = False

    def pictures(self) -> list[Path]:
        """The pictures in the order of their names; `FolderError` if there are none."""
        if not self.source.is_dir():
            raise FolderError(f"there is no folder {self.source}")
        found = list(self._contents().pictures)
        if not found:
            raise FolderError(
                f"there is no picture in {self.source} or below it; {', '.join(PICTURE_ENDINGS)} are read"
            )
        return found

    def name(self, picture: Path) -> str:
        """What lists and messages call a picture: the way to it from the source."""
        return picture.relative_to(self.source).as_posix()

    def others(self) -> tuple[Path, ...]:
        """Files of the source that are neither pictures nor belong to one."""
        return tuple(
            file
            for file in self._contents().others
            if file.name != LEFT_OUT and file.parent.name != FINGERPRINTS and not is_sheet(file)
        )

    def without(self, ending: str, pictures: Sequence[Path]) -> list[str]:
        """The names of pictures that have no file with this ending beside them."""
        return [self.name(picture) for picture in pictures if not picture.with_suffix(ending).is_file()]

    def _contents(self) -> FolderContents:
        return list_pictures_below(self.source, self.target)

    def layout_file(self, picture: Path) -> Path:
        """The path of a picture's layout, whether it is there or not."""
        return self.target / picture.relative_to(self.source).with_suffix(".json")

    def read(self, picture: Path) -> Subject:
        """A picture and what is known of it; ValueError or OSError if something cannot be read."""
        read = read_noted(picture)
        image = read.image
        # Checked before the models work: no layout can have a picture of every size.
        Layout(canvas=Canvas(*image.size)).checked()
        caption_file, tags_file = (picture.with_suffix(end) for end in (CAPTION_ENDING, TAGS_ENDING))
        caption = _text(caption_file).strip() if self.caption_files and caption_file.is_file() else ""
        tags = read_words(_text(tags_file)) if self.tag_files and tags_file.is_file() else ()
        return Subject(image, caption or None, tags, read.notes)

    def write(self, picture: Path, layout: Layout) -> None:
        """Put the layout where it belongs, whole or not at all, and the picture beside it before."""
        beside = self.layout_file(picture).with_name(picture.name)
        beside.parent.mkdir(parents=True, exist_ok=True)
        if not (beside.exists() and beside.samefile(picture)):
            _replace(beside, lambda unfinished: _link(picture, unfinished))
        _replace(
            self.layout_file(picture),
            lambda unfinished: unfinished.write_text(layout.to_json(), encoding="utf-8"),
        )


def annotate_folder(
    annotator: Annotator,
    folder: PictureFolder,
    *,
    batch: int = 1,
    force: bool = False,
    share: tuple[int, int] = (0, 1),
    left_out: Collection[str] = (),
    on_pictures: Callable[[int], object] = lambda count: None,
) -> Outcome:
    """Annotate what has no layout yet (`force`: everything), `batch` pictures at a time.

    Those whose names are `left_out` are passed over. `share` (n, count): every count-th picture from the
    n-th on, so that processes do nothing twice. A picture that cannot be read, or on which the models fail,
    is left out and listed; what they raise goes on only if they never succeed. Stopped at any time, the same
    call goes on.
    """
    pictures, outcome = folder.pictures(), Outcome()
    folder.target.mkdir(parents=True, exist_ok=True)
    waiting: list[Path] = []
    names: dict[str, str] = {}
    place, total = share
    for number, picture in enumerate(pictures):
        name = folder.name(picture)
        first = names.setdefault(name.removesuffix(picture.suffix), name)
        if number % total != place:
            continue
        if name in left_out:
            outcome.left_out += 1
        elif first != name:
            outcome.failures.append((name, f"{first} would have the same layout file; rename one"))
        elif not force and folder.layout_file(picture).is_file():
            outcome.kept += 1
        else:
            waiting.append(picture)
    on_pictures(len(range(place, len(pictures), total)) - len(waiting))
    rest = iter(waiting)
    while some := list(islice(rest, batch)):
        readable = list(_readable(folder, some, outcome))
        for picture, layout in _annotated(annotator, folder, readable, outcome):
            folder.write(picture, layout)
            outcome.annotated += 1
            outcome.empty += not layout.instances
        on_pictures(len(some))
    return outcome


def _annotated(
    annotator: Annotator,
    folder: PictureFolder,
    readable: Sequence[tuple[Path, Subject]],
    outcome: Outcome,
) -> Iterator[tuple[Path, Layout]]:
    """Pictures with their layouts; where the models fail on a batch, each is tried alone."""
    if not readable:
        return
    try:
        layouts = annotator.annotate([subject for _, subject in readable])
    except MemoryError:
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        if len(readable) > 1:
            for one in readable:
                yield from _annotated(annotator, folder, [one], outcome)
            return
        name, reason = folder.name(readable[0][0]), f"{type(error).__name__}: {error}"
        if not outcome.annotated and len(outcome.failures) >= _MOST_FAILURES:
            raise FolderError(
                f"the models failed on every picture so far, last on {name} ({reason})"
            ) from error
        outcome.failures.append((name, f"the models failed on it ({reason})"))
        return
    for (picture, _), layout in zip(readable, layouts, strict=True):
        yield picture, layout


def _readable(
    folder: PictureFolder, pictures: Sequence[Path], outcome: Outcome
) -> Iterator[tuple[Path, Subject]]:
    for picture in pictures:
        try:
            subject = folder.read(picture)
            outcome.notes += ((folder.name(picture), note) for note in subject.notes)
            yield picture, subject
        except (ValueError, OSError) as error:
            outcome.failures.append((folder.name(picture), str(error)))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FolderError(f"{file.name} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _link(source: Path, target: Path) -> None:
    """A second name for the same file; a copy where the file system has none, or across file systems."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        write(unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)

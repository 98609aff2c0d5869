"""A folder of pictures annotated one after the other; what is done stays done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ..layout import Canvas, Layout, LayoutError
from ..pictures.reading import PICTURE_ENDINGS, FolderContents, list_pictures_below, read_noted
from ..pictures.shards import ENDING as SHARD
from ..pictures.shards import LAYOUT_ENDING, ShardError, Shards, layout_beside
from .annotator import Annotator, Subject
from .contact_sheet import is_sheet
from .fingerprints import FOLDER as FINGERPRINTS
from .sifting import FILE as LEFT_OUT
from .words import read_words
from .writing import link, replace_whole

CAPTION_ENDING, TAGS_ENDING = ".txt", ".tags"

# Failures of models without a single success, after which they are at fault and not the pictures.
_MOST_FAILURES = 8


class FolderError(ValueError):
    """A folder that holds nothing to annotate."""


@dataclass
class Outcome:
    """The outcome of a run: numbers of pictures, and the file and text of each failure and note.

    `by_models` of the failures are those of the models, which may be wrong themselves.
    """

    annotated: int = 0
    empty: int = 0
    kept: int = 0
    left_out: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    by_models: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class PictureFolder:
    """Pictures `name.png` (`PICTURE_ENDINGS`) in `source` and their layouts `name.json` in `target`.

    Those in a tar shard `00000.tar` are pictures too, with layouts in a folder `00000` beside it, where
    training finds them; shards are read where they lie and never written to.

    Folders below `source` have their like below `target`. Where these are two folders, pictures are linked or
    copied over, so that `target` is a data set by itself; one that lies in `source` is none of its pictures.
    `caption_files`: `name.txt` is the caption where there is one. `tag_files`: `name.tags` holds tags.
    """

    source: Path
    target: Path
    caption_files: bool = False
    tag_files: bool = False
    shards: Shards = field(default_factory=Shards, init=False, compare=False, repr=False)

    def pictures(self) -> list[Path]:
        """The pictures in the order of their names; `FolderError` for none and for a broken shard."""
        if not self.source.is_dir():
            raise FolderError(f"there is no folder {self.source}")
        contents = self._contents()
        try:
            inside = [picture for shard in _shards(contents) for picture in self.shards.pictures(shard)]
        except ShardError as error:
            raise FolderError(str(error)) from error
        found = sorted((*contents.pictures, *inside))
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
        contents = self._contents()
        shards = set(_shards(contents))
        return tuple(
            file
            for file in contents.others
            if file.name != LEFT_OUT and file.parent.name != FINGERPRINTS and not is_sheet(file)
            if file not in shards
            and not (file.suffix == ".json" and file.parent.with_name(f"{file.parent.name}{SHARD}") in shards)
        )

    def without(self, ending: str, pictures: Sequence[Path]) -> list[str]:
        """The names of pictures that have no file with this ending beside them."""
        return [self.name(one) for one in pictures if not self.shards.has(one.with_suffix(ending))]

    def _contents(self) -> FolderContents:
        return list_pictures_below(self.source, self.target)

    def layout_file(self, picture: Path) -> Path:
        """The path of a picture's layout, whether it is there or not."""
        shard = self.shards.shard_of(picture)
        if shard is not None:
            return layout_beside(self.target / shard.relative_to(self.source), picture.name)
        return self.target / picture.relative_to(self.source).with_suffix(".json")

    def has_own_layout(self, picture: Path) -> bool:
        """Whether a picture of a shard has its layout in it, which goes before one beside it."""
        return self.shards.shard_of(picture) is not None and self.shards.has(
            picture.with_suffix(LAYOUT_ENDING)
        )

    def fault_of_layout(self, picture: Path) -> str:
        """Why the file in the place of a picture's layout is none; "" where it is one, or in the shard."""
        file = self.layout_file(picture)
        if self.has_own_layout(picture):
            return ""
        try:
            Layout.from_json(file.read_bytes())
        except (LayoutError, OSError) as error:
            reason = " ".join(str(error).split())
            return f"{file.name} is no layout ({reason}); another --out keeps it, --force writes over it"
        return ""

    def lies_beside_another(self, picture: Path) -> bool:
        """Whether the target has, under a picture's name, one that cannot be it: as large it would be."""
        there = self.target / picture.relative_to(self.source)
        if self.target == self.source or self.shards.shard_of(picture) is not None or not there.is_file():
            return False
        return there.stat().st_size != picture.stat().st_size

    def read(self, picture: Path) -> Subject:
        """A picture and what is known of it; ValueError or OSError if something cannot be read."""
        read = read_noted(self.shards.picture(picture))
        image = read.image
        # Checked before the models work: no layout can have a picture of every size.
        Layout(canvas=Canvas(*image.size)).checked()
        caption = self._text(picture.with_suffix(CAPTION_ENDING)).strip() if self.caption_files else ""
        tags = read_words(self._text(picture.with_suffix(TAGS_ENDING))) if self.tag_files else ()
        return Subject(image, caption or None, tags, read.notes)

    def _text(self, file: Path) -> str:
        """A text beside a picture; empty where there is none."""
        if not self.shards.has(file):
            return ""
        try:
            return self.shards.content(file).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FolderError(
                f"{file.name} is not UTF-8 text: {error.reason} at byte {error.start}"
            ) from None

    def write(self, picture: Path, layout: Layout) -> None:
        """Put the layout where it belongs, whole or not at all, and before it the picture or its shard."""
        shard = self.shards.shard_of(picture)
        file = shard or picture
        beside = self.target / file.relative_to(self.source)
        self.layout_file(picture).parent.mkdir(parents=True, exist_ok=True)
        if not (shard and beside.exists() and _is_copy(beside, shard)):
            link(file, beside)
        replace_whole(
            self.layout_file(picture),
            lambda unfinished: unfinished.write_text(layout.to_json(), encoding="utf-8"),
        )


def _shards(contents: FolderContents) -> list[Path]:
    return [file for file in contents.others if file.suffix == SHARD and file.is_file()]


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
    names: dict[Path, str] = {}
    place, total = share
    for number, picture in enumerate(pictures):
        name = folder.name(picture)
        first = names.setdefault(folder.layout_file(picture), name)
        if number % total != place:
            continue
        if name in left_out:
            outcome.left_out += 1
        elif first != name:
            outcome.failures.append((name, f"{first} would have the same layout file; rename one"))
        elif force and folder.has_own_layout(picture):
            outcome.failures.append((name, f"its {LAYOUT_ENDING} is in the shard, which is never written to"))
        elif not force and (folder.layout_file(picture).is_file() or folder.has_own_layout(picture)):
            if reason := folder.fault_of_layout(picture):
                outcome.failures.append((name, reason))
            elif folder.lies_beside_another(picture):
                outcome.failures.append(
                    (
                        name,
                        f"{folder.target} has another picture of this name, whose layout stays; --force does "
                        "it again, another --out keeps both",
                    )
                )
            else:
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
        outcome.by_models += 1
        if not outcome.annotated and outcome.by_models > _MOST_FAILURES:
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


def _is_copy(file: Path, source: Path) -> bool:
    """Whether a file is as large as its source and was written after it.

    Gigabytes are not compared, and not copied again for every picture in them.
    """
    one, other = file.stat(), source.stat()
    return one.st_size == other.st_size and one.st_mtime_ns >= other.st_mtime_ns

"""The contact sheet of an annotated folder: pages of HTML with pictures, regions and captions inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ..layout import Layout
from ..pictures import draw_layout
from ..pictures.captions import drawable
from ..pictures.reading import read_picture
from ..pictures.shards import Shards
from .writing import replace_whole

ThingT = TypeVar("ThingT")

NAME = "contact-sheet"
PER_PAGE = 60
_SIDE = 512
# A page runs no script and loads nothing from elsewhere, whatever its captions contain.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1rem; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
article { border: 1px solid #8886; border-radius: 6px; padding: .6rem; overflow-wrap: anywhere; }
img { width: 100%; height: auto; display: block; }
h2 { font-size: 1rem; margin: .6rem 0 0; }
p, ol { margin: .4rem 0; }
small { opacity: .75; }
nav a, nav b { margin-right: .4rem; }
"""


def write_contact_sheet(
    files: Sequence[tuple[Path, Path]],
    folder: Path,
    on_pictures: Callable[[int], object] = lambda count: None,
) -> tuple[Path, list[tuple[str, str]]]:
    """Write pages that show (picture, layout file) pairs; what cannot be shown is listed with its reason.

    The first page is `contact-sheet.html` in `folder`, the next `contact-sheet-2.html`. Pictures are in the
    pages. Captions are text: whatever a model wrote, nothing of it becomes HTML.
    """
    starts, shards = range(0, max(1, len(files)), PER_PAGE), Shards()
    failures: list[tuple[str, str]] = []
    for number, start in enumerate(starts, 1):
        entries: list[str] = []
        for picture, layout_file in files[start : start + PER_PAGE]:
            try:
                layout = Layout.from_json(layout_file.read_bytes()).checked()
                read = read_picture(shards.picture(picture))
                entries.append(_entry(picture.name, read, layout))
            except (ValueError, OSError) as error:
                failures.append((layout_file.name, str(error)))
            on_pictures(1)
        page = _page(entries, number, len(starts), len(files))
        replace_whole(folder / _file_name(number), partial(Path.write_text, data=page, encoding="utf-8"))
    # Pages of an earlier sheet that was longer.
    stale = len(starts) + 1
    while (page := folder / _file_name(stale)).is_file():
        page.unlink()
        stale += 1
    return folder / _file_name(1), failures


def spread(things: Sequence[ThingT], most: int) -> list[ThingT]:
    """At most so many of some things, at equal distances."""
    count = min(most, len(things))
    return [things[number * len(things) // count] for number in range(count)]


def is_sheet(file: Path) -> bool:
    """Whether a file has the name of a page."""
    return re.fullmatch(rf"{NAME}(-\d+)?\.html", file.name) is not None


def _file_name(number: int) -> str:
    return f"{NAME}.html" if number == 1 else f"{NAME}-{number}.html"


def _entry(name: str, picture: Image.Image, layout: Layout) -> str:
    drawn = _drawn(picture, layout)
    buffer = BytesIO()
    drawn.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    caption = _text(layout.prompt) or "no caption"
    things = "".join(
        f"<li>{_text(item.caption) or 'no caption'} <small>{_found_as(item.extra)}</small></li>"
        for item in layout.instances
    )
    return (
        f'<article><img src="data:image/jpeg;base64,{data}" width="{drawn.width}" height="{drawn.height}" '
        f'alt="{caption}"><h2>{_text(name)}</h2><p>{caption}</p>'
        f"{f'<ol>{things}</ol>' if things else '<p>nothing was found</p>'}</article>"
    )


def _drawn(picture: Image.Image, layout: Layout) -> Image.Image:
    """The picture, small, with its regions; these are labelled with the words, as captions stand below."""
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    items = tuple(
        replace(item, caption=str(_note(item.extra).get("word") or item.caption)) for item in layout.instances
    )
    return draw_layout(replace(layout, instances=items), background=picture, opacity=0.15)


def _note(extra: Any) -> dict[str, Any]:
    """The note of annotation beside an instance; layouts from elsewhere hold anything or nothing there."""
    note = extra.get("annotation")
    return note if isinstance(note, dict) else {}


def _found_as(extra: Any) -> str:
    note = _note(extra)
    score = note.get("score")
    shown = f"{score:.2f}" if isinstance(score, (int, float)) else ""
    return _text(" ".join(part for part in (str(note.get("word") or ""), shown) if part))


def _text(text: str) -> str:
    """Text for a page: nothing in it is markup, control characters are shown as such."""
    return escape(drawable(text))


def _page(entries: Sequence[str], number: int, pages: int, count: int) -> str:
    links = " ".join(
        f"<b>{other}</b>" if other == number else f'<a href="{_file_name(other)}">{other}</a>'
        for other in range(1, pages + 1)
    )
    things = "\n".join(entries)
    navigation = f"<nav>Page {links}</nav>" if pages > 1 else ""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width">
<title>Annotations, page {number}</title>
<style>{_STYLE}</style>
<h1>{count} pictures</h1>
{navigation}
<main>
{things}
</main>
{navigation}
</html>
"""

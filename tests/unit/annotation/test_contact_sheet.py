"""The pages to look through."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

from PIL import Image

from instance_composer.annotation import contact_sheet
from instance_composer.annotation.contact_sheet import spread, write_contact_sheet
from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
)

HOSTILE = "<script>alert(1)</script> \" onload='x' &amp; \x07 \ud800 cat"


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def annotated(folder: Path, name: str, caption: str, **extra) -> tuple[Path, Path]:
    picture, layout_file = folder / f"{name}.png", folder / f"{name}.json"
    Image.new("RGB", (640, 480), "gray").save(picture)
    item = Instance("1", Box(0.1, 0.1, 0.6, 0.6), caption, extra=extra)
    layout_file.write_text(Layout((item,), Canvas(640, 480), caption).to_json(), encoding="utf-8")
    return picture, layout_file


def test_captions_are_text_whatever_is_in_them(tmp_path):
    note = {"word": "<b>cat</b>", "score": 0.875}
    files = [
        annotated(tmp_path, "a&b", HOSTILE, annotation=note),
        annotated(tmp_path, "c", "a dog", annotation=3),
    ]
    sheet, failures = write_contact_sheet(files, tmp_path)
    assert (sheet, failures) == (tmp_path / "contact-sheet.html", [])
    page = Tags(sheet.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b", "iframe", "link"})
    for tag, attributes in page.tags:
        assert set(attributes) <= {
            "lang",
            "charset",
            "http-equiv",
            "content",
            "name",
            "src",
            "width",
            "height",
            "alt",
        }
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")
    for shown in ("<script>alert(1)</script>", "&amp;", "<b>cat</b> 0.88", "a&b.png", "a dog"):
        assert shown in page.text


def test_a_page_holds_its_pictures_with_the_regions_drawn(tmp_path):
    sheet, _ = write_contact_sheet([annotated(tmp_path, "a", "a cat")], tmp_path)
    data = re.search(r"base64,([^\"]+)", sheet.read_text(encoding="utf-8"))
    assert data
    picture = Image.open(BytesIO(base64.b64decode(data[1])))
    assert picture.size == (512, 384)
    assert picture.getpixel((480, 360)) == picture.getpixel((500, 20))
    # Plain grey but for the region's outline and label.
    assert len(picture.crop((40, 30, 320, 240)).getcolors(100_000)) > 10


def test_many_pictures_take_several_pages_and_what_is_no_layout_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "PER_PAGE", 2)
    files = [annotated(tmp_path, name, "a cat") for name in "abcde"]
    files[1][1].write_text("{")
    done = []
    sheet, failures = write_contact_sheet(files, tmp_path, on_pictures=done.append)
    assert sum(done) == 5
    ((name, reason),) = failures
    assert (name, "not JSON" in reason) == ("b.json", True)
    pages = [tmp_path / "contact-sheet.html", *(tmp_path / f"contact-sheet-{n}.html" for n in (2, 3))]
    counts = [sum(tag == "img" for tag, _ in Tags(page.read_text(encoding="utf-8")).tags) for page in pages]
    assert counts == [1, 2, 1]
    linked = {attributes["href"] for tag, attributes in Tags(sheet.read_text()).tags if tag == "a"}
    assert linked == {page.name for page in pages[1:]}


def test_of_many_pictures_some_are_shown_at_equal_distances():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread("abc", 600) == ["a", "b", "c"]
    assert spread([], 600) == []

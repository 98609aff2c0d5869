"""PNG pictures that carry a layout: the text "layout" among their own, as `render` writes it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from .json_text import MOST_CHARACTERS
from .problems import fault

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"layout"


def layout_text(data: bytes) -> bytes:
    """The text of the layout in a picture (the beginning of the file will do); LayoutError without one."""
    for kind, content in _chunks(data):
        keyword, _, rest = content.partition(b"\0")
        if keyword != _KEYWORD:
            continue
        if kind == b"tEXt":
            return rest
        if kind == b"iTXt" and len(rest) > 2:
            text = rest[2:].split(b"\0", 2)[-1]
            return _inflated(text) if rest[0] else text
    raise fault("no_layout_in_picture")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_CHARACTERS + 1)
    except zlib.error:
        raise fault("no_layout_in_picture") from None

"""Width and height of plain JPEG and PNG files from a few of their bytes, where a data set has a million."""

from __future__ import annotations

import zlib
from collections.abc import Callable

# Bytes from a place, up to a number of them: fewer at the end of a file.
ReadAt = Callable[[int, int], bytes]

_PNG = b"\x89PNG\r\n\x1a\n"
# Bits and kind of colour that a PNG may have.
_DEPTHS, _KINDS = (1, 2, 4, 8, 16), (0, 2, 3, 4, 6)
# Where PNG keeps what its writer's camera said.
_TEXTS, _METADATA = (b"tEXt", b"zTXt", b"iTXt"), (b"Raw profile type", b"XML:com.adobe.xmp")
_MOST_CHUNKS = 4096
# Baseline, extended and progressive; other frames are left to the library.
_FRAMES = (0xC0, 0xC1, 0xC2)
_SCAN = 0xDA
# Tables, restart interval, what programs write, comments. A rotation may stand in the first of what programs
# write, further pictures in the second unless it is a colour profile.
_PASSED = frozenset((0xC4, 0xCC, 0xDB, 0xDD, 0xE0, *range(0xE2, 0xF0), 0xFE))
_APP2, _PROFILE = 0xE2, b"ICC_PROFILE"
# The library warns of pictures above this.
_MOST_PIXELS = 80_000_000


def plain_size(read_at: ReadAt, head: bytes) -> tuple[int, int] | None:
    """Width and height of a picture that begins with `head`; None where the library has to look.

    It has to wherever a camera may have noted a rotation, and where anything is unusual or missing. What is
    compressed is not looked at.
    """
    size = None
    if head.startswith(b"\xff\xd8"):
        size = _jpeg(head)
    elif head.startswith(_PNG):
        size = _png(read_at, head)
    return size if size is not None and 0 < size[0] * size[1] <= _MOST_PIXELS else None


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """From the segments before the scan, all of which have to lie in the head."""
    size, place = None, 2
    while place + 10 <= len(head) and head[place] == 0xFF:
        marker = head[place + 1]
        length = int.from_bytes(head[place + 2 : place + 4], "big")
        if marker == _SCAN:
            return size
        if marker in _FRAMES:
            if size is not None or head[place + 4] != 8 or head[place + 9] not in (1, 3, 4):
                return None
            high, wide = head[place + 5 : place + 7], head[place + 7 : place + 9]
            size = int.from_bytes(wide, "big"), int.from_bytes(high, "big")
        elif (
            marker not in _PASSED
            or length < 2
            or (marker == _APP2 and not head.startswith(_PROFILE, place + 4))
        ):
            return None
        place += 2 + length
    return None


def _png(read_at: ReadAt, head: bytes) -> tuple[int, int] | None:
    """From the first chunk; the heads of the others say whether there is a rotation."""
    start = head[8:33]
    if len(start) < 25 or start[:8] != b"\0\0\0\x0dIHDR":
        return None
    size = int.from_bytes(start[8:12], "big"), int.from_bytes(start[12:16], "big")
    if start[16] not in _DEPTHS or start[17] not in _KINDS:
        return None
    if zlib.crc32(start[4:21]) != int.from_bytes(start[21:25], "big"):
        return None
    place = 33
    for _ in range(_MOST_CHUNKS):
        chunk = head[place : place + 32]
        if len(chunk) < 32:
            chunk = read_at(place, 32)
        kind = chunk[4:8]
        if kind == b"IEND":
            return size
        if len(kind) < 4 or kind == b"eXIf" or (kind in _TEXTS and chunk[8:].startswith(_METADATA)):
            return None
        place += 12 + int.from_bytes(chunk[:4], "big")
    return None

"""Caption text that is safe to draw: fonts, line breaking, characters that cannot be shown."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

# Font files of common operating systems for scripts that Pillow's own font, which is Latin, does not cover.
_OTHER_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
)
_UNASSIGNED = "\U0010fffe"


def drawable(text: str) -> str:
    """The text on one line; characters that have no picture (controls, half surrogates) become "�"."""
    words = " ".join(text.split())
    return "".join(character if character.isprintable() else "�" for character in words)


def text_size(size: tuple[int, int]) -> int:
    """Height of letters in pixels that reads well on a picture of that size: 13 at 512, 20 at 1024."""
    return max(10, round(7 + max(size) / 80))


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, or the first found that has every character of the text, if there is one."""
    own = _own_font(size)
    if _covers(own, text):
        return own
    others = (_other_font(name, size) for name in _OTHER_FONTS)
    return next((font for font in others if font is not None and _covers(font, text)), own)


@lru_cache(maxsize=16)
def _own_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # with a size, Pillow gives no other
    return font


@lru_cache(maxsize=64)
def _other_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    """A font of the operating system by file name, None where it is missing."""
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _covers(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Whether no character falls back to the "missing" box (told by comparing its picture)."""
    return not any(_is_missing(font, character) for character in set(text) if not character.isspace())


@lru_cache(maxsize=4096)
def _is_missing(font: ImageFont.FreeTypeFont, character: str) -> bool:
    return character > "~" and _picture(font, character) == _picture(font, _UNASSIGNED)


def _picture(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    side = round(3 * font.size)
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).text((side // 3, side // 3), character, font=font, fill=255)
    return image.tobytes()


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float, most_lines: int) -> list[str]:
    """Lines no wider than `width` pixels, at least one character each; "…" ends what does not fit."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < most_lines:
        line = _fitting(rest, font, width)
        rest = rest[len(line) :].lstrip()
        lines.append(line.rstrip())
    if rest:
        last = lines[-1]
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1]
        lines[-1] = f"{last.rstrip()}…"
    return lines


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The longest start of the text that fits, broken at a space where there is one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    if low == len(text):
        return text
    space = text.rfind(" ", 0, low + 1)
    return text[:space] if space > 0 else text[:low]

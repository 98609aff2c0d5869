"""Pages of the documentation: their fenced blocks, the commands in them, and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "demo/README.md",
    "timing/README.md",
    "docs/**/*.md",
    "web/docs/*.md",
)

_BLOCK = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_SHELL = ("accelerate", "instance-composer", "pip", "python", "cd", "git", "make")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the number of its first line, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}"

    @property
    def kind(self) -> str:
        """`python`, `shell`, or `data` for all that a program reads and does not run."""
        if self.text.split(maxsplit=1)[0] in _SHELL:
            return "shell"
        return "python" if self.language == "python" else "data"

    def commands(self) -> list[list[str]]:
        """The words of each command; a line may go on after a backslash, and end in a remark."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


@cache
def pages() -> dict[str, str]:
    """Name below the repository -> text, of every page."""
    found = sorted({path for pattern in PAGES for path in REPOSITORY.glob(pattern)})
    return {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8") for path in found}


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = pages()[page]
    return [
        Block(page, text.count("\n", 0, found.start("text")) + 1, found["language"], found["text"])
        for found in _BLOCK.finditer(text)
    ]


def inline_commands(page: str) -> Iterator[str]:
    """Commands of our program between single backticks, outside of blocks."""
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", _BLOCK.sub("", pages()[page])):
        if code.split()[:1] == ["instance-composer"]:
            yield code


def named_scripts(page: str) -> list[str]:
    """Programs that a page names with their folders, in sentences, tables and blocks."""
    return sorted(set(re.findall(r"(?<![\w./<>-])(?:[\w.-]+/)+[\w.-]+\.(?:py|mjs|js)\b", pages()[page])))


def links(page: str) -> list[str]:
    """Targets of the page's links that lead into the repository."""
    return sorted(set(_LINK.findall(_BLOCK.sub("", pages()[page]))))


def anchors(text: str) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in _HEADING.findall(text)]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}

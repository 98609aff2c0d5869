"""Other custom node packs whose code reaches into attention."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .report import Row

# Packs with which docs/compatibility.md proves that the pack stacks, by the folder that they are cloned into.
TESTED = (
    "comfyui_ipadapter_plus",
    "comfyui_instantid",
    "pulid_comfyui",
    "comfyui-ppm",
    "comfyui-prompt-control",
)
_REACHES = (
    ("cross-attention", re.compile(r"set_model_attn2_|set_model_patch_replace|\battn2\b")),
    ("the attention override", re.compile(r"optimized_attention_override")),
)
# A pack is code, not data: what is larger or deeper is left unread.
_MOST_FILES, _MOST_BYTES = 2_000, 1_000_000


def pack_rows(folders: Sequence[Path], own: Path) -> Iterator[Row]:
    """A row for each pack whose source names what attention is patched with."""
    found = False
    for pack in _packs(folders, own):
        reached, unread = _reached(pack)
        if unread:
            yield Row("note", pack.name, f"{unread} of its files cannot be read")
        if not reached:
            continue
        found = True
        tested = pack.name.lower() in TESTED
        words = f"changes {' and '.join(reached)}; "
        words += "tested together" if tested else "not tested together"
        yield Row("ok" if tested else "note", pack.name, words)
    if not found:
        yield Row("ok", "other packs", "none whose source changes attention")


def _packs(folders: Sequence[Path], own: Path) -> Iterator[Path]:
    for folder in folders:
        try:
            inside = sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError:
            # Somebody else's folder.
            inside = []
        yield from (
            pack
            for pack in inside
            if pack.is_dir()
            and not pack.name.startswith((".", "__"))
            and pack.suffix != ".disabled"
            and pack.resolve() != own.resolve()
        )


def _reached(pack: Path) -> tuple[list[str], int]:
    """What a pack reaches into, in words, and how many of its files cannot be read."""
    found: dict[str, None] = {}
    unread = 0
    for number, file in enumerate(pack.rglob("*.py")):
        if number >= _MOST_FILES:
            break
        if file.is_dir():
            continue
        try:
            if file.stat().st_size > _MOST_BYTES:
                continue
            source = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            # A link to nowhere, or a file of somebody else.
            unread += 1
            continue
        found |= {words: None for words, pattern in _REACHES if pattern.search(source)}
    return list(found), unread

"""Layouts for prompts: a folder of them, or of plans of other programs, found by name or by their prompt."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ...layout import Canvas, Layout, formats
from ...rankings.errors import GalleryError
from ...rankings.gallery import Prompt

_NAMED = re.compile(r"(attribute|spatial|non-spatial)-(\d+)")


class LayoutFolder:
    """Layouts by prompt, in any format that is read (Omost's and RPG's plans too).

    A file named `<aspect>-<number>` is the layout of that prompt, numbers from 0; any other is that of the
    prompt which it holds itself. `size` is the canvas of what tells none.
    """

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        if not folder.is_dir():
            raise GalleryError(
                f"there is no folder {folder} of layouts; write a layout for each prompt into it"
            )
        self.folder, self._canvas = folder, Canvas(*size)
        self._named: dict[tuple[str, int], Path] = {}
        self._by_prompt: dict[str, Path] = {}
        self.notes: list[str] = []
        for file in sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith(".")):
            match = _NAMED.fullmatch(file.stem)
            if match is not None:
                self._named[match[1], int(match[2])] = file
                continue
            try:
                own = self._read(file).prompt.strip()
            except (ValueError, OSError) as error:
                self.notes.append(f"{file} is no layout ({error}); it is left out")
                continue
            if own:
                self._by_prompt[own] = file
            else:
                self.notes.append(
                    f"{file} tells no prompt; name it after its prompt, as attribute-00000{file.suffix}"
                )

    def find(self, prompt: Prompt) -> Layout:
        """The layout of a prompt; `GalleryError` if there is none. One without a prompt gets this one."""
        file = self._named.get((prompt.drawn_for, prompt.number)) or self._by_prompt.get(prompt.text)
        if file is None:
            raise GalleryError(
                f"{self.folder} has no layout of the {prompt.drawn_for} prompt {prompt.number} "
                f"({prompt.text!r}); write one as {prompt.drawn_for}-{prompt.number:05d}.json"
            )
        layout = self._read(file)
        return layout if layout.prompt.strip() else replace(layout, prompt=prompt.text)

    def _read(self, file: Path) -> Layout:
        return formats.read_file(file, canvas=self._canvas).layout.checked()

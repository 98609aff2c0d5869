"""A member that is a folder of finished pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ...pictures.reading import PICTURE_ENDINGS, PictureError, read_picture
from ...rankings.errors import GalleryError
from ...rankings.gallery import Member, Prompt


class FolderMember:
    """Gives out pictures by the prompt that the text file of the same name says."""

    def __init__(self, member: Member) -> None:
        folder = Path(member.options["pictures"])
        if not folder.is_dir():
            raise GalleryError(f"there is no folder {folder} of pictures")
        self.folder = folder
        self._pictures: dict[str, Path] = {}
        for text in sorted(folder.rglob("*.txt")):
            prompt = text.read_text(encoding="utf-8-sig", errors="replace").strip()
            file = next((one for end in PICTURE_ENDINGS if (one := text.with_suffix(end)).is_file()), None)
            if file is not None:
                self._pictures.setdefault(prompt, file)
        if not self._pictures:
            raise GalleryError(
                f"{folder} has no picture with a prompt; write the prompt of each name.png into name.txt "
                "beside it"
            )

    def draw(self, prompt: Prompt, seed: int) -> Image.Image:
        """The finished picture; seeds mean nothing to it."""
        file = self._pictures.get(prompt.text)
        if file is None:
            raise GalleryError(
                f"{self.folder} has no picture of {prompt.text!r}; put one there, with this prompt in the "
                ".txt of its name"
            )
        try:
            return read_picture(file)
        except PictureError as error:
            raise GalleryError(f"{file} {error}") from error

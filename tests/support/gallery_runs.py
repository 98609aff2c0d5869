"""Runs of a gallery whose pictures are there: Shapes World's own, some of them of another prompt."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from instance_composer.rankings.gallery import Gallery, read_gallery
from instance_composer.rankings.pictures import picture_file, write_picture
from instance_composer.shapes_world import ShapesWorld, caption

MEMBERS = ("right", "other", "third")


def write_gallery(
    run: Path, prompts: int = 3, size: int = 64, aspects: tuple[str, ...] = ("attribute", "spatial")
):
    """A gallery of finished pictures beside a base that is never drawn, and its prompts."""
    run.mkdir(parents=True, exist_ok=True)
    world = ShapesWorld(5, size, size, figures=2)
    tables = "".join(f'[members.{name}]\nkind = "folder"\npictures = "finished"\n' for name in MEMBERS)
    files = "".join(f'{aspect} = "{aspect}.txt"\n' for aspect in aspects)
    for aspect in aspects:
        lines = [caption(world.scene(number)) for number in range(prompts)]
        (run / f"{aspect}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (run / "gallery.toml").write_text(
        f'base = "base"\nsize = "{size}x{size}"\n[prompts]\n{files}'
        f'[members.base]\nkind = "diffusers"\nmodel = "nowhere"\n{tables}',
        encoding="utf-8",
    )
    return read_gallery(run)


def write_pictures(run: Path, gallery: Gallery, members: tuple[str, ...] = MEMBERS) -> None:
    """The first member's pictures show their prompt, the others' show the scenes after it."""
    world = ShapesWorld(5, *gallery.size, figures=2)
    for place, member in enumerate(members):
        for prompt in gallery.prompts:
            image = Image.fromarray(world[prompt.number + 7 * place].image)
            record = {"prompt": prompt.text, "seed": prompt.number}
            write_picture(picture_file(run, member, prompt), image, record)


def ranking_run(run: Path, prompts: int = 3, size: int = 64) -> Gallery:
    """A run whose pictures wait for annotators."""
    gallery = write_gallery(run, prompts, size)
    write_pictures(run, gallery)
    return gallery

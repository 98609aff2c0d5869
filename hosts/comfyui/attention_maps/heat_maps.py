"""Heat maps of a record of attention over its pictures, and scores of how concentrated each entity is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ....layout import Instance, Layout
from ....models.attention.heat_maps import concentration, own_regions, stretch
from ....models.entities.matching import match_entities
from ....pictures import draw_heat_map
from ..conversions import image_tensor, images_from, shape_of
from .record import AttentionRecord, Maps

# Each cell of a map is divided into so many parts a side to measure which share of it a region covers.
FINER = 8
OWN_REGION = "its own"
OF_ANOTHER_RUN = (
    "None of the recorded runs made this latent as it is: it was changed since, or sampled elsewhere or in "
    "tiles that are runs of their own. The maps are those of the last run."
)


@dataclass(frozen=True)
class Score:
    """One entity in one picture: shares of attention inside its region, and of the picture inside it."""

    picture: int
    entity: str
    region: str
    area: float
    whole: float
    noun: float
    modifiers: float

    def cells(self) -> tuple[str, ...]:
        """A row of the table; "-" where there is no attention to share."""
        shares = (self.area, self.whole, self.noun, self.modifiers)
        percent = ("-" if share != share else f"{share:.0%}" for share in shares)
        return str(self.picture), self.entity, self.region, *percent


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Pictures, heat and scores made of a record: N pictures, E entities.

    `heats` and `regions` (N, E, h, w) in 0..1; `instances` the layout's instances by entity. `found`: whether
    the maps are of the latents that were given, if any were.
    """

    pictures: Sequence[Image.Image]
    names: Sequence[str]
    heats: Tensor
    regions: Tensor
    scores: Sequence[Score]
    instances: Mapping[int, Instance]
    found: bool = True

    def drawn(self, opacity: float) -> Tensor:
        """IMAGE (N * E, H, W, 3): picture by picture, each entity's heat; the pictures if there are none."""
        scores = iter(self.scores)
        drawn = [
            draw_heat_map(
                picture,
                _grey(self.heats[row, index]),
                f"{name} {next(scores).whole:.0%}",
                index + 1,
                _grey(self.regions[row, index]),
                opacity,
            )
            for row, picture in enumerate(self.pictures)
            for index, name in enumerate(self.names)
        ]
        return image_tensor(drawn or self.pictures)

    def masks(self) -> Tensor:
        """MASK (N * E, H, W) at the pictures' size, soft; one empty mask if there are none."""
        width, height = self.pictures[0].size
        if not self.names:
            return torch.zeros(1, height, width)
        large = F.interpolate(self.heats, (height, width), mode="bilinear", align_corners=False)
        return large.flatten(0, 1).clamp(0, 1)

    def for_editor(self) -> list[tuple[str, Image.Image]]:
        """(instance id, grey picture) of the last picture, which is the one the editor shows."""
        return [(instance.id, _grey(self.heats[-1, index])) for index, instance in self.instances.items()]

    def table(self) -> str:
        """The scores as a table in plain text, below a sentence where they are of other pictures."""
        if not self.scores:
            return "The prompt has no entities."
        heads = ("picture", "entity", "region", "area", "concentration", "noun", "modifiers")
        rows = [score.cells() for score in self.scores]
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in (heads, *rows)
        ]
        told = [] if self.found else [OF_ANOTHER_RUN, ""]
        return "\n".join([*told, *(line.rstrip() for line in lines)])


def heat_maps(
    record: AttentionRecord, latents: Tensor | None, images: Tensor | None, layout: Layout | None
) -> HeatMaps:
    """The heat maps over pictures of a record: LATENT samples (B, C, h, w), IMAGE (B, H, W, 3), or both.

    An entity's region is its instance of the layout, else where its noun's own map is hot. Of a video,
    latents (B, C, frames, h, w), the middle frame is shown.
    """
    if images is not None:
        pictures = images_from(_middle_frames(images, latents))
    elif latents is not None:
        pictures = latent_pictures(latents, record.latent_format)
    else:
        raise ValueError(
            "Connect the sampler's LATENT or the finished IMAGE: heat maps are of the pictures that were "
            "sampled."
        )
    if latents is not None and len(pictures) != len(latents):
        raise ValueError(
            f"There are {len(latents)} latents and {len(pictures)} images; both have to be of the same "
            "pictures."
        )
    entities = [tokens.entity for tokens in record.settings.entities.entities]
    if not entities:
        nothing = torch.zeros(len(pictures), 0, 1, 1)
        return HeatMaps(pictures, (), nothing, nothing, (), {})
    maps = record.maps_of(latents, len(pictures))
    matched = match_entities(entities, layout) if layout is not None else {}
    instances = {index: layout.instances[place] for index, place in matched.items()} if layout else {}
    names = [_name(entity, entities) for entity in entities]
    regions = _regions(maps, instances)
    scores = _scores(maps, regions, names, instances)
    found = latents is None or record.knows(latents)
    return HeatMaps(pictures, names, stretch(maps.entities), regions, scores, instances, found)


def _middle_frames(images: Tensor, latents: Tensor | None) -> Tensor:
    """The middle picture of each video; of other pictures all."""
    videos = latents.shape[0] if latents is not None and latents.ndim == 5 and latents.shape[2] > 1 else 0
    if not videos or len(images) % videos:
        return images
    frames = len(images) // videos
    return images[frames // 2 :: frames]


def latent_pictures(latents: Tensor, form: Any) -> list[Image.Image]:
    """Latents as in ComfyUI's quick previews (latent to RGB), at the pictures' size.

    Of a video the middle frame. `form` is ComfyUI's description of latents (`LatentFormat`); ValueError for
    one without previews.
    """
    if not form.latent_rgb_factors:
        raise ValueError("ComfyUI has no quick previews of this model's latents: connect the finished IMAGE.")
    factors = torch.tensor(form.latent_rgb_factors)
    bias = torch.tensor(form.latent_rgb_factors_bias or [0.0, 0.0, 0.0])
    scaled = form.process_in(latents.float().cpu())
    scaled = scaled[:, :, scaled.shape[2] // 2] if scaled.ndim == 5 else scaled
    # Older versions of ComfyUI know neither, nor a model that has them.
    if (reshaped := getattr(form, "latent_rgb_factors_reshape", None)) is not None:
        scaled = reshaped(scaled)
    small = images_from((scaled.movedim(1, -1) @ factors + bias + 1) / 2)
    side = getattr(form, "spacial_downscale_ratio", 8)
    size = (latents.shape[-1] * side, latents.shape[-2] * side)
    return [picture.resize(size, Image.Resampling.BICUBIC) for picture in small]


def _regions(maps: Maps, instances: Mapping[int, Instance]) -> Tensor:
    """Share of each cell that belongs to the region: (N, E, h, w)."""
    regions = own_regions(maps.nouns)
    height, width = (side * FINER for side in regions.shape[-2:])
    for index, instance in instances.items():
        pixels = bytearray(shape_of(instance).raster(width, height))
        fine = torch.frombuffer(pixels, dtype=torch.uint8).view(1, height, width)
        regions[:, index] = F.avg_pool2d(fine.float(), FINER)
    return regions


def _scores(
    maps: Maps, regions: Tensor, names: Sequence[str], instances: Mapping[int, Instance]
) -> list[Score]:
    shares = [concentration(one, regions).tolist() for one in (maps.entities, maps.nouns, maps.modifiers)]
    areas = regions.mean((-2, -1)).tolist()
    return [
        Score(
            row + 1,
            name,
            instances[index].id if index in instances else OWN_REGION,
            areas[row][index],
            *(share[row][index] for share in shares),
        )
        for row in range(len(areas))
        for index, name in enumerate(names)
    ]


def _name(entity: Any, entities: Sequence[Any]) -> str:
    """The entity's words, with its number where another has the same."""
    words = " ".join((*entity.modifiers, entity.noun))
    same = [one for one in entities if (one.modifiers, one.noun) == (entity.modifiers, entity.noun)]
    return words if len(same) == 1 else f"{words} ({same.index(entity) + 1})"


def _grey(one: Tensor) -> Image.Image:
    return Image.fromarray((one.clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy(), "L")

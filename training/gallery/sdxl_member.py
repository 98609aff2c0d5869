"""Members that draw with SDXL in this pack's own ways: IFAdapter, and attention concentrated."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CLIPTokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

from ...hosts.diffusers_sdxl import (
    attach_concentration,
    encode_layout,
    generate,
    load_loras,
    load_sdxl,
)
from ...layout import Layout
from ...models.concentration import LocalGuidance, Targets
from ...models.concentration.find_targets import find_targets
from ...models.entities.extraction import extract_entities
from ...models.entities.pipelines import parse
from ...models.ifadapter import IFAdapter
from ...rankings.gallery import Gallery, Member, Prompt
from .layouts import LayoutFolder

_STEPS, _GUIDANCE = 30, 7.5


def _load(member: Member, device: torch.device) -> Any:
    options = member.options
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    pipeline = load_sdxl(options["model"], dtype=dtype, device=device)
    if "lora" in options:
        load_loras(pipeline, [(options["lora"], options.get("lora_strength", 1.0))])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class IFAdapterMember:
    """Draws a prompt's layout with an IFAdapter."""

    def __init__(self, member: Member, gallery: Gallery, device: torch.device) -> None:
        self.options, self.size = member.options, gallery.size
        self.layouts = LayoutFolder(Path(self.options["layouts"]), gallery.size)
        self.adapter = IFAdapter.load(self.options["adapter"]).to(device)
        self.pipeline = _load(member, device)

    def draw(self, prompt: Prompt, seed: int) -> Image.Image:
        encoded = encode_layout(self.pipeline, self.adapter, self.layouts.find(prompt))
        width, height = self.size
        return generate(
            self.pipeline,
            encoded,
            height=height,
            width=width,
            seeds=(seed,),
            steps=self.options.get("steps", _STEPS),
            guidance=self.options.get("guidance", _GUIDANCE),
            scale=self.options.get("strength", 1.0),
        )[0]


class ConcentrationMember:
    """Draws a prompt with the attention of its things drawn to their places."""

    def __init__(self, member: Member, gallery: Gallery, device: torch.device) -> None:
        self.options, self.size = member.options, gallery.size
        folder = self.options.get("layouts")
        self.layouts = None if folder is None else LayoutFolder(Path(folder), gallery.size)
        self.pipeline = _load(member, device)
        tokenizer = self.pipeline.tokenizer
        if not tokenizer.is_fast:
            tokenizer = CLIPTokenizerFast.from_pretrained(tokenizer.name_or_path)
        self.tokenizer = tokenizer

    def draw(self, prompt: Prompt, seed: int) -> Image.Image:
        layout = None if self.layouts is None else self.layouts.find(prompt)
        targets = self._targets(prompt.text, layout)
        guidance = self.options.get("guidance", _GUIDANCE)
        local = LocalGuidance(strength=self.options.get("strength", 1.0))
        width, height = self.size
        # The conditional row is the last of a guided pair, and the only one without guidance.
        unet = self.pipeline.unet
        with nullcontext() if targets is None else attach_concentration(unet, targets, local, rows=[-1]):
            return self.pipeline(
                prompt=prompt.text,
                width=width,
                height=height,
                num_inference_steps=self.options.get("steps", _STEPS),
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(seed),
            ).images[0]

    def _targets(self, text: str, layout: Layout | None) -> Targets | None:
        (doc,) = parse([text])
        read = self.tokenizer(
            text, truncation=True, max_length=self.tokenizer.model_max_length, return_offsets_mapping=True
        )
        return find_targets(extract_entities(doc, read["offset_mapping"]), layout)

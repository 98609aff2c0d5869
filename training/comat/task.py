"""The task of CoMat's training: prompts in, a LoRA out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ...models.comat.lora import save_lora
from ..data.pictures import decode, save_grid, to_bytes
from ..engine.fingerprint import of_texts
from ..engine.order import sample_numbers
from ..engine.settings import Settings
from ..engine.task import BatchPosition, Cost, Player, Task
from .forecast import cost_of, parts_of
from .lora import lora_layers, without_lora
from .objective import DISCRIMINATOR, GENERATOR, CoMatObjective
from .original_latents import OriginalLatents
from .prompts import PromptEntities

LORA = "comat_lora.safetensors"
_EXAMPLES, _COLUMNS = 8, 8
# The released code's, for the discriminator.
_BETA1, _CLIP = 0.0, 1.0


class CoMatTask(Task[CoMatObjective]):
    """A LoRA tuned on prompts alone; size is (width, height) in pixels.

    `entities` has one entry for each prompt, `original` latents of the original model for each; both only
    where the objective has the part that needs them; `to_make` of the latents are not there yet. `held_out`
    prompts are not trained on.
    `discriminator_rate` is a multiple of the run's rate.
    """

    def __init__(
        self,
        objective: CoMatObjective,
        prompts: Sequence[str],
        size: tuple[int, int],
        factor: int,
        entities: Sequence[PromptEntities] | None = None,
        original: OriginalLatents | None = None,
        discriminator_rate: float = 1.0,
        precision: torch.dtype | None = None,
        about: dict[str, Any] | None = None,
        to_make: int = 0,
        held_out: Sequence[str] = (),
        held_out_entities: Sequence[PromptEntities] = (),
        rests_on: dict[str, Any] | None = None,
    ) -> None:
        self.objective, self.prompts, self.size, self.factor = objective, list(prompts), size, factor
        self.entities, self.original = entities, original
        self.discriminator_rate, self.precision = discriminator_rate, precision
        self.about, self.to_make, self._rests_on = about or {}, to_make, rests_on or {}
        self._held_out, self._held_out_entities = list(held_out), list(held_out_entities)

    @property
    def players(self) -> Sequence[Player]:
        """The LoRA, and after it the discriminator if there is one."""
        if self.objective.discriminator is None:
            return (Player(GENERATOR, ("unet.",)),)
        generator = Player(GENERATOR, ("unet.",), judged="judged")
        beginnings = ("discriminator.",)
        return (
            generator,
            Player(
                DISCRIMINATOR, beginnings, "telling", {"": self.discriminator_rate}, beta1=_BETA1, clip=_CLIP
            ),
        )

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Any]:
        """Prompts with their tokens, entities and original latents."""
        numbers = sample_numbers(len(self.prompts), size, position.number, seed)
        entities = [self.entities[number] for number in numbers] if self.entities else []
        batch = self._asked([self.prompts[number] for number in numbers], entities, position.part)
        if self.original is not None:
            batch["real"] = self.original(numbers)
        return batch

    @property
    def held_out_count(self) -> int:
        return len(self._held_out)

    def validation_batches(self, size: int) -> Sequence[dict[str, Any]]:
        """What is held out, always in the same order."""
        parts = [slice(first, first + size) for first in range(0, len(self._held_out), size)]
        return [self._asked(self._held_out[part], self._held_out_entities[part], 0) for part in parts]

    def _asked(self, prompts: list[str], entities: Sequence[PromptEntities], part: int) -> dict[str, Any]:
        return {
            **self._conditions(prompts),
            "nouns": [one.nouns for one in entities] or [()] * len(prompts),
            "groups": [one.groups for one in entities] or [()] * len(prompts),
            "rivals": [one.rivals for one in entities] or [()] * len(prompts),
            "part": part,
        }

    def _conditions(self, prompts: list[str]) -> dict[str, Any]:
        width, height = self.size
        return {
            "prompts": prompts,
            "tokens": self.objective.prompts.tokens(prompts),
            "empty": self.objective.prompts.tokens([""]),
            "size": (height, width),
            "grid": (height // self.factor, width // self.factor),
        }

    @property
    def thrift(self) -> str:
        return (
            "give --gradient-checkpointing, train in mixed precision, take fewer --gradient-steps, or leave "
            "the discriminator out (--fidelity-weight 0)"
        )

    @property
    def samples(self) -> int:
        return len(self.prompts)

    def account(self) -> Iterable[str]:
        """The parts that are on, and which are left out."""
        return parts_of(self)

    def cost(self, settings: Settings, device: torch.device) -> Cost:
        """Measured in single calls: a whole sample takes long, and needs what may not be made yet."""
        return cost_of(self, settings, device)

    def describe(self) -> dict[str, Any]:
        held_out = {"held_out": of_texts(self._held_out)} if self._held_out else {}
        about = {"task": "comat", "prompts": of_texts(self.prompts), "size": list(self.size)}
        return {**about, **self.about, **held_out}

    def rests_on(self) -> dict[str, Any]:
        return self._rests_on

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """The first prompts as the original model draws them, above the same noise with the LoRA."""
        prompts = self.prompts[:_EXAMPLES]
        with without_lora(self.objective.unet):
            before = self._draw(prompts)
        pictures = torch.cat((before, self._draw(prompts)))
        save_grid(to_bytes(pictures), min(_COLUMNS, len(prompts)), path)

    @torch.no_grad()
    def draw_latents(self, prompts: Sequence[str], generators: Sequence[Generator]) -> Tensor:
        """Latents (B, C, h, w) of prompts by the model as it is now, each from a generator of its own."""
        batch, objective = self._conditions(list(prompts)), self.objective
        device = next(objective.unet.parameters()).device
        on_device = {name: [ids.to(device) for ids in batch[name]] for name in ("tokens", "empty")}
        shape = (objective.unet.config["in_channels"], *batch["grid"])

        def noise(_: int) -> Tensor:
            return torch.stack(
                [torch.randn(shape, generator=one, device=one.device).to(device) for one in generators]
            )

        dtype = self.precision or torch.float32
        with torch.autocast(device.type, dtype=dtype, enabled=self.precision is not None):
            empty = objective.prompts.encode(on_device["empty"], batch["size"])
            positive = objective.prompts.encode(on_device["tokens"], batch["size"])
            return objective.sampler(noise(0), empty.repeated(len(prompts)), positive, noise).latents

    def _draw(self, prompts: Sequence[str]) -> Tensor:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(len(prompts))]
        latents = self.draw_latents(prompts, generators)
        vae = self.objective.vae
        return torch.cat(
            [decode(vae, one.float() / vae.config["scaling_factor"]) for one in latents.split(1)]
        )

    def export(self, folder: Path) -> None:
        """The LoRA, as ComfyUI's Load LoRA and diffusers read it."""
        layers = lora_layers(self.objective.unet)
        halves = {name: type(one)(one.down.half().cpu(), one.up.half().cpu()) for name, one in layers.items()}
        about = {name: str(value) for name, value in self.describe().items()}
        save_lora(folder / LORA, halves, about)

"""The task of feedback learning: prompts in, a tuned UNet or a LoRA out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from ...hosts.diffusers_sdxl import generate_base
from ...models.comat.lora import save_lora
from ..comat.lora import lora_layers, without_lora
from ..comat.original_latents import OriginalLatents
from ..data.pictures import save_grid, to_tensor
from ..data.text import Tokenizer
from ..engine.account.measure import timed
from ..engine.fingerprint import of_texts
from ..engine.order import sample_numbers
from ..engine.precision import sampling_in
from ..engine.settings import Settings
from ..engine.task import BatchPosition, Player, Task
from ..noise import size_conditioning
from .feedback_objective import (
    DISCRIMINATOR,
    FIRST_LAST,
    GENERATOR,
    STEPS,
    AspectReward,
    FeedbackForm,
    FeedbackObjective,
)
from .ranked_pictures import RankedPictures, RankedPrompt

LORA, UNET = "feedback_lora.safetensors", "unet"
_EXAMPLES, _COLUMNS = 8, 4
# The released code's of CoMat, for its discriminator.
_BETA1, _CLIP = 0.0, 1.0


class Originals(Protocol):
    """Where the original model's latents for a task's prompts are kept, and how they are made."""

    def missing(self, count: int) -> int:
        """How many of `count` are still to be made."""
        ...

    def make(self, task: FeedbackTask) -> OriginalLatents:
        """All of them, made now or earlier."""
        ...


class FeedbackTask(Task[FeedbackObjective]):
    """A pipeline's UNet, or a LoRA on it, tuned on prompts alone; size is (width, height) in pixels.

    `original` makes latents of the original model for each prompt, where there is a discriminator, whose rate
    is a multiple of the run's; before `prepare` zeros take their place. `about` is what else must not change
    when a run is continued. `held_out` prompts are not trained on; `precision` is that of what is frozen, if
    it is a half one. A batch has as many `rankings`, if there are any, as prompts, each with all its
    pictures.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        rewards: Sequence[AspectReward],
        prompts: Sequence[str],
        size: tuple[int, int],
        objective: FeedbackObjective | None = None,
        original: Originals | None = None,
        discriminator_rate: float = 1.0,
        about: dict[str, Any] | None = None,
        held_out: Sequence[str] = (),
        precision: torch.dtype | None = None,
        rankings: RankedPictures | None = None,
    ) -> None:
        self.pipeline, self.rewards, self.prompts, self.size = pipeline, list(rewards), list(prompts), size
        self.objective = objective or FeedbackObjective(pipeline, rewards)
        self._originals, self.discriminator_rate, self.about = original, discriminator_rate, about or {}
        self._original: OriginalLatents | None = None
        self._held_out, self.precision, self.rankings = list(held_out), precision, rankings
        self._tokenizer = Tokenizer(pipeline)

    @property
    def players(self) -> Sequence[Player]:
        """The UNet or its LoRA, and after it the discriminator if there is one."""
        if self.objective.discriminator is None:
            return (Player(),)
        generator = Player(GENERATOR, ("unet.",), judged="judged")
        rates = {"": self.discriminator_rate}
        judge = Player(DISCRIMINATOR, ("discriminator.",), "telling", rates, beta1=_BETA1, clip=_CLIP)
        return (generator, judge)

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Any]:
        """Prompts for the text encoders and for the reward models, and size conditioning."""
        numbers = sample_numbers(len(self.prompts), size, position.number, seed)
        batch = self.conditions([self.prompts[number] for number in numbers])
        batch["part"] = position.part
        if self.objective.discriminator is not None:
            channels = self.objective.unet.config["in_channels"]
            blank = torch.zeros((size, channels, *batch["grid"]), dtype=torch.float16)
            batch["real"] = blank if self._original is None else self._original(numbers)
        if self.rankings is not None:
            chosen = sample_numbers(len(self.rankings), size, position.number, seed)
            batch["ranked"] = self._ranked([self.rankings[number] for number in chosen])
        return batch

    def prepare(self) -> None:
        """Let the original model draw what its discriminator takes for real."""
        if self._originals is not None:
            self._original = self._originals.make(self)

    def _ranked(self, rankings: Sequence[RankedPrompt]) -> dict[str, Any]:
        """All pictures of some rankings, as the objective reads them."""
        pictures = np.stack([np.asarray(picture) for one in rankings for picture in one.pictures])
        prompts = [number for number, one in enumerate(rankings) for _ in one.pictures]
        width, height = self.size
        return {
            "pictures": to_tensor(pictures),
            "numbers": torch.tensor([number for one in rankings for number in one.numbers]),
            "prompts": torch.tensor(prompts),
            "ids": self._tokenizer([one.prompt for one in rankings]),
            "sizes": size_conditioning([(height, width)] * len(rankings)),
            "advantages": torch.tensor([value for one in rankings for value in one.advantages]),
        }

    @property
    def held_out_count(self) -> int:
        return len(self._held_out)

    def validation_batches(self, size: int) -> Sequence[dict[str, Any]]:
        """What is held out, always in the same order."""
        parts = [self._held_out[first : first + size] for first in range(0, len(self._held_out), size)]
        return [{**self.conditions(part), "part": 0} for part in parts]

    def conditions(self, prompts: Sequence[str]) -> dict[str, Any]:
        """What the objective reads of prompts."""
        width, height = self.size
        factor: int = self.pipeline.vae_scale_factor
        return {
            "ids": self._tokenizer(prompts),
            "empty": self._tokenizer([""]),
            "sizes": size_conditioning([(height, width)] * len(prompts)),
            "grid": (height // factor, width // factor),
            "read": [one.tokenizer(prompts)[:2] for one in self.rewards],
        }

    def before(self, settings: Settings, device: torch.device) -> float | None:
        """Seconds of the original model's pictures, of one call of its UNet for a batch of them."""
        count = len(self.prompts)
        missing = 0 if self._originals is None else self._originals.missing(count)
        if not missing:
            return 0.0
        numbers = range(min(settings.batch, count))
        generators = [torch.Generator(device).manual_seed(number) for number in numbers]
        call = partial(self._draw_original, numbers, generators, 0)
        # The first one also chooses kernels.
        call()
        seconds = timed(call, self.objective, device).seconds
        # Up to one of the last steps, each as likely, that one too.
        calls = (FIRST_LAST + STEPS - 1) / 2 + 1
        return missing / len(numbers) * calls * seconds

    def draw_original(self, numbers: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
        """Latents (B, C, h, w) of the model before training for some prompts, up to a step as in training.

        The discriminator's UNet is that model but for its LoRA.
        """
        first = generators[0]
        last = int(torch.randint(FIRST_LAST, STEPS, (), generator=first, device=first.device))
        return self._draw_original(numbers, generators, last)

    @torch.no_grad()
    def _draw_original(
        self, numbers: Sequence[int], generators: Sequence[torch.Generator], last: int
    ) -> Tensor:
        objective, judge = self.objective, self.objective.discriminator
        assert judge is not None
        batch = self.conditions([self.prompts[number] for number in numbers])
        device = next(objective.unet.parameters()).device
        ids, empty = (type(batch[n])(*(one.to(device) for one in batch[n])) for n in ("ids", "empty"))
        sizes = batch["sizes"].to(device)
        shape = (objective.unet.config["in_channels"], *batch["grid"])

        def noise(_: int) -> Tensor:
            return torch.stack([torch.randn(shape, generator=one, device=one.device) for one in generators])

        with (
            torch.autocast(device.type, self.precision, self.precision is not None),
            without_lora(judge.unet),
        ):
            positive, without = objective.encode(ids, sizes), objective.encode(empty, sizes[:1])
            return objective.sample(noise(0), noise, last, positive, without, unet=judge.unet)[0]

    @property
    def samples(self) -> int:
        return len(self.prompts)

    def account(self) -> Iterable[str]:
        width, height = self.size
        yield f"prompts: {len(self.prompts)}, pictures of {width} × {height}"
        if self.objective.form.reward:
            yield f"rewards: {', '.join(self.objective.aspects)}"
        if self.rankings is not None:
            left_out = (
                f", {self.rankings.left_out} of held-out prompts left out" if self.rankings.left_out else ""
            )
            yield f"rankings: {len(self.rankings)}{left_out}"
        if self._originals is not None and (missing := self._originals.missing(len(self.prompts))):
            yield f"the original model draws {missing} pictures before the first step"

    def describe(self) -> dict[str, Any]:
        described = {
            "task": "feedback",
            "prompts": of_texts(self.prompts),
            "size": list(self.size),
            "aspects": self.objective.aspects,
            **self.about,
        }
        if self.rankings is not None:
            described |= self.rankings.describe()
        if self._held_out:
            described["held_out"] = of_texts(self._held_out)
        # Runs that were started before there was a choice go on.
        if self.objective.form != FeedbackForm():
            described["form"] = asdict(self.objective.form)
        return described

    def sample(self, path: Path) -> None:
        """The first prompts, each with a noise of its own."""
        width, height = self.size
        prompts = self.prompts[:_EXAMPLES]
        with sampling_in(self.precision, self.pipeline):
            save_grid(generate_base(self.pipeline, prompts, height, width), _COLUMNS, path)

    def export(self, folder: Path) -> None:
        """The UNet in a diffusers folder, as Load IterComp UNet and `convert` read it; or the LoRA."""
        if not self.objective.lora:
            self.pipeline.unet.save_pretrained(folder / UNET)
            return
        layers = lora_layers(self.pipeline.unet)
        halves = {name: type(one)(one.down.half().cpu(), one.up.half().cpu()) for name, one in layers.items()}
        folder.mkdir(parents=True, exist_ok=True)
        save_lora(folder / LORA, halves, {name: str(value) for name, value in self.describe().items()})

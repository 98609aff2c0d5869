"""Objective of feedback learning: what reward models think of a UNet's pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Generator, Tensor, nn

from ...hosts.diffusers_sdxl import generate_base
from ...models.rewards import RewardModel, RewardTokenizer, prepare_decoded
from ..data.pictures import decode, save_grid
from ..data.text import Tokenizer, encode_prompts
from ..engine.fingerprint import of_texts
from ..engine.order import sample_numbers
from ..engine.task import BatchPosition, Task
from ..noise import noise_schedule, size_conditioning

# The released code's, which are those of ReFL (ImageReward, arXiv 2304.05977): a picture is sampled up to one
# of the last ten of forty steps, rewards count up to two deviations above the mean.
_STEPS, _FIRST_LAST = 40, 30
_TARGET_REWARD = 2.0
_LOSS_SCALE = 1e-3
_EXAMPLES, _COLUMNS = 8, 4


class AspectReward(NamedTuple):
    """The reward model of one aspect and how it reads prompts."""

    aspect: str
    model: RewardModel
    tokenizer: RewardTokenizer


class FeedbackObjective(nn.Module):
    """The mean over pictures of sum over aspects of max(0, 2 - normalised reward), times 1e-3.

    Only the UNet is trained, through one of the last sampling steps, the decoder and the reward models; all
    steps before are without gradient, and there is no guidance.

    Source: IterComp (arXiv 2410.07171), multi-reward feedback learning, as the released code does it.
    """

    def __init__(self, pipeline: StableDiffusionXLPipeline, rewards: Sequence[AspectReward]) -> None:
        super().__init__()
        self.unet: Any = pipeline.unet.requires_grad_(True)
        self.text_encoder: Any = pipeline.text_encoder.requires_grad_(False)
        self.text_encoder_2: Any = pipeline.text_encoder_2.requires_grad_(False)
        self.vae: Any = pipeline.vae.requires_grad_(False)
        self.rewards: Any = nn.ModuleList(one.model.requires_grad_(False) for one in rewards)
        self.aspects = [one.aspect for one in rewards]
        self.scheduler = noise_schedule(pipeline)

    def train(self, mode: bool = True) -> FeedbackObjective:
        """Training mode for the UNet alone: dropout in a reward model would be noise in what it says."""
        super().train(mode)
        self.rewards.eval()
        return self

    def forward(self, batch: dict[str, Any], generator: Generator) -> dict[str, Tensor]:
        """batch: ids (B, T) as `TokenIds`, sizes (B, 6), grid (h, w) of the latents, and for each
        reward `read`: input_ids and attention_mask, both (B, T).
        """
        with torch.no_grad():
            prompt, pooled = encode_prompts(self.text_encoder, self.text_encoder_2, batch["ids"])
        conditions = {"text_embeds": pooled, "time_ids": batch["sizes"]}

        def step(latents: Tensor, timestep: Tensor) -> Any:
            predicted = self.unet(latents, timestep, prompt, added_cond_kwargs=conditions).sample
            return self.scheduler.step(predicted, timestep, latents, generator=generator)  # type: ignore[arg-type]

        channels: int = self.unet.config["in_channels"]
        shape = (len(prompt), channels, *batch["grid"])
        latents = torch.randn(shape, generator=generator, device=prompt.device)
        last = int(torch.randint(_FIRST_LAST, _STEPS, (), generator=generator, device=prompt.device))
        self.scheduler.set_timesteps(_STEPS, device=prompt.device)
        with torch.no_grad():
            for timestep in self.scheduler.timesteps[:last]:
                latents = step(latents, timestep).prev_sample
        # Mixed precision keeps the halves of weights that it made without gradients; used again they would
        # cut the UNet off from its gradient.
        torch.clear_autocast_cache()
        picture = step(latents, self.scheduler.timesteps[last]).pred_original_sample
        # Half precision overflows in SDXL's decoder.
        with torch.autocast(picture.device.type, enabled=False):
            decoded = decode(self.vae, picture.float() / self.vae.config["scaling_factor"])
            scores = {
                aspect: model.score(prepare_decoded(decoded, model.config.image_size), *read)
                for aspect, model, read in zip(self.aspects, self.rewards, batch["read"], strict=True)
            }
        shortfall = torch.stack([(_TARGET_REWARD - score).relu() for score in scores.values()]).sum(dim=0)
        return {
            "loss": shortfall.mean() * _LOSS_SCALE,
            **{aspect: score.mean().detach() for aspect, score in scores.items()},
        }


class FeedbackTask(Task[FeedbackObjective]):
    """A pipeline's UNet tuned on prompts alone; size is (width, height) in pixels."""

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        rewards: Sequence[AspectReward],
        prompts: Sequence[str],
        size: tuple[int, int],
    ) -> None:
        self.pipeline, self.rewards, self.prompts, self.size = pipeline, list(rewards), list(prompts), size
        self.objective = FeedbackObjective(pipeline, rewards)
        self._tokenizer = Tokenizer(pipeline)

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Any]:
        """Prompts for the text encoders and for the reward models, and size conditioning."""
        numbers = sample_numbers(len(self.prompts), size, position.number, seed)
        prompts = [self.prompts[number] for number in numbers]
        width, height = self.size
        factor: int = self.pipeline.vae_scale_factor
        return {
            "ids": self._tokenizer(prompts),
            "sizes": size_conditioning([(height, width)] * size),
            "grid": (height // factor, width // factor),
            "read": [one.tokenizer(prompts)[:2] for one in self.rewards],
        }

    @property
    def samples(self) -> int:
        return len(self.prompts)

    def account(self) -> Iterable[str]:
        width, height = self.size
        yield f"prompts: {len(self.prompts)}, pictures of {width} × {height}"
        yield f"rewards: {', '.join(self.objective.aspects)}"

    def describe(self) -> dict[str, Any]:
        return {
            "task": "feedback",
            "prompts": of_texts(self.prompts),
            "size": list(self.size),
            "aspects": self.objective.aspects,
        }

    def sample(self, path: Path) -> None:
        """The first prompts, each with a noise of its own."""
        width, height = self.size
        prompts = self.prompts[:_EXAMPLES]
        save_grid(generate_base(self.pipeline, prompts, height, width), _COLUMNS, path)

    def export(self, folder: Path) -> None:
        """The UNet in a diffusers folder, as Load IterComp UNet and `convert` read it."""
        self.pipeline.unet.save_pretrained(folder / "unet")

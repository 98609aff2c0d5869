"""Training of the demo transformer: flow matching on encoded pictures, with frozen text encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusionXLPipeline
from torch import Generator, Tensor, nn

from ..data.latents import LatentSet
from ..data.pictures import decode, save_grid, to_bytes
from ..engine.fingerprint import of_frozen
from ..flow.frozen_texts import FrozenTexts, Texts
from ..flow.path import draw_times, on_the_way
from ..flow.sampling import predict_velocity, sample_latents
from ..noise import drop
from .captioned import CaptionedTask, Sets

# Captions left out, so that guidance has something to guide away from: half become zeros, as ComfyUI's node
# Conditioning Zero Out makes them, half the empty caption.
_DROP = 0.1
# Of the sample pictures.
_STEPS, _GUIDANCE = 20, 4.0


class FlowObjective(nn.Module):
    """Prediction of the velocity given captions."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, batch: dict[str, Any], generator: Generator) -> dict[str, Tensor]:
        """batch: latents (B, 4, h, w), texts (B) and empty, of one text, as `Texts`."""
        latents: Tensor = batch["latents"].float()
        dropped, zeroed = (drop((len(latents),), share, generator) for share in (_DROP, 0.5))
        texts = _emptied(Texts(*batch["texts"]), Texts(*batch["empty"]), dropped & ~zeroed)
        kept = ~(dropped & zeroed)[:, None]
        texts = texts._replace(states=texts.states * kept[..., None], pooled=texts.pooled * kept)
        times = draw_times(len(latents), generator)
        noisy, velocity = on_the_way(latents, times, generator)
        predicted = predict_velocity(self.transformer, noisy, times, texts)
        return {"loss": F.mse_loss(predicted.float(), velocity)}


def _emptied(texts: Texts, empty: Texts, dropped: Tensor) -> Texts:
    """The texts, those that are `dropped` (B) as the empty one."""
    missing = texts.states.shape[1] - empty.states.shape[1]
    states, mask = F.pad(empty.states, (0, 0, 0, missing)), F.pad(empty.mask, (0, missing))
    return Texts(
        torch.where(dropped[:, None, None], states, texts.states),
        torch.where(dropped[:, None], mask, texts.mask),
        torch.where(dropped[:, None], empty.pooled, texts.pooled),
    )


class FlowTask(CaptionedTask[FlowObjective]):
    """A transformer trained on pictures that the autoencoder of `pipeline` encoded; it has the texts too."""

    def __init__(
        self,
        transformer: nn.Module,
        pipeline: StableDiffusionXLPipeline,
        sets: Sequence[LatentSet],
        held_out: Sequence[LatentSet] = (),
        encode: Callable[[], Sets] | None = None,
    ) -> None:
        super().__init__(sets, held_out, encode)
        self._vae, self._texts = pipeline.vae, FrozenTexts(pipeline)
        self.objective = FlowObjective(transformer)
        self.scheduler = FlowMatchEulerDiscreteScheduler()

    def collate(self, one: LatentSet, numbers: Sequence[int]) -> dict[str, Any]:
        """Latents, and the captions as the text encoders read them."""
        return {
            "latents": one.latents(numbers),
            "texts": self._texts([one.document(number)["prompt"] for number in numbers]),
            "empty": self._texts([""]),
        }

    def describe(self) -> dict[str, Any]:
        encoders = nn.ModuleList(self._texts.encoders)
        return {"task": "flow", "sets": self.counted, "text encoders": of_frozen(encoders)}

    def sample(self, path: Path) -> None:
        """Eight captions of known combinations above eight of combinations never seen."""
        captions, height, width = self.examples()
        device = next(self.objective.parameters()).device
        shape = (len(captions), 4, height // 8, width // 8)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        positive, negative = (
            Texts(*(part.to(device) for part in self._texts(some))) for some in (captions, [""])
        )
        latents = sample_latents(
            self.objective.transformer,
            self.scheduler,
            noise,
            positive,
            negative,
            steps=_STEPS,
            guidance=_GUIDANCE,
        )
        unscaled = latents.to(self._vae.device) / self._vae.config["scaling_factor"]
        pictures = decode(self._vae, unscaled)
        save_grid(to_bytes(pictures), 8, path)

    def export(self, folder: Path) -> None:
        """The transformer and how it is sampled, as folders of diffusers."""
        transformer: Any = self.objective.transformer
        transformer.save_pretrained(folder / "transformer")
        self.scheduler.save_pretrained(folder / "scheduler")

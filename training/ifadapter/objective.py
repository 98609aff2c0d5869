"""Objective of an IFAdapter on a frozen SDXL, and the task that trains it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageDraw
from torch import Generator, Tensor, nn

from ...hosts.diffusers_sdxl import (
    attach_ifadapter,
    encode_layout,
    encode_tokens,
    generate,
)
from ...layout import Layout
from ...models.ifadapter import IFAdapter
from ...models.ifadapter.phrases import Phrases
from ...models.regions import Placement
from ..data.errors import SourceError
from ..data.held_out import hold_out
from ..data.keys import NOWHERE, KeyIndex, as_rows
from ..data.latents import Buckets, LatentSet
from ..data.pictures import save_grid
from ..data.text import EncodedPhrases, EncodedPrompts, TokenIds, Tokenizer, encode_prompts
from ..data.text_encoding import Text, TextEncoding, TextSource, texts_of, texts_of_sample
from ..data.text_features import SampleTexts
from ..engine.batches import OnDemand
from ..engine.precision import sampling_in
from ..engine.settings import Settings
from ..engine.task import BatchPosition, Task
from ..noise import (
    add_noise,
    drop,
    noise_schedule,
    signal_to_noise_weights,
    training_target,
)

# IFAdapter (arXiv 2409.08240), section 4.1; "set to 0", as its unconditional branch has it. That both are
# drawn per picture and independently of each other is our reading, the paper does not say.
DROP_INSTANCES, DROP_PROMPT = 0.15, 0.3
_EXAMPLES = 8


class IFAdapterObjective(nn.Module):
    """Noise prediction given a caption, and captions with boxes; only the adapter is trained.

    `region_weight` adds the error inside the boxes once more, times this weight (OccluRank, arXiv 2608.20932,
    uses 2); `snr_power` weighs errors by SNR ** -power, which turns training from nearly clean latents, where
    errors are largest, to those noisy enough that places are still open. 0 of both is the paper's objective.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        adapter: IFAdapter,
        region_weight: float = 0.0,
        snr_power: float = 0.0,
    ) -> None:
        super().__init__()
        self.adapter = adapter.requires_grad_(True)
        self.unet: Any = pipeline.unet.requires_grad_(False)
        # None where captions come as features.
        self.text_encoder, self.text_encoder_2 = (
            one if one is None else one.requires_grad_(False)
            for one in (pipeline.text_encoder, pipeline.text_encoder_2)
        )
        self.region_weight, self.snr_power = region_weight, snr_power
        self.scheduler = noise_schedule(pipeline)
        self._attached = ExitStack()

    def forward(self, batch: dict[str, Any], generator: Generator) -> dict[str, Tensor]:
        """batch: latents (B, 4, h, w), ids (B, T), phrases (P, T), boxes (P, 4), counts (B), sizes (B, 6).

        Captions are token ids, or what the text encoders have made of them.

        The adapter stays attached until `detach`, because gradient checkpointing calls the UNet once more
        during the backward pass.
        """
        self.detach()
        latents: Tensor = batch["latents"].float()
        without_instances, without_prompt = (
            drop((len(latents),), share, generator) for share in (DROP_INSTANCES, DROP_PROMPT)
        )
        prompt, pooled = self._conditions(batch["ids"])
        tokens = self._instance_tokens(batch, without_instances)
        noisy, noise, timesteps = add_noise(latents, self.scheduler, generator)
        self._attached.enter_context(
            attach_ifadapter(self.unet, self.adapter, tokens, batch["boxes"], batch["counts"])
        )
        conditions = {"text_embeds": pooled * ~without_prompt[:, None], "time_ids": batch["sizes"]}
        predicted = self.unet(
            noisy, timesteps, prompt * ~without_prompt[:, None, None], added_cond_kwargs=conditions
        )
        target = training_target(latents, noise, self.scheduler, timesteps)
        errors = F.mse_loss(predicted.sample.float(), target, reduction="none").mean(dim=1)
        height, width = errors.shape[-2:]
        inside = _inside(batch["boxes"], batch["counts"], (height, width)).to(errors)
        weighted = errors
        if self.snr_power:
            weights = signal_to_noise_weights(self.scheduler, timesteps, self.snr_power)
            weighted = errors * weights[:, None, None]
        loss = weighted.mean() + self.region_weight * _share(weighted, inside)
        return {"loss": loss, "error": errors.mean(), "region": _share(errors, inside)}

    def detach(self) -> None:
        """Take the adapter off the UNet."""
        self._attached.close()

    @torch.no_grad()
    def _conditions(self, captions: TokenIds | EncodedPrompts) -> tuple[Tensor, Tensor]:
        if isinstance(captions, EncodedPrompts):
            return captions
        return encode_prompts(self.text_encoder, self.text_encoder_2, captions)

    @torch.no_grad()
    def _features(self, phrases: TokenIds | EncodedPhrases) -> Phrases:
        if isinstance(phrases, EncodedPhrases):
            return phrases.as_phrases()
        # Nothing looks beyond its own place in a text, so padding that no phrase needs is only work.
        ids = TokenIds(*(part[:, : int(phrases.mask.sum(-1).max())] for part in phrases))
        return encode_tokens((self.text_encoder, self.text_encoder_2), (ids.first, ids.second), ids.mask)

    def _instance_tokens(self, batch: dict[str, Any], without_instances: Tensor) -> Tensor:
        """Tokens of all instances; those of pictures `without_instances` have no words, in the same boxes."""
        phrases = self._features(batch["phrases"])
        counts = torch.tensor(batch["counts"], device=without_instances.device)
        worded = ~without_instances.repeat_interleave(counts)
        return self.adapter.instance_tokens(
            phrases.hidden_states * worded[:, None, None, None],
            phrases.attention_mask * worded[:, None],
            phrases.eot * worded[:, None],
            batch["boxes"],
        )


def _share(errors: Tensor, inside: Tensor) -> Tensor:
    """The mean error of the cells inside; 0 where there are none."""
    return (errors * inside).sum() / inside.sum().clamp(min=1)


def _inside(boxes: Tensor, counts: Sequence[int], grid: tuple[int, int]) -> Tensor:
    """1 in the cells (B, h, w) that any box of a picture touches."""
    return Placement.of_boxes(boxes, counts, grid).unions.float()


class IFAdapterTask(Task[IFAdapterObjective]):
    """An adapter trained on encoded pictures with layouts; `examples` are drawn while it trains.

    `held_out` pictures of the largest set are not trained on: the loss is measured on them. `precision` is
    that of what is frozen, if it is a half one. `sets` may be stand-ins, with `encode` making the real ones
    when all else is known to be well; `texts`, given the task, encodes its captions likewise, and the
    objective does without text encoders.
    """

    def __init__(
        self,
        pipeline: StableDiffusionXLPipeline,
        adapter: IFAdapter,
        sets: Sequence[LatentSet],
        region_weight: float = 0.0,
        snr_power: float = 0.0,
        examples: Sequence[Layout] = (),
        held_out: int = 0,
        precision: torch.dtype | None = None,
        encode: Callable[[], Sequence[LatentSet]] | None = None,
        texts: Callable[[TextSource], TextEncoding] | None = None,
    ) -> None:
        self.pipeline, self.adapter, self.precision = pipeline, adapter, precision
        self._encode, self._given_examples, self._hold_out = encode, list(examples), held_out
        self._tokenizer = Tokenizer(pipeline)
        self._take(sets)
        self._text_encoding = None if texts is None else texts(self)
        self._features = None
        if self._text_encoding is not None:
            self._features = self._text_encoding.blank()
            self._account += self._text_encoding.notes
        # Behind it, because the text encoders may be gone now.
        self.objective = IFAdapterObjective(pipeline, adapter, region_weight, snr_power)

    def _take(self, sets: Sequence[LatentSet]) -> None:
        """Learn from these."""
        self._account: list[str] = []
        used = [_with_instances(one, self._account) for one in sets]
        self._held_out = None
        if self._hold_out:
            # Of the largest set, which has most to give.
            largest = max(range(len(used)), key=lambda place: len(used[place]))
            self._held_out, used[largest] = _hold_out(used[largest], self._hold_out)
        self._buckets = Buckets(used)
        self._examples = self._given_examples or _first_layouts(self._buckets.sets[0])

    def prepare(self) -> None:
        """Encode pictures and captions, those that are not encoded yet."""
        if self._encode is not None:
            self._take(self._encode())
        if self._text_encoding is not None:
            self._features = self._text_encoding.encode()

    def before(self, settings: Settings, device: torch.device) -> float | None:
        texts = self._text_encoding
        made = not any(one.is_blank for one in self._sets) and (texts is None or texts.complete)
        return 0.0 if made else None

    def texts(self, known: KeyIndex) -> Iterator[Text]:
        """All captions of the run, those of samples first; none of pictures whose stamps are `known`."""
        for layout in self._examples:
            yield from texts_of_sample(layout)
        for one in self._sets:
            stamps = one.stamps()
            new = range(len(one)) if stamps is None else np.flatnonzero(known.find(stamps)[:, 0] == NOWHERE)
            for number in new:
                yield from texts_of(one.layout(int(number)))

    def stamps(self) -> np.ndarray:
        """Stamps (n, 16) of all pictures that have one."""
        found = (one.stamps() for one in self._sets)
        return np.concatenate([as_rows(()), *(one for one in found if one is not None)])

    @property
    def _sets(self) -> list[LatentSet]:
        return [*self._buckets.sets, *(() if self._held_out is None else (self._held_out,))]

    def batch(self, position: BatchPosition, size: int, seed: int) -> dict[str, Any]:
        """Latents, captions of pictures and instances, boxes, and size conditioning."""
        return self._collate(*self._buckets.choose(position, size, seed))

    @property
    def samples(self) -> int:
        return sum(len(one) for one in self._buckets.sets)

    @property
    def held_out_count(self) -> int:
        return 0 if self._held_out is None else len(self._held_out)

    def account(self) -> Iterable[str]:
        return self._account

    def validation_batches(self, size: int) -> Sequence[dict[str, Any]]:
        """What is held out, always in the same order."""
        one = self._held_out
        if one is None:
            return ()

        def batch(first: int) -> dict[str, Any]:
            return self._collate(one, list(range(first, min(first + size, len(one)))))

        return OnDemand(batch, range(0, len(one), size))

    def _collate(self, one: LatentSet, numbers: Sequence[int]) -> dict[str, Any]:
        layouts = [one.layout(number) for number in numbers]
        instances = [instance for layout in layouts for instance in layout.active]
        features, prompts = self._features, [layout.prompt for layout in layouts]
        captions = [instance.caption for instance in instances]
        return {
            "latents": one.latents(numbers),
            "ids": self._tokenizer(prompts) if features is None else features.prompts(prompts),
            "phrases": self._tokenizer(captions) if features is None else features.phrases(captions),
            "boxes": torch.tensor(
                [list(instance.bounds.clipped() or instance.bounds) for instance in instances]
            ),
            "counts": [len(layout.active) for layout in layouts],
            "sizes": torch.tensor([one.conditioning(number) for number in numbers], dtype=torch.float32),
        }

    def describe(self) -> dict[str, Any]:
        more: dict[str, Any] = {} if self._held_out is None else {"held_out": len(self._held_out)}
        if self._features is not None:
            more["text_features"] = self._features.name
        return {
            **more,
            "task": "ifadapter",
            "sets": [[len(one), *one.size] for one in self._buckets.sets],
            "pictures": [one.fingerprint for one in self._buckets.sets],
            "region_weight": self.objective.region_weight,
            "snr_power": self.objective.snr_power,
        }

    def after_backward(self) -> None:
        """Take the adapter off the UNet again."""
        self.objective.detach()

    def sample(self, path: Path) -> None:
        """Examples without the adapter, above the same noise with it, regions drawn over."""
        self.pipeline.set_progress_bar_config(disable=True)
        # Nothing of the training uses it, and encoding moves it only where something was to be encoded.
        self.pipeline.vae.to(next(self.adapter.parameters()).device)
        rows: list[list[np.ndarray]] = [[], []]
        texts = None if self._features is None else SampleTexts(self._features)
        for seed, layout in enumerate(self._examples):
            with sampling_in(self.precision, self.pipeline):
                encoded = encode_layout(self.pipeline, self.adapter, layout, texts=texts)
                height, width = layout.canvas.height, layout.canvas.width
                for row, scale in zip(rows, (0.0, 1.0), strict=True):
                    (picture,) = generate(
                        self.pipeline,
                        encoded,
                        height=height,
                        width=width,
                        seeds=[seed],
                        steps=25,
                        scale=scale,
                    )
                    row.append(np.asarray(_outlined(picture, layout)))
        save_grid(np.stack(rows[0] + rows[1]), len(self._examples), path)

    def export(self, folder: Path) -> None:
        """The adapter as half-precision safetensors, readable wherever the published one is."""
        folder.mkdir(parents=True, exist_ok=True)
        self.adapter.save(folder / "ifadapter.safetensors", torch.float16)


def _outlined(picture: Image.Image, layout: Layout) -> Image.Image:
    """A picture with thin boxes; the labels of a full layout picture would hide one this small."""
    draw = ImageDraw.Draw(picture)
    for instance in layout.active:
        x0, y0, x1, y1 = instance.bounds
        draw.rectangle(
            (x0 * picture.width, y0 * picture.height, x1 * picture.width - 1, y1 * picture.height - 1),
            outline="black",
        )
    return picture


def _with_instances(one: LatentSet, account: list[str]) -> LatentSet:
    """Those pictures of a set that have an instance to learn from; what there is goes into the account."""
    things = one.things()
    kept = np.flatnonzero(things)
    if not len(kept):
        raise SourceError("none of the pictures has an instance with a caption; there is nothing to learn")
    height, width = one.size
    total = int(things.sum())
    account.append(
        f"pictures: {len(kept)} of {width} × {height} with {total} things, {total / len(kept):.1f} in each"
    )
    account.extend(one.notes)
    if len(kept) == len(one):
        return one
    account.append(f"{len(one) - len(kept)} pictures are left out: they have no instance with a caption")
    return one.select(kept)


def _hold_out(one: LatentSet, number: int) -> tuple[LatentSet, LatentSet]:
    """So many pictures of a set, drawn at random but always the same, and all the others."""
    held, left = hold_out(len(one), number, "pictures")
    return one.select(held), one.select(left)


def _first_layouts(one: LatentSet) -> list[Layout]:
    return [one.layout(number) for number in range(min(_EXAMPLES, len(one)))]

"""Pictures of a layout, or of prompts alone, from an unchanged diffusers SDXL pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from ...layout import Instance, Layout, LayoutError
from ...models.entities import naming
from ...models.ifadapter import Gate, IFAdapter, InstancePrompt
from ...models.ifadapter.phrases import Phrases
from ...models.regions import Regions
from .conditions import Conditions
from .errors import UnsuitableModelError
from .ifadapter import Attachment, attach_prompts, find_adapted_layers
from .phrases import encode_phrases
from .text_projections import keeping_text

# Instances in one pass: the text encoders hand out all their layers, 13 MB a caption for SDXL.
CAPTIONS_PER_PASS = 8


@dataclass(frozen=True, eq=False)
class EncodedLayout:
    """All that sampling needs of a layout; the IFAdapter itself may be let go.

    prompt (1, T, D) and pooled (1, E) of the whole picture with their negative counterparts; `positive` and
    `negative` are the instances in the conditional and unconditional rows and share their regions. On a CPU
    what a picture needs of them is kept for the next one of this layout.
    """

    prompt: Tensor
    pooled: Tensor
    negative_prompt: Tensor
    negative_pooled: Tensor
    positive: InstancePrompt
    negative: InstancePrompt
    gates: dict[int, Gate]
    _kept: dict[tuple[float, float], _Acting] = field(default_factory=dict, init=False, repr=False)

    def acting(self, start: float, end: float, device: torch.device) -> _Acting:
        """The instances on a device, each within its own window only from `start` to `end`."""
        window = (start, end)
        if window in self._kept and device.type == "cpu":
            return self._kept[window]
        regions = _narrowed(self.positive.regions, start, end)
        acting = _Acting(
            replace(self.negative.to(device), regions=regions),
            replace(self.positive.to(device), regions=regions),
            {number: gate.to(device) for number, gate in self.gates.items()},
        )
        # The last one only; and memory of a graphics card is not held between pictures.
        self._kept.clear()
        if device.type == "cpu":
            self._kept[window] = acting
        return acting


class _Acting(NamedTuple):
    negative: InstancePrompt
    positive: InstancePrompt
    gates: dict[int, Gate]


class Texts(Protocol):
    """What text encoders make of texts, encoded now or earlier."""

    def prompt(self, text: str) -> tuple[Tensor, Tensor]:
        """Conditions (1, T, D) and pooled output (1, E) of a caption of the whole picture."""
        ...

    def phrases(self, captions: Sequence[str], names: Sequence[str]) -> Phrases:
        """Features of captions of instances, which a warning calls by `names`."""
        ...


@dataclass(frozen=True)
class _OwnTexts:
    """Texts through the encoders of a pipeline."""

    pipeline: StableDiffusionXLPipeline

    def prompt(self, text: str) -> tuple[Tensor, Tensor]:
        prompt, _, pooled, _ = self.pipeline.encode_prompt(text, do_classifier_free_guidance=False)
        return prompt, pooled

    def phrases(self, captions: Sequence[str], names: Sequence[str]) -> Phrases:
        return encode_phrases(self.pipeline, captions, names)


def active_instances(layout: Layout) -> tuple[Instance, ...]:
    """The instances that take part; `LayoutError` for errors in the layout and where there are none."""
    instances = layout.checked().active
    if not instances:
        raise LayoutError(
            "the layout has no instance to place: it has none, or all are disabled or without caption; an "
            "instance needs a caption and a box"
        )
    return instances


@torch.no_grad()
def encode_layout(
    pipeline: StableDiffusionXLPipeline,
    adapter: IFAdapter,
    layout: Layout,
    negative: str | None = None,
    on_instances: Callable[[int], object] = lambda count: None,
    texts: Texts | None = None,
    join_captions: bool = False,
) -> EncodedLayout:
    """Encode the prompt and every active instance of a layout.

    The unconditional rows get zero embeddings, and instances without words in the same boxes, as the released
    code does; `negative` (default: the layout's) and the negatives of instances take their place where given.
    `on_instances` is called with the number of instances done since the last call. `texts` take the place of
    the pipeline's text encoders, which may be gone then. With `join_captions` captions that the prompt does
    not name stand behind it, as in ComfyUI. Raises `LayoutError` for errors in the layout and for one without
    active instances.
    """
    instances = active_instances(layout)
    find_adapted_layers(pipeline.unet, adapter)
    negative = (layout.negative if negative is None else negative).strip()
    texts = _OwnTexts(pipeline) if texts is None else texts
    prompt, pooled = texts.prompt(naming.join_captions(layout) if join_captions else layout.prompt)
    without_prompt = (
        texts.prompt(negative) if negative else (torch.zeros_like(prompt), torch.zeros_like(pooled))
    )

    regions = Regions.from_layout(layout)
    latents = adapter.text_proj_model.latents
    boxes = torch.tensor(regions.boxes, device=latents.device, dtype=latents.dtype)
    names = [instance.id for instance in instances]
    positive = _tokens(texts, adapter, [i.caption for i in instances], names, boxes, on_instances)
    unconditional = adapter.unconditional_tokens(boxes)
    with_negative = [index for index, instance in enumerate(instances) if instance.negative.strip()]
    if with_negative:
        negatives = [instances[i].negative for i in with_negative]
        of = [f"{names[i]} (negative)" for i in with_negative]
        unconditional[with_negative] = _tokens(texts, adapter, negatives, of, boxes[with_negative])
    return EncodedLayout(
        prompt,
        pooled,
        *without_prompt,
        adapter.prompt(positive, regions),
        adapter.prompt(unconditional, regions),
        adapter.gates(),
    )


def generate(
    pipeline: StableDiffusionXLPipeline,
    encoded: EncodedLayout,
    *,
    height: int,
    width: int,
    seeds: Sequence[int] = (0,),
    steps: int = 30,
    guidance: float = 7.5,
    scale: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    conditions: Conditions | None = None,
    output_type: str = "pil",
) -> Any:
    """One picture per seed, in one batch; a picture depends on its own seed, not on the others.

    height and width in pixels, multiples of 8; guidance 1 leaves the unconditional rows out; `scale` is the
    adapter's strength and start to end the part of the run, within 0..1, in which it acts: step i of n begins
    at i / n (ComfyUI's nodes count in the noise schedule instead). `conditions` are pictures for a pipeline
    with a ControlNet or an IP-Adapter. Returns PIL images, or what diffusers makes of another `output_type`.
    """
    # Distilled models take guidance as an input instead of unconditional rows.
    guided = guidance > 1 and pipeline.unet.config["time_cond_proj_dim"] is None
    batch = len(seeds)
    device: Any = pipeline._execution_device  # pyright: ignore[reportPrivateUsage]
    negative, positive, gates = encoded.acting(start, end, torch.device(device))
    rows = [negative] * (batch if guided else 0) + [positive] * batch
    run: Any = pipeline
    with keeping_text(pipeline.unet), attach_prompts(pipeline.unet, gates, rows, scale) as attachment:
        return run(
            prompt_embeds=encoded.prompt,
            pooled_prompt_embeds=encoded.pooled,
            negative_prompt_embeds=encoded.negative_prompt,
            negative_pooled_prompt_embeds=encoded.negative_pooled,
            num_images_per_prompt=batch,
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance,
            # Noise is drawn on the CPU, so that a seed means the same picture on every device.
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=_advance(attachment),
            output_type=output_type,
            **({} if conditions is None else conditions.arguments()),
        ).images


def generate_base(
    pipeline: StableDiffusionXLPipeline,
    prompts: Sequence[str],
    height: int,
    width: int,
    *,
    steps: int = 25,
    guidance: float = 5.0,
    seed: int = 0,
) -> Any:
    """A picture per prompt, each with its own noise: numpy array (B, height, width, 3) of bytes."""
    pipeline.set_progress_bar_config(disable=True)
    run: Any = pipeline
    pictures: Any = run(
        prompt=list(prompts),
        height=height,
        width=width,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator("cpu").manual_seed(seed + number) for number in range(len(prompts))],
        output_type="np",
    ).images
    return (pictures * 255).round().astype("uint8")


def fit_size(pipeline: StableDiffusionXLPipeline, width: int, height: int) -> tuple[int, int]:
    """The nearest width and height in pixels that the model can make (multiples of 8)."""
    unit = max(8, pipeline.vae_scale_factor)
    return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)


def _tokens(
    texts: Texts,
    adapter: IFAdapter,
    captions: Sequence[str],
    names: Sequence[str],
    boxes: Tensor,
    on_instances: Callable[[int], object] = lambda count: None,
) -> Tensor:
    """Tokens of instances, a few at a time: captions and boxes (P, 4) -> (P, N, D)."""
    parts = []
    for first in range(0, len(captions), CAPTIONS_PER_PASS):
        some = slice(first, first + CAPTIONS_PER_PASS)
        phrases = texts.phrases(captions[some], names[some])
        width = phrases.hidden_states.shape[-1]
        if width != adapter.config.phrase_width:
            raise UnsuitableModelError(
                f"this IFAdapter reads text features of width {adapter.config.phrase_width}, the two text "
                f"encoders of this model give {width}; use an SDXL model"
            )
        features = phrases.to(boxes.device)
        # An adapter in half precision reads what the text encoders gave in theirs.
        parts.append(
            adapter.instance_tokens(
                features.hidden_states.to(boxes),
                features.attention_mask,
                features.eot.to(boxes),
                boxes[some],
            )
        )
        on_instances(len(captions[some]))
    return torch.cat(parts)


def _narrowed(regions: Regions, start: float, end: float) -> Regions:
    """The same regions, each acting only where its own window and start to end overlap."""
    return replace(regions, windows=tuple((max(s, start), min(e, end)) for s, e in regions.windows))


def _advance(attachment: Attachment) -> Callable[..., dict[str, Any]]:
    """A diffusers callback at the end of a step that tells the attachment how far sampling is."""

    def callback(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        attachment.progress = (step + 1) / pipeline.num_timesteps
        return tensors

    return callback

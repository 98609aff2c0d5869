"""Options of CoMat's training, and the settings it was published with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..engine.settings import Settings
from ..options import flag

# The `segmenter` that is Shapes World's judge.
WORLD = "world"

# The released code's for SDXL: 6 pictures on each of eight devices, 2,000 steps at a constant rate.
COMAT_SETTINGS = Settings(
    steps=2000,
    batch=6,
    learning_rate=2e-5,
    warm_up=0,
    clip=0.1,
    seed=42,
    every_checkpoint=100,
    every_sample=200,
)


@dataclass(frozen=True)
class CoMatRun:
    """The model that is tuned, its prompts, and what judges its pictures.

    Every part is left out by a weight of 0: `concept_weight` (captioner), `token_weight` and `pixel_weight`
    (segmenter), `fidelity_weight` (discriminator). `size` is (width, height) in pixels.
    """

    model: Path = field(
        metadata=flag("diffusers folder of SDXL or Stable Diffusion 1, or .safetensors of SDXL")
    )
    captioner: str | None = field(
        default=None,
        metadata=flag(
            "BLIP, GIT, LLaVA or Qwen-VL that says how likely a prompt is: folder or name on the hub"
        ),
    )
    prompts: Path | None = field(
        default=None, metadata=flag("text file, one prompt a line (default: captions of Shapes World)")
    )
    world_prompts: int = field(
        default=2000, metadata=flag("captions of Shapes World without --prompts (%(default)g)")
    )
    segmenter: str | None = field(
        default=None, metadata=flag("SAM's checkpoint, or world: Shapes World's judge")
    )
    detector: str | None = field(
        default=None, metadata=flag("Grounding DINO for a SAM: folder, file or name on the hub")
    )
    box_threshold: float = field(default=0.3, metadata=flag("of the detector (%(default)g)"))
    text_threshold: float = field(default=0.25, metadata=flag("of the detector (%(default)g)"))
    pipeline: str = field(
        default="en_core_web_sm",
        metadata=flag("spaCy's, for entities (%(default)s; published: en_core_web_trf)"),
    )
    size: tuple[int, int] = field(default=(512, 512), metadata=flag("width x height (%(default)s)"))
    rank: int = field(default=128, metadata=flag("of the LoRA and of the discriminator's (%(default)g)"))
    init: Path | None = field(default=None, metadata=flag("start from this LoRA instead of a fresh one"))
    sampling_steps: int = field(default=50, metadata=flag("DDPM's (%(default)g)"))
    guidance: float = field(default=7.5, metadata=flag("while sampling (%(default)g)"))
    gradient_steps: int = field(default=5, metadata=flag("sampling steps with a gradient (%(default)g)"))
    attention_steps: int = field(
        default=2, metadata=flag("of these, steps at which attention counts (%(default)g)")
    )
    gradient_path: str = field(
        default="published",
        metadata=flag(
            "back through the scheduler alone, or from call to call of the UNet: scheduler, calls, or "
            "published, which is scheduler for SDXL and calls for SD 1.5 (%(default)s)"
        ),
    )
    gradient_until: float = field(
        default=1.0,
        metadata=flag(
            "share of the sampling, from the noise on, whose steps may have a gradient: what is where is "
            "decided early (%(default)g)"
        ),
    )
    gradient_limit: float = field(
        default=0.0,
        metadata=flag(
            "of a picture's gradient on its way back, in multiples of what it begins with (%(default)g: none)"
        ),
    )
    concept_weight: float = field(default=1.0, metadata=flag("of the captioner's loss (%(default)g)"))
    token_weight: float = field(default=1e-3, metadata=flag("of attention outside masks (%(default)g)"))
    pixel_weight: float = field(default=5e-5, metadata=flag("of attention cell by cell (%(default)g)"))
    fidelity_weight: float = field(
        default=0.5, metadata=flag("of the discriminator's loss (%(default)g; published for SD 1.5: 1)")
    )
    distance_weight: float = field(
        default=0.0,
        metadata=flag("of the distance from the original's predictions, instead of fidelity (%(default)g)"),
    )
    discriminator_rate: float = field(
        default=2.5,
        metadata=flag("of its learning rate to the LoRA's (%(default)g; published for SD 1.5: 0.4)"),
    )
    concept_loss: str = field(
        default="mean",
        metadata=flag(
            "mean over all tokens of a batch, the paper's sum for each prompt, or rivals: against captions "
            "that bind the prompt's words otherwise (%(default)s)"
        ),
    )
    rivals: int = field(
        default=12,
        metadata=flag("captions to hold a prompt against, for --concept-loss rivals (%(default)g)"),
    )
    token_loss: str = field(
        default="released", metadata=flag("or paper: how attention outside masks counts (%(default)s)")
    )
    label_smoothing: float = field(
        default=0.0, metadata=flag("of the captioner's loss (%(default)g; the released code ran with 0.1)")
    )
    gradient_checkpointing: bool = field(default=False, metadata=flag("less memory, about a third more time"))
    held_out: int = field(
        default=0, metadata=flag("prompts that are not trained on, to measure the loss on (%(default)g)")
    )

"""One run of feedback learning, from files to a tuned UNet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...hosts.diffusers_sdxl import load_sdxl
from ...models.rewards import RewardModel, find_tokenizer, reward_files
from ...shapes_world import ShapesWorld, caption
from ..data.errors import SourceError
from ..data.world import TRAINING_SEED
from ..engine.loop import Trainer
from ..engine.settings import Settings
from .feedback_objective import FeedbackTask, Judge

# The released code's: 4 x 4 pictures on each of four devices, 200 steps at a constant rate.
FEEDBACK_SETTINGS = Settings(
    steps=200, batch=4, accumulate=4, learning_rate=1e-5, warm_up=0, every_checkpoint=50, every_sample=100
)
_WORLD_PROMPTS = 2000


@dataclass(frozen=True)
class FeedbackRun:
    """What is tuned and who judges it: `rewards` is a folder with one model for each aspect.

    `prompts` is a text file with one prompt a line; None are captions of Shapes World. `size` (width, height)
    in pixels; IterComp tuned at 512 x 512.
    """

    model: Path
    rewards: Path
    prompts: Path | None = None
    size: tuple[int, int] = (512, 512)
    gradient_checkpointing: bool = False


def train_feedback(run: FeedbackRun, settings: Settings, folder: Path) -> None:
    """Tune, or continue tuning, a UNet in `folder`."""
    pipeline = load_sdxl(run.model)
    multiple = pipeline.vae_scale_factor
    if any(side < multiple or side % multiple for side in run.size):
        raise SourceError(
            f"the size is {run.size[0]}x{run.size[1]}; both sides must be multiples of {multiple}"
        )
    prompts = _prompts(run)
    if run.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        pipeline.vae.enable_gradient_checkpointing()
    judges = [_judge(aspect, path) for aspect, path in reward_files(run.rewards).items()]
    Trainer(FeedbackTask(pipeline, judges, prompts, run.size), settings, folder).run()


def _prompts(run: FeedbackRun) -> list[str]:
    if run.prompts is None:
        world = ShapesWorld(TRAINING_SEED, *run.size)
        return [caption(world.scene(number)) for number in range(_WORLD_PROMPTS)]
    lines = run.prompts.read_text(encoding="utf-8").splitlines()
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise SourceError(f"{run.prompts} has no prompts; write one on each line")
    return prompts


def _judge(aspect: str, path: Path) -> Judge:
    model = RewardModel.load(path)
    tokenizer = find_tokenizer(path, model.told, model.config.vocabulary, model.config.tokens)
    return Judge(aspect, model, tokenizer)

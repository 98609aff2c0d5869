"""Run of feedback learning, from files to a tuned UNet."""

from __future__ import annotations

from pathlib import Path

from ...hosts.diffusers_sdxl import load_sdxl
from ...models.rewards import RewardModel, find_tokenizer, reward_files
from ...shapes_world import ShapesWorld, caption
from ..data.errors import SourceError
from ..data.world import TRAINING_SEED
from ..engine.loop import train
from ..engine.settings import Settings
from .feedback_objective import AspectReward, FeedbackTask
from .feedback_options import FeedbackRun

_WORLD_PROMPTS = 2000


def train_feedback(run: FeedbackRun, settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
    """Tune, or continue tuning, a UNet in `folder`; a dry run only says what that would take."""
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
    rewards = [_aspect_reward(aspect, path) for aspect, path in reward_files(run.rewards).items()]
    train(FeedbackTask(pipeline, rewards, prompts, run.size), settings, folder, run, dry_run=dry_run)


def _prompts(run: FeedbackRun) -> list[str]:
    if run.prompts is None:
        world = ShapesWorld(TRAINING_SEED, *run.size)
        return [caption(world.scene(number)) for number in range(_WORLD_PROMPTS)]
    lines = run.prompts.read_text(encoding="utf-8").splitlines()
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise SourceError(f"{run.prompts} has no prompts; write one on each line")
    return prompts


def _aspect_reward(aspect: str, path: Path) -> AspectReward:
    model = RewardModel.load(path)
    tokenizer = find_tokenizer(path, model.metadata, model.config.vocabulary, model.config.tokens)
    return AspectReward(aspect, model, tokenizer)

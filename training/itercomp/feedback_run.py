"""Run of feedback learning, from files to a tuned UNet or a LoRA."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn

from ...hosts.diffusers_sdxl import load_sdxl
from ...models.comat.lora import attention_targets, read_lora
from ...models.rewards import ASPECTS, RewardModel, find_tokenizer, reward_files
from ...shapes_world import ShapesWorld, caption
from ...shapes_world.preferences import RELATED
from ..comat.fidelity import Discriminator
from ..comat.lora import add_lora, share_weights
from ..comat.original_latents import OriginalLatents, make_once, missing_latents, model_digest
from ..data.errors import SourceError
from ..data.held_out import hold_out_texts
from ..data.text import tell_if_unread
from ..data.world import TRAINING_SEED
from ..engine.loop import train
from ..engine.precision import PRECISIONS, halve
from ..engine.settings import WEIGHTS_SEED, Settings
from ..noise import noise_schedule
from .feedback_objective import STEPS, AspectReward, FeedbackForm, FeedbackObjective
from .feedback_options import FeedbackRun
from .feedback_task import FeedbackTask
from .ranked_pictures import RankedPictures

_WORLD_PROMPTS = 2000
# Rank of a discriminator's LoRA where the UNet is tuned whole: CoMat's.
_JUDGE_RANK = 128

logger = logging.getLogger("instance_composer")


def train_feedback(run: FeedbackRun, settings: Settings, folder: Path, *, dry_run: bool = False) -> None:
    """Tune, or continue tuning, a UNet in `folder`; a dry run only says what that would take."""
    form = form_of(run)
    files = reward_files(run.rewards)
    if form.reward:
        _check_aspects(run, form, list(files))
    every = prompts_of(run)
    held_out, left = hold_out_texts(every, run.held_out, "prompts")
    prompts = [every[number] for number in left]
    rankings = _rankings(run, form, {every[number] for number in held_out})
    pipeline = load_sdxl(run.model, config=run.config)
    multiple = pipeline.vae_scale_factor
    if any(side < multiple or side % multiple for side in run.size):
        raise SourceError(
            f"the size is {run.size[0]}x{run.size[1]}; both sides must be multiples of {multiple}"
        )
    rewards = [
        _aspect_reward(aspect, path)
        for aspect, path in files.items()
        if form.reward and form.weights.get(aspect, 1.0)
    ]
    for one in rewards:
        tell_if_unread(f"the reward model of {one.aspect}", one.tokenizer, every)
    digest = model_digest(pipeline.unet) if form.fidelity else ""
    precision = PRECISIONS.get(settings.mixed_precision)
    objective = _objective(run, form, pipeline, rewards, precision)
    about = {} if not run.rank else {"rank": run.rank}
    task = FeedbackTask(
        pipeline,
        rewards,
        prompts,
        run.size,
        objective,
        discriminator_rate=run.discriminator_rate,
        about={**about, **({"model": digest[:16]} if digest else {})},
        held_out=[every[number] for number in held_out],
        precision=precision,
        rankings=rankings,
        original=_Originals(run, settings, folder, digest) if form.fidelity else None,
    )
    train(task, settings, folder, run, dry_run=dry_run)


def form_of(run: FeedbackRun) -> FeedbackForm:
    """What a run asks of pictures; `SourceError` for numbers that cannot be."""
    numbers = {
        "--guidance": (run.guidance, 1.0),
        "--attribute-weight": (run.attribute_weight, 0.0),
        "--spatial-weight": (run.spatial_weight, 0.0),
        "--non-spatial-weight": (run.non_spatial_weight, 0.0),
        "--reward-weight": (run.reward_weight, 0.0),
        "--ranking-weight": (run.ranking_weight, 0.0),
        "--fidelity-weight": (run.fidelity_weight, 0.0),
        "--distance-weight": (run.distance_weight, 0.0),
        "--rank": (run.rank, 0.0),
    }
    for name, (value, least) in numbers.items():
        if not math.isfinite(value) or value < least:
            raise SourceError(f"{name} is {value:g}; it must be {least:g} or more")
    for name, value in (
        ("--cap", run.cap),
        ("--discriminator-rate", run.discriminator_rate),
        ("--ranking-reach", run.ranking_reach),
    ):
        if not math.isfinite(value) or value <= 0:
            raise SourceError(f"{name} is {value:g}; it must be more than 0")
    _check_teachers(run)
    weights = (run.attribute_weight, run.spatial_weight, run.non_spatial_weight)
    named = {aspect: weight for aspect, weight in zip(ASPECTS, weights, strict=True) if weight != 1}
    return FeedbackForm(
        run.guidance,
        run.cap,
        named,
        run.reward_weight,
        run.ranking_weight,
        run.ranking_reach,
        run.fidelity_weight,
        run.distance_weight,
    )


def _check_teachers(run: FeedbackRun) -> None:
    """`SourceError` where nothing teaches, or something would without effect."""
    if run.rankings is None and run.ranking_weight:
        raise SourceError(f"--ranking-weight is {run.ranking_weight:g} and there are no --rankings to weigh")
    if run.rankings is not None and not run.ranking_weight:
        raise SourceError(f"--ranking-weight is 0, so {run.rankings} would teach nothing; give it a weight")
    if run.reward_weight:
        return
    if not run.ranking_weight:
        raise SourceError(
            "nothing teaches: --reward-weight and --ranking-weight are 0; give one of them more"
        )
    for name, value in (
        ("--fidelity-weight", run.fidelity_weight),
        ("--distance-weight", run.distance_weight),
        ("--held-out", run.held_out),
    ):
        if value:
            raise SourceError(
                f"{name} is about sampled pictures, and with --reward-weight 0 none are; leave it out"
            )


def _rankings(run: FeedbackRun, form: FeedbackForm, held_out: Set[str]) -> RankedPictures | None:
    if run.rankings is None or not form.ranking:
        return None
    weights = {aspect: form.weights.get(aspect, 1.0) for aspect in ASPECTS}
    return RankedPictures(run.rankings, weights, run.size, held_out)


def _check_aspects(run: FeedbackRun, form: FeedbackForm, there: list[str]) -> None:
    if not any(form.weights.get(aspect, 1.0) for aspect in there):
        raise SourceError(
            f"no reward counts: {run.rewards} has {', '.join(there)}, whose weights are 0; give one of them "
            "another weight"
        )
    for aspect in ASPECTS:
        if aspect not in there:
            logger.info("%s has no reward model for the aspect %s, which is left out", run.rewards, aspect)


def _objective(
    run: FeedbackRun,
    form: FeedbackForm,
    pipeline: StableDiffusionXLPipeline,
    rewards: list[AspectReward],
    precision: torch.dtype | None,
) -> FeedbackObjective:
    unet: Any = pipeline.unet
    halve(precision, unet if run.rank else None, pipeline.text_encoder, pipeline.text_encoder_2)
    judge = original = start = None
    # Before anything is loaded over the weights or put on them: this is the model that is kept to.
    if run.rank:
        judge = share_weights(unet) if form.fidelity else None
    else:
        judge = copy.deepcopy(unet) if form.fidelity else None
        needed = form.distance or (form.ranking and run.init is None)
        original = copy.deepcopy(unet).requires_grad_(False) if needed else None
        # Unlike the one that is tuned these are only read.
        halve(precision, judge, original)
    _begin(run, unet)
    if form.ranking and run.init is not None:
        # Rankings move a run that goes on from an earlier one further than that one went.
        start = copy.deepcopy(unet).requires_grad_(False)
        halve(precision, start)
    discriminator = None if judge is None else _discriminator(run, pipeline, judge)
    for part in (unet, judge, pipeline.vae) if run.gradient_checkpointing else ():
        if part is not None:
            part.enable_gradient_checkpointing()
    return FeedbackObjective(
        pipeline,
        rewards,
        form,
        discriminator=discriminator,
        original=original,
        start=start,
        lora=bool(run.rank),
    )


def _begin(run: FeedbackRun, unet: Any) -> None:
    """Put a LoRA on the UNet where one is asked for, and what an earlier run learned into either."""
    if run.rank:
        shapes = {name: tuple(unet.get_submodule(name).weight.shape) for name in attention_targets(unet)}
        start = None if run.init is None else read_lora(run.init, attention_targets(unet), shapes)
        rank = run.rank if start is None else len(next(iter(start.values())).down)
        if rank != run.rank:
            raise SourceError(f"{run.init} is a LoRA of rank {rank}; give --rank {rank} to continue with it")
        torch.manual_seed(WEIGHTS_SEED)
        add_lora(unet, run.rank, start)
    elif run.init is not None:
        load_unet(unet, run.init)


def load_unet(unet: nn.Module, folder: Path) -> None:
    """The weights of a UNet folder into one of the same sizes; `SourceError` says what does not fit."""
    if not (folder / "config.json").is_file():
        raise SourceError(f"{folder} is no folder of a UNet: it has no config.json; give a run's model/unet")
    tuned: Any = UNet2DConditionModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (unet, tuned)]
    if shapes[0] != shapes[1]:
        raise SourceError(f"the UNet in {folder} has other sizes than the model's; tune the same model")
    unet.load_state_dict(tuned.state_dict())


def _discriminator(run: FeedbackRun, pipeline: StableDiffusionXLPipeline, judge: Any) -> Discriminator:
    torch.manual_seed(WEIGHTS_SEED)
    add_lora(judge, run.rank or _JUDGE_RANK)
    scheduler: Any = noise_schedule(pipeline)
    scheduler.set_timesteps(STEPS)
    return Discriminator(judge, int(scheduler.timesteps[-1]))


@dataclass(frozen=True)
class _Originals:
    """The original model's latents for a task's prompts, in the run's folder."""

    run: FeedbackRun
    settings: Settings
    folder: Path
    digest: str

    @property
    def _place(self) -> Path:
        width, height = self.run.size
        return self.folder / f"original-{width}x{height}"

    def missing(self, count: int) -> int:
        return missing_latents(self._place, count)

    def make(self, task: FeedbackTask) -> OriginalLatents:
        run, settings = self.run, self.settings
        description = {"model": self.digest, "size": list(run.size), "guidance": run.guidance}
        make = task.draw_original
        return make_once(self._place, task.prompts, description, settings.seed, settings.batch, make)


def prompts_of(run: FeedbackRun) -> list[str]:
    """The prompts to tune on; `SourceError` for a file without any."""
    if run.prompts is None:
        world = ShapesWorld(TRAINING_SEED, *run.size, related=RELATED)
        return [caption(world.scene(number)) for number in range(_WORLD_PROMPTS)]
    return read_prompts(run.prompts)


def read_prompts(file: Path) -> list[str]:
    """The lines of a text of prompts; `SourceError` for one without any, or that cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file} cannot be read as a text of prompts ({error})") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise SourceError(f"{file} has no prompts; write one on each line")
    return prompts


def _aspect_reward(aspect: str, path: Path) -> AspectReward:
    model = RewardModel.load(path)
    tokenizer = find_tokenizer(path, model.metadata, model.config.vocabulary, model.config.tokens)
    return AspectReward(aspect, model, tokenizer)

"""Run of CoMat's training, from files to a LoRA."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...hosts.diffusers_sdxl import TextToImage, load_stable_diffusion
from ...models.comat.lora import attention_targets, read_lora
from ...models.entities.pipelines import parse
from ...models.vision.interfaces import Segmenter
from ...models.vision.likelihood import CaptionScorer, load_caption_scorer
from ...shapes_world import ShapesWorld, caption
from ..data.errors import SourceError
from ..data.held_out import hold_out_texts
from ..data.world import TRAINING_SEED
from ..engine.checkpoint import read_run
from ..engine.fingerprint import of_texts, of_weights
from ..engine.loop import Trainer
from ..engine.precision import PRECISIONS, halve
from ..engine.settings import WEIGHTS_SEED, Settings
from .checks import balance_of, check_run, sampling_of
from .fidelity import Discriminator
from .lora import add_lora, share_weights, without_lora
from .masks import WorldSegmenter, models_of
from .objective import Balance, CoMatObjective
from .options import WORLD, CoMatRun
from .original_latents import OriginalLatents, make_once, missing_latents, model_digest
from .prompts import PromptEncoder, PromptEntities
from .rivals import rival_captions
from .task import CoMatTask

logger = logging.getLogger("instance_composer")


def train_comat(
    run: CoMatRun,
    settings: Settings,
    folder: Path,
    captioner: CaptionScorer | None = None,
    segmenter: Segmenter | None = None,
    *,
    dry_run: bool = False,
) -> None:
    """Tune, or continue tuning, a LoRA in `folder`; a dry run only says what that would take.

    `captioner` and `segmenter` take the place of those that `run` names.
    """
    check_run(run, captioner is not None, segmenter is not None)
    every = _prompts(run)
    held_out, left = hold_out_texts(every, run.held_out, "prompts")
    prompts = [every[number] for number in left]
    balance = balance_of(run)
    pipeline = load_stable_diffusion(run.model)
    _check_size(run, pipeline)
    PromptEncoder(pipeline).tell_if_cut(every)
    concentrates = bool(balance.token or balance.pixel)
    entities = _entities(pipeline, every, run.pipeline) if concentrates else None
    if balance.concept and balance.concept_form == "rivals":
        entities = _rivals(entities or [PromptEntities()] * len(every), every, run, folder)
    precision = PRECISIONS.get(settings.mixed_precision)
    if balance.concept and captioner is None and run.captioner is not None:
        captioner = load_caption_scorer(run.captioner, precision or torch.float32)
    if concentrates and segmenter is None:
        segmenter = _segmenter(run)
    digest = model_digest(pipeline.unet)
    task = CoMatTask(
        _objective(run, pipeline, balance, captioner, segmenter if concentrates else None, precision),
        prompts,
        run.size,
        int(pipeline.vae_scale_factor),
        None if entities is None else [entities[number] for number in left],
        discriminator_rate=run.discriminator_rate,
        precision=precision,
        about=_about(run, digest),
        rests_on=_rests_on(run, entities, segmenter if concentrates else None),
        held_out=[every[number] for number in held_out],
        held_out_entities=[] if entities is None else [entities[number] for number in held_out],
    )
    place = folder / f"original-{run.size[0]}x{run.size[1]}"
    if balance.fidelity:
        task.to_make = missing_latents(place, len(prompts))
    # Sees to the device, and to a run that cannot be continued, before minutes of drawing.
    trainer = Trainer(task, settings, folder, run, dry_run=dry_run)
    trainer.tell()
    if dry_run:
        return
    if balance.fidelity:
        task.original = _original_latents(task, run, settings, place, digest)
    trainer.run()


def _objective(
    run: CoMatRun,
    pipeline: TextToImage,
    balance: Balance,
    captioner: CaptionScorer | None,
    segmenter: Segmenter | None,
    precision: torch.dtype | None,
) -> CoMatObjective:
    unet: Any = pipeline.unet
    start = None if run.init is None else read_lora(run.init, attention_targets(unet), _shapes(unet))
    rank = run.rank if start is None else len(next(iter(start.values())).down)
    if start is not None and rank != run.rank:
        logger.info("the LoRA has rank %d, as %s; --rank is not used", rank, run.init)
    halve(precision, unet, pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None))
    judge = share_weights(unet) if balance.fidelity else None
    torch.manual_seed(WEIGHTS_SEED)
    add_lora(unet, rank, start)
    if run.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        pipeline.vae.enable_gradient_checkpointing()
    objective = CoMatObjective(pipeline, balance, sampling_of(run), captioner, segmenter)
    if judge is not None:
        add_lora(judge, rank)
        if run.gradient_checkpointing:
            judge.enable_gradient_checkpointing()
        objective.discriminator = Discriminator(judge, objective.sampler.last_timestep)
    return objective


def _original_latents(
    task: CoMatTask, run: CoMatRun, settings: Settings, place: Path, digest: str
) -> OriginalLatents:
    unet = task.objective.unet

    def make(numbers: Sequence[int], generators: Sequence[torch.Generator]) -> torch.Tensor:
        with without_lora(unet):
            return task.draw_latents([task.prompts[number] for number in numbers], generators)

    description = {
        "model": digest,
        "size": list(run.size),
        "steps": run.sampling_steps,
        "guidance": run.guidance,
    }
    return make_once(place, task.prompts, description, settings.seed, settings.batch, make)


def _prompts(run: CoMatRun) -> list[str]:
    if run.prompts is None:
        world = ShapesWorld(TRAINING_SEED, *run.size)
        return [caption(world.scene(number)) for number in range(run.world_prompts)]
    try:
        lines = run.prompts.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{run.prompts} cannot be read as a text of prompts: {error}") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise SourceError(f"{run.prompts} has no prompts; write one on each line")
    return prompts


def _entities(pipeline: TextToImage, prompts: Sequence[str], parser: str) -> list[PromptEntities]:
    entities = PromptEncoder(pipeline).entities(prompts, parser)
    without = sum(not one.groups for one in entities)
    if without == len(entities):
        raise SourceError(
            f"none of the {len(prompts)} prompts has an entity whose attention could be concentrated: a noun "
            "with a word that describes it, which the prompt names once and a picture has a region for (as "
            '"a red dog and a blue bench"). Give other prompts, or leave this part out with --token-weight 0 '
            "--pixel-weight 0"
        )
    if without:
        logger.info(
            "%d of %d prompts have no entity for attribute concentration; they take part in the rest",
            without,
            len(prompts),
        )
    return entities


def _rivals(
    entities: Sequence[PromptEntities], prompts: Sequence[str], run: CoMatRun, folder: Path
) -> list[PromptEntities]:
    """Prompts with rivals: those that a run was begun with, where an earlier version wrote articles."""
    found = _with_rivals(entities, prompts, run)
    before = (read_run(folder) or {}).get("rests_on", {}).get("entities")
    if before is not None and before != of_texts(map(repr, found)):
        earlier = _with_rivals(entities, prompts, run, every_article=True)
        if before == of_texts(map(repr, earlier)):
            return earlier
    return found


def _with_rivals(
    entities: Sequence[PromptEntities], prompts: Sequence[str], run: CoMatRun, every_article: bool = False
) -> list[PromptEntities]:
    rivals = rival_captions(parse(prompts, run.pipeline), run.rivals, every_article=every_article)
    without = sum(not some for some in rivals)
    if without == len(prompts):
        raise SourceError(
            f"none of the {len(prompts)} prompts has rivals: captions that bind its words otherwise need a "
            'noun with words before it that describe it (as "a red dog and a blue bench"). Give other '
            "prompts, or --concept-loss mean or sum"
        )
    if without:
        logger.info(
            "%d of %d prompts have no rivals; the captioner is not asked about them", without, len(prompts)
        )
    return [one._replace(rivals=some) for one, some in zip(entities, rivals, strict=True)]


def _segmenter(run: CoMatRun) -> Segmenter:
    if run.segmenter == WORLD:
        return WorldSegmenter()
    # SAM's package is needed for this alone.
    from ...models.vision.segmenting import GroundedSegmenter

    assert run.segmenter is not None
    assert run.detector is not None
    return GroundedSegmenter.load(run.detector, Path(run.segmenter), run.box_threshold, run.text_threshold)


def _check_size(run: CoMatRun, pipeline: TextToImage) -> None:
    blocks: Any = pipeline.unet.config["block_out_channels"]
    unit = int(pipeline.vae_scale_factor) * 2 ** (len(blocks) - 1)
    if any(side < unit or side % unit for side in run.size):
        raise SourceError(f"the size is {run.size[0]}x{run.size[1]}; both sides must be multiples of {unit}")


def _shapes(unet: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(unet.get_submodule(name).weight.shape) for name in attention_targets(unet)}


def _rests_on(
    run: CoMatRun, entities: Sequence[PromptEntities] | None, segmenter: Segmenter | None
) -> dict[str, Any]:
    """What was found in prompts and what finds masks, by content: names of files say little."""
    models = models_of(segmenter)
    weights = {name: of_weights(models[name]) if name in models else "" for name in ("sam", "detector")}
    return {
        "entities": of_texts(map(repr, entities or ())),
        "pipeline": "" if entities is None else run.pipeline,
        "thresholds": [run.box_threshold, run.text_threshold] if models else [],
        **weights,
    }


def _about(run: CoMatRun, digest: str) -> dict[str, Any]:
    """What must not change when a run is continued, besides prompts and size."""
    return {
        "model": digest[:16],
        "captioner": "" if run.captioner is None else Path(run.captioner).name,
        "segmenter": "" if run.segmenter is None else Path(run.segmenter).name,
        "rank": run.rank,
        "sampling": [run.sampling_steps, run.guidance, run.gradient_steps, run.attention_steps],
        "weights": [
            run.concept_weight,
            run.token_weight,
            run.pixel_weight,
            run.fidelity_weight,
            run.distance_weight,
        ],
        "gradient": [run.gradient_path, run.gradient_limit, run.gradient_until],
        "losses": [run.concept_loss, run.token_loss, run.label_smoothing],
        "rivals": run.rivals if run.concept_loss == "rivals" else 0,
    }

"""The sampler of a model: Euler on the noise levels it was trained on, by the marks of a file or a folder."""

from __future__ import annotations

import logging
from typing import Any

from diffusers import EDMEulerScheduler, EulerDiscreteScheduler, StableDiffusionXLPipeline

from ...models.sdxl.prediction import Prediction, describe_scheduler, prediction_of
from .errors import UnsuitableModelError

# Of Playground v2.5, whose latents have a mean and a deviation of their own (diffusers, single_file_utils).
_PLAYGROUND_SCALE = 0.5

# What a model's scheduler says of EDM's noise levels beyond their range.
_KEPT = ("rho", "num_train_timesteps", "final_sigmas_type")

logger = logging.getLogger("instance_composer")


def progress_of(pipeline: Any) -> float:
    """How far a run of a pipeline is inside one of its steps: the share of its steps that are done."""
    scheduler: Any = pipeline.scheduler
    return scheduler.step_index / len(scheduler.timesteps)


def set_scheduler(pipeline: StableDiffusionXLPipeline, name: str, marked: Prediction | None = None) -> None:
    """Give a pipeline the Euler sampler for what its model predicts: `marked`, else what its scheduler says.

    Raises `UnsuitableModelError` for a scheduler of a kind that the samplers here do not draw.
    """
    config: dict[str, Any] = dict(pipeline.scheduler.config)
    # `_class_name` is that of the pipeline's file where the scheduler came from one.
    config["_class_name"] = type(pipeline.scheduler).__name__
    vae: Any = pipeline.vae
    prediction = marked or prediction_of(config, dict(vae.config))
    if prediction is None:
        raise UnsuitableModelError(
            f"{name} says {describe_scheduler(config)}, and drawn are models that predict noise (epsilon) or "
            "velocity (v_prediction)"
        )
    if prediction.edm is not None:
        if prediction.edm.mean is not None and prediction.edm.std is not None:
            latents = {"latents_mean": [*prediction.edm.mean], "latents_std": [*prediction.edm.std]}
            vae.register_to_config(**latents, scaling_factor=_PLAYGROUND_SCALE)
        kept = {name: config[name] for name in _KEPT if name in config}
        pipeline.scheduler = EDMEulerScheduler(**kept, **prediction.scheduler_options())
        return
    options = prediction.scheduler_options()
    spacing = config.get("timestep_spacing")
    if marked is None and spacing not in (None, options.get("timestep_spacing", spacing)):
        logger.warning(
            "%s says zero terminal SNR with timestep_spacing %s; steps are spaced trailing, since no other "
            "spacing begins with noise alone.",
            name,
            spacing,
        )
    # What the published results were made with; keeps the model's own noise schedule.
    pipeline.scheduler = EulerDiscreteScheduler.from_config(config, **options)

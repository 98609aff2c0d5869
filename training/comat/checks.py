"""What is asked of a run, checked before anything is loaded."""

from __future__ import annotations

import logging
import math
from typing import cast

from ...models.comat.attention_losses import Form
from ..data.errors import SourceError
from .objective import Balance, ConceptForm, Sampling
from .options import WORLD, CoMatRun

logger = logging.getLogger("instance_composer")

_AT_LEAST_ONE = {
    "rank": "--rank",
    "sampling_steps": "--sampling-steps",
    "gradient_steps": "--gradient-steps",
    "attention_steps": "--attention-steps",
    "world_prompts": "--world-prompts",
    "rivals": "--rivals",
}
_NOT_NEGATIVE = {
    "concept_weight": "--concept-weight",
    "token_weight": "--token-weight",
    "pixel_weight": "--pixel-weight",
    "fidelity_weight": "--fidelity-weight",
    "distance_weight": "--distance-weight",
    "guidance": "--guidance",
    "gradient_limit": "--gradient-limit",
}
_SHARES = {"box_threshold": "--box-threshold", "text_threshold": "--text-threshold"}
_CHAINED = {"published": None, "scheduler": False, "calls": True}
_WORDS = {
    "concept_loss": ("mean", "sum", "rivals"),
    "token_loss": ("released", "paper"),
    "gradient_path": tuple(_CHAINED),
}


def check_run(run: CoMatRun, has_captioner: bool, has_segmenter: bool) -> None:
    """`SourceError` for values out of range, and for a part that is on and lacks its model.

    The last two say that these come from elsewhere than from the run's files.
    """
    _check_values(run)
    _check_captioner(run, has_captioner)
    _check_segmenter(run, has_segmenter)
    if not (run.concept_weight or run.token_weight or run.pixel_weight):
        raise SourceError(
            "nothing is learned: captioner and masks are both left out; give --concept-weight, "
            "--token-weight or --pixel-weight a number above 0"
        )


def balance_of(run: CoMatRun) -> Balance:
    """The weights and forms of a checked run's losses."""
    return Balance(
        run.concept_weight,
        run.token_weight,
        run.pixel_weight,
        run.fidelity_weight,
        run.distance_weight,
        cast(ConceptForm, run.concept_loss),
        run.label_smoothing,
        cast(Form, run.token_loss),
    )


def sampling_of(run: CoMatRun) -> Sampling:
    """How a checked run samples its pictures."""
    return Sampling(
        run.sampling_steps,
        run.guidance,
        run.gradient_steps,
        run.attention_steps,
        _CHAINED[run.gradient_path],
        run.gradient_limit,
        run.gradient_until,
    )


def _check_values(run: CoMatRun) -> None:
    for name, given in _AT_LEAST_ONE.items():
        _require(getattr(run, name) >= 1, given, getattr(run, name), "1 or more")
    for name, given in _NOT_NEGATIVE.items():
        value = getattr(run, name)
        _require(value >= 0 and math.isfinite(value), given, value, "0 or more")
    for name, given in _SHARES.items():
        _require(0 <= getattr(run, name) <= 1, given, getattr(run, name), "0 to 1")
    for name, words in _WORDS.items():
        given = f"--{name.replace('_', '-')}"
        _require(getattr(run, name) in words, given, getattr(run, name), _either(words))
    _require(0 <= run.label_smoothing < 1, "--label-smoothing", run.label_smoothing, "0 up to 1")
    _require(run.discriminator_rate > 0, "--discriminator-rate", run.discriminator_rate, "more than 0")
    _require(0 < run.gradient_until <= 1, "--gradient-until", run.gradient_until, "more than 0, up to 1")
    if (run.token_weight or run.pixel_weight) and run.attention_steps > run.gradient_steps:
        logger.info(
            "--attention-steps is %d: attention counts at %d, as many as have a gradient",
            run.attention_steps,
            run.gradient_steps,
        )
    reach = sampling_of(run).reach
    if run.gradient_steps > reach:
        until = "" if run.gradient_until == 1 else f" until {run.gradient_until:g} of them"
        raise SourceError(
            f"--gradient-steps is {run.gradient_steps} of {run.sampling_steps} --sampling-steps{until}; at "
            f"most {reach} can have a gradient"
        )


def _check_captioner(run: CoMatRun, given: bool) -> None:
    if run.concept_weight and run.captioner is None and not given:
        raise SourceError(
            "concept matching needs a captioner that says how likely a prompt is: give --captioner a folder "
            "or a name on the hub, or leave this part out with --concept-weight 0"
        )
    if run.concept_loss == "rivals" and run.label_smoothing:
        logger.info("--label-smoothing is not used: it belongs to --concept-loss mean and sum")
    if not run.concept_weight and run.captioner is not None:
        logger.info("--captioner is not used, because --concept-weight is 0")


def _check_segmenter(run: CoMatRun, given: bool) -> None:
    if not (run.token_weight or run.pixel_weight):
        if run.segmenter is not None:
            logger.info("--segmenter is not used, because --token-weight and --pixel-weight are 0")
        return
    if given:
        return
    if run.segmenter is None:
        raise SourceError(
            "attribute concentration needs masks: give --segmenter a SAM checkpoint with a --detector, or "
            f"--segmenter {WORLD} for Shapes World, or leave this part out with --token-weight 0 "
            "--pixel-weight 0"
        )
    if run.segmenter != WORLD and run.detector is None:
        raise SourceError(
            f"--segmenter {run.segmenter} makes masks of boxes, and nothing says where those come from: give "
            "--detector a Grounding DINO"
        )
    if run.segmenter == WORLD and run.detector is not None:
        logger.info("--detector is not used: Shapes World's judge finds things by itself")


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _require(holds: bool, flag: str, value: object, allowed: str) -> None:
    if not holds:
        raise SourceError(f"{flag} is {value}; it must be {allowed}")

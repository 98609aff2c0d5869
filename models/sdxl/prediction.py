"""What an SDXL UNet predicts and on which noise levels, by the marks that a file or a folder carries.

Weights do not tell it. Single files carry tensors of certain names (`v_pred`, `ztsnr`; ComfyUI 0.33,
comfy/supported_models.py SDXL.model_type and comfy_extras/nodes_model_merging.py) or texts in their metadata
(modelspec, and those of kohya's scripts), diffusers folders a scheduler's configuration.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..weights import CheckpointError, Header, listing

EPSILON, VELOCITY = "epsilon", "v_prediction"

# Names of tensors that are marks.
V_PRED, ZERO_SNR = "v_pred", "ztsnr"
EDM_MEAN, EDM_STD = "edm_mean", "edm_std"
SIGMA_MAX, SIGMA_MIN = "edm_vpred.sigma_max", "edm_vpred.sigma_min"
MARKS = frozenset({V_PRED, ZERO_SNR, EDM_MEAN, EDM_STD, SIGMA_MAX, SIGMA_MIN})
# Parts of names that only a mark has: another one of them is of a kind that is not known.
_LIKE_MARKS = ("v_pred", "vpred", "ztsnr", "zsnr", "edm_", "rectified_flow", "flow_match", "x0_pred")

# Keys of metadata: modelspec's (prediction_type, and predict_key, which ComfyUI writes) and kohya's.
_TOLD = ("modelspec.prediction_type", "modelspec.predict_key")
_KOHYA_VELOCITY, _KOHYA_ZERO_SNR = "ss_v_parameterization", "ss_zero_terminal_snr"
_WORDS = {
    **dict.fromkeys(("epsilon", "eps", "noise"), EPSILON),
    **dict.fromkeys(("v", "v_prediction", "v-prediction", "vprediction", "v_pred", "velocity"), VELOCITY),
}

# Noise levels of models trained in EDM's way: sigma of the data, least and greatest sigma (ComfyUI 0.33, as
# above: Playground v2.5, and the range of CosXL, whose file tells its own).
_PLAYGROUND = (0.5, 0.002, 80.0)
_COSXL = (1.0, 0.002, 120.0)

logger = logging.getLogger("instance_composer")


@dataclass(frozen=True)
class EDM:
    """Noise levels of Karras et al. 2022 (arXiv 2206.00364); `mean` and `std` (4) are of latents, or None."""

    sigma_data: float
    sigma_min: float
    sigma_max: float
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Prediction:
    """`kind` is `EPSILON` or `VELOCITY`.

    `zero_snr`: the last noise level is noise alone (Lin et al. 2023, arXiv 2305.08891). `edm` where the noise
    levels are EDM's. `said`: whether a mark told it, and it is not what an unmarked file is taken for.
    """

    kind: str = EPSILON
    zero_snr: bool = False
    edm: EDM | None = None
    said: bool = False

    def marks(self) -> dict[str, Tensor]:
        """The tensors a single file carries, by which ComfyUI and others know it; none for plain epsilon."""
        if self.edm is not None and self.kind == EPSILON:
            values = {EDM_MEAN: self.edm.mean or (0.0,) * 4, EDM_STD: self.edm.std or (1.0,) * 4}
            return {name: torch.tensor(value).reshape(1, -1, 1, 1) for name, value in values.items()}
        if self.edm is not None:
            return {
                SIGMA_MAX: torch.tensor(self.edm.sigma_max),
                SIGMA_MIN: torch.tensor(self.edm.sigma_min),
            }
        names = ([V_PRED] if self.kind == VELOCITY else []) + ([ZERO_SNR] if self.zero_snr else [])
        return {name: torch.zeros(0) for name in names}

    def scheduler_options(self) -> dict[str, Any]:
        """The part of a diffusers scheduler's configuration that says the same."""
        if self.edm is not None:
            return {
                "prediction_type": self.kind,
                "sigma_data": self.edm.sigma_data,
                "sigma_min": self.edm.sigma_min,
                "sigma_max": self.edm.sigma_max,
                "sigma_schedule": "karras" if self.kind == EPSILON else "exponential",
            }
        # With zero terminal SNR the first step has to be the last training step (the paper's section 3.3).
        spacing = {"timestep_spacing": "trailing"} if self.zero_snr else {}
        return {"prediction_type": self.kind, "rescale_betas_zero_snr": self.zero_snr, **spacing}


def read_prediction(
    file: str, names: Mapping[str, Header], read: Callable[[str], Tensor], texts: Mapping[str, str]
) -> Prediction:
    """What a single file says: tensors by the names of marks, then the texts of its metadata.

    A mark that is not known, or that contradicts another, is a warning. Raises `CheckpointError` for marks
    that hold no number.
    """
    unknown = [name for name, one in names.items() if name not in MARKS and _is_like_a_mark(name, one)]
    told = _told(file, texts)
    if EDM_MEAN in names and EDM_STD in names:
        mean, std = (_numbers(file, name, read(name)) for name in (EDM_MEAN, EDM_STD))
        found = Prediction(EPSILON, edm=EDM(*_PLAYGROUND, mean, std), said=True)
    elif SIGMA_MAX in names:
        data, least, most = _COSXL
        most = _numbers(file, SIGMA_MAX, read(SIGMA_MAX))[0]
        least = _numbers(file, SIGMA_MIN, read(SIGMA_MIN))[0] if SIGMA_MIN in names else least
        if not 0 < least < most < math.inf:
            raise CheckpointError(f"{file} says noise levels from {least} to {most}; it is damaged.")
        found = Prediction(VELOCITY, edm=EDM(data, least, most), said=True)
    elif V_PRED in names:
        found = Prediction(VELOCITY, ZERO_SNR in names or told.zero_snr, said=True)
    else:
        # By itself the mark of zero terminal SNR says nothing: a prediction of noise has no such end.
        zero_snr = told.kind == VELOCITY and (told.zero_snr or ZERO_SNR in names)
        found = Prediction(told.kind, zero_snr, said=told.said)
        unknown += [name for name in MARKS if name in names and not (zero_snr and name == ZERO_SNR)]
    if unknown:
        logger.warning(
            "%s carries marks of its training that are not known or not whole: %s. It is taken for a model "
            "with %s.",
            file,
            listing(sorted(unknown), most=5),
            in_words(found),
        )
    if told.said and (told.kind != found.kind):
        logger.warning(
            "%s carries marks that contradict each other: its tensors say %s, its metadata %s. The tensors "
            "count.",
            file,
            in_words(found),
            in_words(told),
        )
    return found


def scheduler_prediction(folder: Path) -> Prediction:
    """What the scheduler and the VAE of a diffusers folder say; an unmarked prediction without a scheduler.

    A scheduler of another kind is a warning.
    """
    file = folder / "scheduler" / "scheduler_config.json"
    config = _json(file)
    if not config:
        return Prediction()
    found = prediction_of(config, _json(folder / "vae" / "config.json"))
    if found is None:
        logger.warning(
            "%s says %s, which is not known. The model is taken for one that predicts noise.",
            file.relative_to(folder.parent),
            describe_scheduler(config),
        )
        return Prediction()
    return found


def prediction_of(scheduler: Mapping[str, Any], vae: Mapping[str, Any] | None = None) -> Prediction | None:
    """What configurations of diffusers say; None for a scheduler of a kind that is not known here."""
    name = str(scheduler.get("_class_name", ""))
    kind = scheduler.get("prediction_type", EPSILON)
    if "Flow" in name or kind not in (EPSILON, VELOCITY):
        return None
    continuous = kind == VELOCITY and scheduler.get("timestep_type") == "continuous"
    if name.startswith("EDM") or continuous:
        data, least, most = _COSXL if continuous or kind == VELOCITY else _PLAYGROUND
        latents = [(vae or {}).get(f"latents_{part}") for part in ("mean", "std")]
        mean, std = (tuple(map(float, one)) if isinstance(one, list) else None for one in latents)
        return Prediction(
            kind,
            edm=EDM(
                scheduler.get("sigma_data", data),
                scheduler.get("sigma_min") or least,
                scheduler.get("sigma_max") or most,
                mean,
                std,
            ),
            said=True,
        )
    return Prediction(kind, bool(scheduler.get("rescale_betas_zero_snr", False)), said=True)


def describe_scheduler(config: Mapping[str, Any]) -> str:
    """The class of a scheduler and what its model predicts, in words."""
    kind = config.get("prediction_type")
    return f"{config.get('_class_name', 'no class')}{f' with {kind}' if kind else ''}"


def in_words(prediction: Prediction) -> str:
    """What a prediction is called in messages."""
    words = "v-prediction" if prediction.kind == VELOCITY else "epsilon prediction"
    if prediction.edm is not None:
        return f"{words} on EDM's noise levels"
    return f"{words} with zero terminal SNR" if prediction.zero_snr else words


def _is_like_a_mark(name: str, tensor: Header) -> bool:
    """Whether a tensor has the name of a mark, or no numbers, which nothing else comes without."""
    named = name.startswith(_LIKE_MARKS) and not name.endswith((".weight", ".bias"))
    return named or 0 in tensor.shape


def _told(file: str, texts: Mapping[str, str]) -> Prediction:
    words = next((texts[key] for key in _TOLD if key in texts), None)
    kind = _WORDS.get(words.strip().lower()) if words is not None else None
    if words is not None and kind is None:
        logger.warning(
            "%s says in its metadata that it predicts %r, which is not known; known are epsilon and v.",
            file,
            words[:40],
        )
    if kind is None and _is_true(texts.get(_KOHYA_VELOCITY)):
        kind = VELOCITY
    zero_snr = kind == VELOCITY and _is_true(texts.get(_KOHYA_ZERO_SNR))
    return Prediction(kind or EPSILON, zero_snr, said=kind is not None)


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() in ("true", "1")


def _numbers(file: str, name: str, value: Tensor) -> tuple[float, ...]:
    numbers = tuple(value.flatten().tolist()) if value.numel() <= 64 else ()
    if not numbers or not all(math.isfinite(one) for one in numbers):
        raise CheckpointError(f"{file} has the mark {name} without finite numbers in it; it is damaged.")
    return numbers


def _json(file: Path) -> dict[str, Any]:
    """A configuration; nothing where there is none that can be read."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}

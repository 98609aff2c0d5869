"""LoRAs for instances put on a MODEL, and seen from a part of the picture."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import CallbacksMP, WrappersMP

from ....layout import Layout
from ....layout.choosing import describe, find_instance, list_instances, tell_which
from ....models.regions import Rectangle, Regions
from ..attention.errors import ModelMismatchError
from .reading import lora_path, read_lora
from .wrapper import NODE, InstanceLora, LoraWrappers

KEY = "instance_composer_loras"

logger = logging.getLogger("instance_composer")


def lora_for_instance(
    model: Any, layout: Layout, name: str, file: str, strength: float = 1.0
) -> tuple[Any, str]:
    """A MODEL on which a LoRA of models/loras acts where an instance is, and what there is to say.

    `name` is the instance's id or number. Where regions overlap, the instance in front is alone. At strength
    0, and where no instance is meant that takes part, the MODEL is handed back as it came. Raises
    `ModelMismatchError` for other models than UNets, `CheckpointError` for a file that does not fit,
    LayoutError for a layout with errors.
    """
    if not isinstance(model.get_model_object("diffusion_model"), UNetModel):
        raise ModelMismatchError(
            f"This MODEL is {type(model.model.model_config).__name__}. {NODE} works with UNets, such as "
            "those of SDXL and SD1.5; use Load LoRA with this one."
        )
    if strength == 0.0:
        return model, "Strength 0: the model is as it came."
    found = find_instance(layout.checked(), name.strip())
    lora_path(file)  # a file that is gone is told of, whoever it is for
    if found is None or not layout.instances[found].active:
        said = f"No effect: the layout has no instance {name.strip()!r} that is drawn. There are: "
        return model, f"{said}{list_instances(layout)}."
    chosen, lora = layout.instances[found], read_lora(file, model)
    # LoRAs of one layout share their regions, so that those of one instance act as one.
    shared = (one.regions for one in loras_of(model) if one.layout == layout)
    regions = next(shared, None) or Regions.from_layout(layout)
    own = InstanceLora(lora, layout, regions, layout.active.index(chosen), strength)
    said = f"{file} acts on instance {describe(layout, found)} in {len(lora.deltas)} layers."
    if which := tell_which(layout, name.strip()):
        said += f" {which}"
    if chosen.strength != 1.0:
        said += f" The instance's own strength ({chosen.strength:g}) is not used."
    if (chosen.start, chosen.end) != (0.0, 1.0):
        said += " It acts in all steps: the instance's start and end are not used."
    if lora.left_out:
        said += f" Left out: {'; '.join(lora.left_out)}."
        logger.warning("%s: %s", NODE, said)
    return _with(model, [*loras_of(model), own]), said


def loras_of(model: Any) -> tuple[InstanceLora, ...]:
    """The LoRAs for instances that a MODEL has."""
    installed = model.get_wrappers(WrappersMP.DIFFUSION_MODEL, KEY)
    return installed[0].__self__.loras if installed else ()


def model_seen_from(model: Any, rectangle: Rectangle) -> Any:
    """The MODEL for a picture that is a rectangle of the one that it was made for."""
    loras = loras_of(model)
    if not loras:
        return model
    cropped = {one.regions: one.regions.crop(*rectangle) for one in loras}
    return _with(model, [replace(one, regions=cropped[one.regions]) for one in loras])


def _with(model: Any, loras: Iterable[InstanceLora]) -> Any:
    bound, wrappers = model.clone(), LoraWrappers(tuple(loras))
    for registry, kind, method in (
        (bound.wrappers, WrappersMP.CALC_COND_BATCH, wrappers.on_conditionings),
        (bound.wrappers, WrappersMP.DIFFUSION_MODEL, wrappers.on_diffusion_model),
        (bound.callbacks, CallbacksMP.ON_CLEANUP, wrappers.on_cleanup),
    ):
        registry.setdefault(kind, {})[KEY] = [method]
    return bound

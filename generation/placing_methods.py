"""Methods of placing things, by the names that jobs, records and the command line know them by."""

from __future__ import annotations

from collections.abc import Mapping

from .methods import NOT_SAMPLED, Method

# In the order of the tables.
METHODS: Mapping[str, Method] = {
    **NOT_SAMPLED,
    "plain": Method("no control"),
    "area": Method("area conditioning (core)", boxes=True),
    "mask": Method("mask conditioning (core)", boxes=True),
    "couple": Method("attention couple (ppm)", boxes=True, pack="pamparamm/ComfyUI-ppm", unet=True),
    "regions": Method("Draw Regions", boxes=True),
    "isolated-regions": Method("Draw Regions, isolated", boxes=True),
    "strong-regions": Method("Draw Regions, strength 16", boxes=True, unet=True),
    "ifadapter": Method("IFAdapter", boxes=True, adapter=True, unet=True),
    "no-appearance": Method("IFAdapter, no appearance tokens", boxes=True, adapter=True, unet=True),
    "no-eot": Method("IFAdapter, no end of text", boxes=True, adapter=True, unet=True),
}
TRAINING_FREE = tuple(name for name, method in METHODS.items() if method.boxes and not method.adapter)

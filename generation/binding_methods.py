"""Methods of keeping attributes on their nouns, by the names that jobs, records and the command line know."""

from __future__ import annotations

from collections.abc import Mapping

from .methods import NOT_SAMPLED, Method

# In the order of the tables.
METHODS: Mapping[str, Method] = {
    **NOT_SAMPLED,
    "plain": Method("no guidance"),
    "local": Method("local, own maps", baseline="plain", weighted=True),
    "latent": Method("latent, own maps", baseline="plain", weighted=True, unet=True),
    "attend-and-excite": Method("Attend-and-Excite's objective", baseline="plain", unet=True),
    "local-found": Method("local, first picture's outlines", baseline="plain", weighted=True, redraws=True),
    "lora": Method("LoRA", lora=True),
    "lora+local": Method("LoRA, local, own maps", lora=True, baseline="lora", weighted=True),
    "local-boxes": Method("local, boxes", boxes=True, baseline="plain", weighted=True),
    "latent-boxes": Method("latent, boxes", boxes=True, baseline="plain", weighted=True, unet=True),
    "lora+local-boxes": Method("LoRA, local, boxes", boxes=True, lora=True, baseline="lora", weighted=True),
    "regions": Method("Draw Regions", boxes=True),
    "strong-regions": Method("Draw Regions, strength 16", boxes=True, unet=True),
    "regions+local": Method("Draw Regions, local", boxes=True, baseline="regions", weighted=True),
    "ifadapter": Method("IFAdapter", boxes=True, adapter=True, unet=True),
    "ifadapter+local": Method(
        "IFAdapter, local", boxes=True, adapter=True, unet=True, baseline="ifadapter", weighted=True
    ),
    "ifadapter+latent": Method(
        "IFAdapter, latent", boxes=True, adapter=True, unet=True, baseline="ifadapter", weighted=True
    ),
}
WITH_LORA = tuple(name for name, method in METHODS.items() if method.lora)
WITH_BOXES = tuple(name for name, method in METHODS.items() if method.boxes)
# What each guided method adds to which.
BASELINES: Mapping[str, str] = {name: method.baseline for name, method in METHODS.items() if method.baseline}

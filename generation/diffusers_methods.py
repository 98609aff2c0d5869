"""Methods that draw in diffusers, by the names that jobs and the command line know them by."""

from __future__ import annotations

from collections.abc import Mapping

from .methods import Method

FAMILY = "diffusers"

# In the order of the tables.
METHODS: Mapping[str, Method] = {
    "plain": Method("no control"),
    "attend-and-excite": Method("Attend-and-Excite's objective", baseline="plain"),
    "local": Method("local, own maps", baseline="plain", weighted=True),
    "local-boxes": Method("local, boxes", boxes=True, baseline="plain", weighted=True),
    "multidiffusion": Method("MultiDiffusion", boxes=True),
    "densediffusion": Method("DenseDiffusion", boxes=True),
    "rpg": Method("RPG's regional diffusion", boxes=True),
    "omost": Method("Omost's regional attention", boxes=True),
    # A model of its own, where the user has it.
    "gligen": Method("GLIGEN", boxes=True, own_model=True),
    "ifadapter": Method("IFAdapter", boxes=True, adapter=True),
    "ifadapter+local": Method(
        "IFAdapter, local", boxes=True, adapter=True, baseline="ifadapter", weighted=True
    ),
}

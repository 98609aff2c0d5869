"""Methods that draw in diffusers, by the names that jobs and the command line know them by."""

from __future__ import annotations

from collections.abc import Mapping

from .methods import Method

FAMILY = "diffusers"

# In the order of the tables.
METHODS: Mapping[str, Method] = {
    "plain": Method("no control"),
    "multidiffusion": Method("MultiDiffusion", boxes=True),
    "rpg": Method("RPG's regional diffusion", boxes=True),
    "omost": Method("Omost's regional attention", boxes=True),
    "ifadapter": Method("IFAdapter", boxes=True, adapter=True),
}

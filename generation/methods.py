"""Method of drawing: its label in tables, what it needs, and what it adds to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A method by its `label`, and what it needs beside a prompt.

    `boxes`: those of the layout; `adapter`: an IFAdapter; `lora`: a LoRA file; `pack`: another author's, as
    owner/name on GitHub.
    `baseline` names the method that its guidance is added to, and that it is without strength; `weighted`
    says whether that guidance has a token and a pixel term. What is not `sampled` starts from a real picture.
    `redraws`: it draws a second picture from the noise of one by its baseline, knowing where that one shows
    the things; its seconds are those of both.
    `own_model`: it draws with a model of its own kind, which the user names. `unet`: it acts on a UNet alone.
    """

    label: str
    boxes: bool = False
    adapter: bool = False
    lora: bool = False
    pack: str = ""
    baseline: str = ""
    weighted: bool = False
    redraws: bool = False
    sampled: bool = True
    own_model: bool = False
    unet: bool = False


NOT_SAMPLED: Mapping[str, Method] = {
    "real": Method("real renders", sampled=False),
    "reconstructed": Method("real renders through the autoencoder", sampled=False),
}

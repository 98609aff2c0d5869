"""The demo model that comes with the pack: a diffusers folder, an IFAdapter and LoRAs trained on it."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
ADAPTER = "ifadapter.safetensors"
# The LoRA of the UNet that feedback learning made.
COMPOSITION_LORA = "composition_lora.safetensors"
# LoRAs that know a look each, for LoRA for Instance; `scripts/look_loras.py` makes them.
LOOK_LORAS = {
    "demo model, dotted": "loras/dotted.safetensors",
    "demo model, purple": "loras/purple.safetensors",
}
# One large file of each part, to recognise an incomplete copy of the pack by.
_WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder_2/model.safetensors",
    ADAPTER,
)


# Where beside the demo model the transformer is that `instance-composer train pack` writes.
FLUX = "flux"
# By this file a folder is known as one with a transformer that draws with the demo's texts and autoencoder.
_TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


class DemoModelError(FileNotFoundError):
    """The demo model's files are not all there."""


def demo_folder(folder: Path = FOLDER) -> Path:
    """The folder of the demo model; `DemoModelError` names the files it lacks."""
    absent = [name for name in _WEIGHTS if not (folder / name).is_file()]
    if absent:
        raise DemoModelError(
            f"The demo model in {folder} is not complete, it lacks {', '.join(absent)}. Install the pack "
            "again, or make them: docs/training.md tells how it is trained and packed."
        )
    return folder


def transformer_folder(folder: Path = FOLDER) -> Path:
    """The folder of the demo's transformer; `DemoModelError` if it is not there."""
    if not holds_transformer(folder / FLUX):
        raise DemoModelError(f"{folder / FLUX} has no transformer. Install the pack again: it comes with it.")
    return folder / FLUX


def holds_transformer(folder: Path) -> bool:
    """Whether a folder is a transformer's, as the stage `transformer` of training writes it."""
    return (folder / _TRANSFORMER).is_file()

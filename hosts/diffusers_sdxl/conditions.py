"""Pictures that steer a picture beside its layout: a ControlNet's map and an IP-Adapter's example, and where
the parts of a pipeline wait."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline, StableDiffusionXLPipeline
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from ...models.weights import CheckpointError, read_tensors
from .errors import UnsuitableModelError

_KEYS = "to_k_ip.weight"


@dataclass(frozen=True, eq=False)
class Conditions:
    """What a picture is steered by: the map for the pipeline's ControlNet, the example for its IP-Adapter.

    Both are PIL pictures, each None where the pipeline has no such part. `control_window` is the share of the
    run, within 0..1, in which the ControlNet acts.
    """

    control: Any = None
    control_strength: float = 1.0
    control_window: tuple[float, float] = (0.0, 1.0)
    example: Any = None

    def arguments(self) -> dict[str, Any]:
        """Arguments of the pipeline, which scales a map to its pictures' size."""
        found: dict[str, Any] = {}
        if self.control is not None:
            found |= {
                "image": self.control,
                "controlnet_conditioning_scale": self.control_strength,
                "control_guidance_start": self.control_window[0],
                "control_guidance_end": self.control_window[1],
            }
        if self.example is not None:
            found["ip_adapter_image"] = self.example
        return found


def with_controlnet(
    pipeline: StableDiffusionXLPipeline, path: str | Path
) -> StableDiffusionXLControlNetPipeline:
    """The same parts with the ControlNet of a diffusers folder beside them.

    Raises `UnsuitableModelError` for a file, a folder of something else, and a ControlNet of another model.
    """
    path = Path(path)
    if not path.is_dir():
        given = "a single file" if path.exists() else "not there"
        raise UnsuitableModelError(
            f"the ControlNet {path} is {given}; give its diffusers folder, which holds config.json and "
            "diffusion_pytorch_model.safetensors"
        )
    told = _read_config(path)
    if (kind := told.get("_class_name")) != ControlNetModel.__name__:
        raise UnsuitableModelError(
            f"{path.name} is a {kind or 'folder of something else'} and no ControlNet; give the folder whose "
            f"config.json names {ControlNetModel.__name__}"
        )
    unet: Any = pipeline.unet
    for name, word in (
        ("cross_attention_dim", "text width"),
        ("block_out_channels", "widths"),
        ("in_channels", "input channels"),
    ):
        own, wanted = (_plain(one) for one in (told.get(name), unet.config[name]))
        if own != wanted:
            raise UnsuitableModelError(
                f"the ControlNet {path.name} was made for another model: its {word} are {own}, those of this "
                f"model are {wanted}; use one that was made for SDXL"
            )
    try:
        controlnet: Any = ControlNetModel.from_pretrained(
            str(path), use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UnsuitableModelError(
            f"the ControlNet {path.name} cannot be loaded ({' '.join(str(error).split())}); compare its "
            "files with the source and download them again"
        ) from error
    make: Any = StableDiffusionXLControlNetPipeline
    return make(
        **pipeline.components,
        controlnet=controlnet.to(device=unet.device, dtype=unet.dtype),
        force_zeros_for_empty_prompt=pipeline.config["force_zeros_for_empty_prompt"],
        add_watermarker=False,
    )


def load_ip_adapter(
    pipeline: StableDiffusionXLPipeline,
    path: str | Path,
    encoder: str | Path | None = None,
    strength: float = 1.0,
) -> None:
    """Put an IP-Adapter `.safetensors` on a pipeline, with the image encoder it was made with.

    `encoder` is a folder of a CLIP vision model with projection; without it the one that came with the model.
    Raises `UnsuitableModelError` for a file that is none or was made for another model or encoder.
    """
    path = Path(path)
    state = _read_ip_adapter(path)
    parts: Any = pipeline
    _check_layers(path.name, state["ip_adapter"], parts.unet)
    vision = _read_encoder(Path(encoder)) if encoder is not None else parts.image_encoder
    if vision is None:
        raise UnsuitableModelError(
            f"the IP-Adapter {path.name} looks at its example through an image encoder, and this model has "
            "none; give the folder it was published with (models/image_encoder)"
        )
    _check_encoder(path.name, state["image_proj"], vision)
    parts.register_modules(image_encoder=vision.to(device=parts.unet.device, dtype=parts.unet.dtype))
    if parts.feature_extractor is None:
        side = vision.config.image_size
        extractor = CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
        parts.register_modules(feature_extractor=extractor)
    try:
        parts.load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UnsuitableModelError(
            f"the IP-Adapter {path.name} does not fit this model: {' '.join(str(error).split())}"
        ) from error
    parts.set_ip_adapter_scale(strength)


def offload(pipeline: StableDiffusionXLPipeline, device: str) -> None:
    """Keep a pipeline in main memory, and on the device only the model that is computing."""
    pipeline.enable_model_cpu_offload(device=device)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        told = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnsuitableModelError(
            f"{path} is no ControlNet: it has no config.json; give the folder that also holds "
            "diffusion_pytorch_model.safetensors"
        ) from None
    except ValueError as error:
        raise UnsuitableModelError(f"{path / 'config.json'} cannot be read: {error}") from error
    return told if isinstance(told, dict) else {}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _read_ip_adapter(path: Path) -> dict[str, dict[str, Tensor]]:
    """The two groups of weights of a file."""
    if not path.is_file():
        raise UnsuitableModelError(f"there is no IP-Adapter file {path}")
    if path.suffix != ".safetensors":
        raise UnsuitableModelError(
            f"the IP-Adapter {path.name} is not a .safetensors file, and other kinds can carry code; most "
            "are published as both"
        )
    try:
        tensors = read_tensors(path)
    except CheckpointError as error:
        raise UnsuitableModelError(f"the IP-Adapter {error}") from error
    state = {
        group: {
            name.removeprefix(f"{group}."): value
            for name, value in tensors.items()
            if name.startswith(f"{group}.")
        }
        for group in ("image_proj", "ip_adapter")
    }
    if not all(state.values()) or not any(name.endswith(_KEYS) for name in state["ip_adapter"]):
        raise UnsuitableModelError(
            f"{path.name} is no IP-Adapter: one holds weights named image_proj.… and ip_adapter.<number>."
            f"{_KEYS}"
        )
    if any("lora" in name for name in tensors):
        raise UnsuitableModelError(
            f"the IP-Adapter {path.name} is one for faces (FaceID) and needs a face model; use a plain or a "
            "Plus one"
        )
    return state


def _check_layers(name: str, layers: Mapping[str, Tensor], unet: Any) -> None:
    """That its keys are as many and as large as the cross-attentions of this UNet, in its own order."""
    found = [layers[key] for key in _numbered(layers)]
    sizes = [
        (unet.get_submodule(processor.removesuffix(".processor")).inner_dim, unet.config.cross_attention_dim)
        for processor in unet.attn_processors
        if processor.endswith("attn2.processor")
    ]
    if [tuple(one.shape) for one in found] == sizes:
        return
    width = found[0].shape[-1]
    if width != sizes[0][1]:
        raise UnsuitableModelError(
            f"the IP-Adapter {name} was made for another model: it writes into text of width {width}, and "
            f"this model reads {sizes[0][1]}; use one that was made for SDXL"
        )
    raise UnsuitableModelError(
        f"the IP-Adapter {name} was made for another model: it has {len(found)} layers of widths "
        f"{sorted({one.shape[0] for one in found})}, and this model has {len(sizes)} of widths "
        f"{sorted({size for size, _ in sizes})}; use one that was made for SDXL"
    )


def _numbered(layers: Iterable[str]) -> list[str]:
    keys = [key for key in layers if key.endswith(_KEYS) and key.partition(".")[0].isdecimal()]
    return sorted(keys, key=lambda key: int(key.partition(".")[0]))


def _check_encoder(name: str, projection: Mapping[str, Tensor], vision: Any) -> None:
    """That it reads what this image encoder makes."""
    # A plain one reads the picture's embedding, a Plus one all patches.
    for key, has, word in (
        ("proj.weight", vision.config.projection_dim, "embeddings"),
        ("proj_in.weight", vision.config.hidden_size, "patches"),
    ):
        if key in projection and projection[key].shape[1] != has:
            raise UnsuitableModelError(
                f"the IP-Adapter {name} reads {word} of width {projection[key].shape[1]}, and this image "
                f"encoder makes {has}; give the encoder it was published with"
            )


def _read_encoder(path: Path) -> Any:
    if not (path / "config.json").is_file():
        raise UnsuitableModelError(
            f"there is no image encoder in {path}; give the folder that holds config.json and "
            "model.safetensors of a CLIP vision model"
        )
    try:
        return CLIPVisionModelWithProjection.from_pretrained(
            str(path), use_safetensors=True, local_files_only=True, torch_dtype=torch.float32
        ).eval()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UnsuitableModelError(
            f"the image encoder {path.name} cannot be loaded ({' '.join(str(error).split())})"
        ) from error

"""Other packs' attn2 code at tiny size: the files of their checkouts, run as they are.

Whole packs want face detectors and the like, so the modules that touch attention are loaded alone; where such
a module imports a detector at its top, the definitions needed are compiled out of the same file.
"""

from __future__ import annotations

import ast
import importlib
import math
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import SpatialTransformer, optimized_attention
from comfyui_location import find_comfyui, find_packs
from torch import Tensor

ADDRESSES = {
    "ComfyUI_IPAdapter_plus": "https://github.com/cubiq/ComfyUI_IPAdapter_plus",
    "ComfyUI_InstantID": "https://github.com/cubiq/ComfyUI_InstantID",
    "PuLID_ComfyUI": "https://github.com/cubiq/PuLID_ComfyUI",
    "ComfyUI-ppm": "https://github.com/pamparamm/ComfyUI-ppm",
    "comfyui-prompt-control": "https://github.com/asagi4/comfyui-prompt-control",
}

# Width of the image tokens: IPAdapter_plus takes SDXL's for its sign of an SDXL model.
TOKEN_WIDTH = 2048
TOKENS = 4

Conditioning = list[Any]
# MODEL, positive and negative, as a sampler takes them.
SamplerInputs = tuple[Any, Conditioning, Conditioning]


@dataclass(frozen=True)
class OtherPack:
    """A pack's node: `apply(model, positive, negative, weight)`; at weight 0 it does nothing."""

    name: str
    apply: Callable[[Any, Conditioning, Conditioning, float], SamplerInputs]


def ipadapter_plus(model: Any, weight_type: str = "linear", mask: Tensor | None = None) -> OtherPack:
    """The node IPAdapter Embeds, with a random adapter for this UNet; `mask` (1, H, W) limits it."""
    module = load_module("ComfyUI_IPAdapter_plus", ".", "IPAdapterPlus")
    weights = image_weights(model, seed=11)
    proj = {
        "proj.weight": _random((TOKENS * TOKEN_WIDTH, 16), seed=12) / 4,
        "proj.bias": _random((TOKENS * TOKEN_WIDTH,), seed=13),
        "norm.weight": torch.ones(TOKEN_WIDTH),
        "norm.bias": torch.zeros(TOKEN_WIDTH),
    }
    adapter = {"image_proj": proj, "ip_adapter": weights}
    picture, blank = _random((1, 1, 16), seed=14)[0], torch.zeros(1, 16)

    def apply(model: Any, positive: Conditioning, negative: Conditioning, weight: float) -> SamplerInputs:
        bound, _ = module.IPAdapterEmbeds().apply_ipadapter(
            model, adapter, picture, weight, weight_type, 0.0, 1.0, neg_embed=blank, attn_mask=mask
        )
        return bound, positive, negative

    return OtherPack("ComfyUI_IPAdapter_plus", apply)


def instantid(model: Any) -> OtherPack:
    """Apply InstantID's work in attention; its ControlNet is core's and not part of this."""
    module = load_module("ComfyUI_InstantID", ".", "CrossAttentionPatch")
    given = {"torch": torch, "Attn2Replace": module.Attn2Replace}
    given["instantid_attention"] = module.instantid_attention
    code = load_definitions("ComfyUI_InstantID", "InstantID.py", given, "To_KV", "_set_model_patch_replace")
    layers = code["To_KV"](image_weights(model, seed=21))
    # The newer of its two nodes reaches the middle block.
    return _adder("ComfyUI_InstantID", code["_set_model_patch_replace"], "ipadapter", layers, middle=0)


def pulid(model: Any, ortho_v2: bool) -> OtherPack:
    """Apply PuLID's work in attention, by its method "fidelity" (ortho_v2) or without projection."""
    given = {"torch": torch, "nn": torch.nn, "F": F, "math": math, "optimized_attention": optimized_attention}
    names = ("To_KV", "tensor_to_size", "set_model_patch_replace", "Attn2Replace", "pulid_attention")
    code = load_definitions("PuLID_ComfyUI", "pulid.py", given, *names)
    layers = code["To_KV"](image_weights(model, seed=31))
    set_patch = code["set_model_patch_replace"]
    return _adder("PuLID_ComfyUI", set_patch, "pulid", layers, middle=1, ortho=False, ortho_v2=ortho_v2)


def ppm_couple(text: Tensor, mask: Tensor) -> OtherPack:
    """Attention Couple (PPM) with a second prompt in `mask` (1, H, W); weight scales that mask."""
    module = load_module("ComfyUI-ppm", "src/attention_couple", "unet_couple")

    def apply(model: Any, positive: Conditioning, negative: Conditioning, weight: float) -> SamplerInputs:
        bound = model.clone()
        region = weight * mask
        masks = torch.stack([1 - region, region])
        unet = model.get_model_object("diffusion_model")
        patch = module.unet_attn2_couple_wrapper(
            positive, [[[text, {}]]], 2, False, torch.device("cpu"), unet.dtype
        )
        bound.set_model_attn2_patch(patch)
        bound.set_model_attn2_output_patch(module.unet_attn2_output_couple_wrapper(masks))
        return bound, positive, negative

    return OtherPack("ComfyUI-ppm", apply)


def prompt_control_couple(text: Tensor, mask: Tensor) -> OtherPack:
    """A prompt with COUPLE in prompt-control; the second prompt in `mask` (1, H, W), weight scales it."""
    module = load_module("comfyui-prompt-control", "prompt_control", "attention_couple_ppm")

    def apply(model: Any, positive: Conditioning, negative: Conditioning, weight: float) -> SamplerInputs:
        region = weight * mask
        text_0, values = positive[0]
        base = [[text_0, {**values, "mask": 1 - region, "mask_strength": 1.0}]]
        other = [text, {"mask": region, "mask_strength": 1.0}]
        return model, module.set_cond_attnmask(base, [other]), negative

    return OtherPack("comfyui-prompt-control", apply)


def _adder(
    name: str, set_patch: Callable[..., None], key: str, layers: Any, middle: int, **options: Any
) -> OtherPack:
    """The loop that InstantID and PuLID have in common, around their own code for one layer."""
    # Their attention asks one attribute of the loaded model: its key and value layers.
    holder = types.SimpleNamespace(ip_layers=layers)
    cond, uncond = _random((1, TOKENS, TOKEN_WIDTH), seed=41), _random((1, TOKENS, TOKEN_WIDTH), seed=42)

    def apply(model: Any, positive: Conditioning, negative: Conditioning, weight: float) -> SamplerInputs:
        bound = model.clone()
        sampling = model.get_model_object("model_sampling")
        common = {
            key: holder,
            "weight": weight,
            "cond": cond,
            "uncond": uncond,
            "mask": None,
            "sigma_start": sampling.percent_to_sigma(0.0),
            "sigma_end": sampling.percent_to_sigma(1.0),
            **options,
        }
        for number, place in enumerate(sdxl_places(middle)):
            set_patch(bound, {**common, "module_key": str(2 * number + 1)}, place)
        return bound, positive, negative

    return OtherPack(name, apply)


def sdxl_places(middle: int = 1) -> Iterator[tuple[str, int, int]]:
    """SDXL's cross-attentions in the order in which the three image packs number them.

    `middle` is 1 in most of their nodes, where ComfyUI has nothing, and 0 in one.
    """
    for number in (4, 5, 7, 8):
        yield from (("input", number, block) for block in range(2 if number < 6 else 10))
    for number in range(6):
        yield from (("output", number, block) for block in range(10 if number < 3 else 2))
    yield from (("middle", middle, block) for block in range(10))


def image_weights(model: Any, seed: int) -> dict[str, Tensor]:
    """`<n>.to_k_ip.weight` and `<n>.to_v_ip.weight` for the places this UNet has."""
    unet = model.get_model_object("diffusion_model")
    stages = {"input": unet.input_blocks, "output": unet.output_blocks, "middle": [unet.middle_block]}
    weights: dict[str, Tensor] = {}
    for number, (name, index, block) in enumerate(sdxl_places(middle=0)):
        found = [m for m in stages[name][index].modules() if isinstance(m, SpatialTransformer)]
        if block >= len(found[0].transformer_blocks):
            continue
        width = found[0].transformer_blocks[block].attn2.to_q.out_features
        for kind in ("k", "v"):
            value = _random((width, TOKEN_WIDTH), seed=1000 * seed + 2 * number + (kind == "v"))
            # Values large enough that two layers of them show in the prediction.
            scale = 2.0 if kind == "v" else 1.0
            weights[f"{2 * number + 1}.to_{kind}_ip.weight"] = scale * value / TOKEN_WIDTH**0.5
    return weights


def load_module(pack: str, folder: str, name: str) -> Any:
    """A module of a pack, its relative imports within `folder` included, without the pack's __init__."""
    package = "other_packs_" + "_".join((pack, folder)).translate(str.maketrans("-/.", "___"))
    if package not in sys.modules:
        made = types.ModuleType(package)
        made.__path__ = [str(find_pack(pack) / folder)]
        sys.modules[package] = made
    return importlib.import_module(f"{package}.{name}")


def load_definitions(pack: str, file: str, given: dict[str, Any], *names: str) -> dict[str, Any]:
    """Top-level functions and classes of a file that cannot be imported whole; `given` are its imports."""
    path = find_pack(pack) / file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
    missing = set(names) - {node.name for node in tree.body}
    assert not missing, f"{pack} has changed: {file} lacks {missing}"
    space = dict(given)
    exec(compile(tree, str(path), "exec"), space)
    return space


def find_pack(pack: str) -> Path:
    """The pack's checkout; skips the test with the way to get one."""
    found = find_packs().get(pack)
    if found is None:
        beside = f"{find_comfyui()}/../packs/{pack}"
        pytest.skip(f"{pack} was not found. Get it with `git clone {ADDRESSES[pack]} {beside}`.")
    return found


def _random(shape: Iterable[int], seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

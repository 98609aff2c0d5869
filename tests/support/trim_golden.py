"""Makes the reference data of the diffusers host in `tests/data` from the whole of it beside the checkout.

`python tests/support/trim_golden.py`; `tests/data/README.md` tells what is copied from the official run and
what is derived from it.
"""

from __future__ import annotations

import json
from shutil import copy

import torch
from diffusers import UNet2DConditionModel
from golden_files import GOLDEN, TRIMMED, read_cases
from safetensors.torch import load_file, save_file
from torch import Tensor

from instance_composer.hosts.diffusers_sdxl import attach_ifadapter
from instance_composer.models.ifadapter import IFAdapter

SOURCE, TARGET = GOLDEN / "ifadapter", TRIMMED / "ifadapter"
MID = "mid_block.attentions.0"
MID_LAYERS = (71, 73, 75, 77)
PHRASES = [1, 3, 5]


def trim_phrase_encoding() -> None:
    """Both text encoders whole, three of the six phrases."""
    tensors = load_file(SOURCE / "phrase_encoding.safetensors")
    trimmed = {key: v if key.startswith("te") else v[PHRASES].clone() for key, v in tensors.items()}
    save_file(trimmed, TARGET / "phrase_encoding.safetensors")
    copy(SOURCE / "phrase_encoding.json", TARGET)


def trim_unet() -> None:
    """What the four adapted blocks of the middle need, their official values, and their input."""
    facts = json.loads((SOURCE / "config_small.json").read_text())
    weights = load_file(SOURCE / "unet_small.safetensors")
    unet = UNet2DConditionModel(**facts["unet"])
    unet.load_state_dict({key: value.float() for key, value in weights.items()})
    case = read_cases(SOURCE / "unet_e2e.safetensors")["three_cfg"]
    unused = tuple(f"{MID}.transformer_blocks.{block}" for block in ("3.ff", "3.norm3", "4"))
    trimmed = {
        f"unet/{key}": value
        for key, value in weights.items()
        if key.startswith(MID) and not key.startswith((*unused, f"{MID}.proj_out"))
    }
    trimmed |= {key: case[key] for key in ("ap_tokens", "boxes", "prompt_embeds")}
    trimmed |= {f"pre_to_out/{n}": case[f"t801/pre_to_out/{n}"] for n in MID_LAYERS}
    trimmed["hidden_states"] = record_mid_input(unet, case)
    save_file(trimmed, TARGET / "unet_mid_block.safetensors")
    (TARGET / "unet_mid_block.json").write_text(json.dumps({"unet": facts["unet"]}, indent=1) + "\n")


@torch.no_grad()
def record_mid_input(unet: UNet2DConditionModel, case: dict[str, Tensor]) -> Tensor:
    """What reaches the attention of the middle block when the whole UNet runs the case."""
    seen: list[Tensor] = []
    unet.get_submodule(MID).register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    adapter = IFAdapter.load(SOURCE / "adapter_small.safetensors")
    boxes = case["boxes"].repeat(2, 1)
    condition = {"text_embeds": case["pooled_embeds"], "time_ids": case["time_ids"]}
    with attach_ifadapter(unet, adapter, case["ap_tokens"], boxes, [3, 3]):
        unet(case["t801/latents"].repeat(2, 1, 1, 1), 801, case["prompt_embeds"], added_cond_kwargs=condition)
    return seen[0]


if __name__ == "__main__":
    trim_phrase_encoding()
    trim_unet()

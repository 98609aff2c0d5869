"""The LoRA of CoMat: on every projection of every attention layer, self and cross; names in files.

Written under names that ComfyUI's core and every diffusers read alike, one prefix `unet.`: the projections
as a layer's processor once held them. The released code writes `unet.` twice, which current diffusers does
not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..weights import CheckpointError, save_weights

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
_ATTENTION = (".attn1", ".attn2")
_PREFIX = re.compile(r"^(unet\.)+")
# Ends of names in files: this one's, diffusers', peft's.
_ENDS = {
    "_lora.down.weight": "down", "_lora.up.weight": "up",
    ".lora.down.weight": "down", ".lora.up.weight": "up",
    ".lora_A.weight": "down", ".lora_B.weight": "up",
}  # fmt: skip


class LowRank(NamedTuple):
    """A layer's matrices: down (rank, in) and up (out, rank); their product is added to its weight."""

    down: Tensor
    up: Tensor


def attention_targets(unet: nn.Module) -> list[str]:
    """Names of the projections that a LoRA is put on, in the order of the UNet's modules."""
    layers = [name for name, _ in unet.named_modules() if name.endswith(_ATTENTION)]
    return [f"{layer}.{projection}" for layer in layers for projection in PROJECTIONS]


def lora_state(layers: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """A file's tensors from a UNet's layers by name."""
    state: dict[str, Tensor] = {}
    for name, (down, up) in layers.items():
        layer, _, projection = name.rpartition(".to_")
        key = f"unet.{layer}.processor.to_{projection.removesuffix('.0')}_lora"
        state[f"{key}.down.weight"] = down.contiguous()
        state[f"{key}.up.weight"] = up.contiguous()
    return state


def save_lora(path: Path, layers: Mapping[str, LowRank], metadata: Mapping[str, str]) -> None:
    """Write a LoRA, over an earlier one; an interruption leaves that one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(lora_state(layers), path, {"format": "pt", **metadata})


def read_lora(
    path: Path, targets: Iterable[str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, LowRank]:
    """The layers of a file, by name: this one's, the released code's, or diffusers'.

    `shapes` are those of the layers' weights (out, in). `CheckpointError` unless the file has all `targets`,
    fitting, and nothing else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as a safetensors file: {error}") from error
    halves: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        layer, half = _read_name(name)
        if half:
            halves.setdefault(layer, {})[half] = value.float()
    wanted = list(targets)
    whole = {name: LowRank(**both) for name, both in halves.items() if both.keys() == {"down", "up"}}
    missing = [name for name in wanted if name not in whole]
    more = len(state) - 2 * (len(wanted) - len(missing))
    if missing or more:
        raise CheckpointError(
            f"{path.name} is no LoRA that training can start from: it must hold the {len(wanted)} attention "
            f"projections of this model and nothing else; {len(missing)} are missing and {more} tensors are "
            "of something else. Use one that `train comat` wrote for the same model"
        )
    ranks = {len(one.down) for one in whole.values()}
    if len(ranks) > 1:
        raise CheckpointError(f"{path.name} has layers of ranks {sorted(ranks)}; all must have the same rank")
    for name in wanted:
        found = (whole[name].up.shape[0], whole[name].down.shape[1])
        if found != tuple(shapes[name][:2]):
            raise CheckpointError(
                f"{path.name} is a LoRA of another model: {name} is {found[0]} x {found[1]} there and "
                f"{shapes[name][0]} x {shapes[name][1]} in this model. Use one that was made for this model"
            )
    return {name: whole[name] for name in wanted}


def _read_name(name: str) -> tuple[str, str]:
    """The layer of a tensor's name, and which half it is; empty for another kind of name."""
    for end, half in _ENDS.items():
        if name.endswith(end):
            layer = _PREFIX.sub("", name.removesuffix(end)).replace(".processor.", ".")
            return (f"{layer}.0" if layer.endswith(".to_out") else layer), half
    return "", ""

"""The names of SDXL's UNet weights, and the groups of blocks they fall into.

ComfyUI and single files use the names of the original code (`input_blocks.4.1.…`), diffusers its own
(`down_blocks.1.attentions.0.…`).
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Number of resnets on each level on the way down; the way up has one more.
RESNETS = 2

GROUPS = ("all", "input", "middle", "output", "cross-attention")

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_AROUND = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_BLOCK = re.compile(
    r"(?P<stage>down_blocks|up_blocks|mid_block)(?:\.(?P<level>\d+))?"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<index>\d+)\.(?P<rest>.+)"
)
_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "module.", "unet.")


def unet_names(names: Collection[str]) -> dict[str, str]:
    """Name in a file -> original name without prefix, for the UNet weights of a file of either naming.

    Other names (text encoders, autoencoder) are left out; a name that is of neither naming stays as it is.
    """
    prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in names)), "")
    inside = {name: name[len(prefix) :] for name in names if name.startswith(prefix)}
    if not any(name.startswith(("down_blocks.", "mid_block.")) for name in inside.values()):
        return inside
    attended = {
        int(match[1])
        for name in inside.values()
        if (match := re.match(r"up_blocks\.(\d+)\.attentions\.", name))
    }
    return {name: _original(plain, attended) for name, plain in inside.items()}


def in_group(name: str, group: str) -> bool:
    """Whether a weight (original name) is in a group of `GROUPS`.

    Input, middle and output share all weights among them; the embeddings of time and size are input, the
    last convolution is output. Cross-attention is the attn2 layers of all three.
    """
    if group == "cross-attention":
        return ".attn2." in name
    return group in ("all", _part(name))


def _part(name: str) -> str:
    if name.startswith("middle_block."):
        return "middle"
    return "output" if name.startswith(("output_blocks.", "out.")) else "input"


def _original(name: str, attended: Collection[int]) -> str:
    """`attended`: levels on the way up that have attention."""
    match = _BLOCK.fullmatch(name)
    if match is None:
        return _replaced(name, _AROUND)
    stage, kind, index = match["stage"], match["kind"], int(match["index"])
    level, rest = int(match["level"] or 0), match["rest"]
    if kind == "resnets":
        rest = _replaced(rest, _RESNET)
    if stage == "mid_block":
        return f"middle_block.{1 if kind == 'attentions' else 2 * index}.{rest}"
    first = level * (RESNETS + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + RESNETS + 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + RESNETS}.{1 + (level in attended)}.{rest}"
    blocks, shift = ("input_blocks", 1) if stage == "down_blocks" else ("output_blocks", 0)
    return f"{blocks}.{first + index + shift}.{int(kind == 'attentions')}.{rest}"


def _replaced(name: str, names: dict[str, str]) -> str:
    head, dot, tail = name.rpartition(".")
    return f"{names.get(head, head)}{dot}{tail}"

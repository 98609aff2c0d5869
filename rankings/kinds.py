"""Kinds of members of a gallery, and what each of them is told: the one list that reading and docs follow."""

from __future__ import annotations

from typing import Any, NamedTuple


class Option(NamedTuple):
    """One key of a member: the type of its value, whether it must be there, and what it means."""

    type: type
    needed: bool
    meaning: str


class Kind(NamedTuple):
    """A way of making pictures and its keys."""

    meaning: str
    options: dict[str, Option]

    @property
    def needed(self) -> list[str]:
        return [name for name, one in self.options.items() if one.needed]


# Keys whose value is a path, relative to the gallery's file.
PATHS = frozenset({"model", "config", "unet", "lora", "adapter", "layouts", "workflow", "pictures"})

_STEPS = Option(int, False, "sampling steps (the pipeline's own)")
_GUIDANCE = Option(float, False, "guidance scale (the pipeline's own)")
_NEGATIVE = Option(str, False, "what not to show")
_LORA = {
    "lora": Option(str, False, "a LoRA file on it"),
    "lora_strength": Option(float, False, "of the LoRA (1)"),
}
_SDXL = {
    "model": Option(str, True, "SDXL: a diffusers folder or a .safetensors file"),
    "steps": Option(int, False, "sampling steps (30)"),
    "guidance": Option(float, False, "guidance scale (7.5)"),
    **_LORA,
}

KINDS: dict[str, Kind] = {
    "diffusers": Kind(
        "any text-to-image model that diffusers loads: SDXL, Stable Diffusion 1 and 3, Flux",
        {
            "model": Option(
                str, True, "a diffusers folder, a name on Hugging Face's hub, or a .safetensors file"
            ),
            "config": Option(str, False, "diffusers folder: configuration and tokenizers for a single file"),
            "unet": Option(
                str, False, "folder of a UNet in place of the model's, such as model/unet of a run"
            ),
            "steps": _STEPS,
            "guidance": _GUIDANCE,
            "negative": _NEGATIVE,
            **_LORA,
        },
    ),
    "ifadapter": Kind(
        "SDXL with an IFAdapter and a layout for each prompt",
        {
            **_SDXL,
            "adapter": Option(str, True, "IFAdapter: .bin or .safetensors"),
            "layouts": Option(str, True, "folder of layouts or plans in any format that is read"),
            "strength": Option(float, False, "of the adapter (1)"),
        },
    ),
    "concentration": Kind(
        "SDXL with the attention of each of a prompt's things drawn to its place",
        {
            **_SDXL,
            "layouts": Option(str, False, "folder of layouts or plans (where the thing's own attention is)"),
            "strength": Option(float, False, "of the concentration (1)"),
        },
    ),
    "comfyui": Kind(
        "a running ComfyUI with a workflow exported for its API",
        {
            "url": Option(str, True, "its address, such as http://127.0.0.1:8188"),
            "workflow": Option(str, True, "the workflow as JSON, by Export (API)"),
            "prompt": Option(str, True, 'the input that gets the prompt: "6.text" is `text` of node 6'),
            "seed": Option(str, False, "the input that gets the seed, written alike"),
            "layout": Option(str, False, "the input that gets the prompt's layout as JSON, written alike"),
            "layouts": Option(str, False, "folder of layouts or plans for it"),
            "patience": Option(float, False, "seconds that one picture may take (600)"),
        },
    ),
    "folder": Kind(
        "finished pictures",
        {"pictures": Option(str, True, "the folder; each picture's prompt is in the .txt of its name")},
    ),
}


def check_options(kind: str, values: dict[str, Any]) -> list[str]:
    """What is wrong with a member's keys, in words; whole numbers are taken where a fraction is meant."""
    known = KINDS[kind].options
    wrong = [
        f'"{name}" is missing ({known[name].meaning})' for name in KINDS[kind].needed if name not in values
    ]
    wrong += [f'"{name}" is not known; there are {", ".join(known)}' for name in values if name not in known]
    for name, value in values.items():
        if name in known:
            wanted = known[name].type
            fits = type(value) is wanted or (wanted is float and type(value) is int)
            if not fits or (wanted is str and not value):
                wrong.append(f'"{name}" is {value!r}; it must be {_WORDS[wanted]}')
    return wrong


_WORDS = {str: "a text", int: "a whole number", float: "a number"}

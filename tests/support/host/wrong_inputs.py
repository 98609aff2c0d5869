"""Every input of every node with values that it is not for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from instance_composer.hosts.comfyui.attention_maps.record import AttentionRecord
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.hosts.comfyui.rewards.score import CompositionRewards
from instance_composer.layout import Layout
from instance_composer.nodes import collect_nodes

LONGEST_MESSAGE = 3_000
WRONG: dict[str, Any] = {
    "None": None,
    "a number": 3,
    "a fraction": 0.5,
    "a text": "nonsense",
    "an empty text": "",
    "a switch": True,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "an empty list": [],
    "a list": ["a", 1],
    "a pair": [["a", "b"]],
    "an object": {"a": 1},
    "empty latents": {"samples": None},
    "a scalar": torch.tensor(1.0),
    "an empty tensor": torch.zeros(0, 0),
    "a vector": torch.zeros(3),
    "something": object(),
}
# What is right where it says so.
FITTING = {
    "INT": {"a number"},
    "FLOAT": {"a number", "a fraction"},
    "STRING": {"a text", "an empty text"},
    "BOOLEAN": {"a switch"},
    "CONDITIONING": {"an empty list"},
    "BOUNDING_BOX,BOUNDING_BOXES": {"an empty list"},
    "ARRAY": {"an empty list"},
}


def right_values(model: Any, clip: Any, adapter: Any) -> dict[str, Any]:
    """A value for every type of socket."""
    from tiny_comfyui import tiny_vae

    return {
        "VAE": tiny_vae(),
        "MODEL": model,
        "CLIP": clip,
        "IFADAPTER": adapter,
        "INSTANCE_LAYOUT": Layout(),
        "ENTITIES": PromptEntities("", ()),
        "ATTENTION_RECORD": AttentionRecord.__new__(AttentionRecord),
        "COMPOSITION_REWARDS": CompositionRewards.__new__(CompositionRewards),
        "CONDITIONING": [[torch.zeros(1, 77, 8), {}]],
        "IMAGE": torch.zeros(1, 8, 8, 3),
        "MASK": torch.zeros(1, 8, 8),
        "LATENT": {"samples": torch.zeros(1, 4, 8, 8)},
        "BOUNDING_BOX,BOUNDING_BOXES": [],
        "ARRAY": [],
    }


def combinations(right: dict[str, Any]) -> Iterator[tuple[str, Any, str, dict[str, Any]]]:
    """(label, node, name of the wrong input, all inputs) of every node, input and wrong value."""
    for node in collect_nodes():
        schema = node.define_schema()
        listed = getattr(schema, "is_input_list", False)
        values = {one.id: _right(one, right) for one in schema.inputs or ()}
        values = {name: [value] if listed else value for name, value in values.items()}
        for one in schema.inputs or ():
            for told, wrong in WRONG.items():
                fitting = told in FITTING.get(one.get_io_type(), ()) or (wrong is None and one.optional)
                # A list of lists is taken apart by nodes that take lists, and a score may be infinite.
                if fitting or (listed and (isinstance(wrong, list) or told == "infinity")):
                    continue
                given = {**values, one.id: [wrong] if listed else wrong}
                if listed and wrong is None:
                    given[one.id] = [None]
                yield f"{schema.node_id}.{one.id} with {told}", node, one.id, given


def _right(one: Any, right: dict[str, Any]) -> Any:
    if one.get_io_type() in right:
        return right[one.get_io_type()]
    default = getattr(one, "default", None)
    if default is None:
        default = {
            "COMBO": (list(getattr(one, "options", None) or ()) or ["a"])[0],
            "FLOAT": 1.0,
            "INT": 1,
        }.get(one.get_io_type(), "")
    return default


def outcome(node: Any, name: str, values: dict[str, Any]) -> str:
    """`a sentence`: the node refuses the input by its name, or says that there is no such file.

    Other exceptions than ValueError come through.
    """
    said = None
    try:
        node.execute(**values)
    except FileNotFoundError as error:
        said = f"{name}: {error}"
    except ValueError as error:
        said = str(error)
    assert said is not None, "it was taken"
    assert len(said) <= LONGEST_MESSAGE, "the message is no sentence"
    assert name in said or "box" in said, f"the input is not named: {said}"
    return "a sentence"


def trials(folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """All of them, with tiny models."""
    from diffusers import UNet2DConditionModel
    from tiny_comfyui import CPU, Patcher, tiny_clip, tiny_model
    from tiny_sdxl import UNET, write_tiny_ifadapter

    from instance_composer.models.ifadapter import IFAdapter

    adapter = IFAdapter.load(write_tiny_ifadapter(folder / "inputs.safetensors"))
    right = right_values(
        tiny_model(UNET, UNet2DConditionModel(**UNET).state_dict()),
        tiny_clip(),
        Patcher(adapter, load_device=CPU, offload_device=CPU),
    )
    for label, node, name, values in combinations(right):
        yield label, partial(outcome, node, name, values)

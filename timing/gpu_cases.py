"""The rows of timing/gpu.py: SDXL's UNet with random weights, and one node after the other applied to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

# One block a level where SDXL has two, so that little has to be compiled.
TINY = {
    "model_channels": 32,
    "num_res_blocks": [1, 1, 1],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
}
# Ten instances of one size, of which the first 1 or 4 are taken too.
BOXES = [(0.02 + 0.07 * i, 0.1 + 0.05 * (i % 3), 0.3 + 0.07 * i, 0.4 + 0.05 * (i % 3)) for i in range(10)]
PROMPT = "big red book, big red vase, big red cup, big red hat"
NOUNS = ("book", "vase", "cup", "hat")
# A range that is over before the step that is timed.
OVER = (0.0, 0.2)


@dataclass
class Case:
    """One row: how its MODEL, positive and negative are made of the plain ones, and what was measured."""

    name: str
    make: Callable[[], Any]
    compiled: bool = False
    trio: Any = None
    first: float = 0.0
    peak: int = 0
    rounds: list[float] = field(default_factory=list)
    failure: str = ""
    remark: str = ""


def random_sdxl(device: torch.device, dtype: torch.dtype, changes: dict[str, Any]) -> Any:
    """The MODEL of SDXL's UNet with random weights of the size trained ones have, made on the device."""
    import comfy.model_management
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher
    from ifadapter import SDXL

    settings = comfy.supported_models.SDXL({**SDXL, **changes})
    settings.set_inference_dtype(dtype, None)
    model = settings.get_model({}, "", device)
    for name, parameter in model.diffusion_model.requires_grad_(False).named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(float(name.endswith("weight")))
        else:
            parameter.normal_(std=0.02)
    offload = comfy.model_management.unet_offload_device()
    return ModelPatcher(model, load_device=device, offload_device=offload)


def adapted(model: Any, prompts: Any, count: int, window: tuple[float, float] = (0.0, 1.0)) -> Any:
    """An adapter of random keys and values in the published one's layers; what they are costs nothing."""
    from instance_composer.hosts.comfyui.attention.terms import carry
    from instance_composer.hosts.comfyui.attention.unet.layers import attention_layers
    from instance_composer.hosts.comfyui.attention.wrappers import bind
    from instance_composer.hosts.comfyui.ifadapter.term import AdaptedLayers, InstanceTerm
    from instance_composer.models.ifadapter import InstanceAttention, InstancePrompt
    from instance_composer.models.regions import Regions

    layers = {
        number: (block, attention)
        for number, (block, attention) in attention_layers(model.get_model_object("diffusion_model")).items()
        if block[2] < 4 and (block[0] == "middle" or (block[0] == "output" and block[1] < 3))
    }
    widths = {number: attention.to_q.in_features for number, (_, attention) in layers.items()}
    gates = {
        width: InstanceAttention(
            width=width, text_width=64, head_dim=64, gate_hidden=80, gate_kernel=7
        ).gate()
        for width in set(widths.values())
    }
    regions = Regions.of_boxes(BOXES[:count])

    def instances() -> InstancePrompt:
        keys, values = (
            {number: torch.randn(count, width // 64, 13, 64) for number, width in widths.items()}
            for _ in range(2)
        )
        return InstancePrompt(regions, keys, values)

    of_layers = AdaptedLayers(
        {number: gates[width].frozen() for number, width in widths.items()},
        {block: number for number, (block, _) in layers.items()},
    )
    terms = [InstanceTerm(of_layers, own, own, 1.0, window) for own in (instances(), instances())]
    return bind(model), *(carry(prompt, term) for prompt, term in zip(prompts, terms, strict=True))


def entities() -> Any:
    """Four entities of three tokens: two attributes and a noun."""
    from prompt_entities import entity

    return [entity(f"big red {noun}", 3 * n + 1, 3 * n + 2, 3 * n + 3) for n, noun in enumerate(NOUNS)]


def concentrated(model: Any, prompts: Any, mode: str, boxes: bool = True) -> Any:
    """Attribute Concentration as the node has it; without boxes each entity has the region of its own map."""
    from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
    from instance_composer.layout import Box, Instance, Layout

    instances = (Instance(n, Box(*box), f"a {n}") for n, box in zip(NOUNS, BOXES, strict=False))
    layout = Layout(tuple(instances)) if boxes else None
    settings = Concentration(mode=mode)
    return *apply_concentration(model, prompts[0], entities(), settings, layout), prompts[1]


def recorded(model: Any, prompts: Any) -> Any:
    """Record Attention Maps in the layers that the node offers first."""
    from instance_composer.hosts.comfyui.attention_maps.record import record_attention
    from instance_composer.hosts.comfyui.prompts.entities import PromptEntities

    found = PromptEntities(PROMPT, tuple(entities()))
    return record_attention(model, found, "middle and decoder", 0.0, 1.0)[0], *prompts


def with_delta(model: Any, prompts: Any) -> Any:
    """Apply IterComp Delta with one model in all three places: what the weights are costs nothing."""
    from instance_composer.hosts.comfyui.checkpoints.delta import apply_delta

    return apply_delta(model, model, model, 0.7), *prompts


def compiled(model: Any, backend: str) -> Any:
    """The MODEL behind ComfyUI's own node Torch Compile Model."""
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    return TorchCompileModel.execute(model, backend).args[0]


def cases_of(model: Any, prompts: Any, backend: str | None) -> list[Case]:
    """The rows in their order; the first one is what all others are compared with."""
    local = "Attribute Concentration, local"
    rows = [
        Case("plain", lambda: (model, *prompts)),
        Case("Apply IFAdapter, 1 instance", partial(adapted, model, prompts, 1)),
        Case("Apply IFAdapter, 4 instances", partial(adapted, model, prompts, 4)),
        Case("Apply IFAdapter, 10 instances", partial(adapted, model, prompts, 10)),
        Case(f"{local}, boxes", partial(concentrated, model, prompts, "local")),
        Case(f"{local}, own maps", partial(concentrated, model, prompts, "local", boxes=False)),
        Case("Attribute Concentration, latent", partial(concentrated, model, prompts, "latent")),
        Case("Record Attention Maps", partial(recorded, model, prompts)),
        Case("Apply IterComp Delta", partial(with_delta, model, prompts)),
    ]
    if backend is None:
        return rows
    made: list[Any] = []

    def whole() -> Any:
        made[:] = made or [compiled(model, backend)]
        return made[0]

    return [
        *rows,
        Case("compiled: plain", lambda: (whole(), *prompts), True),
        Case("compiled: Apply IFAdapter, 4 instances", lambda: adapted(whole(), prompts, 4), True),
        Case("compiled: the same, its range over", lambda: adapted(whole(), prompts, 4, OVER), True),
        Case("compiled: local, boxes", lambda: concentrated(whole(), prompts, "local"), True),
    ]

"""A MODEL compiled by ComfyUI's own node: exactly the eager pictures, no graph beyond those of a plain run.

The backend takes graphs as they are and counts them, so nothing but tracing can change a number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy_extras.nodes_torch_compile import TorchCompileModel
from diffusers import UNet2DConditionModel
from host_cases import EFFECT, noise, sample
from prompt_entities import entities_of_prompt
from tiny_comfyui import tiny_model
from tiny_sdxl import HEAD_DIM, POOLED, UNET, WIDTH

from instance_composer.hosts.comfyui.attention.compiled import is_compiled, run_plain
from instance_composer.hosts.comfyui.attention.terms import carry
from instance_composer.hosts.comfyui.attention.unet.presets import preset_blocks
from instance_composer.hosts.comfyui.attention.wrappers import bind
from instance_composer.hosts.comfyui.attention_maps.record import record_attention
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.term import AdaptedLayers, InstanceTerm
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.models.ifadapter import InstanceAttention, InstancePrompt
from instance_composer.models.regions import Regions

# Two levels of resolution with one block of attention: tracing takes seconds.
SMALL = UNET | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (32, WIDTH),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1),
    "attention_head_dim": (2, WIDTH // HEAD_DIM),
}
EMPTY = {"samples": torch.zeros(1, 4, 8, 8)}
STEPS = 4
WINDOW = (0.3, 0.7)
REGIONS = Regions.of_boxes([(0.0, 0.1, 0.5, 0.9), (0.4, 0.0, 1.0, 0.7)])


def as_on_a_gpu(_: Any, *args: Any, **kwargs: Any) -> Any:
    """torch's own attention; what ComfyUI takes on a CPU asks for the free memory, which breaks graphs."""
    return attention_pytorch(*args, **kwargs)


# As of a pack whose attention cannot be traced: every layer breaks the graph.
untraceable = torch.compiler.disable(as_on_a_gpu)


def conditioning(seed: int) -> list[Any]:
    text = noise(1, 77, SMALL["cross_attention_dim"], seed)[:, 0].contiguous()
    return [[text, {"pooled_output": noise(1, 1, POOLED, seed)[0, 0]}]]


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = UNet2DConditionModel(**SMALL).state_dict()
    return tiny_model(SMALL, weights)


def compile_counted(model: Any, attention: Callable[..., Any]) -> Any:
    """The MODEL without and with the node, prompts, and the graphs that are made."""
    torch._dynamo.reset()
    model = model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    graphs: list[Any] = []

    def take(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = TorchCompileModel.execute(model, take).args[0]
    prompts = conditioning(1), conditioning(2)
    return SimpleNamespace(plain=model, compiled=compiled, prompts=prompts, graphs=graphs, backend=take)


@pytest.fixture
def compiled(model: Any) -> Any:
    return compile_counted(model, as_on_a_gpu)


@pytest.fixture
def broken(model: Any) -> Any:
    return compile_counted(model, untraceable)


@pytest.fixture(autouse=True)
def _inference_mode() -> Any:
    with torch.inference_mode():
        yield
    torch._dynamo.reset()


def adapted(model: Any, prompts: Any, window: tuple[float, float] = (0.0, 1.0)) -> Any:
    """An adapter of random weights in all layers, with instances of its own for each prompt."""
    blocks = {block: number for number, block in enumerate(preset_blocks(model, "coarse"))}
    generator = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = InstanceAttention(width=WIDTH, text_width=8, head_dim=HEAD_DIM, gate_hidden=4, gate_kernel=7)
    torch.nn.init.constant_(layer.alpha, 2.0)
    layers = AdaptedLayers(dict.fromkeys(blocks.values(), layer.gate().frozen()), blocks)

    def instances() -> InstancePrompt:
        shape = (len(REGIONS), WIDTH // HEAD_DIM, 5, HEAD_DIM)
        keys, values = (
            {number: 3 * torch.randn(shape, generator=generator) for number in blocks.values()}
            for _ in range(2)
        )
        return InstancePrompt(REGIONS, keys, values)

    terms = [InstanceTerm(layers, own, own, 1.0, window) for own in (instances(), instances())]
    return bind(model), *(carry(prompt, term) for prompt, term in zip(prompts, terms, strict=True))


def off(model: Any, prompts: Any) -> Any:
    return model, *prompts


def within_a_window(model: Any, prompts: Any) -> Any:
    return adapted(model, prompts, WINDOW)


def concentrated(model: Any, prompts: Any, mode: str = "local") -> Any:
    settings = Concentration(mode=mode, strength=3.0, end=0.6)
    return *apply_concentration(model, prompts[0], entities_of_prompt(), settings), prompts[1]


def guided(model: Any, prompts: Any) -> Any:
    return concentrated(model, prompts, "latent")


def recorded(model: Any, prompts: Any) -> Any:
    entities = PromptEntities("", entities_of_prompt())
    return record_attention(model, entities, "coarse", *WINDOW)[0], *prompts


def all_at_once(model: Any, prompts: Any) -> Any:
    return recorded(*_split(concentrated(*_split(within_a_window(model, prompts)))))


def _split(trio: Any) -> Any:
    return trio[0], trio[1:]


def test_compiled_is_eager_without_a_further_graph(compiled):
    """On before anything is compiled, bypassed, and all else on what was compiled then."""
    order = [adapted, off, within_a_window, adapted, off, concentrated, recorded, guided, all_at_once]
    check(compiled, order, plain_graphs_after=2)
    assert not is_compiled(compiled.plain.model)


def test_compiled_within_a_window_is_eager_without_the_window(broken):
    """What a step outside the window compiles serves the MODEL without the node, and inside nothing does."""
    check(broken, [within_a_window, off, adapted, off], plain_graphs_after=1)


def test_the_compile_node_may_come_last(compiled):
    for apply in (within_a_window, recorded, guided, off):
        model, *prompts = apply(compiled.plain, compiled.prompts)
        expected = sample((model, *prompts), EMPTY, STEPS)
        last = TorchCompileModel.execute(model, compiled.backend).args[0]
        assert torch.equal(sample((last, *prompts), EMPTY, STEPS), expected), apply.__name__
        assert len(compiled.graphs) == 1


def check(compiled: Any, order: list[Any], plain_graphs_after: int) -> None:
    expected = {apply: sample(apply(compiled.plain, compiled.prompts), EMPTY, STEPS) for apply in set(order)}
    assert not compiled.graphs
    made = []
    for apply in order:
        found = sample(apply(compiled.compiled, compiled.prompts), EMPTY, STEPS)
        assert torch.equal(found, expected[apply]), apply.__name__
        made.append(len(compiled.graphs))
    # Where all steps are acted on nothing is compiled, and what one run compiled serves all others.
    nothing, rest = made[: plain_graphs_after - 1], made[plain_graphs_after - 1 :]
    assert not any(nothing)
    assert len(set(rest)) == 1
    assert rest[0] > 0
    for one in (adapted, within_a_window):
        assert (expected[one] - expected[off]).abs().max() > EFFECT


def test_the_user_is_told_once(model, caplog):
    """One sentence for a MODEL, of which clones share the wrappers; none where nothing is compiled."""
    prompts = conditioning(1), conditioning(2)
    trio = adapted(model, prompts)
    torch._dynamo.reset()
    with caplog.at_level(logging.INFO, "instance_composer"):
        sample(trio, EMPTY, 1)
        assert not caplog.messages
        trio = adapted(TorchCompileModel.execute(model, "eager").args[0], prompts)
        for _ in range(2):
            sample(trio, EMPTY, 1)
    (said,) = caplog.messages
    assert "compiled steps run plain" in said


def test_a_plain_run_leaves_what_is_compiled_for_later():
    graphs = []
    module = torch.nn.Linear(2, 2)
    whole = torch.nn.Sequential(torch.compile(module, backend=lambda g, _: graphs.append(g) or g.forward))
    assert is_compiled(whole)
    x = torch.ones(1, 2)
    with run_plain():
        assert torch.equal(whole(x), module(x))
    assert not graphs
    whole(x)
    with run_plain():
        whole(x)
    assert torch.equal(whole(x), module(x))
    assert len(graphs) == 1

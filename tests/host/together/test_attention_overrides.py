"""Our nodes on a MODEL whose attention another node has replaced, in either order."""

from __future__ import annotations

import logging
from functools import partial

import folder_paths
import pytest
import torch
from attention_overrides import OVERRIDE, SelfAttentionOverride
from comfy.ldm.modules import attention
from comfy_extras.nodes_model_advanced import ModelAttentionBackend
from host_cases import EFFECT, assert_close, sample
from prompt_entities import entities_of_prompt
from safetensors.torch import save_file

from instance_composer.hosts.comfyui.attention.unet import patch
from instance_composer.hosts.comfyui.attention_maps.record import record_attention
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.comfyui.instance_lora.apply import lora_for_instance
from instance_composer.hosts.comfyui.prompts.entities import PromptEntities
from instance_composer.hosts.comfyui.regions.apply import draw_regions

EMPTY = {"samples": torch.zeros(1, 4, 16, 16)}
# Two steps of latents of order one, in which the mode latent moves by normalised gradients.
ROUNDING = 2e-3


@pytest.fixture(scope="module")
def ours(request, clip, adapter, layout):
    """(MODEL, prompts) -> MODEL, positive, negative."""
    entities = entities_of_prompt()

    def concentrate(mode, model, prompts):
        settings = Concentration(mode=mode, strength=4.0)
        return *apply_concentration(model, prompts[0], entities, settings, layout), prompts[1]

    def adapt(model, prompts):
        return apply_ifadapter(model, clip, adapter, layout, *prompts)

    def record(model, prompts):
        recorded, _ = record_attention(model, PromptEntities("", entities), "middle and decoder", 0.0, 1.0)
        return recorded, *prompts

    def all_of_them(model, prompts):
        for apply in (adapt, partial(concentrate, "local"), partial(concentrate, "latent"), record):
            model, *prompts = apply(model, prompts)
        return model, *prompts

    named = {
        "adapter": adapt,
        "local": partial(concentrate, "local"),
        "latent": partial(concentrate, "latent"),
        "record": record,
        "all": all_of_them,
    }
    return named[request.param]


EVERY = pytest.mark.parametrize("ours", ["adapter", "local", "latent", "record", "all"], indirect=True)


@pytest.fixture(scope="module")
@torch.inference_mode()
def before(model, prompts):
    """The latent of the MODEL as it was given."""
    return sample((model, *prompts), EMPTY)


@pytest.fixture(scope="module")
@torch.inference_mode()
def dense(model, prompts, ours):
    """The latent with ours alone."""
    return sample(ours(model, prompts), EMPTY)


@pytest.fixture
def in_both_orders(model, prompts, ours, before):
    """The latent, once both orders have given the same, without a trace in the MODELs that were given."""

    def sampled(theirs):
        plain, alone = theirs(model), sample((theirs(model), *prompts), EMPTY)
        trio = ours(model, prompts)
        after = sample((theirs(trio[0]), *trio[1:]), EMPTY)
        assert torch.equal(sample(ours(plain, prompts), EMPTY), after)
        assert torch.equal(sample((model, *prompts), EMPTY), before)
        assert torch.equal(sample((plain, *prompts), EMPTY), alone)
        assert OVERRIDE not in model.model_options["transformer_options"]
        return after, alone

    return sampled


@EVERY
def test_core_attention_backend(in_both_orders, dense):
    """An exact one changes nothing."""
    with torch.inference_mode():
        found, _ = in_both_orders(lambda model: ModelAttentionBackend().patch(model, "pytorch attention")[0])
        assert_close(found, dense, ROUNDING)


@EVERY
def test_an_exact_kernel_without_gradient(in_both_orders, dense):
    override = SelfAttentionOverride(every=1)
    with torch.inference_mode():
        found, _ = in_both_orders(override.apply)
        assert_close(found, dense, ROUNDING)


@EVERY
def test_a_sparse_kernel_acts_as_without_us(request, in_both_orders, dense, caplog):
    override = SelfAttentionOverride(every=2)
    with torch.inference_mode(), caplog.at_level(logging.INFO, "instance_composer"):
        found, alone = in_both_orders(override.apply)
        name = request.node.callspec.params["ours"]
        if name == "record":
            assert torch.equal(found, alone)
        else:
            assert (found - alone).abs().max() > EFFECT
    assert (found - dense).abs().max() > EFFECT / 10
    assert override.calls[False] > 0
    # In the run for the gradient it gives the values, and the user is told whose gradient is taken.
    guided = name in ("latent", "all")
    assert bool(override.calls[True]) == guided
    assert caplog.text.count("the gradient of torch's attention") == (2 if guided else 0)


def test_the_gradient_is_that_of_exact_attention(model, prompts, layout):
    """With exact values, so the step is the same as without the other kernel."""
    settings = Concentration(mode="latent", strength=4.0)
    override = SelfAttentionOverride(every=1)
    with torch.inference_mode():
        bound, positive = apply_concentration(model, prompts[0], entities_of_prompt(), settings, layout)
        plain, moved, found = (
            sample(trio, EMPTY, steps=1)
            for trio in (
                (model, *prompts),
                (bound, positive, prompts[1]),
                (override.apply(bound), positive, prompts[1]),
            )
        )
    step, other = moved - plain, found - plain
    assert step.abs().max() > 0.01
    assert torch.nn.functional.cosine_similarity(step.flatten(), other.flatten(), dim=0) > 0.9999


class Preferred(torch.nn.Module):
    """As a later ComfyUI's attention of one layer, chosen by the checkpoint: every second key here."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def function(self, query, key, value, *args, **kwargs):
        self.calls += 1
        return attention.attention_pytorch(query, key[:, ::2], value[:, ::2], *args, **kwargs)


@pytest.fixture
def preferring(unet_weights, monkeypatch):
    """A MODEL as ComfyUI 0.40 makes it: each attention is called with the layer's own choice."""
    from tiny_comfyui import tiny_model
    from tiny_sdxl import UNET

    plain = attention.optimized_attention

    def optimized_attention(*args, preferred_attention=None, **kwargs):
        replaced = OVERRIDE in (kwargs.get("transformer_options") or {})
        if preferred_attention is None or replaced:
            return plain(*args, **kwargs)
        return preferred_attention.function(*args, **kwargs)

    def forward(self, x, context=None, value=None, mask=None, transformer_options={}):  # noqa: B006
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context if value is None else value)
        options = {"attn_precision": self.attn_precision, "transformer_options": transformer_options}
        preferred = getattr(self, "comfy_attention", None)
        return self.to_out(optimized_attention(q, k, v, self.heads, preferred_attention=preferred, **options))

    monkeypatch.setattr(attention.CrossAttention, "forward", forward)
    monkeypatch.setattr(patch, "optimized_attention", optimized_attention)
    model = tiny_model(UNET, unet_weights)
    for module in model.model.diffusion_model.modules():
        if isinstance(module, attention.CrossAttention):
            module.comfy_attention = Preferred()
    return model


@pytest.mark.parametrize("ours", ["record", "adapter", "local"], indirect=True)
def test_the_attention_that_a_checkpoint_chose_for_a_layer(request, preferring, model, prompts, ours):
    """A layer that is read alone gives the same bits; to others ours is added."""
    with torch.inference_mode():
        alone, trio = sample((preferring, *prompts), EMPTY, 1), ours(preferring, prompts)
        chosen = [m for m in preferring.model.diffusion_model.modules() if isinstance(m, Preferred)]
        before = [one.calls for one in chosen]
        found = sample(trio, EMPTY, 1)
        assert [one.calls for one in chosen] == [2 * calls for calls in before]
        if request.node.callspec.params["ours"] == "record":
            assert torch.equal(found, alone)
        else:
            assert (found - alone).abs().max() > EFFECT / 10
        assert (alone - sample((model, *prompts), EMPTY, 1)).abs().max() > EFFECT / 10


def test_self_attention_that_a_checkpoint_chose_is_isolated_as_it_is(preferring, clip, prompts, layout):
    with torch.inference_mode():
        positive, negative = prompts
        sample((preferring, *prompts), EMPTY, 1)
        modules = preferring.model.diffusion_model.named_modules()
        chosen = [m for name, m in modules if isinstance(m, Preferred) and "attn1" in name]
        before = [one.calls for one in chosen]
        assert all(before)
        model, placed = draw_regions(preferring, clip, layout, positive, isolate=1.0)
        sample((model, placed, negative), EMPTY, 1)
        assert [one.calls for one in chosen] == [2 * calls for calls in before]


def test_a_lora_of_nothing_for_an_instance_leaves_the_attention_that_a_checkpoint_chose(
    preferring, prompts, layout, tmp_path
):
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    state = {}
    for key, weight in preferring.model.diffusion_model.state_dict().items():
        if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            name = f"diffusion_model.{key.removesuffix('.weight')}"
            state[f"{name}.lora_down.weight"] = torch.ones(1, weight.shape[1])
            state[f"{name}.lora_up.weight"] = torch.zeros(weight.shape[0], 1)
    save_file(state, tmp_path / "of_nothing.safetensors")
    with torch.inference_mode():
        alone = sample((preferring, *prompts), EMPTY, 1)
        tuned, _ = lora_for_instance(preferring, layout, "book", "of_nothing.safetensors")
        assert tuned is not preferring
        assert torch.equal(sample((tuned, *prompts), EMPTY, 1), alone)

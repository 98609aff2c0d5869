"""An IFAdapter attached to a UNet: its term, and no trace of it afterwards."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import (
    AttnProcessor,
    IPAdapterAttnProcessor2_0,
    SlicedAttnProcessor,
)
from golden_files import TRIMMED, read_facts
from published_ifadapter import published_term
from tiny_sdxl import POOLED, UNET

from instance_composer.hosts.diffusers_sdxl import UnsuitableModelError, attach_ifadapter, attach_prompts
from instance_composer.hosts.diffusers_sdxl.ifadapter import find_adapted_layers
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.regions import Regions

BOXES = torch.tensor([[0.0, 0.1, 0.6, 0.9], [0.3, 0.0, 1.0, 0.5], [0.2, 0.4, 0.8, 1.0]])


@pytest.fixture(scope="module")
def unet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DConditionModel(**UNET).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def strong(adapter):
    """An adapter whose effect is far above rounding."""
    adapter = copy.deepcopy(adapter)
    for layer in adapter.attention.values():
        layer.to_v_ap.weight.mul_(10)
        layer.alpha.fill_(1.5)
    return adapter


def predict(unet, rows=2, size=(24, 24), dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    width = unet.config.cross_attention_dim
    with torch.no_grad():
        return unet(
            torch.randn(1, 4, *size, generator=generator).repeat(rows, 1, 1, 1).to(dtype),
            500,
            torch.randn(rows, 77, width, generator=generator).to(dtype),
            added_cond_kwargs={
                "text_embeds": torch.randn(rows, POOLED, generator=generator).to(dtype),
                "time_ids": torch.tensor([[192.0, 192, 0, 0, 192, 192]]).repeat(rows, 1).to(dtype),
            },
        ).sample


def make_tokens(count):
    return torch.randn(count, 13, UNET["cross_attention_dim"], generator=torch.Generator().manual_seed(2))


def attach(unet, adapter, counts=(1, 2), scale=1.0):
    count = sum(counts)
    return attach_ifadapter(unet, adapter, make_tokens(count), BOXES[:count], counts, scale)


def prompts(adapter, count=3, **changes):
    regions = replace(Regions.of_boxes(BOXES[:count]), **changes)
    return adapter.prompt(make_tokens(count), regions)


def traces(unet):
    """Everything attaching could leave behind: processors, hooks, weights by identity, attributes."""
    return (
        {name: id(processor) for name, processor in unet.attn_processors.items()},
        [
            (len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m)), m.forward.__qualname__)
            for m in unet.modules()
        ],
        {name: (id(p), p._version) for name, p in unet.named_parameters()},
    )


class PlainProcessor:
    """Attention written out, with the published algorithm's ten full-size maps on the latent's grid."""

    def __init__(self, adapter, number, tokens, boxes, counts, size):
        self.term = (adapter.attention[number], tokens, boxes, list(counts))
        # The adapted layers lie behind two downsamplings, each rounding up.
        self.grid = tuple(math.ceil(math.ceil(side / 2) / 2) for side in size)

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        layer, *instances = self.term
        query = attn.to_q(hidden_states)
        key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        out = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
        out = out.transpose(1, 2).flatten(2) + published_term(layer, query, *instances, self.grid)
        return attn.to_out[1](attn.to_out[0](out))


@pytest.mark.parametrize("size", [(24, 24), (16, 40), (25, 33), (30, 19)])
@pytest.mark.parametrize("counts", [(1, 2), (3, 0), (0, 1)])
def test_equals_the_published_algorithm_on_any_grid(unet, strong, size, counts):
    count = sum(counts)
    with attach(unet, strong, counts):
        found = predict(unet, size=size)
    plain = copy.deepcopy(unet)
    processors = dict(plain.attn_processors)
    for number in strong.config.layers:
        name = list(processors)[number]
        processors[name] = PlainProcessor(strong, number, make_tokens(count), BOXES[:count], counts, size)
    plain.set_attn_processor(processors)
    torch.testing.assert_close(found, predict(plain, size=size), atol=2e-5, rtol=0)
    assert (found - predict(unet, size=size)).abs().max() > 0.05


@pytest.mark.parametrize("size", [(24, 24), (25, 33)])
def test_prompts_equal_tokens(unet, strong, size):
    """Keys and values made once give what is computed at every step, per row and grouped."""
    prompt = prompts(strong)
    with attach_ifadapter(unet, strong, make_tokens(3).repeat(2, 1, 1), BOXES.repeat(2, 1), [3, 3], 0.7):
        expected = predict(unet, size=size)
    separate = strong.prompt(make_tokens(3), Regions.of_boxes(BOXES))
    for rows in ([prompt, prompt], [prompt, separate]):
        with attach_prompts(unet, strong.gates(), rows, 0.7):
            torch.testing.assert_close(predict(unet, size=size), expected, atol=1e-5, rtol=0)
    with attach_prompts(unet, strong.gates(), [None, prompt], 0.7):
        found = predict(unet, size=size)
    assert torch.equal(found[0], predict(unet, size=size)[0])
    torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scale_zero_is_bit_identical_to_no_adapter(unet, strong, dtype):
    unet = copy.deepcopy(unet).to(dtype)
    untouched = predict(unet, dtype=dtype)
    with attach(unet, strong, scale=0):
        assert torch.equal(predict(unet, dtype=dtype), untouched)
    with attach_prompts(unet, strong.gates(), [prompts(strong)] * 2, scale=0):
        assert torch.equal(predict(unet, dtype=dtype), untouched)


def test_nothing_stays_behind(unet, strong):
    before, untouched = traces(unet), predict(unet)
    with attach(unet, strong):
        first = predict(unet)
    assert traces(unet) == before
    assert torch.equal(predict(unet), untouched)
    with attach(unet, strong):
        assert torch.equal(predict(unet), first)


def test_nothing_stays_behind_after_an_interruption(unet, strong):
    before, untouched = traces(unet), predict(unet)

    def interrupt(*_):
        raise KeyboardInterrupt

    # In the middle of a layer: its query is known, its term not yet added.
    handle = unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), attach(unet, strong):
        predict(unet)
    handle.remove()
    assert traces(unet) == before
    assert torch.equal(predict(unet), untouched)


def test_two_adapters_add_up(unet, strong, adapter):
    """Nested blocks add one term each, in either order; leaving the inner one leaves the outer one."""
    with attach(unet, strong):
        one = predict(unet)
        with attach(unet, adapter, counts=(2, 1)):
            both = predict(unet)
        assert torch.equal(predict(unet), one)
    with attach(unet, adapter, counts=(2, 1)), attach(unet, strong):
        torch.testing.assert_close(predict(unet), both, atol=1e-5, rtol=0)
    assert not torch.allclose(one, both, atol=1e-3)


def test_the_term_is_linear_in_the_scale(unet, strong):
    """At the first adapted layer, whose input no adapter has touched yet."""
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_out[0]

    def first_layer(scale):
        seen = []
        with attach(unet, strong, scale=scale):
            handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
            predict(unet)
            handle.remove()
        return seen[0]

    without, one = first_layer(0), first_layer(1)
    torch.testing.assert_close(first_layer(2.5) - without, 2.5 * (one - without), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first_layer(-1) - without, without - one, atol=1e-5, rtol=1e-4)


def test_windows_decide_which_instances_act(unet, strong):
    whole, late = prompts(strong, 1), prompts(strong, 1, windows=((0.5, 1.0),))
    untouched = predict(unet)
    with attach_prompts(unet, strong.gates(), [whole] * 2):
        expected = predict(unet)
    assert not torch.equal(expected, untouched)
    with attach_prompts(unet, strong.gates(), [late] * 2) as attachment:
        for progress, result in ((0.0, untouched), (0.5, expected), (0.99, expected), (1.0, untouched)):
            attachment.progress = progress
            assert torch.equal(predict(unet), result)


def test_a_strength_of_zero_is_a_place_without_effect(unet, strong):
    """The instance still takes part in the competition between instances, but adds nothing of its own."""
    prompt = prompts(strong, 1, strengths=(0.0,))
    untouched = predict(unet)
    with attach_prompts(unet, strong.gates(), [prompt] * 2):
        torch.testing.assert_close(predict(unet), untouched, atol=0, rtol=0)


PROCESSORS = {
    "plain": lambda unet: unet.set_attn_processor(AttnProcessor()),
    "sliced": lambda unet: unet.set_attn_processor(SlicedAttnProcessor(1)),
    "fused": lambda unet: unet.fuse_qkv_projections(),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_other_attention_processors_give_the_same(unet, strong, kind):
    with attach(unet, strong):
        expected = predict(unet)
    other = copy.deepcopy(unet)
    PROCESSORS[kind](other)
    with attach(other, strong):
        torch.testing.assert_close(predict(other), expected, atol=1e-5, rtol=0)


def first_term(unet, adapter, condition):
    """The sum that attaching adds before the output projection of the first adapted layer of the middle."""
    block, seen = unet.mid_block.attentions[0], []
    hidden = torch.randn(2, block.in_channels, 6, 6, generator=torch.Generator().manual_seed(4))
    for scale in (0.0, 1.0):
        with attach(unet, adapter, scale=scale):
            handle = (
                block.transformer_blocks[0]
                .attn2.to_out[0]
                .register_forward_pre_hook(lambda module, args: seen.append(args[0]))
            )
            with torch.no_grad():
                block(hidden, encoder_hidden_states=condition)
            handle.remove()
    return seen[1] - seen[0]


def test_works_beside_an_ip_adapter(unet, strong):
    """The term does not depend on what the processor adds for image prompts."""
    other, width = copy.deepcopy(unet), unet.config.cross_attention_dim
    processors = dict(other.attn_processors)
    for name in processors:
        if name.endswith("attn2.processor"):
            attention = other.get_submodule(name.removesuffix(".processor"))
            processors[name] = IPAdapterAttnProcessor2_0(attention.inner_dim, width, (4,))
    other.set_attn_processor(processors)
    text, image = torch.randn(2, 77, width), [torch.randn(2, 1, 4, width)]
    beside = first_term(other, strong, (text, image))
    assert beside.abs().max() > 0.1
    torch.testing.assert_close(beside, first_term(unet, strong, text), atol=1e-5, rtol=0)


def test_a_processor_without_the_query_projection_is_refused(unet, strong):
    class Stranger:
        def __call__(self, attn, hidden_states, *args, **kwargs):
            return attn.to_out[0](hidden_states)

    other = copy.deepcopy(unet)
    other.set_attn_processor(Stranger())
    with (
        pytest.raises(UnsuitableModelError, match=r"Stranger of .*attn2 does not use the layer's to_q"),
        attach(other, strong),
    ):
        predict(other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near_full_precision(unet, strong, dtype):
    with attach(unet, strong):
        expected = predict(unet)
    half = copy.deepcopy(unet).to(dtype)
    with attach(half, strong):
        found = predict(half, dtype=dtype)
    assert found.dtype == dtype
    assert found.isfinite().all()
    error = (found.float() - expected).abs().mean() / expected.abs().mean()
    assert error < (0.01 if dtype is torch.float16 else 0.1)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_adapter_and_the_tokens(unet, strong, checkpointing):
    adapter = copy.deepcopy(strong).requires_grad_(True)
    trained = copy.deepcopy(unet).train()
    if checkpointing:
        trained.enable_gradient_checkpointing()
    tokens = make_tokens(3).requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    with attach_ifadapter(trained, adapter, tokens, BOXES, [1, 2]):
        out = trained(
            torch.randn(2, 4, 16, 16, generator=generator),
            10,
            torch.randn(2, 77, unet.config.cross_attention_dim, generator=generator),
            added_cond_kwargs={"text_embeds": torch.zeros(2, POOLED), "time_ids": torch.zeros(2, 6)},
        ).sample
        out.square().mean().backward()
    assert tokens.grad.abs().max() > 0
    for name, parameter in adapter.adapter_modules.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(parameter.grad is None for parameter in trained.parameters())


def test_the_published_adapter_fits_sdxl():
    """Full sizes without weights: official numbers lead to the official places, and to no others."""
    facts = read_facts(TRIMMED / "ifadapter" / "sdxl_manifest.json")
    config = {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": UNET["down_block_types"],
        "up_block_types": UNET["up_block_types"],
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
        state = {
            f"{group}.{key}": torch.empty(entry["shape"])
            for group, entries in facts["groups"].items()
            for key, entry in entries.items()
        }
    layers = find_adapted_layers(unet, IFAdapter.from_state_dict(state))
    assert {layer.number: f"{layer.name}.processor" for layer in layers} == {
        entry["index"]: entry["diffusers_processor"] for entry in facts["adapted_layers"]
    }
    assert len(layers) == 16


def test_a_model_that_is_not_sdxl_is_refused(strong):
    other = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        layers_per_block=1,
    )
    with (
        pytest.raises(UnsuitableModelError, match=r"does not fit this UNet \(text width 32\).*SDXL"),
        attach(other, strong),
    ):
        pass
    with (
        pytest.raises(UnsuitableModelError, match="does not fit this UNet"),
        attach_prompts(other, strong.gates(), [prompts(strong)]),
    ):
        pass
    assert all(not m._forward_pre_hooks for m in other.modules())


def test_a_unet_of_other_widths_is_refused(strong):
    other = UNet2DConditionModel(**UNET | {"attention_head_dim": (2, 2, 2)})
    with (
        pytest.raises(UnsuitableModelError, match=r"with 4 heads, width 64 .* with 2 heads, width 64"),
        attach(other, strong),
    ):
        pass


def test_counts_must_add_up(unet, strong):
    with (
        pytest.raises(ValueError, match=r"counts \[1, 1\] add up to 2 instances, but there are 3"),
        attach_ifadapter(unet, strong, make_tokens(3), BOXES, [1, 1]),
    ):
        pass
    before = traces(unet)
    with (
        pytest.raises(ValueError, match="attached for 2 rows, but the UNet was called with 3"),
        attach(unet, strong),
    ):
        predict(unet, rows=3)
    with (
        pytest.raises(ValueError, match="attached for 1 rows, but the UNet was called with 2"),
        attach_prompts(unet, strong.gates(), [prompts(strong)]),
    ):
        predict(unet)
    assert traces(unet) == before

"""Keys and values of a prompt made once a run: the same bits, and never those of another text."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from instance_composer.hosts.diffusers_sdxl import encode_layout, generate, ifadapter, text_projections
from instance_composer.hosts.diffusers_sdxl import pipeline as pipelines
from instance_composer.hosts.diffusers_sdxl.text_projections import keeping_text
from instance_composer.models.ifadapter import semantic_map


class Products(TorchDispatchMode):
    """Counts products of matrices."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def call(pipeline):
    """One evaluation of the UNet with a text: its result."""
    config = pipeline.unet.config
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(2, 4, 8, 8, generator=generator)
    pooled = torch.randn(
        2,
        config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim,
        generator=generator,
    )

    def evaluate(text):
        sizes = torch.zeros(2, 6)
        added = {"text_embeds": pooled, "time_ids": sizes}
        return pipeline.unet(latent, 500, text, added_cond_kwargs=added).sample

    return evaluate


@pytest.fixture
def text(pipeline):
    width = pipeline.unet.config.cross_attention_dim
    return torch.randn(2, 7, width, generator=torch.Generator().manual_seed(1))


def projections(pipeline):
    names = [name for name in pipeline.unet.attn_processors if name.endswith(".attn2.processor")]
    layers = [pipeline.unet.get_submodule(name.removesuffix(".processor")) for name in names]
    return [projection for layer in layers for projection in (layer.to_k, layer.to_v)]


@torch.no_grad()
def test_a_text_is_projected_once_and_another_anew(pipeline, call, text):
    other = text.flip(1).contiguous()
    expected = {one: call(which) for one, which in (("text", text), ("other", other))}
    with keeping_text(pipeline.unet):
        counts = []
        for _ in range(2):
            with Products() as products:
                assert torch.equal(call(text), expected["text"])
            counts.append(products.count)
        assert counts[0] - counts[1] == len(projections(pipeline)) > 0
        assert torch.equal(call(other), expected["other"])
        other.copy_(text)
        assert torch.equal(call(other), expected["text"]), "written to since it was projected"
    assert not any("forward" in projection.__dict__ for projection in projections(pipeline))


def test_in_inference_mode_too(pipeline, call, text):
    with torch.inference_mode():
        made = text.clone()
        expected = call(made)
        with keeping_text(pipeline.unet):
            assert torch.equal(call(made), expected)
            assert torch.equal(call(made), expected)


def test_gradients_reach_the_text(pipeline, call, text):
    text.requires_grad_()
    with keeping_text(pipeline.unet):
        for _ in range(2):
            (gradient,) = torch.autograd.grad(call(text).square().sum(), text)
            assert gradient.any()


@torch.no_grad()
def test_what_is_too_much_is_not_kept(pipeline, call, text, monkeypatch):
    expected = call(text)
    monkeypatch.setattr(text_projections, "MOST_BYTES", 0)
    with keeping_text(pipeline.unet), Products() as first:
        assert torch.equal(call(text), expected)
    with keeping_text(pipeline.unet), Products() as both:
        call(text)
        assert torch.equal(call(text), expected)
    assert both.count == 2 * first.count


@torch.no_grad()
def test_a_forward_of_somebody_else_stays(pipeline, call, text):
    """As accelerate puts one there to bring weights to the device."""
    projection = projections(pipeline)[0]
    called = []
    plain = projection.forward
    projection.forward = lambda x: called.append(x) or plain(x)
    try:
        mine = projection.forward
        with keeping_text(pipeline.unet):
            call(text)
        assert projection.forward is mine
        assert called
    finally:
        del projection.forward


def test_nothing_that_is_kept_changes_a_bit(pipeline, adapter, layout, monkeypatch):
    """A picture with all shortcuts, and with everything computed anew at every step."""
    for instance in adapter.attention.values():
        assert instance.alpha.tanh() != 0
    encoded = encode_layout(pipeline, adapter, layout)
    settings = {"height": 128, "width": 128, "steps": 3, "seeds": [1, 2], "output_type": "latent"}
    short = generate(pipeline, encoded, **settings)

    def anew(query, prompts, number, gate, placement):
        return semantic_map(query, prompts.keys[number], prompts.values[number], gate, placement)

    monkeypatch.setattr(ifadapter, "prompts_semantic_map", anew)
    monkeypatch.setattr(pipelines, "keeping_text", lambda unet: nullcontext())
    assert torch.equal(generate(pipeline, encoded, **settings), short)
    assert not torch.equal(generate(pipeline, encoded, **settings, scale=0.0), short)


def test_what_a_picture_leaves_for_the_next_changes_no_bit(pipeline, adapter, layout):
    """Other windows, sizes, numbers of pictures and guidance in turns, against a layout encoded anew."""
    settings = {"height": 128, "width": 128, "steps": 3, "output_type": "latent"}
    changes = [{}, {"end": 0.5}, {"width": 160}, {"seeds": [0, 1]}, {"guidance": 1.0}, {"scale": 0.5}, {}]
    encoded = encode_layout(pipeline, adapter, layout)
    pictures = [generate(pipeline, encoded, **(settings | change)) for change in changes]
    for change, picture in zip(changes, pictures, strict=True):
        fresh = encode_layout(pipeline, adapter, layout)
        assert torch.equal(picture, generate(pipeline, fresh, **(settings | change))), change
    assert not torch.equal(pictures[0], pictures[1])

"""ComfyUI and diffusers: the same weights, latents, prompt and layout give the same noise prediction.

Everything is computed twice from the texts on: tokens, text encoders, phrase features, UNet. The two UNets
order their sums differently and use other attention kernels, which shows as a few 1e-6 in predictions of
order one; the adapter's part is over 0.05.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfyui_location import find_comfyui
from comfyui_probe import evaluate
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from host_cases import EFFECT, assert_close, encode, noise
from prompt_entities import PROMPT, entities_of_prompt
from tiny_comfyui import TEXT_LAYERS, TEXT_WIDTH
from tiny_sdxl import UNET, tiny_vae
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import nodes
from instance_composer.hosts.comfyui.concentration.apply import Concentration, apply_concentration
from instance_composer.hosts.comfyui.ifadapter.apply import apply_ifadapter
from instance_composer.hosts.diffusers_sdxl import attach_concentration, attach_prompts, encode_layout
from instance_composer.layout import Polygon
from instance_composer.models.concentration import LocalGuidance
from instance_composer.models.concentration.find_targets import find_targets
from instance_composer.models.ifadapter import IFAdapter

pytestmark = pytest.mark.text_encoders

TOLERANCE = 2e-5
TIMESTEP = 500


@pytest.fixture(scope="module")
def pipeline(clip, unet_weights):
    """The same weights in diffusers, with the tokenizer files that ComfyUI ships."""
    files = find_comfyui() / "comfy" / "sd1_tokenizer"
    unet = UNet2DConditionModel(**UNET)
    unet.load_state_dict(unet_weights)
    encoders = [
        _encoder(kind, source, layers, activation)
        for kind, source, layers, activation in (
            (CLIPTextModel, clip.cond_stage_model.clip_l, TEXT_LAYERS[0], "quick_gelu"),
            (CLIPTextModelWithProjection, clip.cond_stage_model.clip_g, TEXT_LAYERS[1], "gelu"),
        )
    ]
    return StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=CLIPTokenizer.from_pretrained(files, model_max_length=77),
        tokenizer_2=CLIPTokenizer.from_pretrained(files, model_max_length=77, pad_token="!"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )


def _encoder(kind, source, layers, activation):
    config = CLIPTextConfig(
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        projection_dim=TEXT_WIDTH,
        hidden_act=activation,
        bos_token_id=49406,
        eos_token_id=49407,
    )
    encoder = kind(config).eval()
    own = encoder.state_dict()
    # transformers 5 left the prefix out where there is no projection.
    prefix = "" if any(name.startswith("text_model.") for name in own) else "text_model."
    given = source.transformer.state_dict()
    encoder.load_state_dict({name: given[prefix + name] for name in own})
    return encoder


def in_diffusers(pipeline, adapter_file, layout, latents):
    """(positive, negative) noise predictions."""
    encoded = encode_layout(pipeline, IFAdapter.load(adapter_file), layout)
    height, width = (8 * side for side in latents.shape[-2:])
    sizes = torch.tensor([[height, width, 0, 0, height, width]] * 2, dtype=torch.float32)
    with attach_prompts(pipeline.unet, encoded.gates, [encoded.negative, encoded.positive]) as attachment:
        attachment.progress = 1 - TIMESTEP / 1000
        predicted = pipeline.unet(
            torch.cat((latents, latents)),
            TIMESTEP,
            encoder_hidden_states=torch.cat((encoded.negative_prompt, encoded.prompt)),
            added_cond_kwargs={
                "text_embeds": torch.cat((encoded.negative_pooled, encoded.pooled)),
                "time_ids": sizes,
            },
        ).sample
    return predicted[1:], predicted[:1]


def in_comfyui(model, clip, adapter, layout, latents, settings=None):
    positive = encode(clip, layout.prompt)
    negative = nodes.ConditioningZeroOut().zero_out(positive)[0]
    if layout.negative:
        negative = encode(clip, layout.negative)
    model, positive, negative = apply_ifadapter(model, clip, adapter, layout, positive, negative)
    if settings:
        model, positive = apply_concentration(model, positive, entities_of_prompt(), settings, layout)
    found = evaluate(model, positive, negative, latents, TIMESTEP)
    return found.positive, found.negative


def varied(layout, kind):
    book, vase, cup = layout.instances
    instances = {
        "boxes": (book, vase, cup),
        "one": (vase,),
        "masks": (replace(book, mask=Polygon(((0.1, 0.9), (0.4, 0.2), (0.8, 0.8)))), vase, cup),
        "strengths": (replace(book, strength=0.3), replace(vase, strength=2.0), cup),
        "windows": (replace(book, end=0.3), replace(vase, start=0.2), replace(cup, start=0.7)),
        "negatives": (replace(book, negative="blue"), vase, replace(cup, negative="broken, cracked")),
    }[kind]
    negative = "blurry" if kind == "negatives" else ""
    return replace(layout, instances=instances, prompt="a shelf with a book", negative=negative)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("boxes", (24, 24)),
        ("boxes", (16, 40)),
        ("boxes", (19, 13)),
        ("one", (24, 24)),
        ("masks", (24, 24)),
        ("strengths", (24, 24)),
        ("windows", (24, 24)),
        ("negatives", (24, 24)),
    ],
    ids=str,
)
def test_the_same_noise_prediction(model, clip, adapter, adapter_file, pipeline, layout, kind, size):
    layout, latents = varied(layout, kind), noise(1, *size)
    expected = in_diffusers(pipeline, adapter_file, layout, latents)
    found = in_comfyui(model, clip, adapter, layout, latents)
    print([float((one - other).abs().max()) for one, other in zip(found, expected, strict=True)])
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerance=TOLERANCE)
    plain = evaluate(model, encode(clip, layout.prompt), encode(clip, ""), latents, TIMESTEP)
    assert (found[0] - plain.positive).abs().max() > EFFECT


def test_the_same_with_attention_concentrated(model, clip, adapter, adapter_file, pipeline, layout):
    """Beside an adapter on the same layers."""
    layout, latents = replace(layout, prompt=PROMPT), noise(1, 16, 24)
    targets = find_targets(entities_of_prompt(), layout)
    with attach_concentration(pipeline.unet, targets, LocalGuidance(strength=4.0), rows=[1]):
        expected = in_diffusers(pipeline, adapter_file, layout, latents)
    settings = Concentration(strength=4.0)
    found = in_comfyui(model, clip, adapter, layout, latents, settings)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerance=TOLERANCE)
    without = in_comfyui(model, clip, adapter, layout, latents)
    assert (found[0] - without[0]).abs().max() > 100 * TOLERANCE

"""Noise predictions of the published implementation, reproduced by ComfyUI's own UNet and guider."""

from __future__ import annotations

import json

import pytest
import torch
from comfyui_probe import evaluate
from golden_files import GOLDEN, HOW_TO_GET_GOLDEN
from safetensors.torch import load_file
from tiny_comfyui import tiny_model

from instance_composer.hosts.comfyui.attention.terms import carry
from instance_composer.hosts.comfyui.attention.unet.layers import adapted_blocks
from instance_composer.hosts.comfyui.attention.wrappers import bind
from instance_composer.hosts.comfyui.ifadapter.term import AdaptedLayers, InstanceTerm
from instance_composer.hosts.comfyui.ifadapter.weights import load_adapter
from instance_composer.models.regions import Regions

FOLDER = GOLDEN / "ifadapter"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=HOW_TO_GET_GOLDEN)

# The noise of the reference itself is 6e-6; a wrong activation in the resampler already changes 2e-4.
TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def golden():
    return load_file(FOLDER / "unet_e2e.safetensors"), json.loads((FOLDER / "unet_e2e.json").read_text())


@pytest.fixture(scope="module")
def model():
    config = json.loads((FOLDER / "config_small.json").read_text())
    return tiny_model(config["unet"], load_file(FOLDER / "unet_small.safetensors"))


@pytest.mark.parametrize(
    ("case", "file"),
    [
        ("three_cfg", "adapter_small.bin"),
        ("ten_cfg", "adapter_small.bin"),
        ("batch_1_5_cfg", "adapter_small.bin"),
        ("two_no_cfg", "adapter_small.bin"),
        ("one_full_cfg", "adapter_small.bin"),
        ("one_full_cfg", "adapter_small.safetensors"),
    ],
)
def test_noise_prediction_equals_the_published_implementation(golden, model, case, file):
    adapter = load_adapter(FOLDER / file)
    tensors, facts = golden
    fact = facts[case]
    tensors = {
        name.removeprefix(f"{case}/"): value for name, value in tensors.items() if name.startswith(case)
    }
    counts = fact["phrase_num_arr"]
    guided = fact["guidance_scale"] > 1
    first = 0
    for sample, count in enumerate(counts):
        part = slice(first, first + count)
        first += count
        for variant in fact["variants"]:
            strength = variant["scale"] if variant["use_cond"] else 0
            bound, positive, negative = _applied(
                model, adapter, tensors, part, sample, len(counts), guided, strength
            )
            suffix = f"scale_{variant['scale']}" if variant["use_cond"] else "no_cond"
            for timestep in fact["timesteps"]:
                latents = tensors[f"t{timestep}/latents"][sample : sample + 1]
                expected = tensors[f"t{timestep}/noise_pred_{suffix}"]
                found = evaluate(
                    bound,
                    positive,
                    negative,
                    latents,
                    timestep,
                    cfg=fact["guidance_scale"] if guided else 1.0,
                )
                row = sample + (len(counts) if guided else 0)
                torch.testing.assert_close(found.positive, expected[row : row + 1], atol=TOLERANCE, rtol=0)
                if guided:
                    negative_row = expected[sample : sample + 1]
                    torch.testing.assert_close(found.negative, negative_row, atol=TOLERANCE, rtol=0)


def _applied(model, adapter, tensors, part, sample, samples, guided, strength):
    boxes = tensors["boxes"][part]
    regions = Regions.of_boxes(boxes)
    tokens = adapter.model.instance_tokens(
        tensors["phrase_embeds"][part], tensors["mask"][part, 0], tensors["eot_embeds"][part], boxes
    )
    prompts = [adapter.model.prompt(t, regions) for t in (tokens, adapter.model.unconditional_tokens(boxes))]
    layers = AdaptedLayers(adapter.model.gates(), adapted_blocks(model, adapter.model.config))
    positive_row = sample + (samples if guided else 0)
    positive, negative = _conditioning(tensors, positive_row), _conditioning(tensors, sample)
    if strength == 0:
        return bind(model), positive, negative
    term, guidance = (InstanceTerm(layers, prompt, prompts[1], strength, (0.0, 1.0)) for prompt in prompts)
    return bind(model), carry(positive, term), carry(negative, guidance)


def _conditioning(tensors, row):
    names = ("height", "width", "crop_h", "crop_w", "target_height", "target_width")
    sizes = dict(zip(names, tensors["time_ids"][row].tolist(), strict=True))
    pooled = tensors["pooled_embeds"][row : row + 1]
    return [[tensors["prompt_embeds"][row : row + 1], {"pooled_output": pooled, **sizes}]]

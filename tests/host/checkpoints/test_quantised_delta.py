"""The delta onto, and of, quantised MODELs: ComfyUI's own formats as its merge nodes, GGUF by its marks.

The GGUF pack is not needed: tensors that carry what its tensors carry stand in for them.
"""

from __future__ import annotations

import pytest
import torch
from comfyui_probe import evaluate
from host_cases import noise
from patched_weights import weights_of
from quantised_models import PREFIX, is_quantised, mark_as_gguf, quantised_model, restored
from tiny_comfyui import tiny_model
from tiny_sdxl import UNET

from instance_composer.hosts.comfyui.attention.errors import ModelMismatchError
from instance_composer.hosts.comfyui.checkpoints.delta import apply_delta, extract_delta
from instance_composer.hosts.comfyui.checkpoints.quantised import weight_shapes
from instance_composer.models.itercomp import ExtractionSettings

KINDS = ["float8_e4m3fn", "int8_tensorwise"]
quant_ops = pytest.importorskip("comfy.quant_ops", reason="this ComfyUI has no quantised types")


@pytest.fixture(params=KINDS)
def kind(request):
    if request.param not in quant_ops.QUANT_ALGOS:
        pytest.skip(f"this ComfyUI has no {request.param}")
    return request.param


def restored_weights(model, kind):
    """Numbers of a MODEL's weights after a quantisation."""
    return {
        key: restored(value, kind) if is_quantised(key.removeprefix(PREFIX), value) else value
        for key, value in model.model_state_dict(PREFIX).items()
    }


def test_the_delta_goes_onto_a_quantised_model(model, tuned, prompts, kind):
    latents = noise(1, 16, 16)
    expected = evaluate(tuned, *prompts, latents, 500).positive
    before = (evaluate(model, *prompts, latents, 500).positive - expected).abs().max()
    found = evaluate(apply_delta(quantised_model(model, kind), tuned, model), *prompts, latents, 500).positive
    assert (found - expected).abs().max() < before / 2


def test_the_delta_of_a_quantised_model_is_that_of_its_numbers(model, tuned, kind):
    found = weights_of(apply_delta(model, quantised_model(tuned, kind), model))
    for key, value in restored_weights(tuned, kind).items():
        torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-6, msg=key)
    found = weights_of(apply_delta(model, tuned, quantised_model(model, kind), 0.5))
    base, goal, start = (one.model_state_dict(PREFIX) for one in (model, tuned, model))
    lost = restored_weights(model, kind)
    for key in base:
        expected = start[key] + 0.5 * (goal[key] - lost[key])
        torch.testing.assert_close(found[key], expected, atol=1e-6, rtol=1e-6, msg=key)


def test_a_lora_of_a_quantised_model_is_that_of_its_numbers(model, tuned, kind):
    settings = ExtractionSettings(8, method="full", dtype=torch.float32)
    found, rows = extract_delta(quantised_model(tuned, kind), model, settings, torch.device("cpu"))
    assert {row.name for row in rows} == {key.removeprefix(PREFIX) for key in weight_shapes(model, PREFIX)}
    up = next(key for key in found if key.endswith("middle_block_1_proj_in.lora_up.weight"))
    key = f"{PREFIX}middle_block.1.proj_in.weight"
    delta = restored_weights(tuned, kind)[key] - model.model_state_dict()[key]
    alpha = found[up.replace("lora_up.weight", "alpha")] / found[up].shape[1]
    made = alpha * found[up] @ found[up.replace("lora_up", "lora_down")]
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    expected = (left[:, :8] * values[:8]) @ right[:8]
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-3)


def test_gguf_is_named_where_its_numbers_would_be_needed(model, tuned, unet_weights):
    packed = mark_as_gguf(tiny_model(UNET, unet_weights))
    shapes = weight_shapes(model, PREFIX)
    assert weight_shapes(packed, PREFIX) == shapes
    with pytest.raises(
        ModelMismatchError, match=r"MODEL at itercomp is quantised as GGUF \(Q8_0\), .* 16 bits"
    ):
        apply_delta(model, packed, model)
    with pytest.raises(ModelMismatchError, match=r"MODEL at base is quantised as GGUF \(Q8_0\)"):
        extract_delta(tuned, packed, ExtractionSettings(4))
    # Its own patcher calculates patches where a layer turns into numbers, so it can be the one to change.
    assert apply_delta(packed, tuned, model).patches.keys() == shapes.keys()

"""The same numbers as the published implementation, end to end through the diffusers host."""

from dataclasses import replace

import pytest
import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from golden_files import GOLDEN, HOW_TO_GET_GOLDEN, REFERENCES, TRIMMED, read_cases, read_facts
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from instance_composer.hosts.diffusers_sdxl import attach_ifadapter, attach_prompts, encode_tokens
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.regions import Regions

needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason=HOW_TO_GET_GOLDEN)
CASES = ["three_cfg", "ten_cfg", "batch_1_5_cfg", "two_no_cfg", "one_full_cfg"]
# Noise of 4e-6 from kernels and threads; the smallest known mistake changes a prediction by 2e-4.
PREDICTION = 3e-5


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.text_encoders
@pytest.mark.parametrize("reference", REFERENCES)
def test_phrase_encoding(reference):
    facts = read_facts(reference / "ifadapter" / "phrase_encoding.json")
    golden = load_file(reference / "ifadapter" / "phrase_encoding.safetensors")
    encoders = [
        _encoder(kind, facts[name], golden, name)
        for name, kind in (("te1", CLIPTextModel), ("te2", CLIPTextModelWithProjection))
    ]
    phrases = encode_tokens(encoders, [golden["ids_1"], golden["ids_2"]], golden["attention_mask"])
    assert_near(phrases.hidden_states, golden["phrase_embeds"], 1e-5)
    assert_near(phrases.eot, golden["eot_embeds"], 1e-5)


def _encoder(kind, config, golden, name):
    encoder = kind(CLIPTextConfig(**config)).eval()
    # transformers 5 dropped the prefix from one of the two classes; the published files have it.
    bare = not any(key.startswith("text_model.") for key in encoder.state_dict())
    weights = {k.removeprefix(f"{name}."): v for k, v in golden.items() if k.startswith(f"{name}.")}
    encoder.load_state_dict({k.removeprefix("text_model.") if bare else k: v for k, v in weights.items()})
    return encoder


@torch.no_grad()
def test_four_adapted_blocks_of_the_middle():
    """Proof from a clone alone: the official input of each output projection, one block after another."""
    golden = load_file(TRIMMED / "ifadapter" / "unet_mid_block.safetensors")
    unet = UNet2DConditionModel(**read_facts(TRIMMED / "ifadapter" / "unet_mid_block.json")["unet"]).eval()
    weights = {k.removeprefix("unet/"): v.float() for k, v in golden.items() if k.startswith("unet/")}
    assert not unet.load_state_dict(weights, strict=False).unexpected_keys
    adapter = IFAdapter.load(TRIMMED / "ifadapter" / "adapter_small.safetensors")
    middle = unet.mid_block.attentions[0]
    found = {}
    with attach_ifadapter(unet, adapter, golden["ap_tokens"], golden["boxes"].repeat(2, 1), [3, 3]):
        for block, number in enumerate((71, 73, 75, 77)):
            middle.transformer_blocks[block].attn2.to_out[0].register_forward_pre_hook(
                lambda module, args, number=number: found.update({number: args[0]})
            )
        middle(golden["hidden_states"], encoder_hidden_states=golden["prompt_embeds"])
    for number, value in found.items():
        assert_near(value, golden[f"pre_to_out/{number}"], PREDICTION)
    assert len(found) == 4


@pytest.fixture(scope="module")
def golden_unet():
    unet = UNet2DConditionModel(**read_facts(GOLDEN / "ifadapter" / "config_small.json")["unet"]).eval()
    weights = load_file(GOLDEN / "ifadapter" / "unet_small.safetensors")
    unet.load_state_dict({key: value.float() for key, value in weights.items()})
    return unet.requires_grad_(False)


@pytest.fixture(scope="module")
def golden_adapter():
    return IFAdapter.load(GOLDEN / "ifadapter" / "adapter_small.bin")


@needs_golden
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_noise_prediction(golden_unet, golden_adapter, case):
    golden = read_cases(GOLDEN / "ifadapter" / "unet_e2e.safetensors")[case]
    facts = read_facts(GOLDEN / "ifadapter" / "unet_e2e.json")[case]
    guided = facts["guidance_scale"] > 0
    boxes = golden["boxes"]
    tokens = golden_adapter.instance_tokens(
        golden["phrase_embeds"], golden["mask"][:, 0], golden["eot_embeds"], boxes
    )
    if guided:
        tokens = torch.cat((golden_adapter.unconditional_tokens(boxes), tokens))
        boxes = boxes.repeat(2, 1)
    for step in facts["timesteps"]:
        latents = golden[f"t{step}/latents"]
        for variant in facts["variants"]:
            scale = variant["scale"] if variant["use_cond"] else 0
            name = f"scale_{variant['scale']}" if variant["use_cond"] else "no_cond"
            with attach_ifadapter(
                golden_unet, golden_adapter, tokens, boxes, facts["phrase_num_arr_unet"], scale
            ):
                found = _predict(golden_unet, latents.repeat(1 + guided, 1, 1, 1), step, golden)
            assert_near(found, golden[f"t{step}/noise_pred_{name}"], PREDICTION)


@needs_golden
@pytest.mark.parametrize("case", ["ratio_1.0", "ratio_0.3"])
@torch.no_grad()
def test_sampling(golden_unet, golden_adapter, case):
    """A guided run with keys and values made once, the adapter ending with the published rule."""
    golden = read_cases(GOLDEN / "ifadapter" / "sampling.safetensors")[case]
    facts = read_facts(GOLDEN / "ifadapter" / "sampling.json")[case]
    boxes = golden["boxes"]
    regions = Regions.of_boxes(boxes)
    regions = replace(regions, windows=((0.0, facts["cond_ratio"]),) * len(boxes))
    positive = golden_adapter.instance_tokens(
        golden["phrase_embeds"], golden["mask"][:, 0], golden["eot_embeds"], boxes
    )
    negative = golden_adapter.unconditional_tokens(boxes)
    rows = [golden_adapter.prompt(tokens, regions) for tokens in (negative, positive)]
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )
    scheduler.set_timesteps(facts["steps"])
    latents = golden["noise"] * scheduler.init_noise_sigma
    with attach_prompts(golden_unet, golden_adapter.gates(), rows, facts["scale"]) as attachment:
        for index, step in enumerate(scheduler.timesteps):
            attachment.progress = index / facts["steps"]
            scaled = scheduler.scale_model_input(latents, step).repeat(2, 1, 1, 1)
            without, prediction = _predict(golden_unet, scaled, step, golden).chunk(2)
            prediction = without + facts["guidance_scale"] * (prediction - without)
            latents = scheduler.step(prediction, step, latents).prev_sample
            assert_near(latents[0], golden["latents_after_step"][index], 1e-3)


def _predict(unet, latents, step, golden):
    condition = {"text_embeds": golden["pooled_embeds"], "time_ids": golden["time_ids"]}
    return unet(latents, step, golden["prompt_embeds"], added_cond_kwargs=condition).sample

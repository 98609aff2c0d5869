"""CoMat's training beside diffusers: its sampling step, its LoRA's layers, and the LoRA's file loaded."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from golden_comat import layers_of, make_unet
from golden_files import GOLDEN, HOW_TO_GET_GOLDEN, REFERENCES, read_cases, read_facts
from tiny_sdxl import write_tiny_sdxl

from instance_composer.hosts.diffusers_sdxl import load_loras, load_sdxl
from instance_composer.models.comat import NoiseSchedule, ancestral_step, fooling_loss, telling_loss
from instance_composer.models.comat.lora import attention_targets, save_lora
from instance_composer.training.comat.fidelity import Discriminator
from instance_composer.training.comat.lora import add_lora, lora_layers, share_weights, without_lora
from instance_composer.training.comat.prompts import Conditions


@pytest.mark.parametrize("folder", REFERENCES)
def test_targets_are_the_released_codes_in_their_order(folder):
    facts = read_facts(folder / "comat_training" / "lora_targets.json")
    with torch.device("meta"):
        unet = UNet2DConditionModel(**facts["unet_config"])
    targets = attention_targets(unet)
    assert targets == facts["target_modules"]
    layers = [unet.get_submodule(name) for name in targets]
    parameters = sum(facts["rank"] * (layer.in_features + layer.out_features) for layer in layers)
    assert parameters == facts["n_parameters"]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_step_is_that_of_diffusers(kind):
    scheduler = DDPMScheduler(
        clip_sample=False, prediction_type=kind, timestep_spacing="leading", steps_offset=1
    )
    scheduler.set_timesteps(7)
    schedule = NoiseSchedule(scheduler.alphas_cumprod, kind)
    numbers = torch.Generator().manual_seed(0)
    latents, predicted = (torch.randn(1, 4, 3, 3, generator=numbers) for _ in range(2))
    timesteps = scheduler.timesteps.tolist()
    for timestep, previous in zip(timesteps, [*timesteps[1:], -1], strict=True):
        wanted = scheduler.step(predicted, timestep, latents, generator=torch.Generator().manual_seed(4))
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(4))
        made = ancestral_step(schedule, predicted, latents, timestep, previous, noise)
        torch.testing.assert_close(made, wanted.prev_sample, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="epsilon and v_prediction"):
        NoiseSchedule(scheduler.alphas_cumprod, "sample")


def predict(unet) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(0)
    latents, prompt = (torch.randn(*shape, generator=numbers) for shape in ((1, 4, 8, 8), (1, 7, 48)))
    conditions = {"text_embeds": torch.randn(1, 24, generator=numbers), "time_ids": torch.ones(1, 6)}
    with torch.no_grad():
        return unet(latents, 500, prompt, added_cond_kwargs=conditions).sample


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_sdxl(tmp_path_factory.mktemp("model") / "sdxl")


def trained(model) -> StableDiffusionXLPipeline:
    """A pipeline with a LoRA that has learned something."""
    pipeline = load_sdxl(model)
    torch.manual_seed(3)
    add_lora(pipeline.unet, 2)
    for name, parameter in pipeline.unet.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return pipeline


def test_the_lora_written_is_the_lora_trained_when_diffusers_loads_it(model, tmp_path):
    ours = trained(model)
    save_lora(tmp_path / "lora.safetensors", lora_layers(ours.unet), {})
    theirs = load_sdxl(model)
    before = predict(theirs.unet)
    load_loras(theirs, [(tmp_path / "lora.safetensors", 1.0)])
    torch.testing.assert_close(predict(theirs.unet), predict(ours.unet), atol=1e-5, rtol=1e-4)
    assert (predict(ours.unet) - before).abs().max() > 0.1


def test_without_its_lora_a_unet_is_the_original_and_asks_for_the_same_gradients(model):
    pipeline = trained(model)
    pipeline.unet.mid_block.requires_grad_(False)
    required = [parameter.requires_grad for parameter in pipeline.unet.parameters()]
    with without_lora(pipeline.unet):
        off = predict(pipeline.unet)
    assert torch.equal(off, predict(load_sdxl(model).unet))
    assert [parameter.requires_grad for parameter in pipeline.unet.parameters()] == required
    assert not torch.equal(off, predict(pipeline.unet))


def test_a_shared_unet_has_the_same_tensors_and_a_lora_of_its_own(model):
    unet = load_sdxl(model).unet
    before = predict(unet)
    other = share_weights(unet)
    add_lora(other, 2)
    for name, parameter in other.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    assert torch.equal(predict(unet), before)
    assert not torch.equal(predict(other), before)
    places = {parameter.data_ptr() for parameter in unet.parameters()}
    added = [name for name, parameter in other.named_parameters() if parameter.data_ptr() not in places]
    assert added
    assert all(".lora_" in name for name in added)


# What rounding a UNet's weights to halves does to its output.
ROUNDED = 4e-3


def assert_direction(found: torch.Tensor, wanted: torch.Tensor, name: str) -> None:
    """The same gradient but for rounded weights."""
    assert float((found - wanted).norm() / wanted.norm()) < 0.02, name


@pytest.mark.skipif(not GOLDEN.exists(), reason=HOW_TO_GET_GOLDEN)
def test_the_discriminator_alone_is_the_released_one():
    """As far as its weights go: this case ran before they were rounded to halves for the file, which changes
    its UNet's output by 0.0025 at most. In the whole step, after that, they are exact and so are the losses.
    """
    folder = GOLDEN / "comat_training"
    tensors, facts = read_cases(folder / "fidelity.safetensors"), read_facts(folder / "fidelity.json")
    unet = make_unet(facts["config"], read_cases(folder / "weights.safetensors")["D_unet"])
    add_lora(unet, facts["rank"], layers_of(tensors["lora"]))
    judge = Discriminator(unet, facts["timestep"])
    judge.head.mlp.load_state_dict({name: value.float() for name, value in tensors["mlp"].items()})
    empty = Conditions(tensors["null_embeds"][""][:1], None)
    fake = tensors["fake_latents"][""].requires_grad_()
    logits = judge(fake, empty)
    torch.testing.assert_close(logits.detach(), tensors["G"]["logits"], atol=ROUNDED, rtol=0)
    loss = fooling_loss(logits)
    assert loss.item() == pytest.approx(facts["losses"]["G"], abs=ROUNDED / 10)
    (gradient,) = torch.autograd.grad(loss, fake)
    assert_direction(gradient, tensors["G"]["grad_latents"], "latents")

    both = torch.cat((fake.detach(), tensors["real_latents"][""]))
    logits = judge(both, empty)
    torch.testing.assert_close(logits.detach(), tensors["D"]["logits"], atol=ROUNDED, rtol=0)
    loss = telling_loss(*logits.chunk(2))
    assert loss.item() == pytest.approx(facts["losses"]["D"], abs=ROUNDED / 10)
    loss.backward()
    halves = {".lora_layer.down": ".lora_A.default", ".lora_layer.up": ".lora_B.default"}
    found = {f"grad_mlp/{name}": parameter.grad for name, parameter in judge.head.mlp.named_parameters()}
    for key in (key for key in tensors["D"] if key.startswith("grad_lora/")):
        name = key.removeprefix("grad_lora/")
        for theirs, ours in halves.items():
            name = name.replace(theirs, ours)
        found[key] = unet.get_parameter(name).grad
    for key, gradient in found.items():
        assert_direction(gradient, tensors["D"][key], key)

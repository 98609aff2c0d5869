"""Attribute concentration on a diffusers UNet, and the published gradients of the latents."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest
import torch
from diffusers import UNet2DConditionModel
from golden_files import GOLDEN, HOW_TO_GET_GOLDEN, read_facts
from safetensors.torch import load_file
from tiny_sdxl import UNET

from instance_composer.hosts.diffusers_sdxl import (
    attach_concentration,
    move_noise,
    preset_layers,
    record_attention,
)
from instance_composer.models.concentration import (
    LocalGuidance,
    Targets,
    pixel_loss_official,
    token_loss_official,
)
from instance_composer.models.concentration.energy import (
    LATENT_STEP,
    ConcentrationObjective,
    MaxAttentionObjective,
)
from instance_composer.models.regions import Regions
from instance_composer.rankings.gallery import Gallery, Member, Prompt
from instance_composer.training.gallery.sdxl_member import ConcentrationMember

TARGETS = Targets(
    ((2, 3), (6, 7)),
    ((3,), (7,)),
    Regions.of_boxes([(0.0, 0.0, 0.5, 1.0), (0.5, 0.25, 1.0, 1.0)]),
    (False, False),
)


@pytest.mark.skipif(not GOLDEN.exists(), reason=HOW_TO_GET_GOLDEN)
def test_gradients_of_the_latents_equal_the_official_implementation():
    """Maps of 26 layers of the small UNet, their losses, and both gradients back to the latents."""
    facts = read_facts(GOLDEN / "comat" / "unet_attention.json")
    golden = load_file(GOLDEN / "comat" / "unet_attention.safetensors")
    unet = UNet2DConditionModel(**read_facts(GOLDEN / "ifadapter" / "config_small.json")["unet"]).eval()
    weights = load_file(GOLDEN / "ifadapter" / "unet_small.safetensors")
    unet.load_state_dict({key: value.float() for key, value in weights.items()})
    unet.requires_grad_(False)
    names = [name for key in facts["train_keys"] for name in facts["map_order"][key]]
    latents = golden["latents"].clone().requires_grad_()
    conditions = {"text_embeds": golden["pooled_embeds"], "time_ids": golden["time_ids"]}
    with record_attention(unet, names) as maps:
        unet(latents, facts["timestep"], golden["prompt_embeds"], added_cond_kwargs=conditions)
    # Maps come in the order in which layers run: the middle first, and stage 0 before stage 1.
    order = [name for key in ("mid_16", "up_16", "up_32") for name in facts["map_order"][key]]
    found = dict(zip(order, maps, strict=True))
    masks = torch.cat([golden["mask/0"][0], golden["mask/1"][0]])
    losses = {"token": torch.zeros(()), "pixel": torch.zeros(())}
    for key in facts["train_keys"]:
        same = [found[name][0] for name in facts["map_order"][key]]
        for index, attention in enumerate(same):
            expected = golden[f"maps/{key}/{index}/head_mean"]
            torch.testing.assert_close(attention.mean(0), expected, atol=1e-5, rtol=1e-4)
        losses["token"] = losses["token"] + token_loss_official(same, masks, facts["entities"])
        losses["pixel"] = losses["pixel"] + pixel_loss_official(same, masks, facts["entities"])
    for kind, loss in losses.items():
        assert loss.item() == pytest.approx(golden[f"{kind}_loss"].item(), rel=1e-4)
        (gradient,) = torch.autograd.grad(loss, latents, retain_graph=True)
        expected = golden[f"grad_{kind}"]
        assert (gradient - expected).abs().max() < 1e-3 * expected.abs().max()


@pytest.fixture
def inputs(pipeline):
    generator = torch.Generator().manual_seed(4)
    width = pipeline.unet.config.cross_attention_dim
    pooled = pipeline.text_encoder_2.config.projection_dim
    return {
        "sample": torch.randn(2, 4, 16, 16, generator=generator),
        "timestep": 500,
        "encoder_hidden_states": torch.randn(2, 12, width, generator=generator),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(2, pooled, generator=generator),
            "time_ids": torch.tensor([[128.0, 128, 0, 0, 128, 128]] * 2),
        },
    }


@torch.no_grad()
def test_the_guided_row_moves_and_its_energy_falls(pipeline, inputs):
    unet = pipeline.unet
    names = preset_layers(unet)
    plain = unet(**inputs).sample
    energies = []
    for strength in (0.0, 2.0):
        guidance = LocalGuidance(strength=strength)
        with attach_concentration(unet, TARGETS, guidance, [1], names[:1]):
            moved = unet(**inputs).sample
        assert torch.equal(moved[0], plain[0])
        assert torch.equal(moved[1], plain[1]) == (strength == 0.0)
        with (
            attach_concentration(unet, TARGETS, guidance, [1], names[:1]),
            record_attention(unet, names) as maps,
        ):
            unet(**inputs)
        energies.append(ConcentrationObjective(TARGETS)([one[1] for one in maps[1:]], (True, True)).value)
    assert energies[0] != energies[1]
    assert torch.equal(unet(**inputs).sample, plain)


def test_the_move_of_the_latent_lowers_the_energy(pipeline, inputs):
    unet = pipeline.unet
    objective = ConcentrationObjective(TARGETS)
    arguments = (500, inputs["encoder_hidden_states"], inputs["added_cond_kwargs"], (True, True))

    def energy(sample):
        with torch.no_grad(), record_attention(unet, preset_layers(unet)) as maps:
            unet(sample, *arguments[:2], added_cond_kwargs=arguments[2])
        return [objective([one[row] for one in maps], (True, True)).value for row in range(len(sample))]

    moved = move_noise(unet, objective, 1.0, inputs["sample"], *arguments)
    again = move_noise(unet, objective, 1.0, inputs["sample"], *arguments, gradient_checkpointing=True)
    torch.testing.assert_close(again, moved, atol=1e-5, rtol=1e-3)
    assert not unet.is_gradient_checkpointing
    assert moved.square().mean((1, 2, 3)).sqrt().max() < LATENT_STEP
    # The noise prediction grows by what takes noise away: the latent moves against it.
    before, after = energy(inputs["sample"]), energy(inputs["sample"] - 0.05 * moved)
    assert all(late < early for late, early in zip(after, before, strict=True))


def test_the_latent_stays_where_no_entity_acts(pipeline, inputs):
    """As behind the windows of all of them."""
    unet, sample = pipeline.unet, inputs["sample"]
    with torch.no_grad(), record_attention(unet, preset_layers(unet)) as maps:
        unet(**inputs)
    given = (sample, 500, inputs["encoder_hidden_states"], inputs["added_cond_kwargs"], (False, False))
    for objective in (ConcentrationObjective(TARGETS), MaxAttentionObjective(TARGETS.nouns, 4)):
        assert objective([one[1] for one in maps], (False, False)) == (0.0, 0.0)
        assert torch.equal(move_noise(unet, objective, 1.0, *given), torch.zeros_like(sample))


def test_a_gallery_concentrates_a_distilled_model_that_takes_guidance_as_an_input(sdxl_folder, tmp_path):
    """It has no unconditional row, whatever the guidance."""
    folder = Path(copytree(sdxl_folder, tmp_path / "distilled"))
    UNet2DConditionModel(**UNET, time_cond_proj_dim=16).save_pretrained(folder / "unet")
    prompt = Prompt("attribute", 0, "a red cat and a blue dog")
    pictures = []
    for strength in (0.0, 4.0):
        options = {"model": str(folder), "steps": 1, "strength": strength}
        member = Member("cat", "concentration", options)
        gallery = Gallery(tmp_path, {"cat": member}, (prompt,), "cat", (64, 64))
        drawn = ConcentrationMember(member, gallery, torch.device("cpu")).draw(prompt, 0)
        pictures.append(drawn.tobytes())
    assert pictures[0] != pictures[1]


def test_presets_follow_the_order_in_which_layers_run(pipeline):
    every = preset_layers(pipeline.unet, "all")
    ran = []
    hooks = [
        pipeline.unet.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
        for name in every
    ]
    width = pipeline.unet.config.cross_attention_dim
    conditions = {"text_embeds": torch.zeros(1, 24), "time_ids": torch.zeros(1, 6)}
    with torch.no_grad():
        pipeline.unet(torch.zeros(1, 4, 8, 8), 1, torch.zeros(1, 5, width), added_cond_kwargs=conditions)
    for hook in hooks:
        hook.remove()
    assert ran == every
    fine, coarse = (preset_layers(pipeline.unet, name) for name in ("fine", "coarse"))
    assert sorted(fine + coarse) == sorted(preset_layers(pipeline.unet))
    assert all(name.startswith("up_blocks.1") for name in fine)
    with pytest.raises(ValueError, match="layers is 'x'; allowed are middle and decoder"):
        preset_layers(pipeline.unet, "x")

"""A whole step, generator then discriminator, against the released trainer's on the same tiny models."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from golden_comat import ReleasedStep
from golden_files import WHOLE_OR_TRIMMED

from instance_composer.training.comat.lora import lora_layers

pytestmark = pytest.mark.slow
KINDS = ["sd15", "sdxl"]


def parameters(unet) -> dict[str, torch.nn.Parameter]:
    """A LoRA's weights under the released names."""
    found = {}
    for name, value in unet.named_parameters():
        if ".lora_" in name:
            name = name.replace(".lora_A.default", ".lora_layer.down").replace(
                ".lora_B.default", ".lora_layer.up"
            )
            found[name] = value
    return found


def assert_gradients(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Within 1e-3 of the largest entry of each tensor."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        limit = 1e-3 * float(value.abs().max()) + 1e-12
        assert float((found[name] - value).abs().max()) <= limit, name


def assert_stepped(before, after, wanted, gradient, rate: float) -> None:
    """Adam's first step is the rate times the sign: exact where the gradient is not almost 0."""
    for name, value in wanted.items():
        far = (after[name].detach() - value).abs()
        clear = gradient[name].abs() > 1e-3 * gradient[name].abs().max()
        assert float(far[clear].max()) <= 0.1 * rate, name
        assert float(far.max()) <= 2.1 * rate, name
        assert not torch.equal(before[name], after[name])


@pytest.fixture
def folder(kind):
    """The reference data; the trimmed copy has the step of Stable Diffusion 1 alone."""
    folder = WHOLE_OR_TRIMMED / "comat_training"
    if not (folder / f"joint_step_{kind}.safetensors").is_file():
        pytest.skip("not in the trimmed copy")
    return folder


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The generator's turn of a kind, made once: the step, its report, and the LoRA's gradients."""

    @cache
    def made(folder, kind):
        step = ReleasedStep(folder, kind, tmp_path_factory.mktemp(kind), as_decoded=kind == "sdxl")
        report = step.run()
        # The discriminator stands still.
        step.objective.discriminator.requires_grad_(False)
        report["loss"].backward()
        return step, report, {name: value.grad.clone() for name, value in parameters(step.unet).items()}

    return made


def scalar(step: ReleasedStep, name: str) -> float:
    return step.facts["losses"][name]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_gradients_and_weights_are_the_released_codes(kind, folder, straight):
    """With the captioner's picture as the released code has it: for SDXL in about -1 to 1."""
    step, report, gradients = straight(folder, kind)
    args, wanted = step.facts["official_args"], step.tensors
    for ours, theirs in (
        ("concept", "caption_loss"), ("fooling", "G_loss"), ("token", "token_loss"),
        ("pixel", "pixel_loss"), ("loss", "total_loss"),
    ):  # fmt: skip
        assert report[ours].item() == pytest.approx(scalar(step, theirs), abs=2e-5), ours

    made = step.objective._made[0]
    if "latents_final_every_2nd" in wanted:
        latents = wanted["latents_final_every_2nd"][""]
        torch.testing.assert_close(made[..., ::2, ::2], latents, atol=2e-3, rtol=0)
    judge, ours = step.objective.discriminator, parameters(step.unet)
    assert_gradients(gradients, wanted["lora_grad"])
    assert all(value.grad is None for value in judge.parameters())
    before = {name: value.detach().clone() for name, value in ours.items()}
    norm = torch.nn.utils.clip_grad_norm_(ours.values(), args["max_grad_norm"])
    assert float(norm) == pytest.approx(step.facts["grad_norm_before_clip_G"], rel=1e-3)
    torch.optim.AdamW(
        ours.values(), args["learning_rate"], (args["adam_beta1"], args["adam_beta2"]), args["adam_epsilon"],
        args["adam_weight_decay"],
    ).step()  # fmt: skip
    assert_stepped(before, ours, wanted["lora_after"], wanted["lora_grad"], args["learning_rate"])
    assert lora_layers(step.unet).keys() == {n.rsplit(".lora_layer", 1)[0] for n in before}

    # The discriminator's, with the latents of before.
    mine = {**parameters(judge.unet), **{f"mlp.{n}": p for n, p in judge.head.mlp.named_parameters()}}
    for value in mine.values():
        value.requires_grad_(True)
    real = wanted["inputs"]["D_real_latents_low"].float().repeat_interleave(4, -1).repeat_interleave(4, -2)
    report = step.objective.discriminate(made, real, step.judging)
    assert report["telling"].item() == pytest.approx(scalar(step, "D_loss"), abs=2e-5)
    report["telling"].backward()
    theirs = {**wanted["D_lora_grad"], **{f"mlp.{n}": v for n, v in wanted["D_mlp_grad"].items()}}
    gradients = {name: value.grad.clone() for name, value in mine.items()}
    assert_gradients(gradients, theirs)
    if "D_lora_after" in wanted:
        before = {name: value.detach().clone() for name, value in mine.items()}
        torch.nn.utils.clip_grad_norm_(mine.values(), args["max_grad_norm_D"])
        torch.optim.AdamW(
            mine.values(), args["learning_rate_D"], (args["adam_beta1_D"], args["adam_beta2_D"]),
            args["adam_epsilon"], args["adam_weight_decay"],
        ).step()  # fmt: skip
        after = {**wanted["D_lora_after"], **{f"mlp.{n}": v for n, v in wanted["D_mlp_after"].items()}}
        assert_stepped(before, mine, after, theirs, args["learning_rate_D"])


@pytest.mark.parametrize("kind", ["sdxl"])
def test_sdxl_with_the_picture_that_a_captioner_expects(kind, folder, tmp_path):
    """Our default: 0 to 1, where the released code's SDXL hands over about -1 to 1."""
    step = ReleasedStep(folder, kind, tmp_path)
    report = step.run()
    wanted = step.facts["losses_if_image_rescaled"]
    assert report["concept"].item() == pytest.approx(wanted["caption_loss"], abs=2e-5)
    assert report["loss"].item() == pytest.approx(wanted["total_loss"], abs=2e-5)
    report["loss"].backward()
    gradients = {name: value.grad for name, value in parameters(step.unet).items()}
    assert_gradients(gradients, step.tensors["rescaled_lora_grad"])


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_changes_nothing_but_the_memory(kind, folder, straight, tmp_path):
    """Maps are recorded too, where the recurrent pass would have recorded them twice."""
    *_, gradients = straight(folder, kind)
    step = ReleasedStep(folder, kind, tmp_path, as_decoded=kind == "sdxl")
    for model in (step.unet, step.objective.vae, step.objective.discriminator.unet):
        model.enable_gradient_checkpointing()
    step.objective.train()
    step.run()["loss"].backward()
    for name, value in parameters(step.unet).items():
        torch.testing.assert_close(value.grad, gradients[name], rtol=1e-4, atol=1e-9)

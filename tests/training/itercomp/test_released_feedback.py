"""A step of feedback learning against the released code's, on the same tiny UNet and VAE."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from golden_files import REFERENCES, read_facts
from safetensors.torch import load_file
from torch import nn

from instance_composer.models.rewards import ASPECTS
from instance_composer.training.comat.prompts import Conditions
from instance_composer.training.itercomp.feedback_objective import (
    FIRST_LAST,
    STEPS,
    AspectReward,
    FeedbackObjective,
)


class ProbeReward(nn.Module):
    """The reference's stand-in for a reward model: gain * mean(picture * probe) + bias."""

    def __init__(self, probe: torch.Tensor, gain: float, bias: float) -> None:
        super().__init__()
        self.config = SimpleNamespace(image_size=224)
        self.probe, self.gain, self.bias, self.seen = probe, gain, bias, None

    def score(self, pixels: torch.Tensor, *read: torch.Tensor) -> torch.Tensor:
        self.seen = pixels
        probe = self.probe.float().repeat_interleave(28, -1).repeat_interleave(28, -2)
        return self.gain * (pixels * probe).mean(dim=(1, 2, 3)) + self.bias


@pytest.fixture(params=REFERENCES)
def step(request):
    """Facts, tensors, and the objective with the reference's weights."""
    folder = request.param / "itercomp_loop"
    facts = read_facts(folder / "feedback_step.json")
    tensors = load_file(folder / "feedback_step.safetensors")

    def weights(part: str) -> dict[str, torch.Tensor]:
        start = f"weights/{part}/"
        return {k.removeprefix(start): v.float() for k, v in tensors.items() if k.startswith(start)}

    unet, vae = UNet2DConditionModel(**facts["unet_config"]), AutoencoderKL(**facts["vae_config"])
    unet.load_state_dict(weights("unet"))
    # The reference has the decoder alone.
    missing, unexpected = vae.load_state_dict(weights("vae"), strict=False)
    assert not unexpected
    assert all(name.startswith(("encoder.", "quant_conv.")) for name in missing)
    pipeline = SimpleNamespace(
        unet=unet, vae=vae, text_encoder=nn.Identity(), text_encoder_2=nn.Identity(),
        scheduler=DDPMScheduler(**facts["scheduler"]),
    )  # fmt: skip
    rewards = [
        AspectReward(aspect, ProbeReward(tensors[f"reward/probe_{n}"], gain, bias), None)
        for n, (aspect, gain, bias) in enumerate(
            zip(ASPECTS, facts["reward_gain"], facts["reward_bias"], strict=True)
        )
    ]
    return facts, tensors, FeedbackObjective(pipeline, rewards), rewards


def spread(values: torch.Tensor) -> torch.Tensor:
    """Noise that is stored once for each block of 4 x 4."""
    return values.float().repeat_interleave(4, -1).repeat_interleave(4, -2)


def near(found: torch.Tensor, wanted: torch.Tensor, name: str) -> None:
    """Within 1e-3 of the largest entry, which is what the reference's gradients are good to."""
    assert float((found - wanted).abs().max()) <= 1e-3 * float(wanted.abs().max()), name


def test_rewards_loss_and_gradients_are_the_released_codes(step):
    facts, tensors, objective, rewards = step
    objective.scheduler.set_timesteps(STEPS)
    assert objective.scheduler.timesteps.tolist() == facts["timesteps"]
    random.seed(facts["python_seed"])
    last = random.randint(FIRST_LAST, STEPS - 1)
    assert last == facts["stop_index"]

    positive = Conditions(
        tensors["inputs/prompt_embeds"],
        {"text_embeds": tensors["inputs/pooled_prompt_embeds"], "time_ids": tensors["inputs/time_ids"]},
    )
    seen = {}

    def keep_decoded(module: nn.Module, args: object, out: torch.Tensor) -> None:
        out.retain_grad()
        seen["decoded"] = out

    def keep_predicted(module: nn.Module, args: object, out) -> None:
        if out.sample.requires_grad:
            out.sample.retain_grad()
            seen["predicted"] = out.sample

    objective.vae.decoder.register_forward_hook(keep_decoded)
    objective.unet.register_forward_hook(keep_predicted)
    report = objective.judge(
        {"read": [()] * len(rewards)},
        spread(tensors["inputs/initial_noise_low"]),
        lambda number: spread(tensors["inputs/step_noise_low"][number]),
        last,
        positive,
        positive.rows(slice(1)),
    )
    report["loss"].backward()

    torch.testing.assert_close(report["loss"].detach(), tensors["loss"], rtol=1e-5, atol=0)
    for aspect, row in zip(ASPECTS, tensors["rewards"], strict=True):
        torch.testing.assert_close(report[aspect], row.mean(), atol=1e-5, rtol=0)
    gradients = {name: p.grad for name, p in objective.unet.named_parameters()}
    assert sum(g is not None for g in gradients.values()) == facts["parameters_with_gradient"]
    for name, wanted in tensors.items():
        if name.startswith("grad_unet/"):
            near(gradients[name.removeprefix("grad_unet/")], wanted, name)
    norm = torch.stack([g.norm() for g in gradients.values()]).norm().item()
    assert norm == pytest.approx(facts["grad_norm_before_clip"], rel=1e-3)

    if "noise_pred" in tensors:
        torch.testing.assert_close(seen["predicted"].detach(), tensors["noise_pred"], atol=1e-4, rtol=0)
        near(seen["predicted"].grad, tensors["grad_noise_pred"], "noise_pred")
        torch.testing.assert_close(
            seen["decoded"].detach()[..., ::8, ::8], tensors["decoded_every_8th"], atol=1e-4, rtol=0
        )
        near(seen["decoded"].grad[..., ::8, ::8], tensors["grad_decoded_every_8th"], "decoded")
        torch.testing.assert_close(
            rewards[0].model.seen.detach()[..., ::7, ::7],
            tensors["reward_image_every_7th"],
            atol=2e-2,
            rtol=0,
        )

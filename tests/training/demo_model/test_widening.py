"""The demo UNet with twice the channels in its first level."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from instance_composer.training.demo_model.architecture import NARROW_WIDTHS, make_unet
from instance_composer.training.demo_model.widening import widen_unet


@pytest.fixture(scope="module")
def unets():
    torch.manual_seed(0)
    narrow = make_unet(NARROW_WIDTHS)
    return narrow, widen_unet(narrow)


def outputs(unet: Any, modules: tuple[str, ...]) -> dict[str, Tensor]:
    """The outputs of these modules for one input."""
    found: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        def hook(module: Any, given: Any, output: Any) -> None:
            found[name] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = [unet.get_submodule(name).register_forward_hook(record(name)) for name in modules]
    random = torch.Generator().manual_seed(1)
    conditions = {"text_embeds": torch.randn(2, 40, generator=random), "time_ids": torch.full((2, 6), 128.0)}
    with torch.no_grad():
        unet(
            torch.randn(2, 4, 16, 16, generator=random),
            torch.tensor([100, 900]),
            torch.randn(2, 77, 64, generator=random),
            added_cond_kwargs=conditions,
        )
    for handle in handles:
        handle.remove()
    return found


def test_the_first_level_computes_what_it_did(unets):
    names = (
        "conv_in",
        "time_embedding",
        "add_embedding",
        "down_blocks.0.resnets.0",
        "down_blocks.0.resnets.1",
    )
    narrow, wide = (outputs(unet, names) for unet in unets)
    for name in names:
        torch.testing.assert_close(wide[name], narrow[name].repeat_interleave(2, dim=1), msg=name)


def test_the_second_level_starts_with_the_same_input(unets):
    """Downsampling has taken in the projection that a level no wider than the one before does without."""
    narrow, wide = unets
    before = outputs(narrow, ("down_blocks.0.downsamplers.0.conv",))["down_blocks.0.downsamplers.0.conv"]
    projected = narrow.down_blocks[1].resnets[0].conv_shortcut(before)
    now = outputs(wide, ("down_blocks.0.downsamplers.0.conv",))["down_blocks.0.downsamplers.0.conv"]
    torch.testing.assert_close(now, projected, atol=1e-5, rtol=1e-5)
    # What reads the input a second time, on the way up, sees the old one.
    hidden = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(
        wide.up_blocks[1].resnets[2].conv_shortcut(torch.cat((hidden, now), dim=1)),
        narrow.up_blocks[1].resnets[2].conv_shortcut(torch.cat((hidden, before), dim=1)),
        atol=1e-4,
        rtol=1e-4,
    )


def test_copies_do_not_learn_the_same(unets):
    _, wide = unets
    conditions = {"text_embeds": torch.randn(1, 40), "time_ids": torch.full((1, 6), 128.0)}
    noise = wide(
        torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, 64), added_cond_kwargs=conditions
    ).sample
    noise.square().mean().backward()
    gradient = wide.down_blocks[0].resnets[0].conv1.weight.grad
    assert ((gradient[::2] - gradient[1::2]).norm() / gradient.norm()).item() > 0.1


def test_the_last_layers_keep_the_mean_of_a_picture(unets):
    """The narrow UNet's last group norm sees single channels: a brighter input gives no brighter output."""
    narrow, wide = (unet.conv_norm_out for unet in unets)
    channels = torch.randn(1, 32, 16, 16)
    torch.testing.assert_close(narrow(channels + 3), narrow(channels))
    paired = torch.stack((channels, -channels), dim=2).flatten(1, 2)
    torch.testing.assert_close(
        wide(paired)[:, ::2].mean(dim=(2, 3)),
        channels.mean(dim=(2, 3)) / channels.square().mean(dim=(2, 3)).sqrt(),
    )
    last = unets[1].up_blocks[2].resnets[2](torch.randn(1, 128, 16, 16), torch.zeros(1, 256))
    torch.testing.assert_close(last[:, 1::2], -last[:, ::2])


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match=r"widths \[64, 64, 128\] cannot be widened.*half as wide"):
        widen_unet(make_unet())

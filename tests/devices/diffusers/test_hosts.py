"""The diffusers host on a device that is not the CPU: nothing is copied there after the first call."""

import pytest
import torch
from device_watch import DEVICE, Watch, watched
from diffusers import UNet2DConditionModel
from tiny_sdxl import POOLED, UNET, write_tiny_ifadapter

from instance_composer.hosts.diffusers_sdxl import (
    attach_concentration,
    attach_ifadapter,
    attach_prompts,
    preset_layers,
    record_attention,
)
from instance_composer.models.concentration import LocalGuidance, Targets
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.regions import Regions

BOXES = [(0.0, 0.1, 0.6, 0.9), (0.3, 0.0, 1.0, 0.5)]
REGIONS = Regions.of_boxes(BOXES)
TARGETS = Targets(((2, 3), (6, 7)), ((3,), (7,)), REGIONS, (False, False))


@pytest.fixture(scope="module")
def unet():
    with torch.device(DEVICE):
        return UNet2DConditionModel(**UNET).half()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> IFAdapter:
    path = write_tiny_ifadapter(tmp_path_factory.mktemp("adapter") / "ifadapter.safetensors")
    return IFAdapter.load(path).to(DEVICE)


def predict(unet, rows: int = 4) -> torch.Tensor:
    inputs = {"dtype": torch.float16, "device": DEVICE}
    with torch.no_grad():
        return unet(
            torch.empty(rows, 4, 24, 24, **inputs),
            torch.empty((), device=DEVICE),
            torch.empty(rows, 12, UNET["cross_attention_dim"], **inputs),
            added_cond_kwargs={
                "text_embeds": torch.empty(rows, POOLED, **inputs),
                "time_ids": torch.empty(rows, 6, **inputs),
            },
        ).sample


def watch(unet) -> Watch:
    with watched() as watch:
        found = predict(unet)
    assert (found.dtype, found.device) == (torch.float16, DEVICE)
    return watch


@pytest.fixture(scope="module")
def plain(unet) -> Watch:
    return watch(unet)


@pytest.mark.parametrize("rows", ["all", "every second", "none between"])
def test_prompts(unet, adapter, plain, rows):
    tokens = torch.empty(2, 13, UNET["cross_attention_dim"], device=DEVICE)
    prompt, other = adapter.prompt(tokens, REGIONS), adapter.prompt(tokens, Regions.of_boxes(BOXES))
    chosen = {
        "all": [prompt] * 4,
        "every second": [prompt, other, prompt, other],
        "none between": [prompt, None, None, prompt],
    }[rows]
    with attach_prompts(unet, adapter.gates(), chosen, 0.8):
        predict(unet)
        later = watch(unet)
    assert later.launches > plain.launches
    assert (later.copies, later.on_cpu) == (plain.copies, plain.on_cpu)


def test_tokens(unet, adapter, plain):
    tokens = torch.empty(4, 13, UNET["cross_attention_dim"], device=DEVICE)
    with attach_ifadapter(unet, adapter, tokens, torch.tensor(BOXES * 2), [1, 2, 0, 1]):
        predict(unet)
        later = watch(unet)
    assert later.launches > plain.launches
    assert (later.copies, later.on_cpu) == (plain.copies, plain.on_cpu)


@pytest.mark.parametrize("rows", [[2, 3], [0, 2]])
def test_local_concentration(unet, plain, rows):
    with attach_concentration(unet, TARGETS, LocalGuidance(), rows):
        predict(unet)
        later = watch(unet)
    assert later.launches > plain.launches
    assert (later.copies, later.on_cpu) == (plain.copies, plain.on_cpu)


def test_recorded_attention(unet, plain):
    with record_attention(unet, preset_layers(unet)) as maps:
        later = watch(unet)
    assert all(one.device == DEVICE for one in maps)
    assert (later.copies, later.on_cpu) == (plain.copies, plain.on_cpu)

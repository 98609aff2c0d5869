"""Real classes at toy size: ten steps lower the loss, a resumed run equals a straight one."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, UNet2DConditionModel
from PIL import Image
from training_tasks import FIRST, KINDS, error_on, make_task, open_gates, settings

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.vision.captioning import TransformersCaptioner
from instance_composer.training.engine.loop import Trainer


@pytest.mark.parametrize("kind", KINDS)
def test_ten_steps_lower_the_loss(kind, pipeline, latents, tmp_path):
    task = make_task(kind, pipeline, latents)
    if kind == "ifadapter":
        # Ten steps would be spent on opening the gates; what is behind them is to be seen learning.
        open_gates(task.adapter)
    batch = task.batch(FIRST, 4, 0)
    before = error_on(task, batch)
    trainer = Trainer(task, settings(steps=10), tmp_path)
    for _ in range(10):
        trainer.advance()
    assert error_on(task, batch) < before


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_a_straight_one(kind, tiny_model, latents, tmp_path):
    straight = Trainer(make_task(kind, load_sdxl(tiny_model), latents), settings(), tmp_path / "straight")
    for _ in range(4):
        straight.advance()
    first = Trainer(make_task(kind, load_sdxl(tiny_model), latents), settings(), tmp_path / "resumed")
    first.advance()
    first.advance()
    first.save()
    first.advance()
    resumed = Trainer(make_task(kind, load_sdxl(tiny_model), latents), settings(), tmp_path / "resumed")
    assert resumed.step == 2
    resumed.advance()
    resumed.advance()
    one, two = straight.state(), resumed.state()
    assert one["weights"].keys() == two["weights"].keys()
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])
    pairs = zip(one["average"]["shadow_params"], two["average"]["shadow_params"], strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_and_exports(kind, pipeline, latents, tmp_path):
    task = make_task(kind, pipeline, latents)
    Trainer(task, settings(steps=1, every_sample=1), tmp_path).run()
    assert min(Image.open(tmp_path / "samples/000001.png").size) > 64
    model = tmp_path / "model"
    if kind == "ifadapter":
        adapter = IFAdapter.load(model / "ifadapter.safetensors")
        assert adapter.config == task.adapter.config
    elif kind == "base":
        again = load_sdxl(model)
        assert again.unet.config["block_out_channels"] == pipeline.unet.config["block_out_channels"]
    elif kind == "transformer":
        again = FluxTransformer2DModel.from_pretrained(model / "transformer").state_dict()
        assert all(torch.equal(again[k], v) for k, v in task.objective.transformer.state_dict().items())
        assert FlowMatchEulerDiscreteScheduler.from_pretrained(model / "scheduler").config["shift"] == 1.0
    elif kind == "feedback":
        again = UNet2DConditionModel.from_pretrained(model / "unet")
        assert again.config["block_out_channels"] == pipeline.unet.config["block_out_channels"]
    elif kind == "captioner":
        assert TransformersCaptioner.load(str(model)).model.config.vision_config.image_size == 64
    else:
        assert (model / "vae" / "diffusion_pytorch_model.safetensors").is_file()

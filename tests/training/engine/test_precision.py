"""Frozen weights in the training precision: what is trained learns as before, and samples are no noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from training_tasks import FIRST, make_task, open_gates, settings

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.training.engine.account.memory import held
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.precision import halve


@pytest.fixture(autouse=True)
def _fresh_accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def halved(tiny_model, latents):
    pipeline = load_sdxl(tiny_model)
    task = make_task("ifadapter", pipeline, latents)
    open_gates(task.adapter)
    halve(torch.bfloat16, pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2)
    task.precision = torch.bfloat16
    return task


def test_halves_of_what_is_frozen_give_nearly_the_same_gradients(tiny_model, latents):
    whole = make_task("ifadapter", load_sdxl(tiny_model), latents)
    open_gates(whole.adapter)
    half = halved(tiny_model, latents)
    assert held(half.objective) < held(whole.objective)
    gradients = []
    for task in (whole, half):
        generator = torch.Generator().manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16):
            report = task.objective(task.batch(FIRST, 2, 0), generator)
        report["loss"].backward()
        trained = [p for p in task.objective.parameters() if p.requires_grad]
        assert all(p.dtype == torch.float32 for p in trained)
        gradients.append(torch.cat([p.grad.flatten() for p in trained if p.grad is not None]))
        task.after_backward()
    # Norms and embeddings are computed from halves too: bf16 has three digits.
    assert torch.cosine_similarity(*gradients, dim=0) > 0.97


def test_a_run_with_halves_trains_and_draws(tiny_model, latents, tmp_path):
    task = halved(tiny_model, latents)
    del task._examples[1:]
    decoder = task.pipeline.vae.decode
    Trainer(task, settings(steps=1, mixed_precision="bf16", every_sample=1), tmp_path).run()
    picture = np.asarray(Image.open(tmp_path / "samples" / "000001.png"))
    assert picture.std() > 0
    assert task.pipeline.vae.decode == decoder
    assert next(task.pipeline.vae.parameters()).dtype == torch.float32

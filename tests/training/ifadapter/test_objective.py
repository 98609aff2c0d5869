"""Training of an adapter: what learns, what stays, and what is left out."""

from __future__ import annotations

import pytest
import torch
from latent_sets import latent_set
from training_tasks import FIRST, error_on, make_task, open_gates, settings

from instance_composer.hosts.diffusers_sdxl import encode_tokens, load_sdxl
from instance_composer.layout import (
    Canvas,
    Layout,
)
from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.data.errors import SourceError
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.order import generator_at
from instance_composer.training.ifadapter.initial_weights import make_adapter
from instance_composer.training.ifadapter.objective import IFAdapterTask


def test_only_the_adapter_learns(pipeline, latents, tmp_path):
    task = make_task("ifadapter", pipeline, latents)
    parts = ("unet", "text_encoder", "text_encoder_2", "vae")
    before = {part: [p.clone() for p in getattr(pipeline, part).parameters()] for part in parts}
    trainer = Trainer(task, settings(), tmp_path)
    trainer.run()
    for part in parts:
        for old, new in zip(before[part], getattr(pipeline, part).parameters(), strict=True):
            assert torch.equal(old, new)
    assert all(name.startswith("adapter.") for name in trainer.state()["weights"])


def test_every_weight_of_the_adapter_gets_a_gradient_once_the_gates_are_open(pipeline, latents):
    task = make_task("ifadapter", pipeline, latents)
    open_gates(task.adapter)
    task.objective(task.batch(FIRST, 4, 0), generator_at(FIRST, 0))["loss"].backward()
    task.after_backward()
    without = [name for name, p in task.adapter.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_fresh_adapter_changes_nothing_and_leaves_nothing_behind(pipeline, latents):
    task = make_task("ifadapter", pipeline, latents)
    batch = task.batch(FIRST, 4, 0)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules())
    fresh = error_on(task, batch)
    batch["boxes"] = batch["boxes"] * 0.5
    task.objective.region_weight = 0.0
    moved = error_on(task, batch)
    batch["boxes"] = batch["boxes"] * 2
    assert error_on(task, batch) == moved
    task.objective.region_weight = 1.0
    assert error_on(task, batch) == fresh
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules())


def test_samples_are_decoded_where_the_adapter_is(pipeline, latents, tmp_path, monkeypatch):
    """A run whose pictures are all encoded has not moved the autoencoder there."""
    example = ShapesWorld(5, 64, 64)[0].layout
    task = IFAdapterTask(pipeline, make_adapter(pipeline.unet, small=True), [latents], examples=[example])
    moved = []
    monkeypatch.setattr(pipeline.vae, "to", lambda *place: moved.append(place))
    task.sample(tmp_path / "samples.png")
    assert moved[0] == (next(task.adapter.parameters()).device,)


def test_gradient_checkpointing_gives_the_same_gradients(tiny_model, latents):
    gradients = []
    for checkpointing in (False, True):
        pipeline = load_sdxl(tiny_model)
        task = make_task("ifadapter", pipeline, latents)
        open_gates(task.adapter)
        if checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        task.objective.train()
        task.objective(task.batch(FIRST, 2, 0), generator_at(FIRST, 0))["loss"].backward()
        task.after_backward()
        gradients.append([p.grad for p in task.adapter.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-4, atol=1e-6)


def test_dropped_instances_have_no_words_left(pipeline, latents):
    """With every instance dropped, the tokens are those of the adapter's unconditional branch."""
    task = make_task("ifadapter", pipeline, latents)
    batch = task.batch(FIRST, 3, 0)
    tokens = task.objective._instance_tokens(batch, torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(
        tokens, task.adapter.unconditional_tokens(batch["boxes"]), rtol=1e-4, atol=1e-5
    )


def test_padding_that_no_phrase_needs_changes_no_token(pipeline, latents):
    task = make_task("ifadapter", pipeline, latents)
    batch = task.batch(FIRST, 4, 0)
    ids, without = batch["phrases"], torch.tensor([False, True, False, False])
    longest = int(ids.mask.sum(-1).max())
    assert longest < ids.mask.shape[-1]
    tokens = task.objective._instance_tokens(batch, without)
    phrases = encode_tokens((pipeline.text_encoder, pipeline.text_encoder_2), ids[:2], ids.mask)
    worded = ~without.repeat_interleave(torch.tensor(batch["counts"]))
    whole = task.adapter.instance_tokens(
        phrases.hidden_states * worded[:, None, None, None],
        phrases.attention_mask * worded[:, None],
        phrases.eot * worded[:, None],
        batch["boxes"],
    )
    torch.testing.assert_close(tokens, whole, atol=1e-5, rtol=0)


def test_pictures_without_instances_are_left_out(pipeline, latents):
    bare = Layout((), Canvas(64, 64), "nothing").to_dict()
    mixed = latent_set(latents.latents(range(3)), [bare, latents.document(1), latents.document(2)])
    task = IFAdapterTask(pipeline, make_adapter(pipeline.unet, small=True), [mixed])
    assert task.describe()["sets"] == [[2, 64, 64]]
    with pytest.raises(SourceError, match="nothing to learn"):
        IFAdapterTask(
            pipeline, make_adapter(pipeline.unet, small=True), [latent_set(latents.latents([0]), [bare])]
        )

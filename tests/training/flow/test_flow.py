"""Rectified flow: times, the way between picture and noise, and what is left out of captions."""

from __future__ import annotations

import pytest
import torch
from training_tasks import FIRST, make_task

from instance_composer.training.engine.order import generator_at
from instance_composer.training.flow.frozen_texts import FrozenTexts
from instance_composer.training.flow.path import draw_times, on_the_way


def test_times_are_logit_normal_and_spread_over_a_batch():
    times = draw_times(4000, generator_at(FIRST, 0))
    logits = torch.logit(times)
    assert float(logits.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(logits.std()) == pytest.approx(1.0, abs=0.02)
    few = draw_times(4, generator_at(FIRST, 1))
    bounds = torch.sigmoid(torch.special.ndtri(torch.tensor([0.25, 0.5, 0.75])))
    assert torch.bucketize(few, bounds).tolist() == [0, 1, 2, 3]
    assert draw_times(1, generator_at(FIRST, 2)).isfinite().all()


def test_the_velocity_leads_from_noise_to_the_picture():
    latents = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([0.0, 0.3, 1.0])
    noisy, velocity = on_the_way(latents, times, generator_at(FIRST, 0))
    share = times[:, None, None, None]
    torch.testing.assert_close(noisy - share * velocity, latents)
    torch.testing.assert_close(noisy + (1 - share) * velocity, latents + velocity)
    assert torch.equal(noisy[0], latents[0])


def test_captions_left_out_are_zeros_and_the_empty_caption(pipeline, latents, monkeypatch):
    task = make_task("transformer", pipeline, latents)
    seen = []

    def remember(transformer, noisy, times, texts):
        seen.append(texts)
        return torch.zeros_like(noisy)

    monkeypatch.setattr("instance_composer.training.demo_model.flow_matching.predict_velocity", remember)
    batch = task.batch(FIRST, 8, 0)
    empty = FrozenTexts(pipeline)([""])
    found = {"kept": 0, "empty": 0, "zeros": 0}
    for seed in range(100):
        report = task.objective(batch, generator_at(FIRST, seed))
        texts = seen.pop()
        for row in range(8):
            if not texts.states[row].any():
                found["zeros"] += 1
                assert not texts.pooled[row].any()
                assert torch.equal(texts.mask[row], batch["texts"].mask[row])
            elif torch.equal(texts.pooled[row], empty.pooled[0]):
                found["empty"] += 1
                length = empty.mask.shape[1]
                assert int(texts.mask[row].sum()) == length
                assert torch.equal(texts.states[row, :length], empty.states[0])
            else:
                found["kept"] += 1
                assert torch.equal(texts.states[row], batch["texts"].states[row])
        assert report["loss"] > 0
    # A twentieth each, 800 in all; three deviations are 18.
    assert found["zeros"] == pytest.approx(40, abs=18)
    assert found["empty"] == pytest.approx(40, abs=18)

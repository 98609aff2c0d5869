"""Batches about which no part has anything to say, and parts that say nothing of the clean latents."""

from __future__ import annotations

import json
from pathlib import Path

import comat_in_processes
import pytest
import torch
from comat_run import train
from two_processes import run_in_two

from instance_composer.training.engine.checkpoint import read_run

# One of three has an entity and rivals; an epoch of single prompts asks about each.
PROMPTS = "a red dog and a blue cat\na picture of this\na picture of that\n"
ATTENTION = {"concept_weight": 0.0, "fidelity_weight": 0.0}
RIVALS = {"concept_loss": "rivals", "token_weight": 0.0, "pixel_weight": 0.0, "fidelity_weight": 0.0}


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def ups(folder: Path) -> list[torch.Tensor]:
    return [value for name, value in read_run(folder)["weights"].items() if ".lora_B" in name]


@pytest.mark.parametrize("off", [ATTENTION, RIVALS], ids=["attention", "rivals"])
def test_prompts_without_entities_or_rivals_sit_out(off, tiny_model, tmp_path):
    (tmp_path / "prompts").write_text(PROMPTS)
    train(tiny_model, tmp_path, {"steps": 3, "batch": 1}, prompts=tmp_path / "prompts", **off)
    norms = [line["gradient"] for line in metrics(tmp_path)]
    assert len(norms) == 3
    assert norms.count(0.0) >= 2
    if off is ATTENTION:
        assert max(norms) > 0


@pytest.mark.parametrize("more", [{}, {"distance_weight": 1.0}], ids=["attention", "and distance"])
def test_a_limit_goes_by_the_first_gradient_where_clean_latents_have_none(more, tiny_model, tmp_path):
    how = {**ATTENTION, **more, "gradient_path": "calls", "sampling_steps": 4, "gradient_steps": 4}
    train(tiny_model, tmp_path / "free", {"steps": 2}, **how)
    train(tiny_model, tmp_path / "kept", {"steps": 2}, gradient_limit=1.0, **how)
    train(tiny_model, tmp_path / "far", {"steps": 2}, gradient_limit=1e9, **how)
    free, kept, far = ([line["gradient"] for line in metrics(tmp_path / n)] for n in ("free", "kept", "far"))
    assert far == free
    assert all(0 < one <= other * (1 + 1e-4) for one, other in zip(kept, free, strict=True))
    assert any(bool(value.any()) for value in ups(tmp_path / "kept"))


@pytest.mark.slow
def test_attention_alone_is_learned_in_processes_whole_and_shared_out(tiny_model, tmp_path):
    """No gradient of attention reaches the last layers, which processes wait for all the same."""
    run_in_two(comat_in_processes, tiny_model, tmp_path)
    plain, shared = (read_run(tmp_path / name)["weights"] for name in ("plain", "shared"))
    assert plain.keys() == shared.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(shared[name], weight, atol=1e-6, rtol=1e-4, msg=name)

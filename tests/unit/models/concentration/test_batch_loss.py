"""The losses of a whole batch, several timesteps and sizes of maps, as the published training sums them."""

from __future__ import annotations

import pytest
import torch
from golden_files import GOLDEN, HOW_TO_GET_GOLDEN, read_facts
from safetensors.torch import load_file

from instance_composer.models.concentration import pixel_loss_official, token_loss_official

LOSSES = {"token": token_loss_official, "pixel": pixel_loss_official}


@pytest.mark.skipif(not GOLDEN.exists(), reason=HOW_TO_GET_GOLDEN)
@pytest.mark.parametrize("kind", LOSSES)
def test_sums_and_gradient_of_a_batch(kind: str) -> None:
    facts = read_facts(GOLDEN / "comat" / "batch_loss.json")
    golden = load_file(GOLDEN / "comat" / "batch_loss.safetensors")
    heads, batch = facts["heads"], facts["batch"]
    leaf = golden["attn/981/up_16/0"].clone().requires_grad_()
    total = torch.zeros(())
    for name, expected in facts["per_term"].items():
        loss, timestep, key = name.split("/")
        if loss != kind:
            continue
        places = sorted(place for place in golden if place.startswith(f"attn/{timestep}/{key}/"))
        maps = [leaf if place == "attn/981/up_16/0" else golden[place] for place in places]
        term = torch.zeros(())
        for sample, entities in enumerate(facts["entities"]):
            masks = torch.cat([golden[f"mask/{sample}/{one['noun']}"][0] for one in entities])
            own = [one[sample * heads : (sample + 1) * heads] for one in maps]
            term = term + LOSSES[kind](own, masks, [one["tokens"] for one in entities])
        assert term.item() == pytest.approx(expected, rel=1e-5), name
        total = total + term / batch
    assert total.item() == pytest.approx(facts[f"{kind}_loss"], rel=1e-5)
    (gradient,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(gradient, golden[f"grad_{kind}/981/up_16/0"], rtol=1e-4, atol=1e-7)

"""The concentration losses against the official implementation, and their limits."""

from pathlib import Path

import pytest
import torch
from golden_files import REFERENCES, read_cases, read_facts
from torch import Tensor

from instance_composer.models.concentration import (
    pixel_loss,
    pixel_loss_official,
    token_loss,
    token_loss_official,
)

LOSSES = [token_loss, token_loss_official, pixel_loss, pixel_loss_official]


@pytest.fixture(scope="module", params=REFERENCES)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param / "comat"


def cases(folder: Path) -> list[tuple[str, dict, list[Tensor], Tensor | list[Tensor], dict[str, Tensor]]]:
    tensors, facts = (
        read_cases(folder / "attention_losses.safetensors"),
        read_facts(folder / "attention_losses.json"),
    )
    found = []
    for name, case in tensors.items():
        maps = [case[f"attn/{m}"] for m in range(facts[name]["modules"])]
        masks = torch.cat([case[f"mask/{e}"][0] for e in range(len(facts[name]["token_idx"]))])
        found.append((name, facts[name], maps, masks, case))
    assert found
    return found


def test_values_equal_the_official_implementation(folder: Path) -> None:
    for name, facts, maps, masks, _ in cases(folder):
        groups = facts["token_idx"]

        def assert_near(actual: Tensor, expected: float, name: str = name) -> None:
            assert actual.item() == pytest.approx(expected, rel=1e-5), name

        assert_near(token_loss_official(maps, masks, groups), facts["token_loss"])
        assert_near(token_loss(maps, masks, groups), facts["paper_style_token_loss"])
        assert_near(pixel_loss_official(maps, masks, groups), facts["pixel_loss"])
        if name != "saturated_16":
            assert_near(pixel_loss(maps, masks, groups), facts["pixel_loss"])


def test_gradients_equal_the_official_implementation(folder: Path) -> None:
    for name, facts, maps, masks, case in cases(folder):
        for loss, kind in ((token_loss_official, "token"), (pixel_loss_official, "pixel")):
            if (name, kind) == ("saturated_16", "pixel"):
                continue  # of order 1e9 at the clamp, where float32 has no digits left to compare
            leaves = [attention.clone().requires_grad_() for attention in maps]
            gradients = torch.autograd.grad(loss(leaves, masks, facts["token_idx"]), leaves)
            for module, gradient in enumerate(gradients):
                torch.testing.assert_close(gradient, case[f"grad_{kind}/{module}"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_no_entity_costs_nothing(loss) -> None:
    maps = [torch.rand(2, 4, 6, 5)]
    assert loss(maps, torch.zeros(0, 4, 6), []) == 0


def perfect(mask: Tensor) -> Tensor:
    """Two heads whose token 1 attends to the mask alone and token 0 to the rest."""
    inside = mask.float()
    return torch.stack((1 - inside, inside), dim=-1).expand(2, -1, -1, -1)


@pytest.mark.parametrize("loss", LOSSES)
def test_attention_on_the_mask_alone_is_the_minimum_and_off_it_the_maximum(loss) -> None:
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3, 2:5] = True
    best, worst = loss([perfect(mask)], mask[None], [[1]]), loss([perfect(mask)], mask[None], [[0]])
    assert best == 0
    assert worst == {pixel_loss: torch.inf, pixel_loss_official: 100.0}.get(loss, 1.0)


@pytest.mark.parametrize("loss", LOSSES)
def test_masks_of_any_resolution_grow_to_the_cells_they_touch(loss) -> None:
    maps = [torch.rand(3, 4, 6, 5).softmax(-1)]
    half = torch.zeros(1, 32, 48)
    half[:, :, :24] = 1
    grown = torch.zeros(1, 4, 6)
    grown[:, :, :4] = 1  # antialiasing reaches half a cell over the edge in the middle
    assert torch.equal(loss(maps, half, [[1, 2]]), loss(maps, grown, [[1, 2]]))


def test_each_entity_needs_its_mask() -> None:
    with pytest.raises(ValueError, match="2 masks for 1 entities"):
        token_loss([torch.rand(1, 2, 2, 3)], torch.ones(2, 2, 2), [[1]])

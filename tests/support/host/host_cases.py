"""Shorthands of the host tests."""

from __future__ import annotations

from typing import Any

import torch
from comfyui_probe import Evaluation
from torch import Tensor

import nodes
from instance_composer.hosts.comfyui.ifadapter.phrases import encode_phrases
from instance_composer.layout import Layout
from instance_composer.models.regions import Regions

# Two float32 evaluations whose sums run in another order; predictions are of order one and the adapter
# changes them by more than EFFECT.
TOLERANCE = 2e-5
EFFECT = 0.05


def noise(batch: int, height: int, width: int, seed: int = 1) -> Tensor:
    """Unit noise (batch, 4, height, width)."""
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(seed))


def encode(clip: Any, text: str) -> Any:
    """The conditioning that Clip Text Encode makes of a text."""
    return nodes.CLIPTextEncode().encode(clip, text)[0]


def instance_tokens(clip: Any, adapter: Any, layout: Layout) -> tuple[tuple[Tensor, Tensor], ...]:
    """(tokens, boxes) of the captions and of the unconditional branch, for `with_reference`."""
    phrases = encode_phrases(clip, [(instance.id, instance.caption) for instance in layout.active])
    boxes = torch.tensor(Regions.from_layout(layout).boxes)
    tokens = adapter.model.instance_tokens(phrases.hidden_states, phrases.attention_mask, phrases.eot, boxes)
    return (tokens, boxes), (adapter.model.unconditional_tokens(boxes), boxes)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def assert_same(found: Evaluation, expected: Evaluation, tolerance: float = TOLERANCE) -> None:
    """Both predictions equal."""
    assert_close(found.positive, expected.positive, tolerance)
    assert found.negative is not None
    assert expected.negative is not None
    assert_close(found.negative, expected.negative, tolerance)


def sample(
    trio: Any, latent: Any, steps: int = 3, sampler: str = "euler", denoise: float = 1.0, seed: int = 7
) -> Tensor:
    """KSampler's latent for (MODEL, positive, negative) at CFG 5."""
    made = nodes.common_ksampler(
        trio[0], seed, steps, 5.0, sampler, "normal", *trio[1:], latent, denoise=denoise
    )
    return made[0]["samples"]

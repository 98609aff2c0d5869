"""Losses of CoMat's training as formulas: likelihoods, attention of a batch, a discriminator's."""

from __future__ import annotations

import math

import pytest
import torch
from prompt_entities import entity

from instance_composer.models.comat import (
    LatentHead,
    Likelihood,
    attribute_concentration,
    concentratable,
    concept_loss,
    fooling_loss,
    likelihood_of,
    rival_loss,
    telling_loss,
)
from instance_composer.models.concentration import pixel_loss_official, token_loss, token_loss_official


def test_a_likelihood_is_of_the_labels_after_each_position():
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[-100, 1, 2, -100], [-100, 3, -100, -100]])
    found = likelihood_of(logits, labels)
    p = logits.softmax(-1)
    assert found.tokens.tolist() == [2, 1]
    expected = -(p[0, 0, 1].log() + p[0, 1, 2].log())
    assert found.negative[0].item() == pytest.approx(expected.item(), rel=1e-5)
    assert concept_loss(found).item() == pytest.approx((found.negative.sum() / 3).item())
    assert concept_loss(found, "sum").item() == pytest.approx(found.negative.mean().item())
    smoothed = concept_loss(found, smoothing=0.25)
    assert smoothed.item() == pytest.approx((0.75 * found.negative + 0.25 * found.uniform).sum().item() / 3)


def test_label_smoothing_is_torchs():
    logits = torch.randn(1, 6, 9, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[-100, 1, 2, 3, -100, -100]])
    wanted = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], label_smoothing=0.1)
    assert concept_loss(likelihood_of(logits, labels), smoothing=0.1).item() == pytest.approx(wanted.item())


def test_parts_of_a_batch_are_a_batch():
    parts = [Likelihood(*(torch.rand(n) for _ in range(3))) for n in (1, 2)]
    assert Likelihood.joined(parts).negative.shape == (3,)


def test_against_rivals_only_the_difference_counts():
    own = torch.tensor([3.0, 5.0, 7.0], requires_grad=True)
    rivals = [torch.tensor([4.0, 3.0]), torch.tensor([]), torch.tensor([9.0])]
    found = rival_loss(own, rivals)
    shares = [1 / (1 + math.exp(3 - 4) + math.exp(3 - 3)), 1 / (1 + math.exp(7 - 9))]
    assert found.item() == pytest.approx(-sum(map(math.log, shares)) / 2, rel=1e-6)
    # Any caption becoming likelier changes nothing, and a prompt without rivals has no say.
    assert rival_loss(own + 40, [one + 40 for one in rivals]).item() == pytest.approx(found.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(found, own)
    assert gradient[1].item() == 0
    assert gradient[0].item() == pytest.approx((1 - shares[0]) / 2, rel=1e-6)
    nothing = rival_loss(own, [rivals[1]] * 3)
    assert nothing.item() == 0.0


def maps(count: int, size: int, seed: int) -> list[torch.Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, size, size, 6, generator=numbers).softmax(-1) for _ in range(count)]


@pytest.mark.parametrize("form", ["released", "paper"])
def test_attention_of_a_batch_is_summed_over_steps_sizes_and_pictures(form):
    token_of = token_loss_official if form == "released" else token_loss
    steps = [{"mid": maps(2, 4, 0), "up": maps(3, 8, 1)}, {"mid": maps(2, 4, 2)}]
    masks = [torch.zeros(2, 16, 16, dtype=torch.bool), torch.zeros(1, 16, 16, dtype=torch.bool)]
    masks[0][0, :8] = True
    groups = [[[1, 2], [4]], [[3]]]
    token, pixel = attribute_concentration(steps, masks, groups, form)
    rows = [
        ([one[row] for one in of], masks[row], groups[row])
        for s in steps
        for of in s.values()
        for row in (0, 1)
    ]
    assert token.item() == pytest.approx(sum(token_of(*row) for row in rows).item() / 2, rel=1e-5)
    assert pixel.item() == pytest.approx(sum(pixel_loss_official(*row) for row in rows).item() / 2, rel=1e-5)


def test_a_picture_without_entities_counts_as_one_that_is_perfect():
    steps = [{"mid": maps(1, 4, 0)}]
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    token, _ = attribute_concentration(steps, [mask, mask[:0]], [[[1]], []])
    # An empty mask: all attention is outside.
    assert token.item() == pytest.approx(0.5)
    none, _ = attribute_concentration(steps, [mask[:0], mask[:0]], [[], []])
    assert none.item() == 0.0
    with pytest.raises(ValueError, match="no attention maps"):
        attribute_concentration([], [mask], [[[1]]])


def test_losses_stay_finite_where_attention_underflows():
    """A head that gives a token nothing at all, as a trained model's do, leaves loss and gradient finite."""
    logits = torch.zeros(1, 2, 4, 4, 3)
    logits[:, 0, ..., 1] = -200.0
    logits[:, :, :2, :, 2] = 300.0
    logits.requires_grad_()
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[:, 4:] = True
    for form in ("released", "paper"):
        token, pixel = attribute_concentration([{"mid": [logits.softmax(-1)]}], [mask], [[[1], [2]]], form)
        (gradient,) = torch.autograd.grad(token + pixel, logits)
        assert bool(token.isfinite())
        assert bool(pixel.isfinite())
        assert bool(gradient.isfinite().all())


def test_entities_are_described_localisable_and_named_once():
    entities = [
        entity("red dog", 1, 2),
        entity("cat", 4),
        entity("blue sky", 6, 7, localisable=False),
        entity("green bench", 9, 10),
        entity("old bench", 12, 13),
    ]
    assert [one.entity.text for one in concentratable(entities)] == ["red dog"]


def test_the_discriminators_losses_are_those_of_its_paper():
    made, real = torch.tensor([0.3, -1.0]), torch.tensor([2.0, 0.1])
    d = torch.sigmoid
    assert fooling_loss(made).item() == pytest.approx(-d(made).log().mean().item())
    wanted = -((1 - d(made)).log().sum() + d(real).log().sum()) / 4
    assert telling_loss(made, real).item() == pytest.approx(wanted.item())
    assert LatentHead(4)(torch.zeros(2, 4, 3, 5)).shape == (2, 3, 5, 1)

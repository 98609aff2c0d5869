"""A delta as a LoRA: the best of its rank, what it misses, and the names ComfyUI reads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from instance_composer.models.itercomp import (
    ExtractionSettings,
    error_table,
    extract_layer,
    low_rank,
    summary,
    total_error,
)
from instance_composer.models.itercomp.extraction import decomposing_device
from instance_composer.models.weights import CheckpointError

NAME = "middle_block.1.transformer_blocks.0.attn2.to_q.weight"


def matrix(rows, columns, decay, seed=0):
    """A matrix whose singular values fall by a factor from one to the next, down to a floor of noise."""
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, min(rows, columns), generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, min(rows, columns), generator=generator))
    values = decay ** torch.arange(min(rows, columns)) + 0.01
    return (left * values) @ right.T


@pytest.mark.parametrize("name", ["mps", "xpu", "privateuseone"])
def test_a_device_without_decompositions_leaves_them_to_the_cpu(name):
    assert decomposing_device(torch.device(name)) == torch.device("cpu")
    for own in ("cpu", "cuda:1"):
        assert decomposing_device(torch.device(own)) == torch.device(own)


def best_error(delta, rank):
    """Of any matrix of that rank (Eckart and Young 1936)."""
    return float(torch.linalg.svdvals(delta.flatten(1))[rank:].norm())


@pytest.mark.parametrize("shape", [(96, 160), (160, 96), (64, 24, 3, 3), (64, 48, 1, 1)])
@pytest.mark.parametrize(("method", "room"), [("full", 1.0001), ("randomized", 1.02)])
def test_no_other_matrix_of_that_rank_is_closer(shape, method, room):
    delta = matrix(shape[0], torch.Size(shape[1:]).numel(), 0.9).reshape(shape)
    settings = ExtractionSettings(rank=12, method=method, dtype=torch.float32)
    state, row = extract_layer(NAME, delta, settings)
    up, down = (
        state[f"lora_unet_{NAME[:-7].replace('.', '_')}.lora_{side}.weight"] for side in ("up", "down")
    )
    assert row.rank == 12
    assert up.shape == (shape[0], 12, *[1] * (len(shape) - 2))
    assert down.shape == (12, *shape[1:])
    made = (up.flatten(1) @ down.flatten(1)).reshape(shape)
    assert float((made - delta).norm()) == pytest.approx(row.error, rel=1e-4)
    assert best_error(delta, 12) * 0.9999 <= row.error <= room * best_error(delta, 12)


@pytest.mark.parametrize("method", ["full", "randomized"])
@given(energy=st.floats(0.05, 0.99))
def test_an_energy_is_reached_with_the_smallest_rank(method, energy):
    delta = matrix(40, 60, 0.8)
    up, down = low_rank(delta, ExtractionSettings(rank=40, energy=energy, method=method))
    values = torch.linalg.svdvals(delta).square()
    kept = values.cumsum(0) / values.sum()
    rank = up.shape[1]
    assert down.shape[0] == rank
    # Where a share lies at the threshold itself, float32 decides.
    assert kept[rank - 1] >= energy - 1e-5
    assert rank == 1 or kept[rank - 2] < energy + 1e-5


def test_the_rank_is_a_limit_to_the_energy():
    up, _ = low_rank(matrix(80, 80, 0.99), ExtractionSettings(rank=8, energy=0.99))
    assert up.shape == (80, 8)


def test_full_rank_and_vectors_lose_only_the_rounding_of_the_file():
    delta = matrix(48, 32, 0.95)
    settings = ExtractionSettings(rank=1000, method="full", dtype=torch.float32)
    _, row = extract_layer(NAME, delta, settings)
    assert (row.rank, row.relative < 1e-6) == (32, True)
    for name, ending in (("out.0.weight", "diff"), ("out.0.bias", "diff_b")):
        vector = torch.linspace(-1, 1, 32)
        state, row = extract_layer(name, vector, settings)
        assert (list(state), row.error) == ([f"lora_unet_out_0.{ending}"], 0.0)
        assert torch.equal(state[f"lora_unet_out_0.{ending}"], vector)


def test_all_layers_have_one_alpha_whatever_their_rank():
    """diffusers mixes up alphas that differ between layers."""
    settings = ExtractionSettings(rank=30, energy=0.9, method="full", dtype=torch.float32)
    for decay in (0.5, 0.9):
        delta = matrix(48, 32, decay)
        state, row = extract_layer("out.0.weight", delta, settings)
        assert row.rank < 30
        assert state["lora_unet_out_0.alpha"] == 30
        made = state["lora_unet_out_0.lora_up.weight"] @ state["lora_unet_out_0.lora_down.weight"]
        error = float((delta - 30 / row.rank * made).norm())
        assert error == pytest.approx(row.error, rel=1e-4)
        assert error == pytest.approx(best_error(delta, row.rank), rel=1e-4)


def test_the_same_delta_gives_the_same_file_and_leaves_the_random_state():
    settings = ExtractionSettings(rank=4)
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        files.append(extract_layer(NAME, matrix(80, 80, 0.9), settings)[0])
        assert torch.equal(before, torch.get_rng_state())
    first, second = files
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_halves_keep_small_deltas():
    """Singular values are shared by both factors, so that neither underflows in half precision."""
    delta = 1e-6 * matrix(64, 64, 0.5)
    _, row = extract_layer(NAME, delta, ExtractionSettings(rank=64, method="full"))
    assert row.relative < 5e-3


def test_a_zero_delta_has_no_entry_and_no_error():
    state, row = extract_layer(NAME, torch.zeros(8, 8), ExtractionSettings())
    assert (state, row.rank, row.relative) == ({}, 0, 0.0)


def test_a_delta_that_is_not_finite_names_its_layer():
    with pytest.raises(CheckpointError, match=r"attn2.to_q.weight has entries that are no finite numbers"):
        extract_layer(NAME, torch.full((8, 8), float("nan")), ExtractionSettings())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rank": 0}, "rank is 0; it has to be 1 or more"),
        ({"energy": 0.0}, "energy is 0.0; it is a share"),
        ({"energy": 1.5}, "energy is 1.5"),
        ({"method": "exact"}, "method is 'exact'; it is randomized or full"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        ExtractionSettings(**setting)


def test_errors_are_told_together_by_part_and_one_by_one():
    names = ("input_blocks.1.0.in_layers.2.weight", NAME, "output_blocks.0.0.in_layers.0.bias")
    settings = ExtractionSettings(rank=1, vectors=False)
    deltas = (matrix(8, 8, 0.5), matrix(8, 8, 0.9), torch.ones(8))
    rows = [extract_layer(name, delta, settings)[1] for name, delta in zip(names, deltas, strict=True)]
    size = sum(float(delta.norm()) ** 2 for delta in deltas)
    assert total_error(rows) == pytest.approx((sum(row.error**2 for row in rows) / size) ** 0.5)
    text = summary(rows)
    assert f"input: {rows[0].relative:.4f}" in text
    assert f"middle: {rows[1].relative:.4f}\n" in text
    assert "output: 1.0000" in text
    lines = error_table(rows).splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == sorted(
        names, key=lambda n: -dict(zip(names, (r.error for r in rows), strict=True))[n]
    )
    assert lines[1].count(",") == lines[0].count(",")

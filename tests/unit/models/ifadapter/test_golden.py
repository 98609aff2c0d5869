"""Every stage gives the official implementation's numbers (tolerances: a few times its own float32 noise)."""

from pathlib import Path

import pytest
import torch
from golden_files import GOLDEN, HOW_TO_GET_GOLDEN, read_cases, read_facts
from safetensors.torch import load_file
from torch import Tensor

from instance_composer.models.ifadapter import (
    IFAdapter,
    InstanceAttention,
    semantic_map,
)
from instance_composer.models.ifadapter.position import fourier_features
from instance_composer.models.ifadapter.resampler import visible_words
from instance_composer.models.regions import Regions, box_cells


def assert_near(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def test_position_net(reference: Path, adapter: IFAdapter) -> None:
    golden = load_file(reference / "position_net.safetensors")
    assert_near(fourier_features(golden["boxes"], 64), golden["fourier"], 1e-5)
    assert_near(adapter.pos_net(golden["boxes"]), golden["embedding"], 1e-5)


def test_each_resampler_layer_sees_the_words_the_reference_shows_it(reference: Path) -> None:
    for case in read_cases(reference / "resampler.safetensors").values():
        mask = case["mask_before"].flatten(0, 1)
        for layer, expected in enumerate(case["effective_mask"]):
            assert torch.equal(visible_words(mask, layer), expected.flatten(0, 1).bool())


@pytest.mark.skipif(not GOLDEN.exists(), reason=HOW_TO_GET_GOLDEN)
def test_resampler_stages() -> None:
    adapter = IFAdapter.load(GOLDEN / "ifadapter" / "adapter_small.bin")
    for case in read_cases(GOLDEN / "ifadapter" / "resampler.safetensors").values():
        text, mask = case["phrase_embeds"].flatten(0, 1), case["mask_before"].flatten(0, 1)
        resampler = adapter.text_proj_model
        assert_near(resampler(text, mask), case["tokens"].flatten(0, 1), 3e-5)
        latents, projected = resampler.latents.expand(len(text), -1, -1), resampler.proj_in(text)
        for number, (attention, feed_forward) in enumerate(resampler.layers):
            latents = latents + attention(projected, latents, visible_words(mask, number))
            assert_near(latents, case["latents_after_attn"][number].flatten(0, 1), 3e-5)
            latents = latents + feed_forward(latents)
            assert_near(latents, case["latents_after_ff"][number].flatten(0, 1), 3e-5)


def test_instance_tokens_and_their_unconditional_half(reference: Path, adapter: IFAdapter) -> None:
    for name, case in read_cases(reference / "ap_tokens.safetensors").items():
        mask, boxes, expected = case["mask"][:, 0], case["boxes"], case["ap_tokens"]
        before = {key: value.clone() for key, value in case.items()}
        tokens = adapter.instance_tokens(case["phrase_embeds"], mask, case["eot_embeds"], boxes)
        assert_near(tokens, expected[-len(boxes) :], 3e-5)
        if "no_cfg" not in name:
            assert_near(adapter.unconditional_tokens(boxes), expected[: len(boxes)], 3e-5)
        assert all(torch.equal(case[key], before[key]) for key in case), "inputs must not be changed"


def test_boxes_touch_the_reference_cells(reference: Path) -> None:
    entries = read_facts(reference / "box_masks.json")
    assert len(entries) > 10
    for entry in entries:
        grid = (entry["grid"], entry["grid"])
        regions = Regions.of_boxes(entry["xyxy_float32"])
        placement = regions.place(grid)
        ratios = placement.ratios.tolist() if placement else [float("inf")] * len(regions)
        for box, expected, ratio in zip(regions.boxes, entry["boxes"], ratios, strict=True):
            x0, y0, x1, y1 = box_cells(box, grid)
            if expected["cells"] is None:
                assert x0 == x1 or y0 == y1
            else:
                assert [x0, y0, x1, y1] == expected["cells"]
            assert ratio == pytest.approx(float(expected["ratio"]), rel=1e-6)


def row_term(
    layer: InstanceAttention, query: Tensor, tokens: Tensor, boxes: Tensor, grid: tuple[int, int]
) -> Tensor:
    """The sum that sampling adds to one row."""
    placement = Regions.of_boxes(boxes).place(grid)
    if placement is None:
        return torch.zeros_like(query)
    keys, values = layer.keys_values(tokens)
    return semantic_map(query, keys[None], values[None], layer.gate(), placement)


def test_every_term_added_before_the_output_projection(reference: Path, adapter: IFAdapter) -> None:
    cases = read_cases(reference / "attention.safetensors")
    projections = cases.pop("layers")
    facts = read_facts(reference / "attention.json")
    assert set(facts) == set(cases)
    for name, case in cases.items():
        number, side = facts[name]["layer_index"], facts[name]["size"]
        query = case["hidden_states"] @ projections[f"{number}/to_q.weight"].T
        counts = list(facts[name]["phrase_num_arr"])
        layer, grid = adapter.attention[number], (side, side)
        batched = layer(query, case["ap_tokens"], case["boxes"], counts, grid)
        parts = (query.split(1), case["ap_tokens"].split(counts), case["boxes"].split(counts))
        single = torch.cat([row_term(layer, *row, grid) for row in zip(*parts, strict=True)])
        covered = case["box_mask"].bool().any(1).flatten(1)
        for term in (batched, single):
            assert_near(term, case["added"], 1e-5)
            assert (term[~covered] == 0).all()

"""Concept matching by BLIP, against what CoMat's released code made of a tiny one."""

from __future__ import annotations

import pytest
import torch
from golden_files import REFERENCES, read_cases, read_facts
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration

from instance_composer.models.comat import concept_loss, random_crop
from instance_composer.models.vision.likelihood import FunctionScorer
from instance_composer.models.vision.likelihood.decoders import BlipScorer
from instance_composer.models.vision.likelihood.pixels import Preparation

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PREPARE = Preparation((384, 384), None, None, CLIP_MEAN, CLIP_STD)


@pytest.fixture(params=REFERENCES)
def golden(request):
    folder = request.param / "comat_training"
    return read_cases(folder / "concept_matching.safetensors"), read_facts(folder / "concept_matching.json")


def make_scorer(weights: dict, facts: dict, folder) -> BlipScorer:
    special = {"pad_token_id": 0, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    text = {**facts["captioner_config"]["text"], **special}
    config = BlipConfig(text_config=text, vision_config=facts["captioner_config"]["vision"])
    model = BlipForConditionalGeneration(config)
    state = {name: value.float() for name, value in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert unexpected == []
    assert all(name.endswith(("decoder.weight", "decoder.bias", "position_ids")) for name in missing), missing
    model.tie_weights()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(facts["vocab"]))
    tokenizer = BertTokenizerFast(vocab_file=str(vocabulary), vocab=str(vocabulary))
    return BlipScorer(model, tokenizer, PREPARE)


@pytest.mark.parametrize("case", ["two_prompts", "one_short", "unknown_words"])
def test_likelihood_losses_and_gradients_are_the_released_codes(case, golden, tmp_path):
    cases, facts = golden
    if case not in cases:
        pytest.skip("not in the trimmed copy")
    tensors, about = cases[case], facts["cases"][case]
    scorer = make_scorer(cases["weights"], facts, tmp_path)
    ids, mask, labels = scorer.read(about["prompts"])
    assert torch.equal(ids, tensors["input_ids"])
    assert torch.equal(mask, tensors["attention_mask"])
    assert torch.equal(labels, tensors["labels"])
    picture = tensors["image"].float().requires_grad_()
    found = scorer.likelihood(picture, about["prompts"])
    assert int(found.tokens.sum()) == about["scored_tokens"]
    torch.testing.assert_close(
        found.negative.detach(), torch.tensor(about["sum_nll_per_sample"]), atol=1e-4, rtol=0
    )
    smoothed, plain = concept_loss(found, smoothing=0.1), concept_loss(found)
    assert smoothed.item() == pytest.approx(about["loss"], abs=1e-5)
    assert plain.item() == pytest.approx(about["loss_no_smoothing"], abs=1e-5)
    paper = sum(about["sum_nll_per_sample"]) / len(about["prompts"])
    assert concept_loss(found, "sum").item() == pytest.approx(paper, abs=1e-4)
    (gradient,) = torch.autograd.grad(smoothed, picture, retain_graph=True)
    torch.testing.assert_close(gradient, tensors["grad_image"], rtol=1e-3, atol=1e-6)
    if "grad_image_no_smoothing" in tensors:
        (gradient,) = torch.autograd.grad(plain, picture)
        torch.testing.assert_close(gradient, tensors["grad_image_no_smoothing"], rtol=1e-3, atol=1e-6)


def test_several_captions_of_a_picture_are_as_likely_as_each_alone(golden, tmp_path):
    cases, facts = golden
    tensors, about = cases["one_short"], facts["cases"]["one_short"]
    scorer = make_scorer(cases["weights"], facts, tmp_path)
    picture = tensors["image"].float().repeat(2, 1, 1, 1)
    first, second = about["prompts"][0], "words that nobody knows"
    together = scorer.of_each(picture, [(first, second, first), ()])
    assert [len(one) for one in together] == [3, 0]
    alone = scorer.likelihood(picture[:1].repeat(2, 1, 1, 1), [first, second]).negative
    torch.testing.assert_close(together[0], alone[[0, 1, 0]], rtol=1e-5, atol=1e-5)
    function = FunctionScorer(lambda seen, said: scorer.likelihood(seen, said).negative)
    for one, other in zip(function.of_each(picture, [(second,), (first, second)]), (1, 2), strict=True):
        assert len(one) == other
    assert [len(one) for one in function.of_each(picture, [(), ()])] == [0, 0]


def test_pictures_are_prepared_as_the_released_code_does(golden):
    cases, facts = golden
    tensors = cases["preprocess"]
    for name, about in facts["preprocess"].items():
        if f"{name}/image" not in tensors:
            continue
        repeat = about["repeat_each_pixel"]
        picture = tensors[f"{name}/image"].float()
        picture = picture.repeat_interleave(repeat, -1).repeat_interleave(repeat, -2)
        cut = random_crop(picture, (about["row_offset"], about["col_offset"]))
        assert cut.shape[-2:] == (about["crop_size"], about["crop_size"])
        values = PREPARE(cut)
        torch.testing.assert_close(
            values[..., ::8, ::8], tensors[f"{name}/pixel_values_every_8th"], atol=1e-4, rtol=0
        )

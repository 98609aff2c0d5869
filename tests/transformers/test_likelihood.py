"""Captioners that score: likelihoods of real classes, and pictures prepared as their own processors do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_annotators import write_tiny_blip, write_tiny_grounding_dino, write_tiny_llava
from tiny_captioners import write_tiny_git, write_tiny_qwen
from transformers import AutoModelForImageTextToText, AutoProcessor

from instance_composer.models.comat import Likelihood
from instance_composer.models.vision.interfaces import ModelError
from instance_composer.models.vision.likelihood import FunctionScorer, load_caption_scorer

WRITERS = {"blip": write_tiny_blip, "git": write_tiny_git, "llava": write_tiny_llava, "qwen": write_tiny_qwen}
CAPTIONS = ["a red cat", "a picture of this blue dog"]


@pytest.fixture(scope="module", params=WRITERS)
def folder(request, tmp_path_factory):
    return WRITERS[request.param](tmp_path_factory.mktemp(request.param))


def pictures(height: int = 64, width: int = 64) -> tuple[torch.Tensor, list[Image.Image]]:
    """Two smooth pictures, as a tensor in 0 to 1 and as Pillow has them."""
    rows, columns = np.mgrid[0:height, 0:width] / 10.0
    waves = [
        np.stack([np.sin(rows + c + n) * np.cos(columns * (c + 1) / 2) for c in range(3)], -1)
        for n in range(2)
    ]
    values = [((wave + 1) * 127.5).round().astype(np.uint8) for wave in waves]
    tensor = torch.from_numpy(np.stack(values)).permute(0, 3, 1, 2).float() / 255
    return tensor, [Image.fromarray(one) for one in values]


def test_a_gradient_reaches_every_picture_and_nothing_else(folder):
    scorer = load_caption_scorer(str(folder))
    pixels = pictures()[0].requires_grad_()
    found = scorer.likelihood(pixels, CAPTIONS)
    assert found.negative.shape == found.tokens.shape == (2,)
    assert bool((found.negative > 0).all())
    assert found.tokens[1] > found.tokens[0]
    found.negative.sum().backward()
    assert pixels.grad is not None
    assert bool(pixels.grad.isfinite().all())
    assert all(bool(one.any()) for one in pixels.grad)
    assert all(parameter.grad is None for parameter in scorer.parameters())
    scorer.train()
    assert not any(module.training for module in scorer.modules())


def test_a_caption_scores_the_same_alone_and_in_a_batch(folder):
    """Padding of the shorter one does not count."""
    scorer = load_caption_scorer(str(folder))
    pixels = pictures()[0]
    with torch.no_grad():
        both = scorer.likelihood(pixels, CAPTIONS)
        alone = Likelihood.joined(
            [scorer.likelihood(pixels[n : n + 1], CAPTIONS[n : n + 1]) for n in range(2)]
        )
    for one, other in zip(both, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_caption_depends_on_its_own_picture(folder):
    scorer = load_caption_scorer(str(folder))
    for parameter in scorer.parameters():
        # Fresh weights hardly look at the picture.
        parameter.data *= 32 if parameter.ndim > 1 else 1
    pixels = pictures()[0]
    pixels[1] = 0
    with torch.no_grad():
        straight = scorer.likelihood(pixels, [CAPTIONS[0]] * 2)
        turned = scorer.likelihood(pixels.flip(0), [CAPTIONS[0]] * 2)
    torch.testing.assert_close(straight.negative, turned.negative.flip(0), rtol=1e-4, atol=1e-4)
    assert (straight.negative[0] - straight.negative[1]).abs() > 1e-3


def test_the_likelihood_is_the_models_own_loss(folder):
    """What transformers computes from its processor's picture and the same tokens."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    scorer = load_caption_scorer(str(folder))
    tensor, (picture, _) = pictures()
    processor = AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        found = scorer.likelihood(tensor[:1], CAPTIONS[:1])
        if kind in ("blip", "git"):
            text = f"a photography of {CAPTIONS[0]}" if kind == "blip" else CAPTIONS[0]
            inputs = processor(images=[picture], text=[text], return_tensors="pt")
            labels = inputs["input_ids"].clone()
            labels[:, : 4 if kind == "blip" else 0] = -100
            if kind == "blip":
                vision = scorer.model.vision_model(inputs["pixel_values"])[0]
                logits = scorer.model.text_decoder(
                    inputs["input_ids"], attention_mask=inputs["attention_mask"], encoder_hidden_states=vision
                ).logits
                loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:])
            else:
                # Not the model's own loss: transformers 4.57 shifts labels twice there.
                logits = scorer.model(**inputs).logits[0, -labels.shape[1] :]
                loss = torch.nn.functional.cross_entropy(logits[:-1], labels[0, 1:])
        else:
            content = [{"type": "image"}, {"type": "text", "text": scorer.question}]
            text = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            ending = processor.tokenizer.eos_token
            inputs = processor(
                images=[picture],
                text=[f"{text} {CAPTIONS[0]} {ending}"],
                return_tensors="pt",
                add_special_tokens=False,
            )
            labels = inputs["input_ids"].clone()
            labels[:, : -len(CAPTIONS[0].split()) - 1] = -100
            model = AutoModelForImageTextToText.from_pretrained(folder).eval()
            loss = model(**inputs, labels=labels).loss
    assert (found.negative / found.tokens).item() == pytest.approx(loss.item(), rel=2e-3)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96), (100, 60)])
def test_pictures_are_prepared_as_by_the_processor(folder, height, width):
    """Tensors and Pillow differ by rounding to bytes: at most 0.015 of the range before normalising."""
    scorer = load_caption_scorer(str(folder))
    prepare = scorer.pixels if hasattr(scorer, "pixels") else scorer.prepare
    processor = AutoProcessor.from_pretrained(folder).image_processor
    tensor, pillow = pictures(height, width)
    wanted = processor(images=pillow, return_tensors="pt")["pixel_values"]
    made = prepare(tensor)
    assert made.shape == wanted.shape
    limit = 0.015 / min(processor.image_std)
    torch.testing.assert_close(made, wanted, atol=limit, rtol=0)


def test_a_blip_may_name_its_own_prefix(tmp_path):
    """`caption_prefix` of its config takes the place of "a photography of"."""
    folder = write_tiny_blip(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "caption_prefix": ""}))
    scorer = load_caption_scorer(str(folder))
    ids, _, labels = scorer.read(["a red cat"])
    assert torch.equal(labels[:, 1:], ids[:, 1:])
    assert int(labels[0, 0]) == -100


def test_a_model_without_likelihood_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"is a grounding-dino model .* gives no likelihood"):
        load_caption_scorer(str(write_tiny_grounding_dino(tmp_path / "dino")))
    folder = write_tiny_blip(tmp_path / "blip")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["BlipForImageTextRetrieval"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"blip model \(BlipForImageTextRetrieval\), which gives no"):
        load_caption_scorer(str(folder))
    with pytest.raises(ModelError, match="there is no folder"):
        load_caption_scorer(str(tmp_path / "none"))


def test_a_function_is_a_captioner():
    scorer = FunctionScorer(lambda pixels, captions: pixels.mean((1, 2, 3)))
    found = scorer.likelihood(torch.ones(2, 3, 4, 4), CAPTIONS)
    assert found.negative.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="one number for each caption"):
        FunctionScorer(lambda pixels, captions: pixels.mean()).likelihood(torch.ones(2, 3, 4, 4), CAPTIONS)

"""Text features that are made once: the same numbers, no text encoder, nothing encoded twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_tasks import FIRST, error_on, open_gates

from instance_composer.hosts.diffusers_sdxl import encode_layout, encode_phrases, load_sdxl
from instance_composer.layout import Layout
from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.keys import NOWHERE, as_rows
from instance_composer.training.data.text_encoding import TextEncoding, _check_room, texts_of, texts_of_sample
from instance_composer.training.data.text_features import PHRASE, PROMPT, SampleTexts, keys_in
from instance_composer.training.engine.precision import halve
from instance_composer.training.ifadapter.initial_weights import make_adapter
from instance_composer.training.ifadapter.objective import IFAdapterTask

TEXTS = [(PROMPT, "a b"), (PHRASE, "a"), (PHRASE, "longer"), (PROMPT, ""), (PHRASE, "a")]


class Source:
    """Texts of no picture, or of one whose stamp is known after the first time."""

    def __init__(self, texts, stamp=None) -> None:
        self._texts, self._stamps = texts, as_rows([] if stamp is None else [stamp])
        self.asked = 0

    def texts(self, known):
        if (known.find(self._stamps)[:, 0] == NOWHERE).any() or not len(self._stamps):
            self.asked += 1
            yield from self._texts

    def stamps(self):
        return self._stamps


def task_of(pipeline, latents, folder=None, precision=None) -> IFAdapterTask:
    def texts(source):
        return TextEncoding(pipeline, source, folder, precision)

    torch.manual_seed(0)
    examples = [replace(ShapesWorld(5, 64, 64)[0].layout, negative="blurred")]
    adapter = make_adapter(pipeline.unet, small=True)
    halve(precision, pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2)
    more = {"examples": examples, "precision": precision, "texts": texts if folder else None}
    task = IFAdapterTask(pipeline, adapter, [latents], 1.0, **more)
    open_gates(task.adapter)
    task.prepare()
    return task


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_losses_and_samples_are_those_with_text_encoders(tiny_model, latents, tmp_path, precision):
    """Captions left out among them: eight pictures, of which the noise of this batch leaves out some."""
    found, encoded = [], []
    for folder in (None, tmp_path / "latents"):
        pipeline = load_sdxl(tiny_model)
        task = task_of(pipeline, latents, folder, precision)
        with torch.autocast("cpu", dtype=precision or torch.float32, enabled=precision is not None):
            found.append(error_on(task, task.batch(FIRST, 8, 0)))
            texts = None if task._features is None else SampleTexts(task._features)
            encoded.append(encode_layout(pipeline, task.adapter, task._examples[0], texts=texts))
    assert pipeline.text_encoder is None
    assert {name.partition(".")[0] for name, _ in task.objective.named_parameters()} == {"adapter", "unet"}
    # Sums of halves are rounded, and of batches of other lengths in another order.
    close = 1e-5 if precision is None else 5e-2
    assert found[1] == pytest.approx(found[0], rel=close / 10)
    for name in ("prompt", "pooled", "negative_prompt"):
        with_encoders, without = (getattr(one, name).float() for one in encoded)
        torch.testing.assert_close(without, with_encoders, atol=close, rtol=close)
    name = f"text-{str(precision or torch.float32).removeprefix('torch.')}-"
    assert task.describe()["text_features"].startswith(name)


def test_features_are_those_of_the_encoders(tiny_model, tmp_path):
    pipeline = load_sdxl(tiny_model)
    expected = encode_phrases(pipeline, ["a", "longer"])
    prompt, _, pooled, _ = pipeline.encode_prompt("a b", do_classifier_free_guidance=False)
    features = TextEncoding(pipeline, Source(TEXTS), tmp_path).encode()
    phrases = features.phrases(["longer", "a"]).as_phrases()
    assert phrases.attention_mask.sum(-1).tolist() == expected.attention_mask.sum(-1).tolist()[::-1]
    torch.testing.assert_close(phrases.eot, expected.eot.flip(0), atol=1e-5, rtol=0)
    longest = phrases.attention_mask.shape[-1]
    words = expected.hidden_states.flip(0)[:, :, :longest] * phrases.attention_mask[:, None, :, None]
    torch.testing.assert_close(phrases.hidden_states, words, atol=1e-5, rtol=0)
    states, own = features.prompts(["", "a b"])
    torch.testing.assert_close(states[1:], prompt, atol=1e-5, rtol=0)
    torch.testing.assert_close(own[1:], pooled, atol=1e-5, rtol=0)


def test_only_what_is_new_is_encoded_and_nothing_torn_is_read(tiny_model, tmp_path):
    def encoding(texts) -> TextEncoding:
        return TextEncoding(load_sdxl(tiny_model), Source(texts), tmp_path)

    first = encoding(TEXTS[:3])
    assert "1 prompts and 2 captions of things are encoded first" in first.notes[0]
    assert (
        first.blank().phrases(["x"]).states.shape[2] == 6
    )  # start, end, and 1 and 6 letters: 5.5 in the mean
    place = first.encode().folder
    (file,) = place.glob("*.safetensors")
    before = file.read_bytes()
    (place / "torn.7.part").write_bytes(before[:100])
    second = encoding(TEXTS)
    assert "1 prompts and 0 captions" in second.notes[0]
    features = second.encode()
    assert file.read_bytes() == before
    (new,) = {*place.glob("*.safetensors")} - {file}
    assert [len(keys_in(new, kind)) for kind in (PROMPT, PHRASE)] == [1, 0]
    assert len(features.prompts(["", "a b"]).states) == 2
    with pytest.raises(SourceError, match="no features of the phrase 'another'"):
        features.phrases(["another"])
    assert "are encoded first" not in encoding(TEXTS).notes[0]


def test_pictures_whose_captions_are_encoded_are_not_read_again(tiny_model, tmp_path):
    key = bytes(range(16))
    first = Source(TEXTS, key)
    TextEncoding(load_sdxl(tiny_model), first, tmp_path).encode()
    second = Source(TEXTS, key)
    again = TextEncoding(load_sdxl(tiny_model), second, tmp_path)
    assert first.asked
    assert second.asked == 0
    assert len(again.encode().phrases(["a", "longer"]).states) == 2


def test_other_encoders_and_another_precision_have_features_of_their_own(tiny_model, tmp_path):
    names = set()
    for change, precision in ((False, None), (True, None), (False, torch.bfloat16)):
        pipeline = load_sdxl(tiny_model)
        if change:
            next(pipeline.text_encoder_2.parameters()).data[0] += 1
        halve(precision, pipeline.text_encoder, pipeline.text_encoder_2)
        names.add(TextEncoding(pipeline, Source(TEXTS), tmp_path, precision).encode().name)
    assert len(names) == 3


def test_a_full_disk_is_told_beforehand(tmp_path):
    _check_room(tmp_path / "not" / "there", 1)
    with pytest.raises(SourceError, match=r"take about 1000000000\.0 GB .* without --text-features"):
        _check_room(tmp_path / "not" / "there", 1e18)


def test_samples_need_negatives_too():
    layout = Layout.from_dict(
        {
            "version": 1,
            "canvas": {"width": 64, "height": 64},
            "prompt": "p",
            "negative": " n ",
            "instances": [
                {"id": "1", "caption": "c", "negative": "m", "box": [0, 0, 1, 1]},
                {"id": "2", "caption": "off", "enabled": False, "box": [0, 0, 1, 1]},
            ],
        }
    )
    assert list(texts_of(layout)) == [(PROMPT, "p"), (PHRASE, "c")]
    assert list(texts_of_sample(layout))[2:] == [(PROMPT, "n"), (PHRASE, "m")]

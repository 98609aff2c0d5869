"""The captioner: its likelihood is transformers' own, what it learns from is true, captions bind."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import captioner_pictures
import numpy as np
import pytest
import torch
from training_tasks import FIRST, settings, tiny_captioner_task
from transformers import AutoProcessor, BlipForConditionalGeneration
from two_processes import run_in_two

from instance_composer.models.vision.likelihood import load_caption_scorer
from instance_composer.shapes_world import COLORS, Look, Phrase, ShapesWorld, caption, parse
from instance_composer.shapes_world.exchange import exchange_attributes
from instance_composer.training.captioner import run as run_file
from instance_composer.training.captioner.model import begin_with, small_captioner
from instance_composer.training.captioner.objective import CaptionerTask
from instance_composer.training.captioner.options import CaptionerRun
from instance_composer.training.captioner.pictures import (
    Painted,
    decoded_pictures,
    drawn_pictures,
    read_captioned,
)
from instance_composer.training.captioner.run import train_captioner
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.patches import IGNORED, PATCH_WORDS, patch_labels
from instance_composer.training.demo_model.reward_model import small_reward_model
from instance_composer.training.engine.checkpoint import ResumeError, read_run, write_run
from instance_composer.training.engine.loop import Trainer


def test_the_likelihood_is_that_of_the_exported_folder(tmp_path):
    """A folder of transformers: its own forward has the same mean error, whatever is padding."""
    task = tiny_captioner_task()
    task.export(tmp_path)
    batch = task.batch(FIRST, 4, 0)
    errors = task.objective.errors(batch["pixels"], batch["input_ids"], batch["attention_mask"])
    assert not batch["attention_mask"].all()
    model = BlipForConditionalGeneration.from_pretrained(tmp_path)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    found = model(
        pixel_values=batch["pixels"],
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
    )
    mean = errors.sum() / batch["attention_mask"][:, 1:].sum()
    torch.testing.assert_close(found.loss, mean, rtol=1e-5, atol=0)
    assert model.config.caption_prefix == ""


def test_comat_scores_by_the_exported_folder_down_to_the_pixels(tmp_path):
    task = tiny_captioner_task()
    task.export(tmp_path)
    scorer = load_caption_scorer(str(tmp_path))
    samples = [ShapesWorld(3, 96, 96)[number] for number in range(2)]
    captions = [caption(sample.scene) for sample in samples]
    images = np.stack([sample.image for sample in samples])
    pictures = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).requires_grad_()
    found = scorer.likelihood(pictures, captions).negative
    torch.testing.assert_close(found, task.objective.errors(**task._read(list(images), captions)))
    found.sum().backward()
    assert pictures.grad is not None
    assert bool(pictures.grad.isfinite().all())
    assert bool((pictures.grad.abs().amax(dim=(1, 2, 3)) > 0).all())


def test_a_word_depends_on_the_words_before_it_and_on_the_picture_alone():
    task = tiny_captioner_task()
    batch = task.batch(FIRST, 2, 0)
    seen = task.model.vision_model(pixel_values=batch["pixels"]).last_hidden_state
    ids = batch["input_ids"]
    before = task.objective._errors(seen, ids, torch.ones_like(ids))
    changed = ids.clone()
    changed[:, 4:] = ids[:, 4:].flip(1)
    after = task.objective._errors(seen, changed, torch.ones_like(ids))
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 4:], after[:, 4:])
    other = task.objective._errors(seen.flip(0), ids, torch.ones_like(ids))
    assert not torch.allclose(before, other)


@pytest.mark.parametrize("size", [64, 96])
def test_the_processor_of_the_folder_reads_as_training_does(size, tmp_path):
    task = tiny_captioner_task()
    task.export(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    sample = ShapesWorld(3, size, size)[0]
    words = caption(sample.scene)
    own = task._read([sample.image], [words])
    theirs = processor(images=[sample.image], text=[words], return_tensors="pt")
    # Theirs is rounded to bytes and cut at white after scaling.
    unequal = (theirs["pixel_values"] - own["pixels"]).abs()
    assert unequal.max() < (1e-5 if size == 64 else 0.3)
    assert unequal.mean() < 0.01
    assert torch.equal(theirs["input_ids"], own["input_ids"])
    assert processor.tokenizer.unk_token_id not in theirs["input_ids"]


def test_captions_name_what_is_there_in_every_order():
    task = tiny_captioner_task()
    source = task.turns[0]
    truths = [{phrase.look for phrase in source[number].phrases} for number in range(len(source))]
    orders = set()
    for step in range(12):
        position = FIRST._replace(step=step)
        for ids in task.batch(position, 4, 0)["input_ids"]:
            text = task.processor.tokenizer.decode(ids, skip_special_tokens=True).replace(" ,", ",")
            phrases, _ = parse(text)
            assert {phrase.look for phrase in phrases} in truths
            orders.add(tuple(phrase.look for phrase in phrases))
    assert len(orders) > len(source)


def test_a_batch_takes_its_pictures_from_every_source_in_turn():
    one, other = (Painted(ShapesWorld(seed, 64, 64, figures=count), 50) for seed, count in ((1, 1), (2, 3)))
    model, processor = small_captioner(side=64, patch=16, width=16, layers=1)
    task = CaptionerTask(model, processor, [one, other, one], {})
    comma = processor.tokenizer.convert_tokens_to_ids(",")
    with_three = [(task.batch(FIRST, size, 0)["input_ids"] == comma).any(dim=1).sum() for size in (1, 3, 6)]
    assert with_three == [0, 1, 2]


def test_patches_are_told_by_what_covers_them():
    sample = ShapesWorld(4, 64, 64, figures=2)[0]
    looks = [figure.look for figure in sample.scene.figures]
    labels = patch_labels(sample.masks, looks, 8)
    known = labels["color"] != IGNORED
    pixels = sample.image.reshape(8, 8, 8, 8, 3).astype(float)
    for row, column in np.argwhere(known):
        number = labels["color"][row, column]
        patch = pixels[row, :, column]
        if number == len(COLORS):
            # Backgrounds are hardly saturated.
            assert np.ptp(np.median(patch, axis=(0, 1))) < 60
        else:
            assert list(COLORS)[number] in {look.color for look in looks}
    assert labels.keys() == PATCH_WORDS.keys()
    mirrored = patch_labels(sample.masks[:, :, ::-1], looks, 8)
    assert all(np.array_equal(mirrored[name], labels[name][:, ::-1]) for name in labels)


def test_what_is_exchanged_are_two_attributes():
    phrases = tuple(Phrase(Look(*words), size) for words, size in TWO_AND_ONE)
    seen = set()
    for seed in range(40):
        other = exchange_attributes(np.random.default_rng(seed), phrases)
        assert other is not None
        changed = [(a.look, b.look) for a, b in zip(phrases, other, strict=True) if a != b]
        assert len(changed) == 2
        differ = [{n for n in range(3) if a[n] != b[n]} for a, b in changed]
        assert differ[0] == differ[1]
        assert len(differ[0]) == 1
        assert [phrase.size for phrase in other] == [phrase.size for phrase in phrases]
        seen.add(other)
    assert len(seen) > 4


TWO_AND_ONE = (
    (("circle", "red", "plain"), "small"),
    (("star", "blue", "striped"), ""),
    (("heart", "blue", "dotted"), "large"),
)


@pytest.mark.parametrize(
    "looks",
    [
        [("circle", "red", "plain")],
        [("circle", "red", "plain"), ("circle", "red", "dotted")],
        # With all but one attribute in common, an exchange is only another order.
        [("circle", "red", "plain"), ("circle", "blue", "plain")],
    ],
)
def test_there_is_nothing_to_exchange_where_it_would_say_the_same(looks):
    phrases = [Phrase(Look(*words), "") for words in looks]
    assert exchange_attributes(np.random.default_rng(0), phrases) is None


def test_the_judge_captions_what_is_painted():
    sample = ShapesWorld(6, 128, 128, figures=3)[1]
    read = read_captioned(sample.image)
    assert read is not None
    assert {phrase.look for phrase in read.phrases} == {figure.look for figure in sample.scene.figures}
    assert read.background == sample.scene.background
    for mask, phrase in zip(read.masks, read.phrases, strict=True):
        own = [figure.look for figure in sample.scene.figures].index(phrase.look)
        assert (mask & sample.masks[own]).sum() > 0.9 * (mask | sample.masks[own]).sum()
    assert read_captioned(np.full((128, 128, 3), 230, dtype=np.uint8)) is None


def decoded(pipeline, folder, count=3, model="one", size=64):
    return decoded_pictures(pipeline, ShapesWorld(1, size, size, figures=2), count, folder, model)


def test_pictures_of_a_model_are_made_once_and_finished_after_an_interruption(pipeline, tmp_path):
    world = ShapesWorld(1, 64, 64, figures=2)
    kept = decoded(pipeline, tmp_path)
    # Painted ones stand in for them, and nothing is written before they are asked for.
    assert (len(kept), kept.missing, kept.complete, list(tmp_path.iterdir())) == (3, 3, False, [])
    assert np.array_equal(kept[1].image, world[1].image)
    kept.prepare("decode")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(kept) == len(before) - 1 == 3
    assert kept[1].phrases == Painted(world, 3)[1].phrases
    assert not np.array_equal(kept[1].image, world[1].image)
    (tmp_path / "000001.png").unlink()
    decoded(pipeline, tmp_path).prepare("decode")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert decoded(pipeline, tmp_path).complete
    # Nothing in the pictures of a model without training has a name.
    drawn = drawn_pictures(pipeline, world, 2, tmp_path / "drawn", "one")
    drawn.prepare("draw")
    assert len(drawn) == 0


def test_pictures_of_another_model_or_size_are_refused(pipeline, tmp_path, caplog):
    decoded(pipeline, tmp_path).prepare("decode")
    with pytest.raises(SourceError, match=r"made otherwise \(model differ\); choose another folder"):
        decoded(pipeline, tmp_path, model="two")
    with pytest.raises(SourceError, match=r"\(size differ\)"):
        decoded(pipeline, tmp_path, size=96)
    # Earlier versions did not write it down.
    (tmp_path / "index.json").unlink()
    with pytest.raises(SourceError, match="is 64x64 pixels and the run's pictures are 96x96"):
        decoded(pipeline, tmp_path, size=96)
    caplog.clear()
    decoded(pipeline, tmp_path, model="two").prepare("decode")
    assert "does not say which model made its pictures" in caplog.text
    with pytest.raises(SourceError, match="model differ"):
        decoded(pipeline, tmp_path)


@pytest.mark.slow
def test_processes_share_the_pictures_of_a_model(tiny_model, tmp_path):
    run_in_two(captioner_pictures, tiny_model, tmp_path)
    one, other = ([int(word) for word in (tmp_path / f"{n}.txt").read_text().split()] for n in (0, 1))
    assert one
    assert other
    assert sorted(one + other) == list(range(captioner_pictures.COUNT))
    assert not list(tmp_path.rglob("*.part"))


def captioner_run(model, folder, steps=1, *, dry_run=False, **changes):
    sizes = {"size": 64, "side": 32, "patch": 8, "width": 16, "layers": 1, "decoded": 3, "drawn": 0}
    run = CaptionerRun(model=model, **{**sizes, **changes})
    train_captioner(run, settings(steps=steps, batch=2), folder, dry_run=dry_run)


@pytest.mark.slow
def test_a_dry_run_says_what_the_run_says_and_nothing_is_made_before_it_is_checked(
    tiny_model, tmp_path, caplog, monkeypatch
):
    """A captioner whose export is short: how well it reads is measured elsewhere."""
    monkeypatch.setattr(run_file, "_HELD_OUT", 4)
    caplog.set_level("INFO")
    captioner_run(tiny_model, tmp_path / "run", dry_run=True)
    assert "decodes 3 pictures, painted ones stand in here" in caplog.text
    assert not (tmp_path / "run").exists()
    captioner_run(tiny_model, tmp_path / "run")
    captioner_run(tiny_model, tmp_path / "run", steps=2, dry_run=True)
    for changes, complaint in (
        ({"decoded": 4}, "decoded was 3 and is now 4"),
        ({"drawn": 2}, "drawn was 0 and is now 2"),
        ({"model": None}, "pictures was"),
    ):
        for dry_run in (True, False):
            words = {"model": tiny_model, **changes}
            with pytest.raises(ResumeError, match=complaint):
                captioner_run(folder=tmp_path / "run", steps=2, dry_run=dry_run, **words)
    kept = tmp_path / "run" / "pictures" / "decoded"
    assert sorted(file.suffix for file in kept.iterdir()) == [".json", ".png", ".png", ".png"]
    assert not (tmp_path / "run" / "pictures" / "drawn").exists()
    # Its pictures are gone: they are made again, behind the checks.
    shutil.rmtree(kept)
    captioner_run(tiny_model, tmp_path / "run", steps=2, dry_run=True)
    assert not kept.exists()
    # What checkpoints of earlier versions do not know is not compared, the number of pictures still is.
    state = read_run(tmp_path / "run")
    del state["rests_on"]
    write_run(tmp_path / "run", state)
    with pytest.raises(ResumeError, match="pictures was"):
        captioner_run(tiny_model, tmp_path / "run", steps=2, decoded=2)
    captioner_run(tiny_model, tmp_path / "run", steps=2)
    assert read_run(tmp_path / "run")["step"] == 2


def test_an_export_is_written_beside_the_earlier_one(tmp_path):
    """What an interruption leaves of one is no part of the folder, and gone with the next."""
    task = tiny_captioner_task()
    task.export(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    (tmp_path / ".part").mkdir()
    (tmp_path / ".part" / "model.safetensors").write_bytes(b"half of it")
    task.export(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == names
    assert BlipForConditionalGeneration.from_pretrained(tmp_path).config.caption_prefix == ""


def test_heads_begin_by_looking_at_the_next_patch():
    torch.manual_seed(0)
    model, _ = small_captioner()
    vision = model.vision_model
    states = vision.embeddings(torch.randn(1, 3, 96, 96))
    for layer, steps in zip(vision.encoder.layers, ([8, -8, 1, -1], [9, -9, 7, -7]), strict=False):
        qkv = layer.self_attn.qkv(layer.layer_norm1(states)).view(65, 3, 4, 16)
        queries, keys = qkv[:, 0].transpose(0, 1), qkv[:, 1].transpose(0, 1)
        # Patches that have a neighbour on every side; the first token is no patch.
        inside = torch.arange(64).view(8, 8)[1:-1, 1:-1].flatten()
        seen = (queries @ keys.transpose(1, 2))[:, 1:, 1:].argmax(dim=-1)[:, inside]
        hit = (seen == inside + torch.tensor(steps)[:, None]).float().mean(dim=1)
        assert (hit > 0.9).all(), hit


def test_it_begins_with_what_a_reward_model_sees():
    """The same states of a picture, and words that look at it in the same way."""
    reward, tokens = small_reward_model()
    model, processor = small_captioner()
    begin_with(model, reward)
    picture = torch.randn(1, 3, 96, 96)
    seen = model.vision_model(picture).last_hidden_state
    # The smallest variance that a norm divides by is another one.
    torch.testing.assert_close(seen, reward.vision(picture).last_hidden_state, atol=1e-3, rtol=1e-3)
    words = "a red striped star on grey"
    ids = processor.tokenizer([words], return_tensors="pt")["input_ids"]
    assert torch.equal(ids, tokens([words]).input_ids)
    ends = [
        text(input_ids=ids, encoder_hidden_states=seen, is_decoder=False).last_hidden_state
        for text in (model.get_submodule("text_decoder.bert"), reward.text)
    ]
    torch.testing.assert_close(*ends, atol=1e-3, rtol=1e-3)


def test_a_reward_model_of_other_sizes_or_words_is_refused():
    reward, _ = small_reward_model()
    with pytest.raises(SourceError, match=r"side 96 and 64.*--side, --patch, --width, --layers"):
        begin_with(small_captioner(side=64, patch=16, width=32, layers=1)[0], reward)
    own, reward.config = reward.config, replace(reward.config, vision_heads=8)
    with pytest.raises(SourceError, match="heads 8 and 4"):
        begin_with(small_captioner()[0], reward)
    reward.config = own
    reward.metadata["words"] = ["a", "fox"]
    with pytest.raises(SourceError, match="other words than Shapes World"):
        begin_with(small_captioner()[0], reward)


def test_what_was_learnt_by_heart_is_told_from_its_exchange(tmp_path):
    """How well it reads new pictures takes minutes to learn; that the measure sees it takes seconds."""
    torch.manual_seed(0)
    model, processor = small_captioner(side=64, patch=16, width=32, layers=1)
    few = Painted(ShapesWorld(3, 64, 64, figures=2), 6)
    task = CaptionerTask(model, processor, [few], {"held-out looks": few})
    before = task.validate(few)
    trainer = Trainer(task, settings(steps=80, batch=6, learning_rate=5e-3, ema_decay=0.5), tmp_path)
    trainer.run()
    found = json.loads((tmp_path / "model" / "validation.json").read_text())["held-out looks"]
    assert found["pairs"] == before["pairs"] >= 4
    assert found["accuracy"] == 1.0
    assert found["nats"] > before["nats"] + 1

"""Taggers of transformers, tiny and random: their probabilities, what is chosen, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_annotators import (
    write_tiny_blip,
    write_tiny_classifier,
    write_tiny_grounding_dino,
    write_tiny_siglip,
)
from transformers import AutoModel, AutoTokenizer

from instance_composer.cli import main
from instance_composer.models.vision.interfaces import ModelError
from instance_composer.models.vision.tagging import TransformersTagger

WORDS = ("cat", "dog", "traffic light")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taggers")
    return {
        "siglip": write_tiny_siglip(folder / "siglip"),
        "labels": write_tiny_classifier(folder / "labels"),
        "one": write_tiny_classifier(folder / "one", several=False),
        "blip": write_tiny_blip(folder / "blip"),
        "dino": write_tiny_grounding_dino(folder / "dino"),
    }


def test_probabilities_of_a_list_are_those_of_the_model_itself(folders, pictures):
    tagger = TransformersTagger.load(str(folders["siglip"]), words=WORDS)
    model = AutoModel.from_pretrained(folders["siglip"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(folders["siglip"])
    texts = tokenizer(
        [f"This is a photo of {word}." for word in WORDS],
        padding="max_length",
        truncation=True,
        max_length=8,
        return_tensors="pt",
    )
    seen = tagger.processor(images=pictures, return_tensors="pt")
    with torch.no_grad():
        theirs = model(input_ids=texts["input_ids"], pixel_values=seen["pixel_values"])
    found = tagger.probabilities(pictures)
    torch.testing.assert_close(found, theirs.logits_per_image.sigmoid(), atol=1e-6, rtol=1e-5)
    assert found.shape == (3, 3)


@pytest.mark.parametrize("kind", ["siglip", "labels"])
def test_the_likeliest_tags_above_the_threshold_come_in_their_order(folders, pictures, kind):
    words = WORDS if kind == "siglip" else ()
    every = TransformersTagger.load(str(folders[kind]), words=words, threshold=0.0, batch=2)
    probabilities = every.probabilities(pictures)
    expected = [[every.tags[one] for one in row.argsort(descending=True).tolist()] for row in probabilities]
    assert [list(tags) for tags in every.tag(pictures)] == expected
    assert "traffic light" in every.tags
    bar = float(probabilities[0].sort().values[-2])
    some = TransformersTagger.load(str(folders[kind]), words=words, threshold=bar - 1e-6, most=2)
    assert list(some.tag(pictures[:1])[0]) == expected[0][:2]
    assert TransformersTagger.load(str(folders[kind]), words=words, threshold=1.0).tag(pictures) == [()] * 3


@pytest.mark.parametrize(
    ("kind", "words", "complaint"),
    [
        ("siglip", (), "knows no tags by itself; give it a list with --tag-list"),
        ("labels", WORDS, "has 4 tags of its own; leave --tag-list out"),
        ("one", (), "chooses one of 4 labels"),
        ("blip", (), "is a blip model that gives no tags"),
    ],
)
def test_other_models_and_lists_are_refused_in_words(folders, kind, words, complaint):
    with pytest.raises(ModelError, match=f"--tagger: .*{complaint}"):
        TransformersTagger.load(str(folders[kind]), words=words)


def test_the_command_looks_for_the_tags_and_keeps_them(folders, pictures, tmp_path, capsys):
    pictures[0].save(tmp_path / "a.png")
    (tmp_path / "a.tags").write_text("blue")
    command = ["annotate", str(tmp_path), "--detector", str(folders["dino"]), "--vlm", str(folders["blip"])]
    command += ["--words", "red", "--box-threshold", "0", "--text-threshold", "0", "--max-tokens", "3"]
    command += ["--tag-files", "--no-sheet", "--device", "cpu", "--smallest", "0", "--overlap", "1"]
    (tmp_path.parent / "list.txt").write_text("cat\ndog\n")
    tagging = ["--tagger", str(folders["siglip"]), "--tag-list", str(tmp_path.parent / "list.txt")]
    assert main([*command, *tagging, "--tag-threshold", "0"]) == 0
    note = json.loads((tmp_path / "a.json").read_text())["annotation"]
    assert note["tags"][0] == "blue"
    assert sorted(note["tags"][1:]) == ["cat", "dog"]
    assert (note["tagger"], note["tag_threshold"]) == ("siglip", 0.0)
    assert main([*command, *tagging[2:]]) == 2
    assert "--tag-list is what a --tagger chooses from; name one too" in capsys.readouterr().err

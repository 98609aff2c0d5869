"""Grounding DINO and vision-language models of transformers, tiny and random: does the machinery fit them?"""

from __future__ import annotations

import json

import pytest
import torch
from tiny_annotators import write_tiny_blip, write_tiny_grounding_dino, write_tiny_llava
from tiny_captioners import write_tiny_qwen
from tiny_grounding_dino import original_names, published, tiny_grounding_dino, write_vocabulary
from transformers import BertTokenizerFast, GroundingDinoImageProcessor, GroundingDinoProcessor

from instance_composer.cli import main
from instance_composer.layout import Layout
from instance_composer.models.vision.asking import YesNoModel
from instance_composer.models.vision.captioning import TransformersCaptioner
from instance_composer.models.vision.grounding_dino.picture_detector import GroundingDino
from instance_composer.models.vision.interfaces import ModelError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotators")
    writers = {"dino": write_tiny_grounding_dino, "blip": write_tiny_blip, "llava": write_tiny_llava}
    return {name: write(folder / name) for name, write in writers.items()}


def test_boxes_and_words_are_those_of_the_published_post_processing(folders, pictures):
    """transformers' own reading of the same outputs, where a text of one word leaves no choice of phrase."""
    detector = GroundingDino.load(str(folders["dino"]), box_threshold=0.0, text_threshold=0.0)
    found = detector.detect(pictures[:1], [["cat"]])[0]
    inputs = detector.processor(images=pictures[:1], text="cat.", return_tensors="pt")
    with torch.no_grad():
        outputs = detector.model(**inputs)
    (theirs,) = detector.processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=0.0, text_threshold=0.0
    )
    assert len(found) == len(theirs["boxes"]) == 7
    ours = torch.tensor([list(one.box) for one in found])
    # Ours are rounded to five digits.
    torch.testing.assert_close(ours, theirs["boxes"], atol=1e-5, rtol=0)
    # Theirs is the highest of all tokens, the stop and the special ones included.
    assert all(one.score <= score + 1e-6 for one, score in zip(found, theirs["scores"], strict=True))
    assert {one.word for one in found} == {"cat"}


def test_a_batch_gives_what_its_pictures_give_alone(folders, pictures):
    settings = {"box_threshold": 0.0, "text_threshold": 0.0}
    words = [["cat"], ["dog"], ["red dog", "traffic light", "cat"]]
    alone, together = (
        GroundingDino.load(str(folders["dino"]), batch=batch, **settings).detect(pictures, words)
        for batch in (1, 2)
    )
    for one, both, some in zip(alone, together, words, strict=True):
        assert len(one) == 7
        assert {found.word for found in one} <= set(some)
        assert [(found.word, found.box) for found in one] == [(found.word, found.box) for found in both]
        assert [found.score for found in one] == pytest.approx([found.score for found in both], abs=1e-5)


def test_more_words_than_fit_are_looked_for_in_several_passes(folders, pictures):
    detector = GroundingDino.load(str(folders["dino"]), box_threshold=0.0, text_threshold=0.0, batch=3)
    # Of 16 tokens two are start and end: seven words with their stops.
    words = ["cat", "dog", "red", "blue", "light", "traffic", "a", "of", "this", "cats"]
    (found,) = detector.detect(pictures[:1], [words])
    assert len(found) == 2 * 7
    assert {one.word for one in found[7:]} <= set(words[7:])
    assert detector.detect(pictures[:1], [[]]) == [[]]


def test_a_file_of_the_original_code_finds_what_the_same_weights_find(pictures, tmp_path):
    model = tiny_grounding_dino()
    file = tmp_path / "tiny.pth"
    torch.save(
        {"model": {f"module.{k}": v for k, v in original_names(published(model.state_dict())).items()}}, file
    )
    with pytest.raises(ModelError, match=r"tiny\.pth needs the vocabulary of bert-base-uncased"):
        GroundingDino.load(str(file))
    (tmp_path / "bert-base-uncased").mkdir()
    vocabulary = write_vocabulary(tmp_path / "bert-base-uncased").parent
    tokenizer = BertTokenizerFast.from_pretrained(vocabulary)
    # At the size of the published models' pictures, which a file does not tell.
    processor = GroundingDinoProcessor(GroundingDinoImageProcessor(), tokenizer)
    settings = {"box_threshold": 0.0, "text_threshold": 0.0}
    strip = [pictures[0].resize((160, 16))]
    (true,) = GroundingDino(model, processor, **settings).detect(strip, [["cup", "dog"]])
    (found,) = GroundingDino.load(str(file), **settings).detect(strip, [["cup", "dog"]])
    assert found == true
    assert len({one.score for one in found}) > 10


@pytest.mark.parametrize("kind", ["blip", "llava"])
def test_captions_are_the_same_alone_and_in_a_batch_and_do_not_repeat_the_question(kind, folders, pictures):
    prompts = {"picture_prompt": "a picture of", "instance_prompt": "this {word}"} if kind == "llava" else {}
    one, two = (
        TransformersCaptioner.load(str(folders[kind]), most_tokens=6, batch=batch, **prompts)
        for batch in (1, 2)
    )
    assert one.chats == (kind == "llava")
    for captioner in (one, two):
        captioner.model.generation_config.eos_token_id = None
    words = ["cat", "red dog light", "dog"]
    assert one.caption_pictures(pictures) == two.caption_pictures(pictures)
    captions = one.caption_instances(pictures, words)
    assert captions == two.caption_instances(pictures, words)
    assert all(len(caption.split()) <= 6 and "answer " not in caption[:7] for caption in captions)


def test_a_prompt_begins_the_caption_of_a_model_that_does_not_chat(folders, pictures):
    """In half precision, in which the model then is and its pictures are."""
    prompts = {"picture_prompt": "a picture of", "instance_prompt": "a {word}"}
    captioner = TransformersCaptioner.load(
        str(folders["blip"]), dtype=torch.bfloat16, most_tokens=4, **prompts
    )
    assert captioner.model.dtype == torch.bfloat16
    assert all(text.startswith("a picture of") for text in captioner.caption_pictures(pictures))
    first, second = captioner.caption_instances(pictures[:2], ["cat", "dog"])
    assert (first[:5], second[:5]) == ("a cat", "a dog")


def test_the_command_makes_training_data_and_a_sheet_and_goes_on(
    folders, pictures, tmp_path, capsys, monkeypatch
):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for number, picture in enumerate(pictures[:2]):
        picture.save(images / f"{number}.png")
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    words = ["annotate", str(images), "--out", str(out), "--words", "cat, dog", "--device", "cpu"]
    words += ["--detector", str(folders["dino"]), "--vlm", str(folders["llava"]), "--max-tokens", "4"]
    words += ["--box-threshold", "0", "--text-threshold", "0", "--smallest", "0", "--overlap", "1"]
    assert main([*words, "--instances", "3"]) == 1
    said = capsys.readouterr()
    assert "2 annotated (0 without instances), 0 had a layout, 0 left out, 1 failed" in said.out
    assert "broken.jpg: cannot be read as a picture" in said.err
    layouts = [Layout.from_json((out / f"{n}.json").read_bytes()).checked() for n in (0, 1)]
    assert [len(layout.active) for layout in layouts] == [3, 3]
    assert [(layout.canvas.width, layout.canvas.height) for layout in layouts] == [
        p.size for p in pictures[:2]
    ]
    assert layouts[0].extra["annotation"]["detector"] == "dino"
    assert "data:image/jpeg" in (out / "contact-sheet.html").read_text(encoding="utf-8")
    with monkeypatch.context() as launched:
        # A process that ended otherwise would take those beside it along.
        launched.setenv("RANK", "0")
        launched.setenv("WORLD_SIZE", "2")
        assert main(words) == 0
        assert "1 had a layout, 0 left out, 1 failed" in capsys.readouterr().out
    (images / "broken.jpg").unlink()
    assert main([*words, "--sheet", "1"]) == 0
    said = capsys.readouterr()
    assert "0 annotated (0 without instances), 2 had a layout, 0 left out, 0 failed" in said.out
    assert "the contact sheet shows 1 of 2 pictures" in said.err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"images": "{}/none"}, "there is no folder"),
        ({"images": "{}/empty"}, "there is no picture in"),
        ({"--detector": "{}/none"}, "--detector: there is no folder"),
        ({"--detector": "{}/empty"}, "holds no config.json"),
        ({"--detector": "{}/images/a.png"}, "is a file; the folder of a model is needed"),
        ({"--detector": "{blip}"}, "is a blip model; a grounding-dino or mm-grounding-dino is needed"),
        ({"--vlm": "{dino}"}, "is a grounding-dino model, which makes no text of pictures"),
        ({"--vlm": "{}/damaged"}, "--vlm: {}/damaged cannot be loaded"),
        ({"--words": " , "}, "hold no word"),
        ({"--words-file": "{}/none.txt"}, "none.txt: No such file"),
    ],
)
def test_what_is_missing_is_told_in_one_line(changes, complaint, folders, pictures, tmp_path, capsys):
    for name in ("empty", "images", "damaged"):
        (tmp_path / name).mkdir()
    pictures[0].save(tmp_path / "images" / "a.png")
    for name in ("config.json", "model.safetensors"):
        content = (folders["blip"] / name).read_bytes()
        (tmp_path / "damaged" / name).write_bytes(content[: None if name == "config.json" else 1000])
    options = {"--words": "cat", "--detector": "{dino}", "--vlm": "{blip}", "images": "{}/images"} | changes
    images, *rest = (
        options.pop("images"),
        *(part for pair in options.items() for part in pair if pair[0] != "images"),
    )
    command = [word.format(tmp_path, **folders) for word in ("annotate", images, "--device", "cpu", *rest)]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert complaint.format(tmp_path) in error.splitlines()[-1]
    assert not list((tmp_path / "images").glob("*.json"))


def test_models_of_the_command_are_named_without_the_folders_of_the_machine(folders, pictures, tmp_path):
    pictures[0].save(tmp_path / "a.png")
    words = [
        "annotate",
        str(tmp_path),
        "--words",
        "cat",
        "--no-sheet",
        "--device",
        "cpu",
        "--max-tokens",
        "2",
    ]
    assert main([*words, "--detector", str(folders["dino"]), "--vlm", str(folders["blip"])]) == 0
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert str(folders["dino"].parent) not in text
    assert json.loads(text)["annotation"]["captioner"] == "blip"
    assert not (tmp_path / "contact-sheet.html").exists()


def test_yes_is_weighed_against_no_however_unlikely_both_are(pictures, tmp_path):
    model = YesNoModel.load(str(write_tiny_qwen(tmp_path / "qwen", more=("yes", "no"))))
    before = model.ask(pictures[0], "yes ?")
    assert 0 < before < 1
    head = model.model.lm_head
    # As where a model wants to say something else first: both words are below what a float32 can hold.
    head.bias = torch.nn.Parameter(torch.full((head.out_features,), 300.0))
    head.bias.data[[*model._yes, *model._no]] = 0.0
    assert model.ask(pictures[0], "yes ?") == pytest.approx(before, abs=1e-5)

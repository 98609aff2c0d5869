"""The demo model as it is shipped: what is in the folder is what every supported transformers loads."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from instance_composer.cli import main
from instance_composer.demo import ADAPTER, FOLDER, demo_folder
from instance_composer.hosts.diffusers_sdxl import encode_layout, generate, load_sdxl
from instance_composer.layout import (
    Box,
    Canvas,
    Instance,
    Layout,
)
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.shapes_world import (
    ShapesWorld,
    caption,
    parse,
    parse_figure,
)
from instance_composer.training.data.errors import SourceError
from instance_composer.training.demo_model.packing import known_tokens, pack

pytestmark = pytest.mark.text_encoders


@pytest.fixture(scope="module")
def packed(fresh_demo):
    """Folder with `model` and `adapter.safetensors`, and the shipped form of them in `demo`."""
    return fresh_demo.parent


@pytest.fixture(scope="module")
def demo(packed):
    return load_sdxl(packed / "demo")


def test_it_is_small_and_whole(packed):
    assert demo_folder(packed / "demo") == packed / "demo"
    sizes = [file.stat().st_size for file in (packed / "demo").rglob("*.safetensors")]
    assert sum(sizes) <= 30e6


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_text_encoders_are_named_as_published_ones_and_load_as_they_are(packed, demo, part):
    """Without the prefix one line of transformers leaves random weights, and hardly says so."""
    file = load_file(packed / "demo" / part / "model.safetensors")
    assert {name.partition(".")[0] for name in file} <= {"text_model", "text_projection"}
    loaded = getattr(demo, part).state_dict()
    assert len(loaded) == len(file)
    for name, value in loaded.items():
        given = file.get(name, file.get(f"text_model.{name}"))
        torch.testing.assert_close(value, given.float(), atol=0, rtol=0)


def test_captions_keep_their_meaning_and_unknown_words_have_none(packed, demo):
    before, after = load_sdxl(packed / "model"), demo
    sentence = caption(ShapesWorld(3, split="held-out", figures=5).scene(0))
    with torch.no_grad():
        expected, _, pooled, _ = before.encode_prompt(sentence, do_classifier_free_guidance=False)
        found, _, found_pooled, _ = after.encode_prompt(sentence, do_classifier_free_guidance=False)
    # Half precision of weights that give outputs of order one.
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(found_pooled, pooled, atol=1e-2, rtol=0)
    (dog,) = after.tokenizer("dog")["input_ids"][1:-1]
    assert dog not in known_tokens()
    assert not after.text_encoder.get_input_embeddings().weight[dog].any()


def test_every_caption_of_the_world_is_known(demo):
    known = set(known_tokens())
    for split in ("train", "held-out"):
        world = ShapesWorld(11, split=split, related=0.5)
        captions = [caption(world.scene(number)) for number in range(100)]
        assert {token for ids in demo.tokenizer(captions)["input_ids"] for token in ids} <= known


def test_the_tokenizers_pad_as_those_of_sdxl(demo):
    for tokenizer, padding in ((demo.tokenizer, 49407), (demo.tokenizer_2, 0)):
        ids = tokenizer("a red star on grey", padding="max_length").input_ids
        assert len(ids) == 77
        assert ids[0] == 49406
        assert ids[6:] == [49407] + 70 * [padding]


def test_the_adapter_acts_on_the_packed_model(packed, demo):
    demo.set_progress_bar_config(disable=True)
    layout = Layout((Instance("1", Box(0, 0, 0.6, 1), "a red star"),), Canvas(64, 64), "a red star on grey")
    encoded = encode_layout(demo, IFAdapter.load(packed / "demo" / ADAPTER), layout)
    plain, placed = (
        generate(demo, encoded, height=64, width=64, steps=2, scale=scale, output_type="latent")
        for scale in (0.0, 1.0)
    )
    assert (plain - placed).abs().max() > 0.01


def test_the_folder_says_nothing_of_the_machine_that_wrote_it(packed):
    for file in (packed / "demo").rglob("*.json"):
        assert str(packed) not in file.read_text(encoding="utf-8")


def test_weights_beyond_half_precision_are_refused(packed, tmp_path):
    adapter = load_file(packed / "adapter.safetensors")
    name = next(iter(adapter))
    adapter[name] = torch.full_like(adapter[name], 1e6)
    save_file(adapter, tmp_path / "adapter.safetensors")
    with pytest.raises(SourceError, match="half precision cannot"):
        pack(packed / "model", tmp_path / "adapter.safetensors", tmp_path / "demo")
    assert not list((tmp_path / "demo").iterdir())


def test_the_command_packs_a_run_and_tells_how_it_went(packed, tmp_path, capsys):
    runs = tmp_path / "runs"
    for name, steps in (("base-mixed", 400), ("another", 20)):
        (runs / name).mkdir(parents=True)
        lines = [{"step": 10 * n, "loss": 1 / n, "seconds_per_step": 3.6} for n in range(1, steps // 10 + 1)]
        (runs / name / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    words = ["train", "pack", str(runs), "--out", str(tmp_path / "demo")]
    assert main(words) == 2
    assert "there is no adapter" in capsys.readouterr().err
    files = ["--adapter", str(packed / "adapter.safetensors"), "--model", str(packed / "model")]
    nowhere = str(tmp_path / "nowhere")
    assert main([*words, *files, "--autoencoder", nowhere]) == 2
    assert "there is no autoencoder in" in capsys.readouterr().err
    # No `decoder` was trained: the model's own is shipped.
    assert main([*words, *files]) == 0
    assert "18.4 MB" in capsys.readouterr().out
    card = (tmp_path / "demo" / "README.md").read_text(encoding="utf-8")
    # 400 steps of 3.6 s; the mean of the first and the last tenth of the lines.
    assert "| base-mixed | 400 | 0.4 | 0.521 | 0.026 |" in card
    assert "another" not in card
    assert "| together | 29.9 |" in card
    curves = (tmp_path / "demo" / "curves.svg").read_text(encoding="utf-8")
    assert curves.startswith("<?xml")


def test_the_gallery_s_layouts_are_of_this_world():
    files = sorted((FOLDER / "layouts").glob("*.json"))
    canvases = set()
    for file in files:
        layout = Layout.from_json(file.read_bytes()).checked()
        assert layout.problems() == [], file.name
        phrases, _ = parse(layout.prompt)
        assert list(phrases) == [parse_figure(instance.caption) for instance in layout.active], file.name
        assert layout.canvas.width % 32 == layout.canvas.height % 32 == 0
        canvases.add((layout.canvas.width, layout.canvas.height))
    assert len(canvases) == 3


def read(file):
    with Image.open(file) as opened:
        return opened.convert("RGB")


def test_the_gallery_shows_layout_and_pictures_without_and_with_the_adapter(packed, tmp_path, capsys):
    (tmp_path / "pair.txt").write_text("0 0 0.5 1: a red star\n0.5 0 1 1: a blue circle\n")
    files = [str(tmp_path / name) for name in ("pair.txt", "pair.json")]
    assert main(["layout", "convert", *files, "--canvas", "96x64"]) == 0
    words = ["demo", str(tmp_path / "pair.json"), "--model", str(packed / "demo"), "--steps", "2"]
    assert main([*words, "--out", str(tmp_path / "gallery")]) == 0
    gallery = tmp_path / "gallery"
    assert str(gallery / "overview.png") in capsys.readouterr().out
    pictures = {file.name: read(file) for file in gallery.iterdir()}
    sizes = {name: picture.size for name, picture in pictures.items()}
    assert set(sizes) == {"pair.png", "pair-without.png", "pair-beside.png", "overview.png"}
    assert sizes["pair.png"] == sizes["pair-without.png"] == (96, 64)
    assert sizes["overview.png"] == sizes["pair-beside.png"]
    assert sizes["pair-beside.png"][0] > 3 * 2 * 96
    assert pictures["pair.png"].tobytes() != pictures["pair-without.png"].tobytes()
    assert main(["demo", "--model", str(tmp_path)]) == 2
    assert "Install the pack again" in capsys.readouterr().err


def test_odd_sizes_are_fitted_in_the_gallery(packed, tmp_path, capsys):
    layout = tmp_path / "odd.txt"
    layout.write_text("canvas: 70 x 65\n7 7 40 40: a red star\n")
    words = ["demo", str(layout), "--model", str(packed / "demo"), "--steps", "1"]
    assert main([*words, "--out", str(tmp_path / "gallery")]) == 0
    assert read(tmp_path / "gallery" / "odd.png").size == (72, 64)
    assert "72 x 64 instead of 70 x 65" in capsys.readouterr().err


def test_the_gallery_s_layouts_are_looked_at_first(tmp_path, capsys):
    files = {
        name: tmp_path / name for name in ("a/pets.txt", "b/pets.json", "pets-beside.txt", "overview.txt")
    }
    for file in files.values():
        file.parent.mkdir(exist_ok=True)
        file.write_text("0 0 0.5 1: a red star\n")
    bad = tmp_path / "bad.txt"
    bad.write_text("nothing")
    pets, other, beside, overview = files.values()
    for given, said in (
        ((pets, other), f"{other} and {pets} would both be written as pets.png"),
        ((beside, pets), f"{pets} and {beside} would both be written as pets-beside.png"),
        ((pets, overview), "would both be written as overview.png"),
        ((pets, bad), f"{bad}: "),
    ):
        assert main(["demo", *map(str, given), "--out", str(tmp_path / "gallery")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "gallery").exists()

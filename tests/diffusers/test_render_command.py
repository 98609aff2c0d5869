"""`instance-composer render`, in process, on a tiny model."""

import json
import pickle
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from instance_composer.cli import main
from instance_composer.cli.render_files import write_picture
from instance_composer.layout import Layout
from instance_composer.models.weights import read_tensors, save_weights

EXAMPLE = {
    "caption": "Three flowers in a vase on the table",
    "annotations": [
        {"box": [126, 309, 210, 150], "caption": ["a pink flower with a yellow center"]},
        {"box": [264, 91, 270, 225], "caption": ["a purple flower with a white center"]},
        {"box": [225, 495, 255, 240], "caption": ["a colorful vase"]},
    ],
}

LAYOUT = (
    '{"version": 1, "canvas": {"width": 101, "height": 150}, "prompt": "", "instances": '
    '[{"id": "a", "caption": "a cat", "box": [0, 0, 1, 0.5]}]}'
)


@pytest.fixture
def render(sdxl_folder, adapter_file, tmp_path):
    """Run the command on the authors' kind of layout, two small steps unless told otherwise."""
    (tmp_path / "layout.json").write_text(json.dumps(EXAMPLE))

    def run(*words, layout=tmp_path / "layout.json", **changes):
        options = {
            "model": sdxl_folder,
            "adapter": adapter_file,
            "out": tmp_path / "picture.png",
            "size": "128x96",
            "steps": 2,
        } | changes
        named = [
            word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))
        ]
        return main(["render", str(layout), *named, *map(str, words)])

    return run


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
    return picture


def pixels(path: Path) -> numpy.ndarray:
    return numpy.asarray(opened(path), dtype=int)


def test_a_layout_becomes_a_picture_with_the_layout_beside_it(render, tmp_path, capsys):
    assert render("--beside", "--seed", 3) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "picture.png"),
        str(tmp_path / "picture-beside.png"),
    ]
    picture = opened(tmp_path / "picture.png")
    assert picture.size == (128, 96)
    settings = json.loads(picture.text["instance-composer"])
    assert (settings["seed"], settings["steps"], settings["model"]) == (3, 2, "sdxl")
    layout = Layout.from_json(picture.text["layout"])
    assert [instance.caption for instance in layout.instances][2] == "a colorful vase"
    beside = opened(tmp_path / "picture-beside.png")
    assert beside.width > 2 * 128
    right = pixels(tmp_path / "picture-beside.png")[-96 - 4 : -4, -128 - 4 : -4]
    assert (right == pixels(tmp_path / "picture.png")).all()


def test_the_layout_in_a_picture_renders_it_again(render, tmp_path):
    render("--seed", 7)
    again = tmp_path / "again.json"
    again.write_text(opened(tmp_path / "picture.png").text["layout"])
    assert render("--seed", 7, layout=again, out=tmp_path / "again.png") == 0
    assert (pixels(tmp_path / "again.png") == pixels(tmp_path / "picture.png")).all()


def test_settings_reach_the_picture(render, tmp_path, capsys):
    """Each changes it, and strength 0 and an empty window, which is told, are the same: no adapter."""
    found = {}
    for name, words in {
        "plain": (),
        "none": ("--strength", 0),
        "window": ("--start", 0.5, "--end", 0.5),
        "unguided": ("--cfg", 1),
        "negative": ("--negative", "blurry"),
        "seed": ("--seed", 1),
    }.items():
        assert render(*words, out=tmp_path / f"{name}.png", steps=1) == 0
        found[name] = pixels(tmp_path / f"{name}.png")
    assert (found["none"] == found["window"]).all()
    assert capsys.readouterr().err.count("leave the IFAdapter no step") == 1
    for name in ("none", "unguided", "negative", "seed"):
        assert (found[name] != found["plain"]).any(), name


def test_a_batch_takes_one_seed_each(render, tmp_path, capsys):
    assert render("--batch", 2, "--seed", 4) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == [
        "picture-1.png",
        "picture-2.png",
    ]
    render("--seed", 5, out=tmp_path / "alone.png")
    difference = pixels(tmp_path / "picture-2.png") - pixels(tmp_path / "alone.png")
    # Rounding of a batch of two against one, seen through 8-bit pixels.
    assert abs(difference).max() <= 1
    seeds = [
        json.loads(opened(tmp_path / f"picture-{n}.png").text["instance-composer"])["seed"] for n in (1, 2)
    ]
    assert seeds == [4, 5]


def test_the_canvas_is_the_size_and_odd_sizes_are_fitted(render, tmp_path, capsys):
    layout = tmp_path / "odd.json"
    layout.write_text(LAYOUT)
    assert render(layout=layout, out=tmp_path / "odd.png", size=None) == 0
    assert opened(tmp_path / "odd.png").size == (104, 152)
    assert "104 x 152 instead of 101 x 150" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision(render, tmp_path, dtype):
    assert render("--dtype", dtype, "--device", "cpu") == 0
    assert pixels(tmp_path / "picture.png").std() > 1


def refused(run, capsys):
    """The one line a failure prints."""
    assert run() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.strip().splitlines()[-1]


def test_files_that_are_not_there(render, tmp_path, capsys):
    missing = tmp_path / "missing"
    assert "missing: No such file" in refused(lambda: render(layout=missing), capsys)
    assert "there is no model at" in refused(lambda: render(model=missing), capsys)
    assert "--adapter: there is nothing at" in refused(lambda: render(adapter=missing), capsys)
    assert "--config: there is nothing at" in refused(lambda: render(config=missing), capsys)
    assert "there is no folder" in refused(lambda: render(out=missing / "picture.png"), capsys)
    assert "written as .png" in refused(lambda: render(out=tmp_path / "picture.jpg"), capsys)
    assert "no LoRA file" in refused(lambda: render("--lora", missing), capsys)
    assert not list(tmp_path.glob("*.png"))


class Trap:
    def __reduce__(self):
        return (print, ("code ran",))


def test_adapters_that_are_none(render, adapter_file, tmp_path, capsys):
    trap = tmp_path / "trap.bin"
    torch.save({"text_proj_model": {"latents": Trap()}}, trap)
    line = refused(lambda: render(adapter=trap), capsys)
    assert "was refused" in line
    assert "code ran" not in line
    with (tmp_path / "old.bin").open("wb") as file:
        pickle.dump(Trap(), file)
    assert refused(lambda: render(adapter=tmp_path / "old.bin"), capsys)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(adapter_file.read_bytes()[:5000])
    assert "truncated" in refused(lambda: render(adapter=cut), capsys)
    other = tmp_path / "other.safetensors"
    save_file({"lora_unet.weight": torch.zeros(1)}, other)
    assert "is not an IFAdapter file" in refused(lambda: render(adapter=other), capsys)


def test_a_model_of_another_kind(render, tmp_path, capsys):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "SDXL only" in refused(lambda: render(model=tmp_path), capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"caption": "a cat", "annotations": []}', "no instance to place"),
        ("", "empty"),
        (LAYOUT.replace("[0, 0, 1, 0.5]", "[0.5, 0, 0.2, 1]"), "box"),
        ('{"some": "thing"}', "none of the known formats"),
    ],
)
def test_layouts_that_cannot_be_rendered(render, tmp_path, capsys, text, message):
    """Said before any model is loaded: the model is not even there."""
    (tmp_path / "bad.json").write_text(text)
    assert message in refused(lambda: render(layout=tmp_path / "bad.json", model=tmp_path), capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--steps", 0), "a whole number from 1 to 1000 is needed"),
        (("--cfg", "nan"), 'a number from 1 is needed, got "nan"'),
        (("--end", 1.5), "a number from 0 to 1 is needed"),
        (("--seed", "x"), "a whole number"),
        (("--size", "wide"), 'a size like "1024x768" is needed'),
        (("--dtype", "int8"), "invalid choice"),
    ],
)
def test_settings_out_of_range(render, capsys, words, message):
    with pytest.raises(SystemExit) as exit_:
        render(*words)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_captions_that_the_prompt_does_not_name_join_it_and_the_file_keeps_what_was_written(
    render, tmp_path, capsys
):
    layout = tmp_path / "short.json"
    layout.write_text(LAYOUT.replace('"prompt": ""', '"prompt": "on grey"'))
    assert render(layout=layout) == 0
    assert "do not name join it" not in capsys.readouterr().out
    joined = pixels(tmp_path / "picture.png")
    assert Layout.from_json(opened(tmp_path / "picture.png").info["layout"]).prompt == "on grey"
    assert render("--keep-prompt", layout=layout) == 0
    assert "join" not in capsys.readouterr().err
    assert (pixels(tmp_path / "picture.png") != joined).any()
    layout.write_text(LAYOUT.replace('"prompt": ""', '"prompt": "on grey, a cat"'))
    assert render(layout=layout) == 0
    assert (pixels(tmp_path / "picture.png") == joined).all()


def test_a_folder_is_drawn_with_one_loading_and_only_what_is_not_done(render, tmp_path, capsys, monkeypatch):
    from instance_composer.hosts import diffusers_sdxl

    loaded = []
    load = diffusers_sdxl.load_sdxl
    monkeypatch.setattr(diffusers_sdxl, "load_sdxl", lambda *a, **k: (loaded.append(1), load(*a, **k))[1])
    many = tmp_path / "many"
    (many / "below").mkdir(parents=True)
    (many / "one.json").write_text(LAYOUT)
    (many / "below" / "two.jsonl").write_text(f"{LAYOUT.replace('cat', 'dog')}\n{LAYOUT}\n")
    (many / "broken.json").write_text("{")
    out = tmp_path / "out"
    assert render("--batch", 2, "--vae-tiling", layout=many, out=out, size="64x64", steps=1) == 1
    captured = capsys.readouterr()
    names = ["below/two-000001", "below/two-000002", "one"]
    files = [out / f"{name}-{number}.png" for name in names for number in (1, 2)]
    assert captured.out.splitlines() == [str(file) for file in files]
    assert "broken.json: " in captured.err
    assert loaded == [1]
    assert Layout.from_json(opened(files[0]).text["layout"]).instances[0].caption == "a dog"

    # Again: nothing is loaded. One taken away and one of another layout: those are drawn.
    (many / "broken.json").unlink()
    before = {file: file.stat().st_mtime_ns for file in files}
    assert render("--batch", 2, "--vae-tiling", layout=many, out=out, size="64x64", steps=1) == 0
    assert capsys.readouterr().out == ""
    assert loaded == [1]
    files[4].unlink()
    (many / "below" / "two.jsonl").write_text(f"{LAYOUT.replace('cat', 'pig')}\n{LAYOUT}\n")
    words = ("--batch", 2, "--vae-tiling", "--share")
    assert render(*words, "1/2", layout=many, out=out, size="64x64", steps=1) == 0
    assert capsys.readouterr().out == ""  # the second layout alone is the share, and done
    assert render(*words, "0/2", layout=many, out=out, size="64x64", steps=1) == 0
    assert capsys.readouterr().out.splitlines() == [str(files[n]) for n in (0, 1, 4, 5)]
    assert all((file.stat().st_mtime_ns == before[file]) is (n in (2, 3)) for n, file in enumerate(files))


@pytest.mark.parametrize("out", ["layouts/pictures", "layouts"])
def test_pictures_that_were_drawn_are_no_layouts_of_the_next_run(out, render, tmp_path, capsys):
    layouts = tmp_path / "layouts"
    layouts.mkdir()
    (layouts / "one.json").write_text(LAYOUT)
    words = {"layout": layouts, "out": tmp_path / out, "size": "64x64", "steps": 1}
    names = [str(tmp_path / out / f"one-{number}.png") for number in (1, 2)]
    assert render("--batch", 2, **words) == 0
    assert capsys.readouterr().out.splitlines() == names
    assert render("--batch", 2, **words) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 layouts, of 1 the pictures were there, 0 failed" in said.err


def test_sheets_show_the_pictures_that_there_are(render, tmp_path, capsys):
    """They are made of these where they show earlier ones, more of them, or were left out before."""
    layout, out, other = tmp_path / "layout.json", tmp_path / "out", tmp_path / "other"
    sheets = ("--beside", "--grid")

    def drawn(*words, out=out):
        out.mkdir(exist_ok=True)
        assert render(*words, layout=layout, out=out, size="64x64", steps=1) == 0
        return [Path(line).name for line in capsys.readouterr().out.splitlines()]

    both = ["layout-beside.png", "layout-grid.png"]
    assert drawn("--seed", 1, *sheets) == ["layout.png", *both]
    assert drawn("--seed", 1, *sheets) == []
    assert drawn("--seed", 2) == ["layout.png"]
    assert drawn("--seed", 2, *sheets) == both
    assert drawn("--seed", 2, *sheets, out=other) == ["layout.png", *both]
    for name in both:
        assert (pixels(out / name) == pixels(other / name)).all(), name
    assert drawn("--seed", 2, *sheets) == []
    (out / both[0]).unlink()
    assert drawn("--seed", 2, *sheets) == both[:1]
    assert drawn("--seeds", "1-3", "--grid")[-1] == both[1]
    assert drawn("--seeds", "1,2", "--grid") == both[1:]
    assert opened(out / both[1]).width < 4 * 64
    # Of an earlier version, which did not note what it shows.
    opened(other / both[1]).save(out / both[1])
    assert drawn("--seeds", "1,2", "--grid") == both[1:]


def drawn_again(run, capsys):
    """Whether a command that may find its picture there draws it."""
    capsys.readouterr()
    assert run() == 0, capsys.readouterr().err
    return bool(capsys.readouterr().out)


def rewritten(path, without=(), **changes):
    """A picture with other settings in it, as an earlier version left them."""
    picture = opened(path)
    kept = json.loads(picture.text["instance-composer"]) | changes
    settings = {name: value for name, value in kept.items() if name not in without}
    write_picture(path, picture, Layout.from_json(picture.text["layout"]), settings)


def test_pictures_by_other_weights_of_the_same_name_are_drawn_again(
    render, sdxl_folder, adapter_file, tmp_path, capsys
):
    model, adapter = tmp_path / "other" / sdxl_folder.name, tmp_path / "other" / adapter_file.name
    out = tmp_path / "out"
    out.mkdir()

    def again(model=sdxl_folder, adapter=adapter_file, *words):
        return drawn_again(
            lambda: render(*words, model=model, adapter=adapter, out=out, size="64x64", steps=1), capsys
        )

    assert again()
    shutil.copytree(sdxl_folder, model)
    adapter.write_bytes(adapter_file.read_bytes())
    # The same weights elsewhere are the same.
    assert not again(model, adapter)
    save_weights({name: 1.01 * value for name, value in read_tensors(adapter).items()}, adapter)
    assert again(model, adapter)
    file = model / "vae" / "diffusion_pytorch_model.safetensors"
    save_weights({name: 1.01 * value for name, value in read_tensors(file).items()}, file)
    assert again(model, adapter)
    assert not again(model, adapter)
    assert again(model, adapter, "--config", sdxl_folder)
    # Of a picture that carries no weights nothing is known against it; without its file nothing is told.
    (out / "layout.png").unlink()
    assert again()
    rewritten(out / "layout.png", without=("weights", "config", "asked"))
    assert not again(model, adapter)
    assert again(model, adapter, "--seed", 1)
    assert render("--seed", 1, model=tmp_path / "none" / model.name, out=out, size="64x64", steps=1) == 2
    assert "--model: there is nothing at" in capsys.readouterr().err


def test_a_picture_of_another_size_is_drawn_again(render, tmp_path, capsys):
    out, layout = tmp_path / "out", tmp_path / "odd.json"
    layout.write_text(LAYOUT)
    out.mkdir()

    def again(size):
        return drawn_again(lambda: render(layout=layout, out=out, size=size, steps=1), capsys)

    assert again("100x64")
    assert opened(out / "odd.png").size == (96, 64)
    assert not again("100x64")
    # It becomes the same size, and another was asked for.
    assert again("96x64")
    assert again("112x64")
    assert again(None)
    assert not again("101x150")
    # An earlier version noted what came out alone.
    rewritten(out / "odd.png", without=("asked",))
    assert not again(None)
    assert not again("104x152")
    assert again("112x152")


def test_the_precision_is_the_one_it_was_drawn_in(render, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()

    def again(*words):
        return drawn_again(lambda: render("--device", "cpu", *words, out=out, size="64x64", steps=1), capsys)

    assert again()
    assert json.loads(opened(out / "layout.png").text["instance-composer"])["dtype"] == "fp32"
    assert not again("--dtype", "fp32")
    assert again("--dtype", "bf16")
    # Where an earlier version noted that none was asked for, that is compared.
    rewritten(out / "layout.png", dtype=None)
    assert not again()
    assert again("--dtype", "bf16")


def test_a_folder_may_have_a_dot_in_its_name(render, tmp_path, capsys):
    (tmp_path / "many.jsonl").write_text(f"{LAYOUT}\n{LAYOUT}\n")
    out = tmp_path / "pictures.2026"
    out.mkdir()
    assert render(layout=tmp_path / "many.jsonl", out=out, size="64x64", steps=1) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["many-000001.png", "many-000002.png"]


def test_many_layouts_need_a_folder(render, tmp_path, capsys):
    assert render(layout=tmp_path, out=tmp_path / "x.png") == 2
    assert "many layouts need a folder" in capsys.readouterr().err
    assert render(out=tmp_path / "x.jpg") == 2
    assert "pictures are written as .png, or into a folder" in capsys.readouterr().err


def test_a_picture_of_its_own_is_a_layout(render, tmp_path):
    render("--seed", 7)
    assert render("--seed", 7, layout=tmp_path / "picture.png", out=tmp_path / "again.png") == 0
    assert (pixels(tmp_path / "again.png") == pixels(tmp_path / "picture.png")).all()


@pytest.mark.parametrize("text", ["2/2", "1", "a/b"])
def test_a_share_that_is_none_is_refused(render, text, capsys):
    with pytest.raises(SystemExit):
        render("--share", text)
    assert 'a share like "0/4" is needed' in capsys.readouterr().err

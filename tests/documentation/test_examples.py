"""Every block of every page runs: its commands and Python in their order, in one folder, as a reader would.

Models are tiny, and settings that would take hours are shortened by the tables below; nothing else is
changed. A block that no table and no reader claims makes a test fail.
"""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from documentation import REPOSITORY, Block, blocks, pages
from PIL import Image

from instance_composer import cli
from instance_composer.layout import Canvas, Layout, formats

# Page -> what is written in another way: numbers that only cost time, devices there are not.
ANNOTATING = (
    r"(annotate .*)",
    r"\1 --box-threshold 0 --text-threshold 0 --smallest 0 --overlap 1 --max-tokens 4",
)
TRAINING = [
    ("1024x1024|128x128", "64x64"),
    (r"steps=\d+", "steps=1"),
    (r"(batch|accumulate)=\d+", r"\1=1"),
    (r"(warm_up|cool_down)=\d+", r"\1=0"),
    ("mixed_precision=fp16", "mixed_precision=bf16"),  # accelerate has fp16 on GPUs alone
    (r"--pictures \d+ --checked \d+", "--pictures 2 --checked 1"),
    (r"(train (ifadapter|feedback) \S+)", r"\1 --set every_sample=0"),
    (r"(train ifadapter \S+)", r"\1 --examples layouts/pets.json"),  # else eleven samples, each drawn twice
    (r"(runs/my-adapter)", r"\1 --small"),
    (r"(train captioner .*)", r"\1 --decoded 2 --drawn 0 --set steps=1 --set batch=1"),
    (
        r"(train feedback runs/tuned)",
        r"\1 --size 64x64 --set steps=1 --set batch=1 --set accumulate=1",
    ),
]
SHORTER: dict[str, list[tuple[str, str]]] = {
    "docs/benchmarks.md": [
        (r"(prepare .* --tiny)", r"\1 --limit 2"),
        (r"^(instance-composer benchmark \S+ draw .*)", r"\1 --steps 1"),
    ],
    "README.md": [("1024", "128")],
    "demo/README.md": TRAINING,
    "docs/annotation.md": [
        ANNOTATING,
        (r"(train ifadapter .*)", r"\1 --size 64x64 --set steps=1 --set batch=1"),
        *TRAINING,
    ],
    "docs/command-line.md": [
        ANNOTATING,
        (r"(render (?:.*\\\n)*.*)", r"\1 --steps 2"),
        (r"^instance-composer demo$", "instance-composer demo --steps 1"),
    ],
    "docs/measured/ways.md": [("--limit 40", "--limit 1"), ("--steps 15", "--steps 1")],
    "docs/python-api.md": [("=1024", "=64"), ("seeds=", "steps=2, seeds=")],
    "docs/rewards.md": [
        (r"(--init reward.safetensors)", r"\1 --set steps=1 --set batch=1 --set every_sample=0")
    ],
    "docs/training.md": TRAINING,
}
# Commands that are only parsed, flags and all, with the reason.
PARSED = {
    r"benchmark \S+ (prepare .*--data|draw .*--model|score .*--(detector|vlm)|report (?!runs/(mig|ways)$))": (
        "published data, which are not here, and hours on a GPU; tests/diffusers runs every step small"
    ),
    r"render layouts .*--controlnet": (
        "models that are not here; tests/diffusers/test_render_conditions.py draws with tiny ones"
    ),
    r"annotate val2014 ": "a thousand pictures that are not here; docs/annotation.md runs the command",
    r"evaluate (layout|binding) ": "hundreds of pictures by ComfyUI; tests/host/methods runs both with a few",
    r"train comat runs/comat ": "hours of training; tests/training runs it at tiny size",
    r"train itercomp runs/(loop|demo-loop) ": "hours; tests/training/iterations runs it at tiny size",
    r"rank runs/loop": "a page that waits for people; tests/browser ranks on it",
    r"train base runs/demo": "days of training; tests/training runs its stages at tiny size",
    r"train pack runs/demo": "what days of training end in; tests/diffusers packs a fresh model",
    r"train reward runs/demo($| --stage)": "an hour of training; tests/training runs it at tiny size",
}
# Programs that are not ours: what makes them right is looked at instead.
INSTALLING = ("accelerate", "cd", "git", "pip", "python")
# What is no layout, by page: said by the reader named.
DATA = {
    "docs/rewards.md": "test_lines_of_preferences_are_read",
    "docs/shapes-world.md": "test_the_grammar_is_the_parsers",
    "web/docs/IC_AttributeConcentration.md": "test_overrides_are_read",
    "web/docs/IC_PromptEntities.md": "test_the_table_of_entities_is_the_nodes",
    "docs/annotation.md": None,
    "docs/benchmarks/overlap.md": "test_the_questions_shown_are_asked",
    "docs/itercomp-loop.md": "test_the_gallery_shown_is_read",
    "docs/training.md": "test_the_job_of_a_cluster_is_parsed",
}


def shortened(block: Block) -> str:
    text = block.text
    for pattern, other in SHORTER.get(block.page, []):
        text, count = re.subn(pattern, other, text, flags=re.MULTILINE)
    return text


def runnable(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.kind != "data"]


@pytest.fixture
def folder(shelf, tmp_path, monkeypatch) -> Path:
    """A working directory in which everything that pages name is there, and may be changed."""
    shutil.copytree(shelf, tmp_path / "page", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "page")
    return tmp_path / "page"


def tiny_flux() -> dict[str, Any]:
    """A FluxPipeline that is given texts, and texts for a prompt and two captions."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=24,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKL(block_out_channels=(4,), latent_channels=4, norm_num_groups=2, shift_factor=0.0)
    parts = (FlowMatchEulerDiscreteScheduler(), vae, None, None, None, None, transformer)
    prompt, *captions = torch.randn(3, 1, 8, 32, generator=torch.Generator().manual_seed(0))
    texts = {"prompt_embeds": prompt, "pooled": torch.zeros(1, 24), "captions": captions}
    return {"flux": FluxPipeline(*parts), **texts}


def names_for(page: str) -> dict[str, Any]:
    """Names that a page takes for granted, as its sentences say."""
    if page == "docs/entities.md":
        from tiny_annotators import bert_tokenizer

        Path("words").mkdir()
        return {"tokenizer": bert_tokenizer(Path("words"))}
    if page == "docs/python-api.md":
        return tiny_flux()
    return {"text": "0.1 0.1 0.5 0.9: a red book"} if page == "docs/layout.md" else {}


@pytest.mark.parametrize("page", [page for page in pages() if runnable(page)])
def test_a_page_runs_from_top_to_bottom(page, folder, capsys):
    names = names_for(page)
    for block in runnable(page):
        if block.kind == "python":
            if is_layout(block):
                continue
            exec(compile(shortened(block), str(block), "exec"), names)
        else:
            for words in Block(page, block.line, "", shortened(block)).commands():
                run(words, block, capsys)
    CHECKS.get(page, lambda names: None)(names)


def run(words: list[str], block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    program, *rest = words
    if program in INSTALLING:
        return check_installing(words)
    assert program == "instance-composer", f"{block}: nothing runs {program}"
    reason = next((why for pattern, why in PARSED.items() if re.match(pattern, " ".join(rest))), None)
    if reason is not None:
        cli._parser(rest).parse_args(rest)
    else:
        # A shell would have made names of files of a pattern.
        rest = [str(name) for word in rest for name in (sorted(Path().glob(word)) if "*" in word else [word])]
        # Every command is a process of its own; accelerate keeps what the one before asked for.
        AcceleratorState._reset_state(reset_partial_state=True)
        assert cli.main(rest) == 0, f"{block}: {' '.join(words)}\n{capsys.readouterr().err}"
    return None


def check_installing(words: list[str]) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    for word in words:
        if extras := re.match(r"instance-composer\[(.+?)\] @ git\+(.+)", word):
            assert all(re.search(rf"^{name} = \[", project, re.MULTILINE) for name in extras[1].split(","))
            assert f'"{extras[2]}"' in project
        else:
            assert not word.startswith("instance-composer["), "no package index has it"
        if word.endswith((".py", ".txt")):
            assert (REPOSITORY / word).is_file()
        if word.startswith("https://"):
            assert f'"{word}"' in project
    if "-m" in words and (module := words[words.index("-m") + 1]).startswith("instance_composer"):
        assert find_spec(module) is not None


def after_readme(names: dict[str, Any]) -> None:
    with Image.open("regions.png") as regions, Image.open("pets.png") as picture:
        assert (regions.size, picture.size) == ((128, 128), (128, 128))
    assert Path("spd_adapter.safetensors").stat().st_size < Path("spd_adapter.bin").stat().st_size
    assert_every_caption_is_read(names)


def after_python_api(names: dict[str, Any]) -> None:
    assert [picture.size for picture in names["pictures"]] == [(64, 64)] * 2
    assert_every_caption_is_read(names)
    assert not any(module._forward_pre_hooks for module in names["pipeline"].unet.modules())


def assert_every_caption_is_read(names: dict[str, Any]) -> None:
    """What Python encodes is what `render` draws: a prompt that leaves no caption out."""
    from instance_composer.models.entities.naming import join_captions

    said, *_ = names["pipeline"].encode_prompt(
        join_captions(names["layout"]), do_classifier_free_guidance=False
    )
    assert names["encoded"].prompt.equal(said)


def after_shapes_world(names: dict[str, Any]) -> None:
    sample = names["sample"]
    assert sample.image.shape == (192, 256, 3)
    assert sample.masks.shape == (4, 192, 256)
    assert isinstance(sample.layout, Layout)


def after_layout(names: dict[str, Any]) -> None:
    assert formats.detect(names["text"]) == "coco"


CHECKS = {
    "README.md": after_readme,
    "docs/layout.md": after_layout,
    "docs/python-api.md": after_python_api,
    "docs/shapes-world.md": after_shapes_world,
}


def test_the_job_of_a_cluster_is_parsed():
    """Whatever starts it, the flags are those of the command."""
    (job,) = [block for block in blocks("docs/training.md") if block.kind == "data"]
    words = next(words for words in job.commands() if words[0] == "srun")
    rest = words[words.index("instance-composer)") + 1 :]
    arguments = cli._parser(rest).parse_args(rest)
    assert (arguments.action, arguments.buckets, arguments.held_out) == ("ifadapter", True, 512)


def is_layout(block: Block) -> bool:
    """Whether a block is a layout, in any of the formats: code of Omost's is one that looks like Python."""
    try:
        return bool(formats.read(block.text, canvas=Canvas(1024, 768)).instances)
    except ValueError:
        return False


EVERY = [block for page in pages() for block in blocks(page)]


@pytest.mark.parametrize("block", EVERY, ids=str)
def test_every_block_is_run_or_read(block):
    """A new block is Python, a command, a layout, or claimed in `DATA` by a test that reads it."""
    if block.kind == "data" and not is_layout(block):
        assert DATA[block.page] in globals(), f"{block} is read by no test"


@pytest.mark.parametrize("block", [b for b in EVERY if is_layout(b)], ids=str)
def test_a_layout_shown_is_faultless(block):
    layout = formats.read(block.text, canvas=Canvas(1024, 768))
    assert layout.checked().active


def test_there_is_an_example_of_every_format():
    shown = {formats.detect(block.text) for block in blocks("docs/layout.md") if is_layout(block)}
    assert shown == {*formats.FORMATS, *formats.READERS}


def test_a_format_is_shown_below_its_own_name():
    text = pages()["docs/layout.md"]
    for block in blocks("docs/layout.md"):
        title = re.findall(r"^#{2,3} (.+)$", text[: text.index(block.text)], re.MULTILINE)[-1]
        if is_layout(block) and title in {**formats.FORMATS, **formats.READERS}:
            assert formats.detect(block.text) == title


def data_of(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.kind == "data" and not is_layout(block)]


def test_lines_of_preferences_are_read(folder):
    from instance_composer.training.data.comparisons import PreferenceFile

    for number, block in enumerate(data_of("docs/rewards.md")):
        file = folder / f"{number}.jsonl"
        file.write_text(block.text.replace("\n", " "), encoding="utf-8")
        assert PreferenceFile(file, "attribute")[0].pairs


def test_the_questions_shown_are_asked():
    from instance_composer.evaluation.benchmarks.published.overlaybench_judge import BETWEEN, BOXES, THINGS

    (block,) = data_of("docs/benchmarks/overlap.md")
    shown = block.text.split("\n\n")
    for question, text in zip((BOXES, THINGS, BETWEEN), shown, strict=True):
        said = " ".join(text.split())
        assert all(part.strip() in said for part in re.split(r"{\w+}", question))


def test_the_gallery_shown_is_read(folder):
    """And the table of kinds names every key, those that must be there in bold."""
    from instance_composer.rankings.gallery import ASPECTS, read_gallery
    from instance_composer.rankings.kinds import KINDS

    (block,) = data_of("docs/itercomp-loop.md")
    for aspect in ASPECTS:
        (folder / f"{aspect}.txt").write_text("a red book\n")
    (folder / "gallery.toml").write_text(block.text, encoding="utf-8")
    gallery = read_gallery(folder)
    assert [one.name for one in gallery.members.values() if one.joins] == ["omost"]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", pages()["docs/itercomp-loop.md"], re.MULTILINE)
    shown = {kind: keys.split(", ") for kind, keys in rows if kind in KINDS}
    assert {kind: sorted(keys) for kind, keys in shown.items()} == {
        name: sorted(f"**{key}**" if one.needed else key for key, one in kind.options.items())
        for name, kind in KINDS.items()
    }


def test_the_grammar_is_the_parsers():
    """The page's rules are the parser's own, and its example is read by them."""
    from instance_composer.shapes_world import captions

    (block,) = data_of("docs/shapes-world.md")
    assert captions.__doc__ is not None
    assert [line for line in block.text.splitlines() if line not in captions.__doc__] == []
    example = re.search(r'as in "(.+?)"', pages()["docs/shapes-world.md"])
    assert example is not None
    (first, second), background = captions.parse(example[1])
    assert (first.size, first.look.pattern) == ("large", "striped")
    assert (second.size, second.look.pattern, background) == ("", "plain", "grey")


def test_overrides_are_read():
    from instance_composer.layout import Box, Instance
    from instance_composer.models.concentration import read_overrides
    from instance_composer.models.entities.extraction import find_entities
    from instance_composer.models.entities.pipelines import parse

    (block,) = data_of("web/docs/IC_AttributeConcentration.md")
    (doc,) = parse(["a red book, a yellow vase, a blue vase and a black hat"])
    things = Layout(tuple(Instance(name, Box(0.0, 0.0, 1.0, 1.0), name) for name in ("plate", "lamp", "cup")))
    assert read_overrides(block.text, find_entities(doc), things) == {0: 1, 2: 2, 3: None}


def test_the_table_of_entities_is_the_nodes():
    """Nouns, words and remarks are those of the prompt that the page names last above the table."""
    from instance_composer.models.entities.extraction import find_entities
    from instance_composer.models.entities.pipelines import parse

    (block,) = data_of("web/docs/IC_PromptEntities.md")
    before = pages()[block.page].partition(block.text)[0]
    (doc,) = parse([re.findall(r"\*(a red book[^*]*)\*", before)[-1]])
    rows = [re.split(r"  +", line) for line in block.text.splitlines()[1:]]
    found = find_entities(doc)
    assert [(row[0], row[1]) for row in rows] == [(entity.noun, entity.text) for entity in found]
    assert [len(row) == 3 for row in rows] == [entity.localisable for entity in found]

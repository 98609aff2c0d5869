"""The loop on tiny models: iterations, stages one by one, a kill at any stage, and what cannot go on."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from loop_runs import BRIEF, write_loop
from PIL import Image
from safetensors import safe_open
from two_processes import forked

from instance_composer.cli import main
from instance_composer.rankings.answers import Answer, AnswerFile
from instance_composer.rankings.gallery import read_gallery
from instance_composer.rankings.merging import read_rankings
from instance_composer.rankings.pictures import picture_file
from instance_composer.training.iterations.stage_names import STAGE_NAMES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return write_loop(tmp_path_factory.mktemp("loop") / "run")


@pytest.fixture
def run(template, tmp_path) -> Path:
    shutil.copytree(template, tmp_path / "run")
    return tmp_path / "run"


def words(run: Path, *more: str, judge: str | None = "world") -> list[str]:
    settings = [word for one in BRIEF for word in ("--set", one)]
    judged = ["--judge", judge] if judge else []
    return ["train", "itercomp", str(run), "--rewards", str(run / "start"), *judged, *settings, *more]


def command(run: Path, *more: str, judge: str | None = "world") -> int:
    AcceleratorState._reset_state(reset_partial_state=True)
    return main(words(run, *more, judge=judge))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(run: Path) -> dict[str, object]:
    """Every file that a loop makes, but for what tells of time alone."""
    found = {}
    for file in sorted(one for one in run.rglob("*") if one.is_file()):
        name = file.relative_to(run).as_posix()
        if not name.startswith(("iterations/", "pictures", "answers/")):
            continue
        if file.name in ("metrics.jsonl", "checkpoint.pt") or re.fullmatch(r"checkpoint-\d+\.pt", file.name):
            continue
        found[name] = _content(file)
    return found


def _content(file: Path) -> object:
    """What a file says, but for times, the run's own place, and the order of metadata in safetensors."""
    if file.suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name).numpy().tobytes() for name in sorted(opened.keys())}
            return tensors, opened.metadata()
    content = file.read_bytes()
    if file.parent.name == "answers":
        return re.sub(rb'"at": "[^"]+"', b"", content)
    if file.name == "run.toml":
        return re.sub(rb'"/[^"]*/', b'"', content)  # the folders of this run
    if file.name == "config.json":
        return {name: value for name, value in json.loads(content).items() if name != "_name_or_path"}
    return content[: content.index(b"## Cost")] if file.name == "report.md" else content


@pytest.fixture(scope="module")
def two_iterations(template, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("two") / "run"
    shutil.copytree(template, run)
    assert command(run, "--iterations", "2") == 0
    return run


def test_two_iterations_enlarge_gallery_and_rankings(two_iterations):
    run = two_iterations
    gallery = read_gallery(run)
    first, second = (lines(run / "iterations" / n / "rankings.jsonl") for n in ("0", "1"))
    assert {line["prompt"] for line in first} == {one.text for one in gallery.prompts}
    for before, after in zip(first, second, strict=True):
        assert set(before["members"]) == {"base", "placed", "bound", "renders"}
        assert set(after["members"]) == {*before["members"], "tuned-1", "late"}
        kept = [one for one in after["members"] if one in before["members"]]
        assert kept == before["members"]
        (ranks,) = after["ranks"].values()
        places = dict(zip(after["members"], ranks, strict=True))
        # A newcomer shares no place.
        assert all(list(places.values()).count(places[one]) == 1 for one in ("tuned-1", "late"))
        assert all((run / "iterations" / "1" / file).is_file() for file in after["images"])


def test_rewards_and_the_base_go_on_from_the_iteration_before(two_iterations):
    run = two_iterations
    for number in ("0", "1"):
        own = run / "iterations" / number
        assert {file.name for file in (own / "rewards").iterdir()} == {
            "attribute.safetensors", "spatial.safetensors", "non-spatial.safetensors",
        }  # fmt: skip
        assert (own / "feedback" / "model" / "unet" / "config.json").is_file()
    start, first, second = (
        (folder / "attribute.safetensors").read_bytes()
        for folder in (
            run / "start",
            run / "iterations" / "0" / "rewards",
            run / "iterations" / "1" / "rewards",
        )
    )
    assert len({start, first, second}) == 3
    # No prompts of this aspect: nothing to learn from.
    kept = run / "iterations" / "1" / "rewards" / "non-spatial.safetensors"
    assert kept.read_bytes() == (run / "start" / "non-spatial.safetensors").read_bytes()
    notes = json.loads((run / "iterations" / "0" / "done-rewards.json").read_text())["notes"]
    assert notes == ["the reward for the aspect non-spatial stays as it is: there is nothing to learn"]


def test_held_out_prompts_teach_nothing_and_measure_the_same_in_every_iteration(two_iterations):
    run = two_iterations
    gallery = read_gallery(run)
    held = {one.text for one in gallery.prompts if gallery.is_held_out(one)}
    for number in ("0", "1"):
        own = run / "iterations" / number
        assert {line["prompt"] for line in lines(own / "held-out.jsonl")} == held
        assert held.isdisjoint(line["prompt"] for line in lines(own / "train.jsonl"))
        assert held.isdisjoint((own / "prompts.txt").read_text().splitlines())
    measured = [read_rankings(gallery, lines(run / "iterations" / n / "held-out.jsonl")) for n in ("0", "1")]
    assert measured[0] == measured[1]


def test_the_report_says_what_became_of_it(two_iterations):
    run = two_iterations
    report = json.loads((run / "iterations" / "1" / "report.json").read_text())
    assert set(report["rewards"]["attribute"]) == {"0", "1"}
    for source in ("scores by rewards", "scores by judge"):
        own = report[source]["attribute"]
        assert set(own) == {"base", "tuned-1", "tuned-2"}
        assert "difference" not in own["base"]
        low, high = own["tuned-2"]["difference interval"]
        assert low <= own["tuned-2"]["difference"] <= high
        # Iterations are compared on the same prompts: two differences from the base, and one of those.
        change = own["tuned-2"]["difference"] - own["tuned-1"]["difference"]
        assert own["tuned-2"]["change"] == pytest.approx(change, abs=2e-4)
        assert "change" not in own["tuned-1"]
    moved = report["picture distance"]
    assert set(moved) == {"tuned-1", "tuned-2"}
    low, high = moved["tuned-1"]["mean interval"]
    assert 0 <= low <= moved["tuned-1"]["mean"] <= high < 1
    assert report["places"]["attribute"]["renders"]["first"] > 0
    text = (run / "iterations" / "1" / "report.md").read_text()
    for title in (
        "Rewards",
        "Scores by rewards",
        "Scores by the judge",
        "Drift",
        "Picture distance",
        "Places",
        "Samples",
        "Cost",
    ):
        assert f"## {title}" in text
    assert (run / "iterations" / "1" / "samples.png").is_file()


def test_a_finished_loop_does_nothing_more(two_iterations):
    before = results(two_iterations)
    assert command(two_iterations, "--iterations", "2") == 0
    assert results(two_iterations) == before


def test_a_model_tuned_further_loses_the_pictures_of_the_one_before(two_iterations, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(two_iterations, run)
    tuned, other = (run / "pictures" / name for name in ("tuned-1", "tuned-2"))
    assert tuned.is_dir()
    assert other.is_dir()
    again = ("--stage", "feedback", "--set", "feedback.steps=2")
    # What cannot be continued leaves everything as it was.
    assert command(run, *again, "--rank", "3") == 2
    assert (run / "iterations" / "0" / "done-feedback.json").is_file()
    assert tuned.is_dir()
    assert command(run, *again) == 0
    assert not tuned.exists()
    assert other.is_dir()
    notes = json.loads((run / "iterations" / "0" / "done-feedback.json").read_text())["notes"]
    assert notes[0].startswith("tuned-1 is another model now and its pictures were removed")
    # The same once more changes nothing.
    assert command(run, *again) == 0
    assert json.loads((run / "iterations" / "0" / "done-feedback.json").read_text())["notes"] == []


def test_a_dry_run_says_what_comes_and_writes_nothing(run, capsys):
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    assert command(run, "--dry-run", "--iterations", "2") == 0
    assert capsys.readouterr().out.splitlines() == [
        "prompts: 4 attribute, 4 spatial",
        "held out for measuring: one prompt of 2 in each aspect",
        "prompts to tune on: 2, 2 held out",
        *(f"{name}: 0 of 8 pictures are there" for name in ("base", "placed", "bound", "renders")),
        "late: joins in iteration 1",
        "next: iteration 0, sample; then on to the end of iteration 1",
    ]
    assert command(run, "--dry-run", "--until", "rank") == 0
    assert capsys.readouterr().out.endswith("next: iteration 0, sample; then on to rank, and no further\n")
    assert command(run, "--dry-run", "--stage", "rewards") == 0
    assert capsys.readouterr().out.endswith("next: iteration 0, rewards, alone\n")
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*")} == before


def first_iteration(run: Path) -> dict[str, object]:
    return {n: c for n, c in results(run).items() if n.startswith(("iterations/0/", "answers/"))}


def test_stages_one_by_one_are_the_loop(run, two_iterations):
    gallery = read_gallery(run)
    held_out = next(one for one in gallery.prompts if gallery.is_held_out(one))
    # A picture by a tuned model that was deleted since.
    stale = picture_file(run, "tuned-1", held_out)
    stale.parent.mkdir(parents=True)
    Image.new("RGB", gallery.size).save(stale)
    for stage in STAGE_NAMES:
        assert command(run, "--stage", stage) == 0
    # A stage that is asked for again leaves the same.
    for stage in ("rank", "rewards"):
        assert command(run, "--stage", stage) == 0
    found, wanted = first_iteration(run), first_iteration(two_iterations)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []


@pytest.mark.parametrize(
    "sign",
    [
        "pictures/placed/*/*.png",
        "answers/*",
        "iterations/0/train/spatial/checkpoint.pt",
        "iterations/0/feedback/checkpoint.pt",
        "iterations/0/report.json",
    ],
)
def test_a_loop_killed_at_any_stage_goes_on_to_the_same_files(sign, run, tmp_path, two_iterations):
    """Killed as soon as a stage's first file is there, and started again."""
    process = forked(main, words(run), said=tmp_path / "said.txt")
    process.start()
    end = time.monotonic() + 540
    while process.exitcode is None and not any(run.glob(sign)) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.join()
    assert any(run.glob(sign))
    assert command(run) == 0
    found, wanted = first_iteration(run), first_iteration(two_iterations)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_people_rank_between_stages(run, capsys):
    assert command(run, "--until", "sample", judge=None) == 0
    assert not (run / "iterations" / "0" / "done-rank.json").exists()
    assert command(run, "--until", "sample", judge=None) == 0
    assert command(run, judge=None) == 2
    assert "let people rank with instance-composer rank" in capsys.readouterr().err
    gallery = read_gallery(run)
    file = AnswerFile(run, "Ana")
    order = (("renders",), ("bound", "placed"), ("base",))
    for prompt in gallery.prompts[:-1]:
        file.add(Answer(prompt.aspect, prompt.number, prompt.text, order))
    assert command(run, "--until", "rank", judge=None) == 2
    assert "1 of 8 questions have no answer yet" in capsys.readouterr().err
    assert command(run, "--stage", "rank", judge=None) == 0
    found = read_rankings(gallery, lines(run / "iterations" / "0" / "rankings.jsonl"))
    assert [one.places for one in found] == [order] * 7


def test_pairs_of_new_members_tuning_from_the_base_and_rankings_that_teach_themselves(run, capsys):
    gallery = read_gallery(run)
    held_out = sorted(gallery.held_out_texts())
    given = run / "given.txt"
    given.write_text("\n".join(["a red circle on grey", *held_out]) + "\n", encoding="utf-8")
    more = ("--pairs", "new", "--tune-from", "base", "--rank", "2", "--ranking-weight", "0.5")
    assert command(run, "--iterations", "2", "--prompts", str(given), *more) == 0
    assert (run / "iterations" / "0" / "prompts.txt").read_text() == "a red circle on grey\n"
    (note,) = json.loads((run / "iterations" / "0" / "done-feedback.json").read_text())["notes"]
    assert note == f"{len(held_out)} prompts of {given} are held out for measuring and teach nothing"
    pairs = lines(run / "iterations" / "1" / "train.jsonl")
    assert pairs
    new = ("/tuned-1/", "/late/")
    assert all(any(name in pair["better"] + pair["worse"] for name in new) for pair in pairs)
    feedback = run / "iterations" / "1" / "feedback"
    assert (feedback / "model" / "feedback_lora.safetensors").is_file()
    # The base learns from whole rankings, whichever pairs of them the rewards go on with.
    assert 'iterations/1/teaching.jsonl"' in (feedback / "run.toml").read_text(encoding="utf-8")
    teaching = lines(run / "iterations" / "1" / "teaching.jsonl")
    assert all("ranks" in one for one in teaching)
    assert {one["prompt"] for one in pairs} <= {one["prompt"] for one in teaching}
    assert gallery.held_out_texts().isdisjoint(one["prompt"] for one in teaching)
    capsys.readouterr()
    assert command(run, "--iterations", "3") == 2
    assert "iteration 0 tuned a LoRA" in capsys.readouterr().err
    given.write_text("\n".join(held_out), encoding="utf-8")
    assert command(run, "--iterations", "3", "--prompts", str(given), *more) == 2
    assert "none is left to tune on; give others with --prompts" in capsys.readouterr().err


def test_where_people_rank_rewards_rank_pictures_of_the_model_in_tuning(run):
    assert command(run, "--until", "sample", judge=None) == 0
    file = AnswerFile(run, "Ana")
    order = (("renders",), ("bound", "placed"), ("base",))
    for prompt in read_gallery(run).prompts:
        file.add(Answer(prompt.aspect, prompt.number, prompt.text, order))
    more = ("--own-pictures", "2", "--ranking-weight", "1", "--reward-weight", "0")
    assert command(run, *more, judge=None) == 0
    own = run / "iterations" / "0"
    ranked = lines(own / "own.jsonl")
    assert [one["prompt"] for one in ranked] == (own / "prompts.txt").read_text().splitlines()
    for one in ranked:
        assert set(one["ranks"]) == {"attribute", "spatial", "non-spatial"}
        assert all(sorted(ranks) == [1, 2] for ranks in one["ranks"].values())
    assert 'iterations/0/own.jsonl"' in (own / "feedback" / "run.toml").read_text(encoding="utf-8")

    pictures = [own / name for one in ranked for name in one["images"]]
    made = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in pictures}
    (own / "own.jsonl").unlink()
    pictures[0].unlink()
    assert command(run, *more, "--stage", "feedback", judge=None) == 0
    assert lines(own / "own.jsonl") == ranked
    again = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in pictures}
    assert again.pop(pictures[0])[0] == made.pop(pictures[0])[0]
    assert again == made


def test_what_cannot_go_on_is_told(run, capsys):
    def told(*more: str, **options) -> str:
        assert command(run, *more, **options) == 2
        return capsys.readouterr().err

    assert "--pairs is 'some'; choose all or new" in told("--pairs", "some")
    assert "--tune-from is 'here'; choose last or base" in told("--tune-from", "here")
    assert "there are no settings of sampling" in told("--set", "sampling.steps=3")
    assert "write of which stage, as rewards.steps or feedback.steps" in told("--set", "steps=3")
    assert "iteration 1 follows the feedback of iteration 0" in told("--stage", "sample", "--iteration", "1")
    assert "has no prompt with pictures of two members; sample them first" in told("--stage", "rank")
    assert "--own-pictures is 1; it must be 0, or 2 to 64" in told("--own-pictures", "1")
    assert "so --own-pictures would teach nothing; give it a weight" in told("--own-pictures", "4")
    assert "--judge is 'wrold'; it is world" in told(judge="wrold")
    assert "the frozen share is 1.5" in told("--frozen", "1.5")
    assert "cannot be read as a text of prompts" in told("--prompts", str(run / "nowhere.txt"))
    text = (run / "gallery.toml").read_text()
    (run / "gallery.toml").write_text(text.replace("steps = 2", 'steps = 2\nlora = "x.safetensors"', 1))
    assert "the base base has a lora, which tuning would not begin with" in told()
    (run / "gallery.toml").write_text(text.replace('model = "sdxl"', 'model = "owner/model"', 1))
    assert "the base base is owner/model, which is not on this disk" in told()

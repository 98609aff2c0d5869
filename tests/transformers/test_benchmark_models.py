"""What benchmarks ask of transformers' models, tiny and random: does it reach them as meant?"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_annotators import SIDE, write_tiny_blip, write_tiny_grounding_dino, write_tiny_llava
from tiny_captioners import write_tiny_qwen
from tiny_judges import TEXT_LENGTH, write_tiny_blip_vqa, write_tiny_clip, write_tiny_dpt
from transformers import AutoProcessor, BlipForQuestionAnswering, CLIPModel

from instance_composer.cli import main
from instance_composer.evaluation.benchmarks.published.caption_stages import similarity_stage
from instance_composer.evaluation.harness.cases import FILE, Case, CaseList
from instance_composer.evaluation.harness.measuring import measure
from instance_composer.evaluation.harness.run_folder import RunFolder
from instance_composer.evaluation.scorers.library_models import LibraryModels
from instance_composer.layout import Box, Canvas, Layout
from instance_composer.models.vision.captioning import TransformersCaptioner
from instance_composer.models.vision.depth import TransformersDepth
from instance_composer.models.vision.grounding_dino.noun_rules import highest_average, surest_token
from instance_composer.models.vision.interfaces import ModelError
from instance_composer.models.vision.question_answering import BlipYesScorer
from instance_composer.models.vision.sam import SamInBoxes
from instance_composer.models.vision.similarity import ClipSimilarity


def noise(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    drawn = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(drawn.to(torch.uint8).numpy())


PICTURES = [noise(seed) for seed in range(3)]
OPTIONS = {"dino": "detector", "dpt": "depth", "clip": "clip"}
QUESTIONS = ["a red cat?", "a blue dog of this picture?", "a traffic light?"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    writers = {
        "vqa": write_tiny_blip_vqa,
        "clip": write_tiny_clip,
        "dpt": write_tiny_dpt,
        "blip": write_tiny_blip,
        "llava": write_tiny_llava,
        "dino": write_tiny_grounding_dino,
    }
    return {name: str(write(folder / name)) for name, write in writers.items()}


def test_yes_is_weighed_as_in_the_librarys_own_answer(folders):
    scorer = BlipYesScorer.load(folders["vqa"], side=SIDE, batch=1)
    found = scorer.yes(PICTURES, QUESTIONS)
    model = BlipForQuestionAnswering.from_pretrained(folders["vqa"]).eval()
    processor = AutoProcessor.from_pretrained(folders["vqa"])
    words = processor.tokenizer.convert_tokens_to_ids(["yes", "no"])
    for picture, question, probability in zip(PICTURES, QUESTIONS, found, strict=True):
        inputs = processor(images=picture, text=question, return_tensors="pt")
        inputs["input_ids"][:, 0] = model.config.text_config.vocab_size - 1
        made = model.generate(**inputs, max_new_tokens=1, output_scores=True, return_dict_in_generate=True)
        expected = made.scores[0][0, words].softmax(dim=-1)[0]
        assert probability == pytest.approx(float(expected), abs=2e-2)
    assert len({round(one, 3) for one in found}) == 3
    together = BlipYesScorer.load(folders["vqa"], side=SIDE, batch=3)
    assert together.yes(PICTURES, QUESTIONS) == pytest.approx(found, abs=1e-5)


def test_cosines_are_clips(folders):
    texts = ["a red cat", "a dog", "blue"]
    found = ClipSimilarity.load(folders["clip"], batch=2).similarities(PICTURES, texts)
    model = CLIPModel.from_pretrained(folders["clip"]).eval()
    processor = AutoProcessor.from_pretrained(folders["clip"])
    with torch.no_grad():
        outputs = model(**processor(text=texts, images=PICTURES, padding=True, return_tensors="pt"))
    expected = (outputs.logits_per_image / model.logit_scale.exp()).diagonal()
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    long = "red " * (TEXT_LENGTH + 1)
    with pytest.raises(ModelError, match="longer than"):
        ClipSimilarity.load(folders["clip"]).similarities(PICTURES[:1], [long])
    # Cut it is what CLIP reads of it: words between a begin and an end.
    cut = ClipSimilarity.load(folders["clip"], cut=True)
    assert cut.similarities(PICTURES[:1], [long]) == cut.similarities(PICTURES[:1], [f"{long} blue dog"])
    assert cut.similarities(PICTURES, texts) == pytest.approx(found, abs=1e-5)


def test_depth_is_stretched_for_each_picture(folders):
    depths = TransformersDepth.load(folders["dpt"]).depths([noise(0), noise(1, 32, 64)])
    assert [tuple(one.shape) for one in depths] == [(40, 48), (64, 32)]
    for depth in depths:
        assert (float(depth.min()), float(depth.max())) == (0.0, 1.0)


def test_depth_is_looked_at_in_the_size_that_is_asked_for(folders):
    estimator, seen = TransformersDepth.load(folders["dpt"]), []
    estimator.model.register_forward_pre_hook(
        lambda model, given, named: seen.append(tuple(named["pixel_values"].shape)), with_kwargs=True
    )
    own, asked = (estimator.depths([noise(1, 32, 64)], side)[0] for side in (None, 64))
    assert seen[1] == (1, 3, 64, 64) != seen[0]
    assert own.shape == asked.shape == (64, 32)


def test_phrases_of_coco_mig_alone_go_by_their_surest_token(folders):
    models = LibraryModels({"detector": folders["dino"]}, "cpu", torch.float32)
    phrases, others = models.phrase_detector(0.25), models.detector(0.3, 0.2)
    assert (phrases._detector.rule, phrases.box_threshold) == (surest_token, 0.25)
    assert (others._detector.rule, others.box_threshold, others.text_threshold) == (highest_average, 0.3, 0.2)
    # A run that an earlier version began goes on as it did.
    before = replace(models, averaging=True).phrase_detector(0.25)
    assert (before._detector.rule, before.box_threshold, before.text_threshold) == (
        highest_average,
        0.25,
        0.25,
    )


def test_answers_come_from_models_that_chat(folders):
    judge = TransformersCaptioner.load(folders["llava"], most_tokens=4, batch=2)
    answers = judge.answer(PICTURES, QUESTIONS)
    assert len(answers) == 3
    assert judge.answer(PICTURES[:1], QUESTIONS[:1]) == answers[:1]
    with pytest.raises(ModelError, match="chat template"):
        TransformersCaptioner.load(folders["blip"]).answer(PICTURES, QUESTIONS)


def test_sams_surest_mask_of_each_box(tmp_path):
    package = pytest.importorskip("segment_anything", reason="SAM needs the package segment-anything")
    sizes = {
        "encoder_embed_dim": 32,
        "encoder_depth": 1,
        "encoder_num_heads": 2,
        "encoder_global_attn_indexes": [0],
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = import_module("segment_anything.build_sam")._build_sam(**sizes)
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    segmenter = SamInBoxes.load(tmp_path / "sam.pth")
    boxes = [Box(0.1, 0.1, 0.6, 0.9), Box(0.5, 0.0, 1.0, 0.5)]
    masks = segmenter.segment(PICTURES[0], boxes)
    assert (tuple(masks.shape), masks.dtype) == ((2, 40, 48), torch.bool)
    predictor = package.SamPredictor(segmenter.sam)
    predictor.set_image(torch.tensor(list(PICTURES[0].tobytes()), dtype=torch.uint8).view(40, 48, 3).numpy())
    corners = torch.tensor([4.8, 4.0, 28.8, 36.0]).numpy()
    all_masks, scores, _ = predictor.predict(box=corners, multimask_output=True)
    assert (masks[0].numpy() == all_masks[scores.argmax()]).all()
    assert segmenter.segment(PICTURES[0], []).shape == (0, 40, 48)
    with pytest.raises(ModelError, match="no file"):
        SamInBoxes.load(tmp_path / "none.pth")


def test_pictures_are_ranked_by_a_checklist(folders, tmp_path, capsys):
    layout = {
        "version": 1,
        "canvas": {"width": 64, "height": 64},
        "instances": [{"id": "1", "box": [0.1, 0.1, 0.6, 0.9], "caption": "a red cat"}],
    }
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    for number, picture in enumerate(PICTURES):
        picture.save(tmp_path / f"{number}.png")
    words = ["score", str(tmp_path), "--layout", str(tmp_path / "layout.json")]
    assert main([*words, "--vlm", folders["llava"], "--out", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["place"] for row in rows] == [1, 2, 3]
    assert sorted(row["score"] for row in rows) == [row["score"] for row in rows][::-1]
    # A random model answers no word that counts, so that everything is named.
    assert all(row["no to"].count('"a red cat"') == 2 for row in rows if row["score"] == 0)
    assert main(words) == 2
    assert "--vlm for the answers" in capsys.readouterr().err
    assert main([*words, "--vlm", folders["llava"], "--prompt", "x"]) == 2
    assert "leave --prompt" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read as Linux tells it")
def test_a_thousand_pictures_take_no_more_memory_than_a_hundred(folders, tmp_path):
    layout = Layout((), Canvas(16, 16), "a red cat")
    cases = tuple(Case(str(n), f"{n}.png", layout, n, str(n)) for n in range(1000))
    CaseList("ifg", "made up", cases).write(tmp_path / FILE)
    run = RunFolder(tmp_path)
    (tmp_path / "pictures" / "noise").mkdir(parents=True)
    for case in cases:
        noise(case.seed, 96, 96).save(run.picture("noise", case))
    done, resident = [0], []

    def note(count: int) -> None:
        done.append(done[-1] + count)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    models = LibraryModels({"clip": folders["clip"]}, "cpu", torch.float32, 50)
    outcome = measure(run, "noise", [similarity_stage(models)], batch=50, on_pictures=note)
    assert outcome.measured == done[-1] == 1000
    # What is left is told from what is done, batch by batch.
    assert done[-3:] == [900, 950, 1000]
    # 900 pictures that were kept would be 25 MB.
    assert resident[-1] - resident[2] < 8, resident


def test_other_models_are_refused_in_words(folders, tmp_path):
    for load, name in (
        (BlipYesScorer.load, "blip"),
        (ClipSimilarity.load, "blip"),
        (TransformersDepth.load, "clip"),
    ):
        with pytest.raises(ModelError):
            load(folders[name])
    with pytest.raises(ModelError, match="yes or no"):
        BlipYesScorer.load(str(write_tiny_blip_vqa(tmp_path / "other", answers=("oui", "non"))))
    with pytest.raises(ValueError, match="--blip-vqa: name the model"):
        LibraryModels({}, "cpu", torch.float32).yes_scorer()
    with pytest.raises(ValueError, match="--vlm"):
        LibraryModels({"vlm": folders["blip"]}, "cpu", torch.float32).judge()


def test_a_benchmark_is_scored_by_models_of_the_library(folders, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", "ifg", "prepare", str(run), "--tiny", "--limit", "1"]) == 0
    words = ["benchmark", "ifg", "score", str(run), "--pictures", f"real={run / 'real'}", "--device", "cpu"]
    assert main([*words, "--detector", folders["dino"]]) == 2
    assert "--clip: name the model" in capsys.readouterr().err
    models = {"detector": "dino", "vlm": "llava", "clip": "clip"}
    assert main([*words, *(word for o, m in models.items() for word in (f"--{o}", folders[m]))]) == 0
    assert main(["benchmark", "ifg", "report", str(run)]) == 0
    assert "| real | 1 |" in (run / "report.md").read_text()


def test_a_name_with_a_slip_in_it_does_not_bar_the_right_one(folders, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "2"]) == 0
    words = ["benchmark", "overlap", "score", str(run), "--device", "cpu", "--batch", "8"]
    words += ["--pictures", f"real={run / 'real'}"]
    models = {f"--{option}": folders[name] for name, option in OPTIONS.items()}

    def score(**changes):
        named = models | {f"--{option}": name for option, name in changes.items()}
        code = main([*words, *(word for option, name in named.items() if name for word in (option, name))])
        return code, capsys.readouterr().err

    (tmp_path / "dnio").mkdir()
    code, said = score(detector=str(tmp_path / "dnio"))
    assert (code, RunFolder(run).models()) == (2, {}), said
    code, said = score(clip=str(tmp_path / "dnio"))
    # The detector has measured, what never loaded has not.
    assert code == 2, said
    assert RunFolder(run).models()["detector"] == Path(folders["dino"]).name
    assert "clip" not in RunFolder(run).models()
    code, said = score(detector=str(tmp_path / "dnio"))
    assert code == 2
    assert "detector was dino and is now dnio" in said
    code, said = score()
    assert code == 0, said
    assert RunFolder(run).models()["clip"] == Path(folders["clip"]).name


def test_models_that_nothing_names_are_told_before_one_is_loaded(folders, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "2"]) == 0
    words = ["benchmark", "overlap", "score", str(run), "--pictures", f"real={run / 'real'}"]
    words += ["--device", "cpu", "--detector", folders["dino"]]
    assert main([*words, "--clip", folders["clip"]]) == 2
    assert "--depth: name the model for the stage order" in capsys.readouterr().err
    assert main(words) == 2
    assert "; --clip: name the model for the stage clip" in capsys.readouterr().err
    assert not list((run / "findings").rglob("*.jsonl"))
    # What no picture asks for needs no name: prompts about colours ask for no depth, and need no boxes.
    other = tmp_path / "colors"
    colors = ["benchmark", "t2i-compbench", "prepare", str(other), "--tiny", "--limit", "1"]
    assert main([*colors, "--categories", "color"]) == 0
    words = ["benchmark", "t2i-compbench", "score", str(other), "--pictures", f"real={other / 'real'}"]
    assert main([*words, "--device", "cpu", "--blip-vqa", folders["vqa"]]) == 0, capsys.readouterr().err


def test_overlaybenchs_measures_are_asked_of_a_model_that_chats(folders, tmp_path, capsys):
    qwen = str(write_tiny_qwen(tmp_path / "qwen", more=["JSON", "boxes", "pixels"]))
    run = tmp_path / "run"
    assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "2"]) == 0
    # All phrases in one batch: the detector at this size cannot look for one alone.
    words = ["benchmark", "overlap", "score", str(run), "--device", "cpu", "--batch", "8"]
    words += ["--pictures", f"real={run / 'real'}"]
    words += [word for one in ("dino", "dpt", "clip") for word in (f"--{OPTIONS[one]}", folders[one])]
    assert main(words) == 0
    # Nobody is asked where no judge is named, and no row is missed for it.
    assert not any((run / "findings" / "real").glob("judge.*"))
    assert main(["benchmark", "overlap", "report", str(run)]) == 0
    report = (run / "report.md").read_text()
    assert ("SR_E |" in report, "| real | 2 |" in report) == (False, True)
    assert main([*words, "--vlm", qwen]) == 0
    (kept,) = (run / "findings" / "real").glob("judge.*")
    found = json.loads(kept.read_text())["found"]
    assert found["size"] == [128, 128]
    assert set(found["answers"]) == {"boxes", "entities", "relations"}
    assert main(["benchmark", "overlap", "report", str(run)]) == 0
    # A random model says no JSON, which counts as nothing said.
    report = (run / "report.md").read_text()
    assert "| SR_E | SR_R |" in report
    assert json.loads((run / "report.json").read_text())["real"]["measures"]["entities"][0] == 0
    # The wording belongs to the numbers.
    assert "is it there, whole, and with the looks" in report

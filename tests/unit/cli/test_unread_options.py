"""Options that nothing would read: refused by name, before anything is loaded or written."""

from __future__ import annotations

import pytest

from instance_composer.cli import main

RENDER = "render {}/one.json --model {} --adapter {} --out {}/new.png"
SIFT = "sift {}"
ANNOTATE = "annotate {} --detector none --vlm none"
SCORE = "benchmark {name} score {{}}/run"
BINDING = "evaluate binding {}/run"
LOOP = "train itercomp {}/run --rewards {}"
REWARD = "train reward {}/run"
ADAPTER = "train ifadapter {}/run --model {}"
FEEDBACK = "train feedback {}/run --model {} --rewards {}"
COMAT = "train comat {}/run --model {} --captioner {}"


@pytest.mark.parametrize(
    ("command", "words", "complaint"),
    [
        (RENDER, "--share 1/2", "--share: new.png is of one layout"),
        (SIFT, "--copies same --distance 3", "--distance is for --copies near, and --copies same is given"),
        # What is typed counts, though it be the default.
        (SIFT, "--copies keep --distance 6", "--distance is for --copies near"),
        (ANNOTATE, "--tag-threshold 0.5", "--tag-threshold is for --tagger, which is not given"),
        (ANNOTATE, "--tags 3 --tag-threshold 1", "--tag-threshold and --tags are for --tagger"),
        (ANNOTATE, "--sheet 5 --no-sheet", "--sheet is for the contact sheet, which --no-sheet leaves out"),
        (ANNOTATE, "--words cat --pipeline en", "--pipeline is for the nouns of captions"),
        (ANNOTATE, "--words-file {}/one.json --pipeline en", "--pipeline is for the nouns of captions"),
        (SCORE.format(name="ifg"), "--tiny --vlm nonsense", "--vlm is for models, in whose place --tiny has"),
        (SCORE.format(name="ifg"), "--tiny --detector a --clip b", "--detector and --clip are for models"),
        (SCORE.format(name="t2i-compbench"), "--tiny --blip-vqa other", "--blip-vqa is for models"),
        (SCORE.format(name="ifg"), "--tiny --resize tensorflow", "--resize is for FID and KID, which need"),
        (BINDING, "--sweep bogus", "--sweep is for --strengths, which is not given"),
        (BINDING, "--lora-strength 3", "--lora-strength is for --lora, which is not given"),
        (LOOP, "--iteration 1", "--iteration is for --stage, which is not given"),
        (LOOP, "--iteration 0 --dry-run", "--iteration is for --stage, which is not given"),
        (LOOP, "--stage rewards --until sample", "--until is for the whole loop, and --stage runs one"),
        (REWARD, "--frozen 0.2", "--frozen is for --data, which is not given"),
        (REWARD, "--stage rewards --frozen 0.7", "--frozen is for --data, which is not given"),
        (ADAPTER, "--small --init {}", "--small is for a fresh adapter, and --init is where this one starts"),
        (ADAPTER, "--data {} --pictures 9", "--pictures is for Shapes World, whose place --data takes"),
        (ADAPTER, "--leave-out", "--leave-out is for --data, which is not given"),
        (ADAPTER, "--latents {}", "--latents is for --data or --text-features, which are not given"),
        (FEEDBACK, "--discriminator-rate 2.5", "--discriminator-rate is for --fidelity-weight, which is 0"),
        (FEEDBACK, "--ranking-reach 2", "--ranking-reach is for --ranking-weight, which is 0"),
        (
            FEEDBACK,
            "--rankings {}/one.json --ranking-weight 1 --reward-weight 0 --cap 1 --guidance 3",
            "--cap and --guidance are for sampled pictures, and with --reward-weight 0 none are",
        ),
        (LOOP, "--ranking-reach 2", "--ranking-reach is for --ranking-weight, which is 0"),
        (LOOP, "--discriminator-rate 1", "--discriminator-rate is for --fidelity-weight, which is 0"),
        (
            COMAT,
            "--discriminator-rate 1 --fidelity-weight 0",
            "--discriminator-rate is for --fidelity-weight",
        ),
        (COMAT, "--rivals 3", "--rivals is for --concept-loss rivals, which is not asked for"),
        (COMAT, "--prompts {}/one.json --world-prompts 3", "--world-prompts is for captions of Shapes World"),
        (COMAT, "--segmenter world --box-threshold 0.3", "--box-threshold is for the --detector of a SAM"),
        (COMAT, "--segmenter world --text-threshold 0.3", "--text-threshold is for the --detector of a SAM"),
        (
            COMAT,
            "--token-weight 0 --pixel-weight 0 --attention-steps 2",
            "--attention-steps is for attention, and --token-weight and --pixel-weight are 0",
        ),
        (COMAT, "--token-weight 0 --pixel-weight 0 --pipeline en", "--pipeline is for entities and rivals"),
    ],
)
def test_what_nothing_would_read_is_refused_by_name(command, words, complaint, tmp_path, capsys):
    (tmp_path / "one.json").write_text("{}")
    assert main(f"{command} {words}".replace("{}", str(tmp_path)).split()) == 2
    assert complaint in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["one.json"]


def test_a_launcher_s_processes_do_not_draw_one_picture_several_times(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(RENDER.replace("{}", str(tmp_path)).split()) == 2
    said = capsys.readouterr().err
    assert "RANK and WORLD_SIZE of a launcher: new.png is of one layout, and each of 2 processes" in said

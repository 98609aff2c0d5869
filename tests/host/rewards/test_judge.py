"""A vision-language model as a second kind of judge in ComfyUI: what it is asked, told and scored."""

from __future__ import annotations

import json

import folder_paths
import pytest
import torch
from tiny_captioners import write_tiny_git, write_tiny_qwen

from instance_composer.hosts.comfyui.conversions import images_from
from instance_composer.hosts.comfyui.inputs import checked
from instance_composer.hosts.comfyui.rewards.judge import load_judge
from instance_composer.hosts.comfyui.rewards.judge_folder import FOLDER, list_judges
from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.vision.checklist import check
from instance_composer.models.vision.interfaces import ModelError
from instance_composer.nodes.rewards import CompositionScore, LoadChecklistJudge, PickBest

LAYOUT = Layout(
    (Instance("1", Box(0, 0, 0.6, 0.6), "a red cat"), Instance("2", Box(0.1, 0.1, 0.7, 0.7), "a blue dog"))
)


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    write_tiny_qwen(base / "tiny-qwen")
    write_tiny_git(base / "inside" / "tiny-git")
    (base / "no-model").mkdir()
    (base / "no-model" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    folder_paths.add_model_folder_path(FOLDER, str(base))
    folder_paths.filename_list_cache.pop(FOLDER, None)
    yield
    folder_paths.folder_names_and_paths[FOLDER][0].remove(str(base))


@pytest.fixture(scope="module")
def judge():
    (judge,) = LoadChecklistJudge.execute("tiny-qwen", "as in the file").args
    return judge


class Lenient:
    """Says yes to whatever is said of the picture's brightest part: answers that differ between pictures."""

    chats = True

    def answer(self, pictures, questions):
        return [
            "Yes" if sum(picture.getpixel((0, 0))) > 300 or "cat" in q else "No"
            for picture, q in zip(pictures, questions, strict=True)
        ]


def test_only_folders_of_the_model_folder_are_listed_and_read():
    assert {"tiny-qwen", "inside/tiny-git"} <= {name.replace("\\", "/") for name in list_judges()}
    for name in ("../tiny-qwen", "Qwen/Qwen2-VL-2B-Instruct", ""):
        with pytest.raises(FileNotFoundError, match=FOLDER):
            load_judge(name, "fp32")
    with pytest.raises(ModelError, match="no chat template"):
        load_judge("inside/tiny-git", "fp32")
    with pytest.raises(ModelError, match=r"folder: .*makes no text of pictures"):
        load_judge("no-model", "fp32")


def test_a_real_model_is_asked_the_checklist_and_scores_every_picture(judge):
    pictures = torch.rand(2, 48, 64, 3, generator=torch.Generator().manual_seed(0))
    # As ComfyUI calls it, with its inputs looked at.
    out = checked(CompositionScore).execute(
        rewards=judge,
        image=pictures,
        text="",
        attribute_weight=1.0,
        spatial_weight=1.0,
        non_spatial_weight=0.0,
        layout=LAYOUT,
    )
    combined, attribute, spatial, non_spatial, table = out.args
    expected = [check(picture, LAYOUT, judge.answerer).shares for picture in images_from(pictures)]
    assert attribute == pytest.approx([one["attribute"] for one in expected])
    assert spatial == pytest.approx([one["spatial"] for one in expected])
    assert combined == pytest.approx([(a + s) / 2 for a, s in zip(attribute, spatial, strict=True)])
    assert all(value != value for value in non_spatial)
    # Answers of random weights are no word that counts.
    assert 'picture 1: "a red cat" in its place; looks of "a red cat"' in table
    assert '"a blue dog" in front of "a red cat"' in table
    assert len(out.ui["images"]) == 1
    assert judge.patcher.model.model.dtype == torch.float32


def test_the_best_picture_by_checklist_is_picked(judge):
    dark, light = torch.zeros(1, 32, 32, 3), torch.ones(1, 32, 32, 3)
    pictures = torch.cat((dark, light, dark))
    lenient = type(judge)(judge.patcher, Lenient())
    scores = CompositionScore.execute(lenient, pictures, "", 1.0, 1.0, 1.0, LAYOUT).args[0]
    assert scores[1] == 1.0 > scores[0] == scores[2] > 0
    best, _, places, _ = PickBest.execute(scores, [1], [pictures]).args
    assert places == [1]
    assert torch.equal(best, light)


def test_without_a_layout_it_is_told(judge):
    picture = torch.zeros(1, 32, 32, 3)
    with pytest.raises(ValueError, match="asks about a layout"):
        CompositionScore.execute(judge, picture, "a red cat", 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="no instance to ask about"):
        CompositionScore.execute(judge, picture, "", 1.0, 1.0, 1.0, Layout(()))

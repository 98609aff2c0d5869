"""Composition rewards in ComfyUI: loading, scores, and picking the best."""

from __future__ import annotations

from dataclasses import replace

import folder_paths
import pytest
import torch
from patcher_on_meta import PatcherOnMeta, without_memory
from tiny_rewards import HEADS, WORDS, tiny_state, write_tiny_rewards

from instance_composer.hosts.comfyui.conversions import images_from
from instance_composer.hosts.comfyui.inputs import checked
from instance_composer.hosts.comfyui.loading import gather
from instance_composer.hosts.comfyui.rewards.folder import FOLDER, chosen_files, list_reward_folders
from instance_composer.hosts.comfyui.rewards.score import (
    CompositionRewards,
    load_rewards,
    score_pictures,
    select_latents,
)
from instance_composer.models.rewards import RewardModel, find_tokenizer, prepare_pictures
from instance_composer.models.weights import CheckpointError
from instance_composer.nodes.rewards import CompositionScore, PickBest

TEXT = "a red circle on grey"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_rewards(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def files(folder):
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def rewards(files):
    return load_rewards(files, "as in the file")


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(10, 40, 64, 3, generator=torch.Generator().manual_seed(0))


def test_scores_are_the_models_own_whatever_the_batch(rewards, files, pictures):
    scores = score_pictures(rewards, pictures, TEXT)
    assert set(scores.normalized) == {"attribute", "spatial", "non-spatial"}
    for aspect, path in files.items():
        model = RewardModel.load(path)
        ids, mask, _ = find_tokenizer(path, model.metadata, 64, 35)([TEXT])
        for number, picture in enumerate(images_from(pictures)):
            pixels = prepare_pictures([picture], model.config.image_size)
            expected = model.score(pixels, ids, mask)
            torch.testing.assert_close(scores.normalized[aspect][number : number + 1], expected)
            torch.testing.assert_close(
                scores.raw[aspect][number : number + 1], model.raw_score(pixels, ids, mask)
            )


def test_a_model_is_whole_on_the_gpu_or_on_the_cpu_and_never_in_parts(files):
    with torch.inference_mode(False):
        patcher = PatcherOnMeta(
            load_rewards({"spatial": files["spatial"]}, "fp32").aspects["spatial"].patcher.model
        )
    assert patcher.load_with(0.75 * patcher.model_size()) == {"cpu", "meta"}
    assert gather(patcher) == torch.device("cpu")
    assert {tensor.device.type for tensor in patcher.model.state_dict().values()} == {"cpu"}
    patcher.detach()
    assert patcher.load_with(0) == {"meta"}
    assert gather(patcher) == torch.device("meta")


def test_without_memory_on_the_gpu_models_run_on_the_cpu(rewards, files, pictures, monkeypatch, caplog):
    expected = score_pictures(rewards, pictures, TEXT)
    without_memory(monkeypatch)
    with torch.inference_mode(False):
        moved = {
            aspect: replace(reward, patcher=PatcherOnMeta(reward.patcher.model))
            for aspect, reward in load_rewards(files, "fp32").aspects.items()
        }
    scores = score_pictures(CompositionRewards(moved), pictures, TEXT)
    assert all(torch.equal(scores.raw[aspect], values) for aspect, values in expected.raw.items())
    assert "RewardModel was not loaded whole onto meta" in caplog.text


def test_half_precision_stays_near(rewards, files, pictures):
    half = score_pictures(load_rewards(files, "fp16"), pictures, TEXT)
    whole = score_pictures(rewards, pictures, TEXT)
    for aspect, values in whole.normalized.items():
        torch.testing.assert_close(half.normalized[aspect], values, atol=2e-2, rtol=0)


def test_the_node_weighs_aspects_and_shows_a_table(rewards, pictures):
    out = CompositionScore.execute(rewards, pictures, TEXT, 1.0, 0.0, -1.0)
    combined, attribute, spatial, non_spatial, table = out.args
    scores = score_pictures(rewards, pictures, TEXT).normalized
    assert attribute == scores["attribute"].tolist()
    assert spatial == scores["spatial"].tolist()
    expected = [(a - n) / 2 for a, n in zip(attribute, non_spatial, strict=True)]
    assert combined == pytest.approx(expected, abs=1e-6)
    lines = table.splitlines()
    assert lines[0].split() == ["place", "picture", "score", "attribute", "spatial", "non-spatial"]
    assert len(lines) == 11
    assert int(lines[1].split()[1]) - 1 == max(range(10), key=combined.__getitem__)
    assert len(out.ui["images"]) == 1


def test_text_the_models_do_not_read_is_told(rewards, pictures):
    words = " and ".join(["a red circle"] * 12)
    table = CompositionScore.execute(rewards, pictures[:1], words, 1.0, 1.0, 1.0).args[-1]
    assert "Not read, because the models read 33 word pieces" in table
    assert table.endswith(words[-40:])


def test_what_an_aspect_reads_less_of_is_told_of_that_one(files, tmp_path, pictures, caplog):
    short = tmp_path / "attribute.safetensors"
    RewardModel.from_state_dict(tiny_state(), {**HEADS, "words": WORDS, "tokens": 10}).save(short)
    mixed = load_rewards({"attribute": short, "spatial": files["spatial"]}, "fp32")
    words = " ".join(["red circle"] * 10)
    remarks = score_pictures(mixed, pictures[:1], words).remarks
    assert remarks == f"Not read in attribute, because its model reads 8 word pieces: {words[44:]}"
    assert remarks in caplog.text


def test_an_aspect_that_is_not_loaded_has_no_numbers(files, pictures):
    some = load_rewards({"spatial": files["spatial"]}, "fp32")
    combined, attribute, spatial, *_ = CompositionScore.execute(some, pictures[:2], TEXT, 1.0, 0.5, 1.0).args
    assert combined == spatial
    assert all(value != value for value in attribute)
    with pytest.raises(ValueError, match="all weights are 0"):
        CompositionScore.execute(some, pictures[:2], TEXT, 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="The text is empty"):
        CompositionScore.execute(some, pictures[:2], " \n", 1.0, 1.0, 1.0)


def test_files_come_from_the_model_folder_alone(folder):
    folder_paths.add_model_folder_path(FOLDER, str(folder.parent))
    assert "tiny" in list_reward_folders()
    assert {path.name for path in chosen_files("tiny", {}).values()} == {
        "attribute.safetensors", "spatial.safetensors", "non-spatial.safetensors"
    }  # fmt: skip
    (single,) = chosen_files(None, {"spatial": "tiny/spatial.safetensors", "attribute": "none"}).items()
    assert single == ("spatial", folder / "spatial.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no reward model '\.\./\.\./secret\.pt'"):
        chosen_files(None, {"spatial": "../../secret.pt"})
    with pytest.raises(FileNotFoundError, match=r"no folder '\.\.'"):
        chosen_files("..", {})
    with pytest.raises(ValueError, match="No reward model is chosen"):
        chosen_files(None, dict.fromkeys(("attribute", "spatial", "non-spatial"), "none"))


def test_a_folder_with_two_files_for_an_aspect_is_refused(folder, tmp_path):
    for name in ("attribute_a.pt", "best_attribute.pt"):
        (tmp_path / name).touch()
    folder_paths.add_model_folder_path(FOLDER, str(tmp_path.parent))
    with pytest.raises(CheckpointError, match="two files for attribute"):
        chosen_files(tmp_path.name, {})


def best(scores, count, image=None, latent=None):
    given = {"image": image, "latent": latent}
    given = {k: [v] for k, v in given.items() if v is not None}
    return checked(PickBest).execute(scores=scores, count=[count], **given).args


def test_the_best_come_first_ties_in_their_order_and_no_numbers_last():
    scores = [0.5, float("nan"), 2.0, 0.5, float("-inf"), 2.0]
    image = torch.arange(6.0).view(6, 1, 1, 1)
    picked, latent, places, values = best(scores, 4, image)
    assert places == [2, 5, 0, 3]
    assert picked.flatten().tolist() == [2, 5, 0, 3]
    assert values == [2.0, 2.0, 0.5, 0.5]
    assert latent is None
    assert best(scores, 99)[2][:4] == [2, 5, 0, 3]
    assert sorted(best(scores, 99)[2]) == list(range(6))
    with pytest.raises(ValueError, match="none of the scores is a number"):
        best([float("nan")] * 3, 2)


def test_latents_keep_their_masks_and_their_noise():
    latent = {
        "samples": torch.arange(3.0).view(3, 1, 1, 1),
        "noise_mask": torch.tensor([[[0.0]], [[0.5]], [[1.0]]]),
        "batch_index": [7, 8, 9],
        "other": "kept",
    }
    _, chosen, _, _ = best([1, 3, 2], 2, latent=latent)
    assert chosen["samples"].flatten().tolist() == [1, 2]
    assert chosen["noise_mask"].flatten().tolist() == [0.5, 1.0]
    assert chosen["batch_index"] == [8, 9]
    assert chosen["other"] == "kept"
    assert latent["batch_index"] == [7, 8, 9]
    shared = {"samples": torch.zeros(3, 4, 2, 2), "noise_mask": torch.ones(1, 2, 2)}
    selected = select_latents(shared, [2, 0])
    assert selected["noise_mask"].shape == (1, 2, 2)
    assert selected["batch_index"] == [2, 0]


def test_masks_that_come_round_again_stay_with_their_pictures():
    import nodes

    latent = {"samples": torch.zeros(4, 4, 2, 2), "noise_mask": torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)}
    selected = select_latents(latent, [3, 0, 2])
    assert selected["noise_mask"].flatten().tolist() == [1.0, 0.0, 0.0]
    for place, mask in zip((3, 0, 2), selected["noise_mask"], strict=True):
        theirs = nodes.LatentFromBatch().frombatch(latent, place, 1)[0]["noise_mask"]
        assert torch.equal(theirs, mask[None])


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 scores, but 3 pictures"):
        best([1, 2], 1, torch.zeros(3, 1, 1, 3))
    with pytest.raises(ValueError, match="There are 2 batches at image"):
        PickBest.execute([1.0], [1], image=[torch.zeros(1, 1, 1, 3)] * 2)

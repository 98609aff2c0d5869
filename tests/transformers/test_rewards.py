"""Reward models: the published implementation's numbers, its files, and what bad files get."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_files import REFERENCES, TRIMMED, read_facts
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from instance_composer.models.rewards import (
    RewardModel,
    RewardTokenizer,
    find_tokenizer,
    pair_accuracy,
    pairs_of_ranks,
    pairwise_loss,
    prepare_decoded,
    prepare_pictures,
    read_reward,
)
from instance_composer.models.weights import CheckpointError

# The reference's own noise is 1e-6.
TOLERANCE = 1e-5
SMALL = TRIMMED / "itercomp" / "reward_small.safetensors"
HEADS = {"vision_heads": 4, "text_heads": 3}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "book", "##s", "and", ",", "vase"]


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def weights(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("weights/"): v for key, v in golden.items() if key.startswith("weights/")}


def used(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what the published files hold and nothing reads."""
    unused = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")
    return {key: value for key, value in state.items() if not key.startswith(unused)}


@pytest.fixture(scope="module", params=REFERENCES)
def reference(request) -> Path:
    return request.param / "itercomp"


@pytest.fixture(scope="module")
def golden(reference) -> dict[str, Tensor]:
    return load_file(reference / "reward_small.safetensors")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return weights(load_file(SMALL))


@pytest.fixture(scope="module")
def model(state, tmp_path_factory) -> RewardModel:
    """The small reward model as published, in a file of ours that knows its heads."""
    path = tmp_path_factory.mktemp("reward") / "small.safetensors"
    RewardModel.from_state_dict(used(state), HEADS).save(path)
    return RewardModel.load(path)


def test_scores_equal_the_published_implementation(golden, model):
    prompts = golden["input_ids"], golden["attention_mask"]
    seen = model.see(golden["image"])
    assert_near(seen, golden["image_embeds"])
    assert_near(model.read(seen, *prompts), golden["text_hidden"])
    assert_near(model.raw_score(golden["image"], *prompts), golden["raw_score"][:, 0])
    scores = model.score(golden["image"], *prompts)
    assert_near(scores, golden["score"][:, 0])
    places = scores.argsort(descending=True).argsort() + 1
    assert torch.equal(places, golden["rank_of_each"])


def test_the_gradient_with_respect_to_pictures_is_the_published_one(golden, model):
    image = golden["image"].clone().requires_grad_()
    score = model.score(image, golden["input_ids"], golden["attention_mask"]).sum()
    (gradient,) = torch.autograd.grad(score, image)
    expected = golden["grad_image_of_score_sum"]
    assert_near(gradient[: len(expected)], expected)


def test_padding_changes_nothing(golden, model):
    """So prompts are padded to the longest only."""
    for row, length in enumerate(golden["attention_mask"].sum(dim=1).tolist()):
        ids = golden["input_ids"][row : row + 1, :length]
        raw = model.raw_score(golden["image"][row : row + 1], ids, torch.ones_like(ids))
        assert_near(raw, golden["raw_score"][row])


def test_pictures_are_prepared_as_published(golden):
    picture = Image.fromarray(golden["preprocess/image_uint8_hwc"].numpy())
    large = prepare_pictures([picture], 224)[0]
    expected = golden.get("preprocess/pil_path_224")
    thinned = golden["preprocess/pil_path_224_every_4th"] if expected is None else expected[:, ::4, ::4]
    assert_near(large[:, ::4, ::4], thinned, 2e-2)
    assert_near(prepare_pictures([picture], 48)[0], golden["preprocess/pil_path_48"], 2e-2)
    decoded = prepare_decoded(golden["preprocess/decoder_output"], 224)[..., ::4, ::4]
    assert_near(decoded, golden["preprocess/tensor_path_224_every_4th"], 2e-2)


@pytest.mark.parametrize("size", [(48, 48), (48, 131), (131, 48), (17, 300)])
def test_any_size_becomes_the_square_of_the_middle(size):
    width, height = size
    picture = Image.new("RGB", size, "white")
    picture.paste("black", (width // 3, height // 3, width - width // 3, height - height // 3))
    prepared = prepare_pictures([picture], 32)
    assert prepared.shape == (1, 3, 32, 32)
    assert prepared[0, 0, 16, 16] < prepared[0, 0].max()


def test_the_loss_of_pairs_is_the_published_one(golden):
    rewards = golden["pairwise/rewards_better_worse"].clone().requires_grad_()
    loss = pairwise_loss(*rewards.unbind(1))
    assert_near(loss, golden["pairwise/loss"])
    assert_near(torch.autograd.grad(loss, rewards)[0], golden["pairwise/grad"])
    assert_near(pair_accuracy(*rewards.unbind(1)), golden["pairwise/accuracy"])


def test_rankings_make_the_published_pairs(reference):
    for entry in read_facts(reference / "reward_small.json")["pair_construction"]:
        order = [int(digit) - 1 for digit in entry["rank"]]
        ranks = [order.index(number) + 1 for number in range(len(order))]
        names = entry["gallery"]
        assert [[names[a], names[b]] for a, b in pairs_of_ranks(ranks)] == entry["pairs"]


def test_ties_make_no_pair():
    assert pairs_of_ranks([2, 1, 2]) == [(1, 0), (1, 2)]
    assert pairs_of_ranks([1, 1]) == []


def test_the_published_file_is_understood_key_for_key():
    facts = read_facts(TRIMMED / "itercomp" / "reward_manifest.json")
    state = {key: torch.empty(shape, device="meta") for key, shape in facts["keys"].items()}
    model = RewardModel.from_state_dict(used(state))
    config = model.config
    assert (config.image_size, config.vision_heads, config.text_heads) == (224, 16, 12)
    assert config.head == (1024, 128, 64, 16, 1)
    projections = sum(v.numel() for k, v in state.items() if "_proj." in k)
    assert sum(p.numel() for p in model.parameters()) + projections == facts["parameter_count"]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("wrapper", "name"),
    [(None, "best_lr=1e-05.pt"), ("state_dict", "best_lr=1e-05.pt"), ("model", "called.safetensors")],
)
def test_torch_files_of_trainers_are_read(tmp_path, state, golden, prefix, wrapper, name):
    content = {prefix + key: value for key, value in state.items()}
    torch.save(content if wrapper is None else {"epoch": 3, wrapper: content}, tmp_path / name)
    with pytest.raises(CheckpointError, match="does not tell its number of attention heads"):
        RewardModel.load(tmp_path / name)
    read, metadata = read_reward(tmp_path / name)
    model = RewardModel.from_state_dict(read, {**metadata, **HEADS})
    raw = model.raw_score(golden["image"], golden["input_ids"], golden["attention_mask"])
    assert_near(raw, golden["raw_score"][:, 0])


def test_saving_keeps_numbers_and_what_weights_do_not_tell(tmp_path, model):
    model.save(tmp_path / "copy.safetensors")
    copy = RewardModel.load(tmp_path / "copy.safetensors")
    assert copy.config == model.config
    assert all(torch.equal(value, copy.state_dict()[key]) for key, value in model.state_dict().items())
    assert "blip.visual_encoder.blocks.1.attn.qkv.weight" in load_file(tmp_path / "copy.safetensors")
    model.save(tmp_path / "half.safetensors", torch.float16)
    ids = torch.tensor([[2, 4, 5, 3]])
    picture = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    scores = [
        m.score(picture, ids, torch.ones_like(ids))
        for m in (copy, RewardModel.load(tmp_path / "half.safetensors"))
    ]
    assert_near(scores[1], scores[0], 5e-3)


def test_of_several_aspects_each_becomes_a_model_of_its_own(state):
    head = {"mlp.layers.7.weight": torch.randn(3, 16), "mlp.layers.7.bias": torch.randn(3)}
    model = RewardModel.from_state_dict({**used(state), **head}, HEADS)
    ids = torch.tensor([[2, 4, 5, 3]])
    mask, picture = torch.ones_like(ids), torch.randn(1, 3, 48, 48)
    together = model.reward(model.read(model.see(picture), ids, mask))
    for number in range(3):
        one = model.one_aspect(number, {"aspect": "spatial"}, mean=1.0, std=2.0)
        assert_near(one.raw_score(picture, ids, mask), together[:, number])
        assert_near(one.score(picture, ids, mask), (together[:, number] - 1) / 2)
        assert one.metadata["aspect"] == "spatial"
    several = one.several_aspects(3)
    assert all(parameter.requires_grad for parameter in several.parameters())
    several.eval()
    begun = several.reward(several.read(several.see(picture), ids, mask))
    assert_near(begun, together[:, 2:].expand(-1, 3))


def expect_error(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        RewardModel.load(path)
    for word in words:
        assert word in str(caught.value)


def test_files_that_are_no_reward_model_say_what_they_are(tmp_path, state):
    save_file({"lora_unet.alpha": torch.zeros(1)}, tmp_path / "lora.safetensors")
    expect_error(tmp_path / "lora.safetensors", "not a composition reward model", "lora_unet.alpha")
    torch.save([1, 2], tmp_path / "list.pt")
    expect_error(tmp_path / "list.pt", "holds a list")
    save_file({k: v for k, v in state.items() if not k.startswith("mlp")}, tmp_path / "headless.safetensors")
    expect_error(tmp_path / "headless.safetensors", "no weights under 'mlp.layers.'")
    for told in ("{cut", "[1]"):
        save_file(state, tmp_path / "told.safetensors", {"instance_composer.reward": told})
        expect_error(tmp_path / "told.safetensors", f"carries '{told}'", "where a JSON object should be")


def test_files_that_are_not_whole_name_what_is_wrong(tmp_path, model):
    model.save(tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-100])
    expect_error(tmp_path / "cut.safetensors", "truncated")
    torch.save(load_file(tmp_path / "whole.safetensors"), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-100])
    expect_error(tmp_path / "cut.pt", "truncated")
    state = load_file(tmp_path / "whole.safetensors")
    wrong = {**state, "blip.visual_encoder.norm.weight": torch.zeros(7)}
    wrong.pop("blip.text_encoder.encoder.layer.1.output.dense.bias")
    with pytest.raises(CheckpointError) as caught:
        RewardModel.from_state_dict(wrong, HEADS)
    assert "text.encoder.layer.1.output.dense.bias is missing" in str(caught.value)
    assert "blip.visual_encoder.norm.weight is (7,), not (32,)" in str(caught.value)


class Payload:
    """An object whose reading calls a function, as a hostile pickle holds it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def test_pickles_with_code_are_refused_and_not_run(tmp_path):
    torch.save({"model": Payload(tmp_path / "ran")}, tmp_path / "hostile.pt")
    expect_error(tmp_path / "hostile.pt", "hostile.pt was refused", "could run code")
    assert not (tmp_path / "ran").exists()


def test_prompts_become_berts_word_pieces():
    prompts = RewardTokenizer.of_words(WORDS, 35)(["A red BOOKS, and a váse", "unknown"])
    assert prompts.input_ids.tolist() == [[2, 4, 5, 6, 7, 9, 8, 4, 10, 3], [2, 1, 3, 0, 0, 0, 0, 0, 0, 0]]
    assert prompts.attention_mask.sum(dim=1).tolist() == [10, 3]
    assert prompts.cut == ("", "")


def test_what_does_not_fit_is_told():
    prompts = RewardTokenizer.of_words(WORDS, 6)(["A red book and a Vase", "a red book"])
    assert prompts.input_ids.tolist()[0] == [2, 4, 5, 6, 8, 3]
    assert prompts.cut == ("a Vase", "")


def test_a_word_that_other_programs_end_lines_with_is_a_word(tmp_path):
    """Those behind it keep their numbers."""
    (tmp_path / "vocab.txt").write_text(
        "\n".join([*WORDS[:4], "\u2028", *WORDS[4:]]) + "\n", encoding="utf-8"
    )
    tokenizer = RewardTokenizer.read(tmp_path / "vocab.txt", 35)
    assert tokenizer.size == len(WORDS) + 1
    assert tokenizer(["red vase"]).input_ids.tolist() == [[2, 6, 11, 3]]


def test_the_vocabulary_lies_beside_the_weights_or_is_asked_for(tmp_path):
    weights_file = tmp_path / "rewards" / "attribute.pt"
    (tmp_path / "rewards" / "bert-base-uncased").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"attribute\.pt needs the vocabulary of bert-base-uncased"):
        find_tokenizer(weights_file, {}, 30524, 35)
    file = tmp_path / "rewards" / "bert-base-uncased" / "vocab.txt"
    file.write_text("\n".join(WORDS) + "\n")
    assert find_tokenizer(weights_file, {}, 30524, 35)(["red vase"]).input_ids.tolist() == [[2, 5, 10, 3]]
    with pytest.raises(CheckpointError, match=r"has 11 words, but attribute\.pt knows 8"):
        find_tokenizer(weights_file, {}, 8, 35)
    file.write_text("just\nwords\n")
    with pytest.raises(CheckpointError, match=r"lacks \[PAD\]"):
        find_tokenizer(weights_file, {}, 30524, 35)
    told = find_tokenizer(weights_file, {"words": WORDS}, 11, 35)
    assert told.size == 11

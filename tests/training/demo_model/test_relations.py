"""Relations in training: new words, a base that goes on with them, rewards that are told where things are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from latent_sets import latent_set
from PIL import Image
from safetensors.torch import load_file
from tiny_rewards import HEADS, tiny_state

from instance_composer.cli import main
from instance_composer.demo import FOLDER
from instance_composer.models.rewards import RewardModel, RewardTokenizer, prepare_pictures
from instance_composer.shapes_world import RELATIONS, ShapesWorld
from instance_composer.shapes_world.preferences import Comparisons, words
from instance_composer.shapes_world.relation_pairs import RelationPairs
from instance_composer.shapes_world.relations import APART, holds
from instance_composer.training.data.comparisons import Alternating, WorldPreferences
from instance_composer.training.data.latents import LatentSet
from instance_composer.training.demo_model.new_words import add_words
from instance_composer.training.demo_model.packing import known_tokens
from instance_composer.training.demo_model.pipeline import make_tokenizers
from instance_composer.training.demo_model.recipe import choose_stage
from instance_composer.training.demo_model.reward_model import show_places, small_reward_model
from instance_composer.training.demo_model.rewards import STAGES as REWARD_STAGES
from instance_composer.training.demo_model.sides import sided
from instance_composer.training.demo_model.text_to_image import TextToImageTask
from instance_composer.training.engine.settings import SettingsError
from instance_composer.training.itercomp.reward_objective import RewardTask

BRIEF = {"batch": 2, "warm_up": 0, "cool_down": 0, "every_sample": 0, "every_log": 1, "every_checkpoint": 1}


def test_words_without_an_embedding_get_one_and_no_other_changes(pipeline):
    ids = [pipeline.tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("left of", "red")]
    new = sorted({*ids[0]} - {*ids[1]})
    tables = [e.get_input_embeddings().weight for e in (pipeline.text_encoder, pipeline.text_encoder_2)]
    for table in tables:
        table.data[new] = 0
    before = [table.detach().clone() for table in tables]
    add_words(pipeline, ["left of", "red"])
    for table, old in zip(tables, before, strict=True):
        changed = (table != old).any(dim=1).nonzero().flatten().tolist()
        assert changed == new
        # As large as the others: a third either way at 32 numbers a word.
        whole = float(old[old.abs().amax(dim=1) > 0].std())
        assert float(table.detach()[new].std()) == pytest.approx(whole, rel=0.34)


def test_the_shipped_vocabulary_has_the_words_and_the_shipped_encoders_know_them_and_no_others():
    known = set(known_tokens())
    tokenizer, _ = make_tokenizers()
    read = {n for one in RELATIONS for n in tokenizer(one, add_special_tokens=False)["input_ids"]}
    assert len(read) == len({word for one in RELATIONS for word in one.split()})
    assert read < known
    for part in ("text_encoder", "text_encoder_2"):
        weights = load_file(Path(FOLDER) / part / "model.safetensors")
        (table,) = (value for name, value in weights.items() if name.endswith("token_embedding.weight"))
        assert set(table.any(dim=1).nonzero().flatten().tolist()) == known


def test_a_base_goes_on_with_relations_from_another_model_and_then_from_its_checkpoint(tiny_model, tmp_path):
    for steps in (1, 2):
        stage = choose_stage("base-relations", {**BRIEF, "steps": steps}, 8, tiny_model)
        stage.train(tmp_path)
    run = tmp_path / "base-relations"
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert (run / "model" / "model_index.json").is_file()
    folder, held_out = sorted(tmp_path.glob("latents-128x128*"))
    assert folder.name == "latents-128x128-related-0.6-checked-2.5-star-2"
    assert held_out.name == f"{folder.name}-held-out"
    captions = [LatentSet.load(folder).document(number)["prompt"] for number in range(6)]
    assert any(f" {relation} " in one for one in captions for relation in RELATIONS)


class BlindTo(torch.nn.Module):
    """A UNet that is shown another caption than it was given."""

    def __init__(self, unet, shown):
        super().__init__()
        self.unet, self.shown = unet, shown

    def forward(self, noisy, timesteps, prompt, added_cond_kwargs):
        return self.unet(noisy, timesteps, self.shown(prompt), added_cond_kwargs=added_cond_kwargs)


def related_batch(task, number=8):
    captions = ["a red heart above a blue star on grey", "a red heart and a blue star on grey"] * (
        number // 2
    )
    phrases = [{"caption": "a red heart"}]
    documents = [{"prompt": one, "instances": phrases} for one in captions * (number // 2)]
    latents = torch.randn((number, 4, 8, 8), generator=torch.Generator().manual_seed(3))
    return task.collate(latent_set(latents, documents), range(number))


def test_the_error_given_the_opposite_relation_is_asked_to_be_larger(pipeline, latents):
    task = TextToImageTask(pipeline, [latents], contrast=0.3)
    add_words(pipeline, RELATIONS)
    batch = related_batch(task)
    assert batch["related"].tolist() == [0, 2, 4, 6]
    report = task.objective(batch, torch.Generator().manual_seed(1))
    plain = {name: value for name, value in batch.items() if name not in ("related", "contradicted")}
    without = task.objective(plain, torch.Generator().manual_seed(1))
    assert set(without) == {"loss", "error"}
    assert torch.equal(report["error"], without["error"])
    torch.testing.assert_close(report["loss"], without["loss"] + 0.3 * report["contrast"])
    report["contrast"].backward()
    gradient = sum(float(one.grad.abs().sum()) for one in pipeline.unet.parameters() if one.grad is not None)
    assert gradient > 0

    # Who cannot tell them apart is at log 2 for each, which here are those not dropped and noisy enough.
    task.objective.unet = BlindTo(pipeline.unet, torch.zeros_like)
    pooled = task.objective.text_encoder_2
    pooled.text_projection.weight.data.zero_()
    with torch.no_grad():
        blind = float(task.objective(batch, torch.Generator().manual_seed(1))["contrast"]) / math.log(2) * 8
    assert blind == pytest.approx(round(blind), abs=1e-4)
    assert 1 <= round(blind) <= 4


def test_encodings_of_captions_without_a_relation_are_held(pipeline, latents):
    """New words may come to mean something; what adapters and LoRAs read of known ones stays."""
    add_words(pipeline, RELATIONS)
    task = TextToImageTask(pipeline, [latents], related=1.0)
    related = "a red heart above a blue star on grey"
    batch = task.collate(latent_set(latents.latents([0]), [{**latents.document(0), "prompt": related}]), [0])
    report = task.objective(batch, torch.Generator().manual_seed(1))
    assert float(report["moved"].detach()) == 0

    tables = [e.get_input_embeddings().weight for e in (pipeline.text_encoder, pipeline.text_encoder_2)]
    said = [torch.unique(ids) for ids in batch["unrelated"][:2]]
    new = [
        sorted({*torch.unique(ids).tolist()} - {*known.tolist()})
        for ids, known in zip(batch["contradicted"], said, strict=False)
    ]
    assert all(new)
    with torch.no_grad():
        for table, ids in zip(tables, new, strict=True):
            table[ids] += 1
    assert float(task.objective(batch, torch.Generator().manual_seed(1))["moved"].detach()) == 0
    with torch.no_grad():
        tables[0][said[0]] += 0.1
    moved = task.objective(batch, torch.Generator().manual_seed(1))
    assert float(moved["moved"].detach()) > 0
    moved["moved"].backward()
    assert not tables[0].grad[new[0]].any()
    assert tables[0].grad[said[0]].any()


def test_one_thing_is_said_to_be_on_its_side_of_the_middle():
    world = ShapesWorld(3, 64, 64, figures=1)
    said = set()
    for number in range(60):
        layout = world[number].layout
        document, (thing,) = layout.to_dict(), layout.instances
        center = ((thing.box.x0 + thing.box.x1) / 2, (thing.box.y0 + thing.box.y1) / 2)
        for turned in (False, True):
            text = sided(document, turned)
            if text == layout.prompt:
                assert max(abs(one - 0.5) for one in center) < APART
                continue
            told, background = text.rsplit(" on ", 1)
            assert layout.prompt == f"{thing.caption} on {background}"
            relation = next(one for one in RELATIONS if f" {one} " in told)
            first, second = told.split(f" {relation} ")
            places = {thing.caption: center, "the middle": (0.5, 0.5)}
            assert (first == "the middle") == turned
            assert holds(relation, places[first], places[second])
            said.add((relation, turned))
    assert len(said) == 8
    two = ShapesWorld(3, 64, 64, figures=2)[0].layout
    assert sided(two.to_dict(), turned=False) == two.prompt


def test_a_stage_starts_only_where_it_can(tmp_path, capsys):
    with pytest.raises(SettingsError, match="choose a base stage"):
        choose_stage("crops", {}, start=tmp_path)
    for words_, complaint in (
        (["base", str(tmp_path), "--init", str(tmp_path)], "one --stage"),
        (["reward", str(tmp_path), "--stage", "patches", "--init", str(tmp_path)], "starts from nothing"),
        (["reward", str(tmp_path), "--stage", "relations", "--aspect", "spatial"], "leave out --aspect"),
        (["reward", str(tmp_path), "--stage", "relations", "--init", str(tmp_path)], "no reward model"),
    ):
        assert main(["train", *words_]) != 0
        assert complaint in capsys.readouterr().err


def test_rewards_learn_from_relation_pairs_and_from_where_things_are():
    torch.manual_seed(0)
    vocabulary = words()
    state = tiny_state()
    key = next(name for name in state if name.endswith("word_embeddings.weight"))
    state[key] = torch.randn(len(vocabulary), state[key].shape[1])
    model = RewardModel.from_state_dict(state, {**HEADS, "words": vocabulary})
    source = Alternating(
        (
            WorldPreferences(RelationPairs(1, 64, 64), 2, ("spatial",)),
            WorldPreferences(Comparisons(1, 64, 64), 3, ("spatial",)),
        )
    )
    assert len(source) == 4
    assert len(source[0].pictures) == 2 < len(source[1].pictures)
    pairs = WorldPreferences(RelationPairs(2, 64, 64), 2, ("spatial",))
    tokenizer = RewardTokenizer.of_words(vocabulary, 35)
    task = RewardTask(model, tokenizer, source, pairs, ("spatial",), words=True, places=True)
    (batch,) = task.validation_batches(2)
    assert batch["places"].shape == (*batch["input_ids"].shape, 2)
    known = ~batch["places"].isnan()
    assert known.any(dim=(1, 2)).all()
    assert not known[:, 0].any()
    assert (known.any(dim=-1) & (batch["attention_mask"] == 0)).sum() == 0
    report = task.objective(batch, torch.Generator())
    assert {"places", "words", "pairs"} <= set(report)
    report["loss"].backward()
    assert task.objective.locate.weight.grad.abs().sum() > 0
    assert source.describe() == {"in turn": [one.describe() for one in source.sources]}
    assert source.sources[0].describe()["pairs"] == "relations"


def test_where_a_patch_is_can_be_read_off_what_the_tower_sees():
    """What a tower that only had to tell patches apart never said: sides begin with it."""
    model, _ = small_reward_model()
    world = ShapesWorld(5)
    pixels = prepare_pictures([Image.fromarray(world[n].image) for n in range(24)], model.config.image_size)
    side = model.config.image_size // model.config.patch_size
    along = torch.linspace(-1, 1, side)
    places = torch.cartesian_prod(along, along).repeat(24, 1)

    def unexplained():
        with torch.no_grad():
            seen = model.see(pixels)[:, 1:].flatten(0, 1)
        known = torch.cat((seen, torch.ones(len(seen), 1)), dim=1)
        half = len(known) // 2
        fit = torch.linalg.lstsq(known[:half], places[:half]).solution
        return float((known[half:] @ fit - places[half:]).square().mean() / places.square().mean())

    torch.manual_seed(0)
    before = unexplained()
    show_places(model, world)
    assert unexplained() < 0.2 < before
    once = model.vision.embeddings.position_embedding.detach().clone()
    show_places(model, world)
    assert torch.equal(model.vision.embeddings.position_embedding, once)


def test_the_shipped_spatial_reward_can_be_gone_on_with(tmp_path):
    """Its vocabulary has the words of relations already."""
    start = Path(FOLDER) / "rewards" / "spatial.safetensors"
    stage = next(one for one in REWARD_STAGES if one.name == "relations")
    task = stage.starting_from(start).task(tmp_path)
    assert task.samples == 6000
    assert {word for one in RELATIONS for word in one.split()} <= set(task.model.metadata["words"])
    folder = stage.starting_from(start.parent).task(tmp_path)
    for one, other in zip(task.model.parameters(), folder.model.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


def test_all_aspects_can_begin_as_the_shipped_spatial_one(tmp_path):
    """What it knows of words and places is what the others lack."""
    start = Path(FOLDER) / "rewards" / "spatial.safetensors"
    stage = next(one for one in REWARD_STAGES if one.name == "rewards")
    task = stage.starting_from(start).task(tmp_path)
    batch = task.validation_batches(2)[0]
    assert batch["places"].isfinite().any()
    with torch.no_grad():
        rewards = task.objective.rewards(batch)
    assert rewards.shape[1] == len(task.aspects) == 3
    assert torch.equal(rewards, rewards[:, :1].expand(-1, 3))


def test_the_stage_of_numbers_learns_more_where_nearly_all_is_noise(tiny_model, tmp_path):
    """The timesteps that its UNet is given, against those of the stage before."""
    early = {}
    for name in ("base-relations", "base-numbers"):
        task = choose_stage(name, {**BRIEF}, 8, tiny_model).task(tmp_path)
        seen = []
        task.objective.unet.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[1]))
        batch = related_batch(task)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for _ in range(30):
                # Behind the first call come the opposites, on some of the same timesteps.
                seen.clear()
                task.objective(batch, generator)
                early.setdefault(name, []).append(seen[0])
    shares = {name: float((torch.cat(steps) < 500).float().mean()) for name, steps in early.items()}
    # 240 timesteps each: three deviations are 0.1.
    assert shares["base-relations"] == pytest.approx(0.5, abs=0.1)
    assert shares["base-numbers"] == pytest.approx(0.25, abs=0.1)

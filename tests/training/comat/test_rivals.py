"""Captions that bind a prompt's words otherwise."""

from __future__ import annotations

import pytest

from instance_composer.models.entities.pipelines import parse
from instance_composer.shapes_world import ShapesWorld, caption
from instance_composer.shapes_world import parse as read
from instance_composer.shapes_world.captions import CaptionError
from instance_composer.training.comat.options import CoMatRun
from instance_composer.training.comat.prompts import PromptEntities
from instance_composer.training.comat.rivals import rival_captions
from instance_composer.training.comat.run import _rivals
from instance_composer.training.engine.checkpoint import write_run
from instance_composer.training.engine.fingerprint import of_texts

PROMPT = "An old dog and a small red bench under a tree"


def rivals(*prompts: str, count: int = 12, seed: int = 0):
    return rival_captions(parse(prompts, "en_core_web_sm"), count, seed)


def test_words_are_exchanged_between_things_with_their_articles():
    found = rivals(PROMPT, count=50)[0]
    assert len(set(found)) == len(found)
    assert PROMPT not in found
    for wanted in (
        "An old bench and a small red dog under a tree",
        "A small dog and an old red bench under a tree",
        "An old red dog and a small bench under a tree",
    ):
        assert wanted in found
    # A thing that nothing describes has nothing to lose.
    assert all(one.endswith("under a tree") for one in found)


def test_other_prompts_lend_their_words():
    found = rivals("a red dog", "a blue bench")
    assert found == [("a blue dog", "a red bench"), ("a blue bench", "a red bench")] or {*found[0]} == {
        "a blue dog",
        "a red bench",
    }


@pytest.mark.parametrize("prompt", ["a dog", "", "in the style of nothing"])
def test_what_nothing_describes_has_no_rivals(prompt):
    assert rivals("a red dog", prompt)[1] == ()


def test_none_says_what_a_prompt_of_shapes_world_says():
    world = ShapesWorld(21, 128, 128)
    prompts = [caption(world.scene(number)) for number in range(60)]
    found = rivals(*prompts)
    readable = 0
    for prompt, some in zip(prompts, found, strict=True):
        looks = sorted(one.look for one in read(prompt)[0])
        for rival in some:
            try:
                phrases, _ = read(rival)
            except CaptionError:
                continue
            readable += 1
            assert sorted(one.look for one in phrases) != looks or [one.size for one in phrases] != [
                one.size for one in read(prompt)[0]
            ]
    # Most put a word where its kind belongs, though nothing says which words are colours.
    assert readable > 0.7 * sum(map(len, found))


def test_the_same_seed_gives_the_same_rivals_whatever_stands_beside():
    assert rivals(PROMPT, seed=3) == rivals(PROMPT, seed=3)
    assert rivals(PROMPT, seed=3) != rivals(PROMPT, seed=4)
    assert all(len(some) <= 2 for some in rivals(PROMPT, "a red dog", count=2))


def test_a_word_that_has_not_changed_keeps_its_article():
    """Letters do not tell how it sounds, and "an used car" would give a rival away by itself."""
    (found,) = rivals("a used car and a red dog", count=50)
    same = [one for one in found if "used car" in one or "used dog" in one.partition(" and ")[0]]
    assert same
    assert all(one.startswith("a used ") for one in same)


def test_a_run_that_was_begun_with_every_article_anew_goes_on_with_those(tmp_path):
    prompts = ["a used car and a red dog", "a blue bench"]
    run, none = CoMatRun(tmp_path, concept_loss="rivals"), [PromptEntities()] * 2
    docs = parse(prompts, "en_core_web_sm")
    now, earlier = (
        [PromptEntities(rivals=some) for some in rival_captions(docs, run.rivals, every_article=every)]
        for every in (False, True)
    )
    assert now != earlier
    assert _rivals(none, prompts, run, tmp_path) == now
    for begun in (now, earlier):
        write_run(tmp_path, {"step": 1, "rests_on": {"entities": of_texts(map(repr, begun))}})
        assert _rivals(none, prompts, run, tmp_path) == begun

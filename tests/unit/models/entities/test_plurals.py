"""Words in singular and plural."""

from __future__ import annotations

import pytest

from instance_composer.models.entities.plurals import same_word, singular_forms

PAIRS = (
    "horse horses, house houses, rose roses, nose noses, vase vases, purse purses, moustache moustaches,"
    "axe axes, box boxes, bus buses, walrus walruses, virus viruses, glass glasses, lens lenses, dish dishes,"
    "cookie cookies, zombie zombies, movie movies, pie pies, tie ties, cherry cherries, bee bees, shoe shoes,"
    "tomato tomatoes, photo photos, taxi taxis, cape capes, TV TVs, knife knives, wolf wolves, leaf leaves,"
    "cave caves, olive olives, bookshelf bookshelves, man men, woman women, snowman snowmen, child children,"
    "person people, foot feet, tooth teeth, mouse mice, goose geese, t-shirt t-shirts"
)
OTHERS = (
    "cap capes, can canes, tub tubes, plan planes, pin pines, cub cubes, cafe caves, cop copse, tea tease,"
    "car carse, row rose, glass glas, dress dre, us u, cat caterpillar, horse house, moo moose"
)


@pytest.mark.parametrize("pair", [pair.strip() for pair in PAIRS.split(",")])
def test_singular_and_plural_are_the_same_word(pair: str) -> None:
    one, many = pair.split()
    assert same_word(one, many)
    assert same_word(many, one)
    assert same_word(one.upper(), many)
    assert one.casefold() in singular_forms(many)


@pytest.mark.parametrize("pair", [pair.strip() for pair in OTHERS.split(",")])
def test_words_that_only_begin_alike_are_others(pair: str) -> None:
    one, other = pair.split()
    assert not same_word(one, other)
    assert not same_word(other, one)

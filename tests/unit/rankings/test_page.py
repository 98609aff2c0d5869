"""Words of the ranking page: the same in both languages, all of them used, none missing."""

from __future__ import annotations

import json
import re

from instance_composer.rankings.gallery import ASPECTS
from instance_composer.rankings.server import PAGE

WORDS = {language: json.loads((PAGE / f"{language}.json").read_text("utf-8")) for language in ("en", "zh")}


def test_both_languages_say_the_same_things():
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for name, text in WORDS["en"].items():
        values = [sorted(re.findall(r"\{\w+\}", one)) for one in (text, WORDS["zh"][name])]
        assert values[0] == values[1], name


def test_every_word_is_used_and_every_use_has_a_word():
    page, script = (PAGE / name for name in ("index.html", "page.mjs"))
    used = set(re.findall(r'data-word(?:-label)?="(\w+)"', page.read_text("utf-8")))
    text = script.read_text("utf-8")
    used |= set(re.findall(r'say\("(\w+)"', text))
    for choice in re.findall(r'say\([^()]*\? "(\w+)" : "(\w+)"', text):
        used |= set(choice)
    used |= {name for aspect in ASPECTS for name in (aspect, f"{aspect}Ask")}
    assert used == WORDS["en"].keys()

"""English words in singular and plural: enough to tell that two are the same word, not a dictionary."""

from __future__ import annotations

from functools import lru_cache

# Ends of plurals that no ending makes, so that those of "snowmen" and "bookshelves" are among them.
IRREGULAR = {
    "men": "man",
    "children": "child",
    "people": "person",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "dice": "die",
    "cacti": "cactus",
    "knives": "knife",
    "wives": "wife",
    "lives": "life",
    "elves": "elf",
    "wolves": "wolf",
    "leaves": "leaf",
    "loaves": "loaf",
    "halves": "half",
    "calves": "calf",
    "scarves": "scarf",
    "hooves": "hoof",
    "thieves": "thief",
}
# Behind these a plural has "es"; "horses" and "shoes" have only the s, which nothing but a dictionary tells.
HISSING = ("s", "x", "z", "ch", "sh", "o")


@lru_cache(maxsize=4096)
def singular_forms(word: str) -> frozenset[str]:
    """A word in lower case and all that it may be the plural of, some of which are no words."""
    word = word.casefold()
    forms = {word}
    forms |= {word.removesuffix(end) + one for end, one in IRREGULAR.items() if word.endswith(end)}
    if len(word) > 2 and word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
    if len(word) > 4 and word.endswith("ies"):
        forms.add(f"{word[:-3]}y")
    if len(word) > 4 and word.endswith("es") and word[:-2].endswith(HISSING):
        forms.add(word[:-2])
    return frozenset(forms)


def same_word(one: str, other: str) -> bool:
    """Whether two words are the same, singular and plural and capitals alike."""
    return one == other or not singular_forms(one).isdisjoint(singular_forms(other))

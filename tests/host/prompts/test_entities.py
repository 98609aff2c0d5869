"""Entities of a prompt and their places in the CONDITIONING, through ComfyUI's own tokenizers."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import comfy.sd1_clip
import pytest
import torch
from comfyui_location import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_syntax import BLANKS, decorated
from safetensors.torch import save_file
from tiny_comfyui import TEXT_WIDTH

from instance_composer.hosts.comfyui.prompts.entities import describe, find_prompt_entities
from instance_composer.hosts.comfyui.prompts.syntax import PromptSyntaxError, read_prompt
from instance_composer.hosts.comfyui.prompts.text_axis import token_spans
from instance_composer.hosts.comfyui.prompts.tokens import _expected
from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.entities.pipelines import DEFAULT_PIPELINE, PipelineError
from instance_composer.nodes.entities import PromptEntities

CHUNK = 77


def pieces(clip, prompt: str) -> list[str | None]:
    """The word pieces on the text axis as ComfyUI makes them; None for vectors of an embedding."""
    names = clip.tokenizer.clip_l.inv_vocab
    chunks = clip.tokenize(prompt)["l"]
    return [None if torch.is_tensor(token) else names[token] for chunk in chunks for token, _ in chunk]


def words_at(clip, prompt: str) -> list[tuple[str, str, str]]:
    """Noun, and the text of the noun's and of the modifiers' tokens, for each entity."""
    axis = pieces(clip, prompt)
    return [
        (
            one.entity.noun,
            "".join(axis[token] for token in one.noun_tokens).replace("</w>", " ").strip(),
            "".join(axis[token] for token in one.modifier_tokens).replace("</w>", " ").strip(),
        )
        for one in find_prompt_entities(clip, prompt).entities
    ]


PLAIN = "a red striped book and a small yellow vase on a wooden table"
BOOK_VASE_TABLE = [
    ("book", "book", "red striped"),
    ("vase", "vase", "small yellow"),
    ("table", "table", "wooden"),
]


@pytest.mark.parametrize(
    "prompt",
    [
        PLAIN,
        "a (red:1.3) striped book and a small (yellow vase:1.2) on a wooden table",
        "a ((red) (striped:0.8) book:1.1) and a small [yellow] vase on a wooden table",
        "(a red striped book and a ((small) yellow vase:1.4)) on a wooden table",
        "a red striped book\nand a small yellow vase\r\non a   wooden\ttable",
        "A Red STRIPED Book and a Small Yellow Vase on a Wooden Table",
        r"a red striped book and a small yellow vase on a wooden table \(oil paint\)",
        "a red striped book and a small yellow vase on a wooden table, (unclosed",
    ],
)
def test_weights_brackets_and_line_breaks_change_no_entity(clip, prompt):
    assert words_at(clip, prompt)[:3] == BOOK_VASE_TABLE


def test_the_plain_prompt_knows_where_it_came_from():
    prompt = r"a (red:1.3) ((book)), \(old\) (embedding:glaze:0.7) embedding:gold, vase"
    plain = read_prompt(prompt)
    assert plain.text == "a red book, (old)  , vase"
    assert "".join(prompt[place] for place in plain.offsets) == r"a red book, \old\  , vase"


@pytest.mark.parametrize("vases", [35, 36, 37, 38, 100])
def test_words_beyond_the_first_chunk(clip, vases):
    """The words fall on both sides of a chunk's end, and far behind it."""
    prompt = "vase, " * vases + "a red (striped:1.2) ball"
    found = find_prompt_entities(clip, prompt).entities[-1]
    axis = pieces(clip, prompt)
    assert len(axis) % CHUNK == 0
    assert [axis[token] for token in found.noun_tokens] == ["ball</w>"]
    assert [axis[token] for token in found.modifier_tokens] == ["red</w>", "striped</w>"]


FRAGMENTS = st.sampled_from(
    [
        *(
            "a ",
            "red ",
            "book",
            " ",
            ", ",
            "(",
            ")",
            ":1.2)",
            ":)",
            "\\(",
            "\\)",
            "\\",
            "[",
            "]",
            "\n",
            "1.5",
            ":",
        ),
        *(
            "é",
            "e\u0301",
            "İ",
            "ΟΔΟΣ",
            "猫",
            "🐕",
            "polka-dot",
            "\0",
            "\1",
            "\x1c",
            "\u200b",
            "\u00a0",
            "ﬁ",
            "각",
        ),
        *("<|endoftext|>", "it's", "8k", "embedding", "word" * 9),
    ]
)
PROMPTS = st.one_of(st.lists(FRAGMENTS, max_size=40).map("".join), st.text(max_size=40))


@pytest.mark.text_encoders
@given(PROMPTS)
def test_any_prompt_is_located_token_for_token(clip, prompt):
    """Every token that ComfyUI makes of text has a span and nothing else; our reading gives its very ids."""
    plain, spans = token_spans(clip, prompt)
    chunks = clip.tokenize(prompt, return_word_ids=True)
    assert len(spans) == sum(map(len, chunks["l"])) == sum(map(len, chunks["g"]))
    content = [(token, word) for chunk in chunks["l"] for token, _, word in chunk]
    assert [start < end for start, end in spans] == [word != 0 for _, word in content]
    assert [token for token, word in content if word] == [
        token for token, _ in _expected(clip.tokenizer.clip_l, plain)
    ]
    assert all(0 <= start <= end <= len(plain.text) for start, end in spans)
    assert len(plain.offsets) == len(plain.text)
    assert all(0 <= place < len(prompt) for place in plain.offsets)


@given(PROMPTS)
def test_brackets_are_read_as_comfyui_reads_them(prompt):
    escaped = comfy.sd1_clip.escape_important(prompt)
    segments = [
        comfy.sd1_clip.unescape_important(text) for text, _ in comfy.sd1_clip.token_weights(escaped, 1.0)
    ]
    plain = read_prompt(prompt, embeddings=False)
    assert [plain.text[start:end] for start, end in plain.pieces] == [text for text in segments if text]


WORDS = PLAIN.split()
WEIGHTS = st.lists(
    st.sampled_from([None, "()", ":1.3", ":0.5", "(())"]), min_size=len(WORDS), max_size=len(WORDS)
)


def weighted(word: str, how: str | None) -> str:
    if how is None:
        return word
    return f"({word}{how})" if how.startswith(":") else how.replace("()", f"({word})")


@settings(max_examples=30)
@given(WEIGHTS)
def test_any_weights_leave_words_and_tokens_where_they_were(clip, weights):
    prompt = " ".join(weighted(word, how) for word, how in zip(WORDS, weights, strict=True))
    assert find_prompt_entities(clip, prompt) == find_prompt_entities(clip, PLAIN)


def spelled(clip, prompt: str, tokens: tuple[int, ...]) -> str:
    """What the tokens at some places say, without what has no look."""
    axis = [token for chunk in clip.tokenize(prompt)["l"] for token, _ in chunk]
    text = clip.tokenizer.clip_l.tokenizer.decode([int(axis[token]) for token in tokens])
    return letters(text)


def parts(clip, blank: str) -> bool:
    """Whether CLIP's tokenizer parts words there; older ones drop what is no blank to them and join both."""
    tokenizer = clip.tokenizer.clip_l.tokenizer
    return tokenizer(f"red{blank}book")["input_ids"] != tokenizer("redbook")["input_ids"]


def letters(text: str) -> str:
    return "".join(one for one in text if one.isalnum())


@pytest.mark.text_encoders
@pytest.mark.parametrize("number", range(120))
def test_decorated_prompts_say_the_same_word_for_word(clip, number):
    """Syntax of every kind around known phrases: the same entities, and the tokens that spell their words."""
    prompt, expected = decorated(number)
    found = find_prompt_entities(clip, prompt).entities
    things = {one.entity.noun: set(one.entity.modifiers) for one in found if one.entity.localisable}
    assert things == {noun: set(modifiers) for noun, modifiers in expected.items()}, prompt
    if any(blank in prompt and not parts(clip, blank) for blank in BLANKS):
        return
    for one in found:
        assert not one.missing
        assert set(one.noun_tokens).isdisjoint(one.modifier_tokens)
        assert spelled(clip, prompt, one.noun_tokens) == letters(one.entity.noun), prompt
        modifiers = "".join(one.entity.modifiers)
        assert spelled(clip, prompt, one.modifier_tokens) == letters(modifiers), prompt


@pytest.mark.text_encoders
@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_a_blank_of_any_kind_gives_each_word_its_token(clip, blank):
    prompt = f"a{blank}red{blank}book and a blue{blank}vase"
    found = find_prompt_entities(clip, prompt).entities
    assert [one.entity.modifiers for one in found] == [("red",), ("blue",)]
    assert [one.entity.noun for one in found] == ["book", "vase"]
    for one in found if parts(clip, blank) else ():
        assert (len(one.noun_tokens), len(one.modifier_tokens)) == (1, 1)
        assert spelled(clip, prompt, one.noun_tokens) == one.entity.noun
        assert spelled(clip, prompt, one.modifier_tokens) == one.entity.modifiers[0]


def test_brackets_too_deep_for_comfyui_are_refused(clip):
    with pytest.raises(PromptSyntaxError, match=r"more than 100 deep.*\(red:1.3\)"):
        find_prompt_entities(clip, "(" * 3000 + "a red book" + ":1.1)" * 3000)
    deep = "(" * 100 + "a red book" + ":1.1)" * 100
    (book,) = find_prompt_entities(clip, deep).entities
    assert (book.modifier_tokens, book.noun_tokens) == ((2,), (3,))


def test_many_blanks_take_no_time(clip):
    start = time.perf_counter()
    found = find_prompt_entities(clip, " \u3000" * 30_000 + "a red book" + "\u00a0" * 60_000 + ", a vase")
    assert [one.entity.noun for one in found.entities] == ["book", "vase"]
    assert time.perf_counter() - start < 10


def test_a_word_without_a_token_is_said(clip, monkeypatch, caplog):
    """A pack with a tokenizer of its own, which knows no "red"."""
    tokenize = clip.tokenize

    def others(text, **options):
        return tokenize(text.replace("red", "blue"), **options)

    monkeypatch.setattr(clip, "tokenize", others)
    found = find_prompt_entities(clip, "a red book")
    (book,) = found.entities
    assert (book.noun_tokens, book.modifier_tokens) == ((3,), ())
    assert [word.text for word in book.missing] == ["red"]
    assert "red book: no token of the prompt is that of red." in caplog.messages
    assert describe(found).splitlines()[1] == "book  red book  3       no token: red"


def test_syntax_of_other_programs_is_told_in_the_table(clip):
    found = find_prompt_entities(clip, "a red book <lora:x:0.8> --ar 16:9")
    assert describe(found).splitlines()[1:] == [
        "book  red book  2-3",
        "not words, but encoded as if they were: <lora:x:0.8>, --ar 16:9",
    ]


def test_captions_tell_which_words_are_an_entity(clip):
    """The pipeline takes "checked" for a verb here, and "fire" for the noun there."""
    captions = ("a large red striped diamond", "a blue checked cross", "a yellow fire hydrant")
    layout = Layout(tuple(Instance(f"i{n}", Box(0, 0, 1, 1), text) for n, text in enumerate(captions)))
    prompt = "a large red striped diamond, a (blue:1.2) checked_cross and a yellow fire hydrant on grey"
    found = find_prompt_entities(clip, prompt, layout=layout).entities
    assert [(*one.entity.modifiers, one.entity.noun) for one in found if one.entity.localisable] == [
        ("large", "red", "striped", "diamond"),
        ("blue", "checked", "cross"),
        ("yellow", "fire", "hydrant"),
    ]


TEMPLATES = [
    path
    for path in sorted((REPOSITORY / "example_workflows").glob("*.json"))
    if {"IC_InstanceLayout", "IC_PromptEntities"}
    <= {node["type"] for node in json.loads(path.read_text("utf-8"))["nodes"]}
]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_no_word_of_a_templates_captions_is_lost(clip, path):
    """What a caption says of its thing and the prompt says too is among the words of the entity."""
    nodes = json.loads(path.read_text("utf-8"))["nodes"]
    (text,) = (node["widgets_values"][2] for node in nodes if node["type"] == "IC_InstanceLayout")
    layout = Layout.from_json(text)
    found = find_prompt_entities(clip, layout.prompt, layout=layout).entities
    words = {word.text.lower() for one in found for word in one.entity.words}
    for instance in layout.active:
        if instance.caption in layout.prompt:
            said = set(instance.caption.split()) - {"a", "an", "the", "and", "with", "of", "in", "on"}
            assert said <= words, instance.caption


@pytest.fixture
def embeddings(clip, tmp_path, monkeypatch):
    """Textual inversions: `glaze`, `uneven` with more vectors for CLIP-G, `foreign` of another width."""
    for name, (first, second) in {"glaze": (2, 2), "uneven": (1, 3)}.items():
        vectors = {"clip_l": torch.ones(first, TEXT_WIDTH), "clip_g": torch.ones(second, TEXT_WIDTH)}
        save_file(vectors, tmp_path / f"{name}.safetensors")
    save_file({"emb_params": torch.ones(3, 2 * TEXT_WIDTH)}, tmp_path / "foreign.safetensors")
    for tokenizer in (clip.tokenizer.clip_l, clip.tokenizer.clip_g):
        monkeypatch.setattr(tokenizer, "embedding_directory", str(tmp_path))
        monkeypatch.setattr(tokenizer, "embedding_size", TEXT_WIDTH)


@pytest.mark.text_encoders
@pytest.mark.usefixtures("embeddings")
@pytest.mark.parametrize(
    ("prompt", "shift"),
    [
        ("embedding:glaze a red book", 2),
        ("embedding:glaze, a red book", 3),
        ("(embedding:glaze:1.2) a red book", 2),
        ("embedding:glaze embedding:glaze.safetensors a red book", 4),
        ("embedding:missing a red book", 0),
        ("embedding:missing, a red book", 1),
        # In the second encoder the book stands two tokens further on; that counts.
        ("embedding:uneven a red book", 3),
        # Its vectors fit no encoder, and ComfyUI leaves them out.
        ("embedding:foreign a red book", 0),
    ],
)
def test_embeddings_move_what_follows(clip, prompt, shift):
    found = find_prompt_entities(clip, prompt)
    (book,) = found.entities
    assert book.entity.text == "red book"
    assert (book.modifier_tokens, book.noun_tokens) == ((2 + shift,), (3 + shift,))
    assert "embedding" not in found.prompt


@pytest.mark.usefixtures("embeddings")
@pytest.mark.parametrize("prompt", ["embedding:glaze a red book", "embedding:foreign a red book"])
def test_the_conditioning_changes_there_and_not_before(clip, prompt):
    """Tokens see what precedes them alone, so that another noun changes features from its own place on."""
    (book,) = find_prompt_entities(clip, prompt).entities
    (other,) = find_prompt_entities(clip, prompt.replace("book", "vase")).entities
    one, two = (
        clip.encode_from_tokens(clip.tokenize(text)) for text in (prompt, prompt.replace("book", "vase"))
    )
    changed = (one - two).abs().amax((0, 2)).nonzero().flatten()
    assert changed[0] == book.noun_tokens[0] == other.noun_tokens[0]


@pytest.mark.parametrize(
    "prompt", ["a vase, embedding:", "(embedding: ) a vase", "embedding: embedding:glaze"]
)
@pytest.mark.usefixtures("embeddings")
def test_an_embedding_without_a_name_is_refused(clip, prompt):
    with pytest.raises(PromptSyntaxError, match=r'"embedding:" without a name'):
        find_prompt_entities(clip, prompt)


def test_half_a_character_is_refused(clip):
    with pytest.raises(PromptSyntaxError, match="Character 3 of the prompt is half a character"):
        find_prompt_entities(clip, "a \ud83d vase")


def test_a_clip_of_one_encoder_has_its_own_tokens(clip):
    import comfy.sd
    import comfy.supported_models_base

    options = {"clip_l_model_config": {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48}}
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    alone = comfy.sd.CLIP(target, model_options=options)
    assert find_prompt_entities(alone, PLAIN).entities == find_prompt_entities(clip, PLAIN).entities


LAYOUT = Layout(
    (
        Instance("sky", Box(0.0, 0.0, 1.0, 0.4), "a stormy sky"),
        Instance("left", Box(0.0, 0.4, 0.5, 1.0), "a red book on a table"),
    )
)


def test_what_a_caption_is_about_has_a_region(clip):
    prompt = "a red book under a stormy sky, night"
    assert localisable(clip, prompt, None) == {"book": True, "sky": False, "night": False}
    assert localisable(clip, prompt, LAYOUT) == {"book": True, "sky": True, "night": False}


def localisable(clip, prompt: str, layout: Layout | None) -> dict[str, bool]:
    found = find_prompt_entities(clip, prompt, layout=layout).entities
    return {one.entity.noun: one.entity.localisable for one in found}


def test_ignored_nouns_are_left_out_singular_or_plural(clip):
    found = find_prompt_entities(clip, "red books, a vase and a lamp", ignored=["Book", " lamp"])
    assert [one.entity.noun for one in found.entities] == ["vase"]


def test_the_table_tells_all(clip):
    found = find_prompt_entities(clip, "a red book, the (dog:1.2) is brown, a red book, sky")
    assert describe(found, LAYOUT).splitlines() == [
        "noun    words      tokens  remark",
        "book    red book   2-3     instance left",
        "dog     dog brown  6, 8",
        "book 2  red book   11-12",
        "sky     sky        14      no region: on the stop list; instance sky",
    ]
    assert (
        describe(find_prompt_entities(clip, "")) == "No entities: the pipeline finds no noun in this prompt."
    )


def test_the_node_takes_the_layouts_prompt_where_it_has_none(clip):
    layout = Layout(prompt="a red book under a sky")
    entities, table = PromptEntities.execute(clip, " ", DEFAULT_PIPELINE, "", layout).result
    assert [one.entity.text for one in entities.entities] == ["red book", "sky"]
    given = PromptEntities.execute(clip, "a blue vase, a book", DEFAULT_PIPELINE, "books", layout)
    assert [one.entity.text for one in given.result[0].entities] == ["blue vase"]
    assert given.ui.as_dict()["text"] == (given.result[1],) != (table,)


def test_a_pipeline_that_is_not_installed_is_named_with_the_remedy(clip):
    with pytest.raises(PipelineError, match=r"en_core_web_xl is not installed.*pip install en-core-web-xl"):
        find_prompt_entities(clip, "a vase", "en_core_web_xl")


def test_a_pipeline_is_never_a_path(clip, tmp_path):
    """A folder may name code of its own in its settings."""
    with pytest.raises(PipelineError, match="is not installed"):
        find_prompt_entities(clip, "a vase", str(tmp_path))


def test_two_threads_get_their_own_entities(clip):
    prompts = [f"a {color} {noun}" for color in ("red", "blue", "green") for noun in ("vase", "dog")] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda prompt: find_prompt_entities(clip, prompt), prompts))
    assert [one.entities[0].entity.text for one in found] == [prompt[2:] for prompt in prompts]

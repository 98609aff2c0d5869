"""Places of words in the CONDITIONING of every text encoder, read back from what ComfyUI's classes encode."""

from __future__ import annotations

import base64
import functools
import io
import json
import logging
from types import SimpleNamespace

import comfy.text_encoders.anima as anima
import comfy.text_encoders.cosmos as cosmos
import comfy.text_encoders.flux as flux
import comfy.text_encoders.hidream as hidream
import comfy.text_encoders.krea2 as krea2
import comfy.text_encoders.lumina2 as lumina2
import comfy.text_encoders.pixart_t5 as pixart
import comfy.text_encoders.qwen_image as qwen
import comfy.text_encoders.sd3_clip as sd3
import comfy.text_encoders.wan as wan
import comfy.text_encoders.z_image as z_image
import pytest
import torch

from instance_composer.hosts.comfyui.prompts.entities import find_prompt_entities
from instance_composer.hosts.comfyui.prompts.text_axis import UnknownEncoderError, token_spans

pytestmark = pytest.mark.text_encoders

PROMPT = "A photo of a small red vase, beside (two books:1.2) on a wooden table."
TRICKY = "Ein rotes Café, 赤い花瓶 and\n\na ﬁne  naïve “vase”…"


class Echo(torch.nn.Module):
    """A transformer whose features at each place are its token's id; the rest of the encoder is ComfyUI's."""

    def __init__(self, taps: int = 0, masked: bool = False, width: int = 2) -> None:
        super().__init__()
        self.taps, self.masked, self.width = taps, masked, width

    def encode_token_weights(self, chunks):
        ids = torch.tensor([[float(token) for chunk in chunks for token, *_ in chunk]])
        features = ids[..., None].expand(-1, -1, self.width)
        if self.taps:
            features = features[:, None].expand(-1, self.taps, -1, -1)
        return (
            features,
            torch.zeros(1, 2),
            *([{"attention_mask": torch.ones_like(ids)}] if self.masked else []),
        )


def clip_of(tokenizer, model, **encoders):
    """A CLIP of ComfyUI's tokenizer and encoder class, its transformers replaced."""
    made = model.__new__(model)
    torch.nn.Module.__init__(made)
    for name, value in encoders.items():
        setattr(made, name, value)
    tokenize = tokenizer.tokenize_with_weights
    return SimpleNamespace(
        tokenizer=tokenizer,
        cond_stage_model=made,
        tokenize=lambda text, return_word_ids=False: tokenize(text, return_word_ids),
    )


def alone(tokenizer, model, taps=0):
    named = {
        "clip_name": tokenizer.clip_name,
        "clip": tokenizer.clip,
        tokenizer.clip: Echo(taps, masked=True),
    }
    return clip_of(tokenizer, model, **named)


@functools.cache
def pieces_of(kind):
    """A small SentencePiece vocabulary, as Wan's and Gemma's files have a large one."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([PROMPT, "a vase beside books on the table", "red wooden small photo"] * 20),
        model_writer=model,
        vocab_size=330,
        byte_fallback=True,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=3,
        bos_id=2 if kind == "gemma" else -1,
        minloglevel=2,
    )
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def tekken():
    """A small vocabulary in the form of Mistral's: all bytes and some words."""
    words = [bytes([n]) for n in range(256)] + [b" v", b"as", b" vas", b" vase", b"re", b" re", b" red"]
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    special += [f"<SPECIAL_{n}>" for n in range(7, 12)]
    return json.dumps(
        {
            "config": {"default_num_special_tokens": 12, "default_vocab_size": 12 + len(words)},
            "vocab": [
                {"rank": n, "token_bytes": base64.b64encode(word).decode()} for n, word in enumerate(words)
            ],
            "special_tokens": [{"rank": n, "token_str": one} for n, one in enumerate(special)],
        }
    )


def sd3_clip(parts):
    tokenizer = sd3.SD3Tokenizer()
    made = {"clip_l": None, "clip_g": None, "t5xxl": None, **dict.fromkeys(parts, None)}
    for part in parts:
        made[part] = Echo(width=4096 if part == "t5xxl" else 2)
        made[part].transformer = SimpleNamespace(
            get_input_embeddings=lambda: SimpleNamespace(weight=torch.zeros(1, 768))
        )
    return clip_of(tokenizer, sd3.SD3ClipModel, t5_attention_mask=False, **made)


CLIPS = {
    "Flux": lambda: clip_of(flux.FluxTokenizer(), flux.FluxClipModel, clip_l=Echo(), t5xxl=Echo()),
    "Chroma": lambda: alone(pixart.PixArtTokenizer(), pixart.PixArtT5XXL),
    "Cosmos-Predict2": lambda: alone(cosmos.CosmosT5Tokenizer(), cosmos.CosmosT5XXL),
    "Wan": lambda: alone(
        wan.WanT5Tokenizer(tokenizer_data={"spiece_model": pieces_of("t5")}), wan.WanT5Model
    ),
    "Lumina 2": lambda: alone(
        lumina2.LuminaTokenizer(tokenizer_data={"spiece_model": pieces_of("gemma")}), lumina2.LuminaModel
    ),
    "Z-Image": lambda: alone(z_image.ZImageTokenizer(), z_image.ZImageTEModel),
    "Klein": lambda: alone(flux.KleinTokenizer(), flux.Flux2TEModel, 3),
    "FLUX.2": lambda: alone(
        flux.Flux2Tokenizer(tokenizer_data={"tekken_model": tekken()}), flux.Flux2TEModel, 3
    ),
    "Qwen-Image": lambda: alone(qwen.QwenImageTokenizer(), qwen.QwenImageTEModel),
    "Krea 2": lambda: alone(krea2.Krea2Tokenizer(), krea2.Krea2TEModel, 12),
    "SD3.5": lambda: sd3_clip(["clip_l", "clip_g", "t5xxl"]),
    "SD3.5 without T5": lambda: sd3_clip(["clip_l", "clip_g"]),
    "SD3.5, T5 alone": lambda: sd3_clip(["t5xxl"]),
}
made = functools.cache(lambda name: CLIPS[name]())


def ids_of(clip, prompt):
    """The token whose features stand at each place of the CONDITIONING."""
    text = clip.cond_stage_model.encode_token_weights(clip.tokenize(prompt))[0]
    return [int(one) for one in text[0, :, 0]]


def read(clip, ids):
    """What tokens say, by the tokenizer's own decoding, without blanks."""
    tokenizer = clip.tokenizer
    own = getattr(tokenizer, "t5xxl", None) or getattr(tokenizer, tokenizer.clip)
    return "".join(own.tokenizer.decode(list(ids)).split()).lower()


@pytest.mark.parametrize("name", CLIPS)
def test_words_stand_where_the_conditioning_has_their_tokens(name, caplog):
    clip = made(name)
    found = find_prompt_entities(clip, PROMPT)
    ids = ids_of(clip, PROMPT)
    assert [one.entity.noun for one in found.entities][-3:] == ["vase", "books", "table"]
    assert all(not one.missing for one in found.entities)
    for one in found.entities:
        words = "".join(word.text for word in one.entity.words)
        tokens = [ids[place] for place in one.tokens]
        if name == "SD3.5":
            tokens = [ids[place] for place in one.tokens if place >= 77]
            assert len(one.tokens) > len(tokens)
        if name == "SD3.5 without T5":
            texts = [clip.tokenizer.clip_l.inv_vocab[token].removesuffix("</w>") for token in tokens]
            assert "".join(texts) == words.lower()
        else:
            assert read(clip, tokens).strip(",.") == words.lower()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", [name for name in CLIPS if "without" not in name])
def test_other_scripts_ligatures_and_line_breaks(name):
    """Every token of the prompt has a span, whose letters are its own."""
    clip = made(name)
    plain, spans = token_spans(clip, TRICKY)
    vase = plain.text.index("vase")
    before = 77 if name == "SD3.5" else 0
    ids = ids_of(clip, TRICKY)
    tokens = [n for n, (start, end) in enumerate(spans) if n >= before and start < vase + 4 and end > vase]
    assert "vase" in read(clip, [ids[n] for n in tokens])
    assert len(spans) == len(ids)
    texts = [plain.text[start:end] for start, end in spans[before:] if end]
    written = "".join(plain.text.split())
    assert len("".join("".join(texts).split())) >= 0.6 * len(written)


def test_anima_has_the_places_of_the_tokens_that_its_adapter_writes_at():
    tokenizer = anima.AnimaTokenizer()
    made = {"clip_name": "qwen3_06b", "clip": "qwen3_06b", "qwen3_06b": Echo(masked=True)}
    clip = clip_of(tokenizer, anima.AnimaTEModel, **made)
    values = clip.cond_stage_model.encode_token_weights(clip.tokenize(PROMPT))[2]
    for one in find_prompt_entities(clip, PROMPT).entities:
        tokens = values["t5xxl_ids"][list(one.tokens)].tolist()
        words = "".join(word.text for word in one.entity.words)
        assert "".join(tokenizer.t5xxl.tokenizer.decode(tokens).split()).strip(",.") == words.lower()


def hidream_clip(**encoders):
    named = {"clip_l": None, "clip_g": None, "t5xxl": None, "llama": None, **encoders}
    # Llama's vocabulary is of bytes as Qwen's is, which is at hand everywhere.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hidream.hunyuan_video, "LLAMA3Tokenizer", lambda **_: qwen.Qwen25_7BVLITokenizer())
        tokenizer = hidream.HiDreamTokenizer()
    return clip_of(tokenizer, hidream.HiDreamTEModel, **named)


def test_hidream_has_the_places_of_t5_and_twice_those_of_llama():
    clip = hidream_clip(t5xxl=Echo(), llama=Echo(3))
    text, _, values = clip.cond_stage_model.encode_token_weights(clip.tokenize(PROMPT))
    llama = values["conditioning_llama3"][0, 0, :, 0]
    ids = torch.cat((text[0, :, 0], llama, llama)).int().tolist()
    starts = (0, text.shape[1], text.shape[1] + len(llama), len(ids))
    for one in find_prompt_entities(clip, PROMPT).entities:
        words = "".join(word.text for word in one.entity.words)
        for name, first, last in zip(("t5xxl", "llama", "llama"), starts, starts[1:], strict=False):
            tokens = [ids[place] for place in one.tokens if first <= place < last]
            said = getattr(clip.tokenizer, name).tokenizer.decode(tokens)
            assert "".join(said.split()).strip(",.") == words.lower()
    assert len(token_spans(hidream_clip(t5xxl=Echo()), PROMPT)[1]) == text.shape[1] + 2


def test_hidream_without_t5_is_refused():
    with pytest.raises(UnknownEncoderError, match="Load T5 as well"):
        token_spans(hidream_clip(llama=Echo(3)), "a vase")


@pytest.mark.parametrize("name", ["Flux", "Z-Image", "Qwen-Image"])
def test_brackets_are_weights_only_where_the_encoder_has_weights(name):
    plain, _ = token_spans(made(name), PROMPT)
    assert ("(two books:1.2)" in plain.text) == (name != "Flux")


def test_a_text_with_a_system_prompt_of_its_own():
    clip = made("Qwen-Image")
    prompt = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\na red vase<|im_end|>\n"
    plain, spans = token_spans(clip, prompt)
    ids, vase = ids_of(clip, prompt), plain.text.index("vase")
    assert (
        read(
            clip,
            [ids[n] for n, span in enumerate(spans) if span == (vase - 1, vase + 4)]
            or [ids[n] for n, (start, end) in enumerate(spans) if start <= vase < end],
        )
        == "vase"
    )


def test_an_encoder_that_is_not_known_is_named():
    import comfy.text_encoders.aura_t5 as aura

    class Other(aura.PT5XlTokenizer):
        pass

    tokenizer = SimpleNamespace()
    clip = SimpleNamespace(tokenizer=Other.__new__(Other), cond_stage_model=tokenizer)
    with pytest.raises(UnknownEncoderError, match="This CLIP has Other"):
        token_spans(clip, "a vase")

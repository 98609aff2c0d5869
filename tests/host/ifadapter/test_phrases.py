"""Instance captions through ComfyUI's tokenizers and text encoders."""

from __future__ import annotations

import json

import comfy.sd1_clip
import pytest
import torch
from golden_files import GOLDEN, HOW_TO_GET_GOLDEN
from host_cases import assert_close
from safetensors.torch import load_file
from tiny_comfyui import CPU, TEXT_LAYERS, TEXT_WIDTH

from instance_composer.hosts.comfyui.ifadapter.phrases import count_passes, encode_phrases, encode_tokens

FOLDER = GOLDEN / "ifadapter"

pytestmark = pytest.mark.text_encoders


@pytest.mark.skipif(not FOLDER.is_dir(), reason=HOW_TO_GET_GOLDEN)
def test_equals_the_published_encoding():
    tensors = load_file(FOLDER / "phrase_encoding.safetensors")
    configs = json.loads((FOLDER / "phrase_encoding.json").read_text())
    features = [
        encode_tokens(
            golden_encoder(tensors, configs[f"te{n}"], f"te{n}."),
            [[(token, 1.0) for token in row] for row in tensors[f"ids_{n}"].tolist()],
            CPU,
        )
        for n in (1, 2)
    ]
    assert features[0].attention_mask.equal(tensors["attention_mask"])
    states = torch.cat([feature.hidden_states for feature in features], dim=-1)
    assert_close(states, tensors["phrase_embeds"], tolerance=1e-5)
    assert_close(
        torch.cat([feature.eot for feature in features], dim=-1), tensors["eot_embeds"], tolerance=1e-5
    )


def golden_encoder(tensors, config, prefix):
    """ComfyUI's text encoder with the reference's weights and vocabulary."""
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]}
    encoder = comfy.sd1_clip.SDClipModel(
        layer="hidden",
        layer_idx=-2,
        textmodel_json_config=dict(config),
        special_tokens=special,
        layer_norm_hidden_state=False,
        dtype=torch.float32,
    )
    state = encoder.transformer.state_dict()
    given = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    for name in state:
        if name == "text_model.embeddings.token_embedding.weight":
            # ComfyUI's table has CLIP's 49408 rows whatever the vocabulary.
            state[name] = torch.zeros_like(state[name])
            state[name][: len(given[name])] = given[name]
        elif name in given and given[name].shape == state[name].shape:
            state[name] = given[name]
        else:
            assert name == "text_projection.weight", name
    encoder.transformer.load_state_dict(state)
    return encoder


def test_hidden_states_are_the_chosen_layers_of_both_encoders(clip):
    phrases = encode_phrases(clip, [("a", "a red book"), ("b", "a vase")])
    assert phrases.hidden_states.shape == (2, 3, 77, 2 * TEXT_WIDTH)
    assert phrases.attention_mask.sum(1).tolist() == [5, 4]  # start and end of text count
    tokens = clip.tokenize("a red book")
    for key, half, layers in (
        ("l", slice(TEXT_WIDTH), TEXT_LAYERS[0]),
        ("g", slice(TEXT_WIDTH, None), TEXT_LAYERS[1]),
    ):
        encoder = getattr(clip.cond_stage_model, f"clip_{key}")
        for index, back in enumerate((2, 4, 6)):
            encoder.set_clip_options({"layer": layers - back})
            expected = encoder.encode([[token for token, _ in tokens[key][0]]])[0]
            encoder.reset_clip_options()
            assert_close(phrases.hidden_states[:1, index, :, half], expected)
    assert phrases.eot[0].equal(phrases.hidden_states[0, 0, 4])


def test_clip_skip_and_the_encoders_options_stay_as_they_were(clip):
    plain = encode_phrases(clip, [("a", "a red book")])
    skipped = clip.clone()
    skipped.clip_layer(-4)
    before = skipped.encode("a red book")
    assert encode_phrases(skipped, [("a", "a red book")]).hidden_states.equal(plain.hidden_states)
    assert skipped.encode("a red book").equal(before)


def test_weights_move_a_words_features_away_from_an_empty_caption(clip):
    plain, weighted, empty = (
        encode_phrases(clip, [("a", text)]).hidden_states[0]
        for text in ("a red book", "a (red:1.5) book", "")
    )
    assert_close(weighted[:, 2], empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2]))
    others = [0, 1, *range(3, 77)]
    assert_close(weighted[:, others], plain[:, others])


def test_a_weighted_caption_leaves_the_others_of_its_pass_alone(clip):
    together = encode_phrases(clip, [("a", "a (red:1.5) book"), ("b", "a vase")])
    alone = encode_phrases(clip, [("b", "a vase")])
    assert_close(together.hidden_states[1:], alone.hidden_states)
    assert together.attention_mask[1:].equal(alone.attention_mask)


def test_many_captions_take_several_passes(clip):
    captions = [(str(n), f"thing number {n}") for n in range(19)]
    passes = []
    phrases = encode_phrases(clip, captions, lambda: passes.append(1))
    assert len(passes) == count_passes(19) == 6
    assert_close(phrases.hidden_states[18:], encode_phrases(clip, captions[18:]).hidden_states)


def test_a_caption_beyond_77_tokens_is_cut_and_named(clip, caplog):
    long = "a book with a very long description " * 20
    phrases = encode_phrases(clip, [("the book", long), ("vase", "a vase")])
    assert phrases.hidden_states.shape[2] == 77
    assert phrases.attention_mask[0].sum() == 77
    warnings = [record.getMessage() for record in caplog.records if record.name == "instance_composer"]
    assert len(warnings) == 1
    assert "instance the book is longer than the 77 tokens" in warnings[0]


def test_a_textual_inversion_is_part_of_the_caption(clip, tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(4)
    vectors = {f"clip_{name}": torch.randn(2, TEXT_WIDTH, generator=generator) for name in "lg"}
    from safetensors.torch import save_file

    save_file(vectors, tmp_path / "glaze.safetensors")
    for tokenizer in (clip.tokenizer.clip_l, clip.tokenizer.clip_g):
        monkeypatch.setattr(tokenizer, "embedding_directory", str(tmp_path))
        monkeypatch.setattr(tokenizer, "embedding_size", TEXT_WIDTH)
    phrases = encode_phrases(clip, [("a", "a embedding:glaze vase"), ("b", "a vase")])
    assert phrases.attention_mask.sum(1).tolist() == [6, 4]
    changed = (phrases.hidden_states[0] - phrases.hidden_states[1]).abs().amax((0, 2))
    assert changed[1] == 0
    assert changed[2:4].min() > 0.1


def test_a_clip_that_is_not_sdxls_is_refused():
    import comfy.sd
    import comfy.supported_models_base

    options = {"clip_l_model_config": {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48}}
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    with pytest.raises(ValueError, match=r"This CLIP is SD1ClipModel\..*both with DualCLIPLoader, type sdxl"):
        encode_phrases(comfy.sd.CLIP(target, model_options=options), [("a", "a vase")])

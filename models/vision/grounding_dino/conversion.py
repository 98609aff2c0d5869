"""Weights of Grounding DINO: sizes and names of the original code, and their names in transformers.

The community's files `groundingdino_swint_ogc.pth` and `groundingdino_swinb_cogcoor.pth` hold the names of
the original code (arXiv 2303.05499). They become those of the weights published for transformers, which every
version of it reads. All sizes are read off the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...weights import CheckpointError, listing

# Sizes that do not follow from the shapes of weights; both published models have the same.
HEADS = 8
TEXT_HEAD_WIDTH = 64
TEXT_POSITIONS = 256
# BERT's full stop, which separates nouns in a caption. The network's text masks are built on this number.
STOP = 1012

_SWIN = "model.backbone.conv_encoder.model."
_RENAMED: Sequence[tuple[str, str]] = (
    (r"backbone\.0\.patch_embed\.proj\.", _SWIN + "embeddings.patch_embeddings.projection."),
    (r"backbone\.0\.patch_embed\.norm\.", _SWIN + "embeddings.norm."),
    (r"backbone\.0\.norm1\.", _SWIN + "hidden_states_norms.stage2."),
    (r"backbone\.0\.norm2\.", _SWIN + "hidden_states_norms.stage3."),
    (r"backbone\.0\.norm3\.", _SWIN + "hidden_states_norms.stage4."),
    (r"backbone\.0\.layers\.(\d+)\.downsample\.", _SWIN + r"encoder.layers.\1.downsample."),
    (r"backbone\.0\.layers\.(\d+)\.blocks\.(\d+)\.", _SWIN + r"encoder.layers.\1.blocks.\2."),
    (r"bert\.", "model.text_backbone."),
    (r"feat_map\.", "model.text_projection."),
    (r"input_proj\.", "model.input_proj_vision."),
    (r"transformer\.level_embed", "model.level_embed"),
    (r"transformer\.tgt_embed\.", "model.query_position_embeddings."),
    (r"transformer\.enc_output", "model.enc_output"),
    (r"transformer\.enc_out_bbox_embed\.", "model.encoder_output_bbox_embed."),
    (r"transformer\.encoder\.layers\.(\d+)\.", r"model.encoder.layers.\1.deformable_layer."),
    (r"transformer\.encoder\.text_layers\.(\d+)\.", r"model.encoder.layers.\1.text_enhancer_layer."),
    (r"transformer\.encoder\.fusion_layers\.(\d+)\.", r"model.encoder.layers.\1.fusion_layer."),
    (r"transformer\.decoder\.layers\.(\d+)\.", r"model.decoder.layers.\1."),
    (r"transformer\.decoder\.norm\.", "model.decoder.layer_norm."),
    (r"transformer\.decoder\.ref_point_head\.", "model.decoder.reference_points_head."),
    (r"transformer\.decoder\.bbox_embed\.", "model.decoder.bbox_embed."),
    (r"bbox_embed\.", "bbox_embed."),
)
# Names inside a layer, by what the layer's new name contains.
_INSIDE: Mapping[str, Mapping[str, str]] = {
    _SWIN + "encoder.layers": {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
        "attn.relative_position_index": "attention.self.relative_position_index",
        "attn.proj": "attention.output.dense",
        "attn.qkv": "attention.self",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    },
    "deformable_layer": {
        "norm1": "self_attn_layer_norm",
        "norm2": "final_layer_norm",
        "linear1": "fc1",
        "linear2": "fc2",
    },
    "text_enhancer_layer": {
        "norm1": "layer_norm_before",
        "norm2": "layer_norm_after",
        "linear1": "fc1",
        "linear2": "fc2",
    },
    "fusion_layer": {
        "gamma_v": "vision_param",
        "gamma_l": "text_param",
        "layer_norm_v": "layer_norm_vision",
        "layer_norm_l": "layer_norm_text",
        "attn.v_proj": "attn.vision_proj",
        "attn.l_proj": "attn.text_proj",
        "attn.values_v_proj": "attn.values_vision_proj",
        "attn.values_l_proj": "attn.values_text_proj",
        "attn.out_v_proj": "attn.out_vision_proj",
        "attn.out_l_proj": "attn.out_text_proj",
    },
    "model.decoder.layers": {
        "cross_attn": "encoder_attn",
        "norm1": "encoder_attn_layer_norm",
        "ca_text": "encoder_attn_text",
        "catext_norm": "encoder_attn_text_layer_norm",
        "norm2": "self_attn_layer_norm",
        "norm3": "final_layer_norm",
        "linear1": "fc1",
        "linear2": "fc2",
    },
}
_PREFIXES = re.compile(
    r"^(?:model\.)?(?:module\.)?(?=(?:transformer|bert|backbone\.0|feat_map|input_proj|bbox_embed|label_enc)\.)"
)
# Query, key and value in one tensor, in torch's attention and in the Swin backbone; three in transformers.
_FUSED = re.compile(r"(.*)\.(?:in_proj_|qkv\.)(weight|bias)")
# Weights that the network does not use: BERT's pooler, computed positions, leftovers of training.
_UNUSED = re.compile(r"bert\.pooler\..*|bert\.embeddings\.position_ids|label_enc\..*|.*class_embed\..*")


def is_original(names: Mapping[str, Any]) -> bool:
    """Whether these are the names of the original code."""
    return "transformer.level_embed" in names


def strip_prefixes(name: str) -> str:
    """A name of the original code without what saving and parallel training put before it."""
    return _PREFIXES.sub("", name)


def is_unused(name: str) -> bool:
    """Whether a weight of the original code has no part in what the network finds."""
    return _UNUSED.fullmatch(name) is not None


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the original code under the names that transformers' published weights have.

    Raises `CheckpointError` that lists what has no place in the network.
    """
    converted: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in state.items():
        if is_unused(name):
            continue
        fused = _FUSED.fullmatch(name)
        new = _rename(f"{fused[1]}.{'qkv.' if '.qkv.' in name else ''}{fused[2]}" if fused else name)
        if new is None:
            unknown.append(name)
        elif fused:
            stem, kind = new.rsplit(".", 1)
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                converted[f"{stem}.{part}.{kind}"] = piece
        else:
            converted[new] = tensor
    if unknown:
        raise CheckpointError(f"This is no Grounding DINO as published; it has {listing(unknown)} besides.")
    return converted


def _rename(name: str) -> str | None:
    for old, new in _RENAMED:
        if match := re.match(old, name):
            start = match.expand(new)
            return start + _rename_inside(start, name[match.end() :])
    return None


def _rename_inside(start: str, rest: str) -> str:
    for layer, names in _INSIDE.items():
        if layer in start:
            for old in sorted(names, key=len, reverse=True):
                if rest == old or rest.startswith(f"{old}."):
                    return names[old] + rest[len(old) :]
    return rest


def infer_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of transformers' GroundingDinoConfig, sizes read off weights of the original code.

    Raises `CheckpointError` that names the first weight that is missing.
    """
    try:
        return _config(state)
    except KeyError as error:
        raise CheckpointError(
            f"This is no Grounding DINO as published: the weight {error} is missing. Use "
            "groundingdino_swint_ogc.pth or groundingdino_swinb_cogcoor.pth."
        ) from error


def _config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    levels, width = state["transformer.level_embed"].shape
    layers = "transformer.encoder.layers.0", "transformer.decoder.layers.0"
    samples = [state[f"{layers[0]}.self_attn.attention_weights.bias"].shape[0]]
    samples += [state[f"{layers[1]}.cross_attn.attention_weights.bias"].shape[0]]
    return {
        "backbone_config": _swin_config(state),
        "text_config": _bert_config(state),
        "d_model": width,
        "num_queries": state["transformer.tgt_embed.weight"].shape[0],
        "num_feature_levels": levels,
        "encoder_layers": _count(state, r"transformer\.encoder\.layers\.(\d+)\."),
        "decoder_layers": _count(state, r"transformer\.decoder\.layers\.(\d+)\."),
        "encoder_ffn_dim": state[f"{layers[0]}.linear1.bias"].shape[0],
        "decoder_ffn_dim": state[f"{layers[1]}.linear1.bias"].shape[0],
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_n_points": samples[0] // (HEADS * levels),
        "decoder_n_points": samples[1] // (HEADS * levels),
        "max_text_len": TEXT_POSITIONS,
        "disable_custom_kernels": True,
    }


def _swin_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    prefix = "backbone.0.layers"
    stages = _count(state, r"backbone\.0\.layers\.(\d+)\.")
    tables = [state[f"{prefix}.{n}.blocks.0.attn.relative_position_bias_table"] for n in range(stages)]
    embedding = state["backbone.0.patch_embed.proj.weight"]
    return {
        "model_type": "swin",
        "embed_dim": embedding.shape[0],
        "patch_size": embedding.shape[-1],
        "depths": [_count(state, rf"backbone\.0\.layers\.{n}\.blocks\.(\d+)\.") for n in range(stages)],
        "num_heads": [table.shape[1] for table in tables],
        # A window of w x w patches has (2w - 1) x (2w - 1) relative positions.
        "window_size": (round(tables[0].shape[0] ** 0.5) + 1) // 2,
        "out_indices": [2, 3, 4],
    }


def _bert_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    words = state["bert.embeddings.word_embeddings.weight"]
    return {
        "model_type": "bert",
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "num_hidden_layers": _count(state, r"bert\.encoder\.layer\.(\d+)\."),
        "num_attention_heads": max(1, words.shape[1] // TEXT_HEAD_WIDTH),
        "intermediate_size": state["bert.encoder.layer.0.intermediate.dense.bias"].shape[0],
        "max_position_embeddings": state["bert.embeddings.position_embeddings.weight"].shape[0],
    }


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = [int(match[1]) for name in state if (match := re.match(pattern, name))]
    return max(found, default=-1) + 1

"""A tiny Grounding DINO of the published architecture, under transformers' and the original code's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from comfyui_location import REPOSITORY
from torch import Tensor
from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

from instance_composer.models.vision.grounding_dino.conversion import convert

# transformers builds its text masks on BERT's numbers of these.
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
WORDS = ("book", "vase", "cup", "dog", "light", "##house")
VOCABULARY = 1100


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published original file: swint_ogc or swinb_cogcoor."""
    text = (REPOSITORY / "tests" / "data" / "grounding_dino" / f"{name}.txt").read_text(encoding="utf-8")
    pairs = (line.split(" ") for line in text.splitlines())
    return {key: tuple(int(side) for side in shape.split("x")) for key, shape in pairs}


def tiny_grounding_dino(**others: Any) -> GroundingDinoForObjectDetection:
    """Random weights, large enough that every part shows in the result; `others` of the sizes."""
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 48, **others}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 2], window_size=4, out_indices=[2, 3, 4]
        ),
        text_config=BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=48,
        ),
        num_queries=24,
        encoder_layers=2,
        decoder_layers=2,
        disable_custom_kernels=True,
        **sizes,
    )
    model = GroundingDinoForObjectDetection(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            wide = parameter[0].numel() if parameter.ndim > 1 else 25
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / wide**0.5)
    return model


def published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers 5, or older ones, under the names of the published weights."""
    inside = {
        ".q_proj.": ".self.query.",
        ".k_proj.": ".self.key.",
        ".v_proj.": ".self.value.",
        ".o_proj.": ".output.dense.",
        ".relative_position_bias.relative_position_bias_table": ".self.relative_position_bias_table",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
    }

    def rename(name: str) -> str:
        if ".conv_encoder." in name:
            name = name.replace(".model.swin.", ".model.")
            for new, old in inside.items():
                name = name.replace(new, old)
        return name

    return {rename(name): tensor for name, tensor in state.items()}


def original_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under the original's names: `convert` backwards, by the names of Swin-T."""
    original: dict[str, Tensor] = {}
    for name, shape in manifest("swint_ogc").items():
        # Three rows tell what a fused weight is made of.
        like = torch.empty(3, *shape[1:], device="meta")
        parts = [state.get(new) for new in convert({name: like})]
        if parts and all(part is not None for part in parts):
            original[name] = torch.cat([part for part in parts if part is not None])
    return original


def write_vocabulary(folder: Path) -> Path:
    """A vocab.txt with BERT's numbers for what the network treats specially."""
    words = [f"[unused{number}]" for number in range(VOCABULARY)]
    for word, number in SPECIAL.items():
        words[number] = word
    words[200 : 200 + len(WORDS)] = WORDS
    file = folder / "vocab.txt"
    file.write_text("\n".join(words) + "\n", encoding="utf-8")
    return file

"""One picture and caption through the original Grounding DINO code and through transformers, same weights."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    SwinConfig,
)

from instance_composer.models.segmentation.grounding_dino import convert, infer_config

# CLS, two nouns of one and two word pieces with their stops, SEP.
IDS = [101, 200, 1012, 204, 205, 1012, 102]
# The Swin backbone and the width are the published ones, the rest is small.
SIZES = {
    "hidden_dim": 256,  # built into its text positions
    "enc_layers": 2,
    "dec_layers": 2,
    "dim_feedforward": 64,
    "num_queries": 24,
    "use_checkpoint": False,
    "use_transformer_ckpt": False,
    "device": "cpu",
}


def same_boxes(groundingdino: ModuleType) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(boxes, logits) of transformers and of the original."""
    original = _original(groundingdino)
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode(False), torch.no_grad():
        for parameter in original.parameters():
            wide = parameter[0].numel() if parameter.ndim > 1 else 25
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / wide**0.5)
        # Larger than the backbone's windows at its coarsest, where both shift them alike.
        pixels = torch.randn(1, 3, 256, 288, generator=generator)
        state = original.state_dict()
        sizes = infer_config(state)
        kinds = {"backbone_config": SwinConfig, "text_config": BertConfig}
        for part, kind in kinds.items():
            sizes[part] = kind(**{key: value for key, value in sizes[part].items() if key != "model_type"})
        ours = GroundingDinoForObjectDetection.from_pretrained(
            None, config=GroundingDinoConfig(**sizes), state_dict=convert(state)
        ).eval()
        text = torch.tensor([IDS])
        found = ours(
            pixel_values=pixels,
            input_ids=text,
            token_type_ids=torch.zeros_like(text),
            attention_mask=torch.ones_like(text),
        )
        expected = original(pixels, captions=["noun . noun ."])
    return (found.pred_boxes, found.logits[..., : len(IDS)].sigmoid()), (
        expected["pred_boxes"],
        expected["pred_logits"][..., : len(IDS)].sigmoid(),
    )


def _original(groundingdino: ModuleType) -> Any:
    import groundingdino.util.get_tokenlizer as loading
    from groundingdino.models import build_model
    from groundingdino.util.slconfig import SLConfig
    from transformers.tokenization_utils_base import BatchEncoding

    class Tokenizer:
        """The caption as the ids above: nothing is fetched."""

        def __call__(self, captions: list[str], **_: Any) -> BatchEncoding:
            ids = torch.tensor([IDS] * len(captions))
            made = {
                "input_ids": ids,
                "token_type_ids": torch.zeros_like(ids),
                "attention_mask": torch.ones_like(ids),
            }
            return BatchEncoding(made)

        def convert_tokens_to_ids(self, _: list[str]) -> list[int]:
            return [101, 102, 1012, 1029]

    bert = BertConfig(
        vocab_size=1100, hidden_size=32, num_hidden_layers=2, num_attention_heads=1, intermediate_size=48
    )
    loading.get_tokenlizer = lambda _: Tokenizer()
    loading.get_pretrained_language_model = lambda _: BertModel(bert)
    config = os.path.join(os.path.dirname(groundingdino.__file__), "config", "GroundingDINO_SwinT_OGC.py")
    args = SLConfig.fromfile(config)
    for name, value in SIZES.items():
        setattr(args, name, value)
    return build_model(args).eval()

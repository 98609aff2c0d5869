"""The backend groundingdino-py: the original code of Grounding DINO (arXiv 2303.05499), as PyPI has it.

Nothing is fetched: BERT is built of sizes and gets its weights from the file, and captions come as tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import sizes_read_from
from ...weights import CheckpointError
from .conversion import (
    HEADS,
    STOP,
    infer_config,
    is_unused,
)
from .original import check_fit, read_original

# BERT's tokens that bound the words of a caption: start, end, full stop, question mark. The same numbers are
# built into transformers' Grounding DINO.
SEPARATORS = (101, 102, STOP, 1029)
# Channels of the network: the original code has the number built into its positions of words and queries.
WIDTH = 256
# Temperature of the sine embedding of pixel positions, in both published configurations.
TEMPERATURE = 20
# Methods of transformers' BERT that the package calls, and that version 5 no longer has.
_NEEDED = ("get_extended_attention_mask", "invert_attention_mask", "get_head_mask")
HOW_TO_INSTALL = "In ComfyUI's Python run: python -m pip install --no-build-isolation groundingdino-py."
_OTHERWISE = "The backend transformers, which is the default, reads the same file."


class BackendError(ValueError):
    """A package that is not there or does not run: what was found, and what to do."""


class Network(nn.Module):
    """The original model in a module of its own, with the call that both backends have."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, captions: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Logits (B, Q, T), boxes (B, Q, 4) as cx cy w h, of pixels (B, 3, h, w) and captions as tokens.

        The captions of a batch have to be of one length.
        """
        outputs = self.model(pixels, captions=[list(caption) for caption in captions])
        return outputs["pred_logits"], outputs["pred_boxes"]


def build(path: Path) -> Network:
    """The network on the CPU.

    Raises `BackendError` if the package does not run, `CheckpointError` for other than original weights.
    """
    if path.is_dir():
        raise CheckpointError(
            f"{path.name} is a folder of the transformers library, and the backend groundingdino-py reads "
            "files of the original code alone. Choose the backend transformers, or a file such as "
            "groundingdino_swint_ogc.pth."
        )
    check_package()
    state = {name: tensor for name, tensor in read_original(path).items() if not is_unused(name)}
    with sizes_read_from(path.name, "Grounding DINO"):
        sizes = infer_config(state)
    model = build_network(sizes)
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path.name} is no Grounding DINO as published: {error}") from error
    # The table of relative positions is computed when the network is built, so a file may lack it.
    needed = (name for name in missing if not (is_unused(name) or name.endswith("relative_position_index")))
    check_fit(path, needed, unexpected)
    return Network(model)


def check_package() -> None:
    """Raise `BackendError` unless groundingdino-py imports and fits the installed transformers."""
    import transformers

    try:
        import groundingdino
    except ImportError as error:
        raise BackendError(
            f"The backend groundingdino-py is not installed. {HOW_TO_INSTALL} It runs with transformers 4 "
            f"alone, and {transformers.__version__} is installed. {_OTHERWISE}"
        ) from error
    found = f"groundingdino-py {getattr(groundingdino, '__version__', 'of unknown version')}"
    removed = [name for name in _NEEDED if not hasattr(transformers.BertModel, name)]
    if removed:
        raise BackendError(
            f"{found} does not run with transformers {transformers.__version__}, whose BertModel has no "
            f"{removed[0]}. It needs transformers 4, such as 4.57. {_OTHERWISE}"
        )
    try:
        import_module("groundingdino.models")
    except Exception as error:  # an old package, whose own imports can fail in any way
        raise BackendError(
            f"{found} is installed, but does not import ({error}). {HOW_TO_INSTALL} {_OTHERWISE}"
        ) from error


def build_network(sizes: dict[str, Any]) -> Any:
    """The original network of sizes of `infer_config`, with random weights."""
    from groundingdino.models.GroundingDINO.backbone.backbone import Joiner
    from groundingdino.models.GroundingDINO.backbone.position_encoding import PositionEmbeddingSineHW
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
    from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
    from groundingdino.models.GroundingDINO.transformer import Transformer
    from transformers import BertConfig, BertModel

    if sizes["d_model"] != WIDTH:
        raise CheckpointError(
            f"This Grounding DINO has {sizes['d_model']} channels, and the backend groundingdino-py knows "
            f"{WIDTH} alone, as published. {_OTHERWISE}"
        )
    swin = {name: value for name, value in sizes["backbone_config"].items() if name != "model_type"}
    # The original counts stages of Swin from 0; transformers counts the embedding as 0 and stages from 1.
    swin["out_indices"] = tuple(stage - 1 for stage in swin["out_indices"])
    pixels = SwinTransformer(**swin)
    positions = PositionEmbeddingSineHW(
        WIDTH // 2, temperatureH=TEMPERATURE, temperatureW=TEMPERATURE, normalize=True
    )
    backbone: Any = Joiner(pixels, positions)
    backbone.num_channels = [pixels.num_features[stage] for stage in swin["out_indices"]]
    transformer = Transformer(
        d_model=WIDTH,
        nhead=HEADS,
        num_queries=sizes["num_queries"],
        num_encoder_layers=sizes["encoder_layers"],
        num_decoder_layers=sizes["decoder_layers"],
        dim_feedforward=sizes["encoder_ffn_dim"],
        num_feature_levels=sizes["num_feature_levels"],
        enc_n_points=sizes["encoder_n_points"],
        dec_n_points=sizes["decoder_n_points"],
        return_intermediate_dec=True,
        learnable_tgt_init=True,
        embed_init_tgt=True,
        two_stage_type="standard",
        use_text_enhancer=True,
        use_fusion_layer=True,
        use_text_cross_attention=True,
    )
    text = {name: value for name, value in sizes["text_config"].items() if name != "model_type"}
    with _text_parts(_Tokens, lambda: BertModel(BertConfig(**text))):
        return GroundingDINO(
            backbone,
            transformer,
            num_queries=sizes["num_queries"],
            num_feature_levels=sizes["num_feature_levels"],
            nheads=HEADS,
            iter_update=True,
            query_dim=4,
            two_stage_type="standard",
            two_stage_class_embed_share=False,
            two_stage_bbox_embed_share=False,
        )


class _Tokens:
    """In the place of the network's tokenizer: captions are tokens already."""

    def __call__(self, captions: Sequence[Sequence[int]], **_: Any) -> Any:
        from transformers import BatchEncoding

        ids = torch.tensor(captions)
        return BatchEncoding(
            {
                "input_ids": ids,
                "token_type_ids": torch.zeros_like(ids),
                "attention_mask": torch.ones_like(ids),
            }
        )

    def convert_tokens_to_ids(self, _tokens: Sequence[str]) -> list[int]:
        return list(SEPARATORS)


@contextmanager
def _text_parts(tokenizer: Callable[[], Any], bert: Callable[[], Any]) -> Generator[None]:
    """The tokenizer and BERT of a network that is built meanwhile; the package would fetch both by name."""
    from groundingdino.util import get_tokenlizer as parts

    own = parts.get_tokenlizer, parts.get_pretrained_language_model
    parts.get_tokenlizer, parts.get_pretrained_language_model = lambda _: tokenizer(), lambda _: bert()
    try:
        yield
    finally:
        parts.get_tokenlizer, parts.get_pretrained_language_model = own

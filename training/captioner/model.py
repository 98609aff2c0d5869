"""A small captioner of Shapes World: a BLIP of transformers with fresh weights and its own vocabulary."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
)

from ...models.rewards import RewardModel
from ...shapes_world.preferences import words
from ..data.errors import SourceError
from ..likeness import almost_identity, begin_as_likeness
from .looking_around import look_around

# Captions of eight things, all with a size and a pattern, and the special tokens.
_POSITIONS = 64
HEADS = 4
# Captions have no words before them, as those of the published BLIP have: who scores them reads this.
_READ: dict[str, Any] = {"caption_prefix": ""}
# Fully connected layers of a transformer are four times as wide as what they are between.
_HIDDEN = 4


def small_captioner(
    side: int = 96, patch: int = 12, width: int = 64, layers: int = 3
) -> tuple[BlipForConditionalGeneration, BlipProcessor]:
    """A fresh captioner of pictures of `side` pixels and its processor; draws random numbers.

    Vision and text tower have the same width and number of layers. Captions begin with [CLS] and end with
    [SEP], as BLIP reads them in training.
    """
    tokenizer = _tokenizer(words())
    ids = tokenizer.get_vocab()
    # Dropout would be noise: pictures are drawn anew rather than seen twice.
    common = {
        "hidden_size": width,
        "intermediate_size": _HIDDEN * width,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "attention_dropout": 0.0,
    }
    config = BlipConfig(
        text_config={
            **common,
            "encoder_hidden_size": width,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": _POSITIONS,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "projection_dim": width,
            "pad_token_id": ids["[PAD]"],
            "bos_token_id": ids["[CLS]"],
            "eos_token_id": ids["[SEP]"],
            "sep_token_id": ids["[SEP]"],
        },
        vision_config={**common, "image_size": side, "patch_size": patch, "projection_dim": width},
        projection_dim=width,
        image_text_hidden_size=width,
        **_READ,
    )
    model = BlipForConditionalGeneration(config)
    _spread(model)
    return model, BlipProcessor(BlipImageProcessor(size={"height": side, "width": side}), tokenizer)


@torch.no_grad()
def begin_with(model: Any, reward: RewardModel) -> None:
    """Give both towers of a fresh captioner the weights of a reward model's, which has its architecture.

    What a reward has learnt to see of pictures, and which patches words look for, need not be learnt again.
    Rows for words and places that the reward has not stay fresh. `SourceError` for towers of other sizes and
    for a reward model that has not the words of Shapes World.
    """
    config, own = reward.config, model.config
    theirs = {
        "side": (config.image_size, own.vision_config.image_size),
        "patch": (config.patch_size, own.vision_config.patch_size),
        "width": (config.vision_width, own.vision_config.hidden_size),
        "layers": (config.vision_layers, own.vision_config.num_hidden_layers),
        "width of the text tower": (config.text_width, own.text_config.hidden_size),
        "layers of the text tower": (config.text_layers, own.text_config.num_hidden_layers),
        # These the captioner has of its own, whatever it is asked for.
        "heads": (config.vision_heads, own.vision_config.num_attention_heads),
        "heads of the text tower": (config.text_heads, own.text_config.num_attention_heads),
        "hidden units": (config.vision_hidden, own.vision_config.intermediate_size),
        "hidden units of the text tower": (config.text_hidden, own.text_config.intermediate_size),
    }
    unlike = [f"{name} {one} and {other}" for name, (one, other) in theirs.items() if one != other]
    if unlike:
        raise SourceError(
            f"the reward model and the captioner are of other sizes: {', '.join(unlike)}; give the captioner "
            "those of the reward model (--side, --patch, --width, --layers), or choose another reward model"
        )
    if reward.metadata.get("words") != words():
        raise SourceError(
            "the reward model has other words than Shapes World; give one that was trained on it, such as "
            "demo/rewards/attribute.safetensors"
        )
    model.vision_model.load_state_dict(reward.vision.state_dict())
    text: Any = model.get_submodule("text_decoder.bert")
    own_state = text.state_dict()
    for name, weight in reward.text.state_dict().items():
        fresh = own_state[name]
        fresh[: len(weight)] = weight[: len(fresh)]


def save_captioner(model: Any, processor: Any, folder: Path) -> None:
    """Write a captioner as an ordinary transformers folder, which both supported lines of it load.

    Over an earlier one whose files are the same but for the weights: an interruption leaves each file whole.
    """
    place = folder / ".part"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    model.save_pretrained(place)
    processor.save_pretrained(place)
    # The older line looks for these two; the newer one writes them as parts of other files.
    processor.image_processor.save_pretrained(place)
    _write_vocabulary(sorted(processor.tokenizer.get_vocab().items(), key=lambda item: item[1]), place)
    for file in place.iterdir():
        os.replace(file, folder / file.name)
    place.rmdir()


def _tokenizer(vocabulary: list[str]) -> BertTokenizer:
    """BERT's tokenizer of these words alone."""
    with TemporaryDirectory(prefix="instance-composer-") as folder:
        _write_vocabulary([(word, number) for number, word in enumerate(vocabulary)], Path(folder))
        tokenizer: Any = BertTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = _POSITIONS
    return tokenizer


def _write_vocabulary(ids: list[tuple[str, int]], folder: Path) -> None:
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in ids), encoding="utf-8")


def _spread(model: nn.Module) -> None:
    """Fresh weights for a narrow model.

    BLIP's deviation of 0.02 suits widths of 768 and more; here signals die out layer by layer, and gradients
    become denormal numbers, which a CPU multiplies six times slower.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    vision: Any = model.get_submodule("vision_model.embeddings")
    places: list[tuple[Tensor, float]] = [
        (vision.position_embedding, 0.3),
        (vision.class_embedding, 0.3),
        (vision.patch_embedding.weight, 0.05),
    ]
    with torch.no_grad():
        for parameter, deviation in places:
            parameter.normal_(std=deviation)
    look_around(model.get_submodule("vision_model"), HEADS)
    text: Any = model.get_submodule("text_decoder.bert")
    begin_as_likeness(text.embeddings.position_embeddings.weight, text.encoder.layer)
    # What a state resembles is the next word.
    head: Any = model.get_submodule("text_decoder.cls.predictions.transform")
    almost_identity(head.dense.weight, 1.0)

"""A fresh reward model of Shapes World: its sizes, its vocabulary and its initial weights."""

from __future__ import annotations

from torch import nn

from ...models.rewards import ASPECTS, RewardConfig, RewardModel, RewardTokenizer
from ...shapes_world.preferences import words
from ..likeness import begin_as_likeness


def small_reward_model() -> tuple[RewardModel, RewardTokenizer]:
    """A fresh model of all three aspects for Shapes World, with its vocabulary; draws random numbers."""
    vocabulary = words()
    config = RewardConfig(
        image_size=96,
        patch_size=12,
        vision_width=64,
        vision_layers=3,
        vision_heads=4,
        vision_hidden=256,
        vocabulary=len(vocabulary),
        text_width=64,
        text_layers=3,
        text_heads=4,
        text_hidden=256,
        positions=40,
        head=(len(ASPECTS),),
        mean=0.0,
        std=1.0,
        dropout=0.0,
    )
    model = RewardModel(config, {"words": vocabulary})
    _spread(model)
    return model, RewardTokenizer.of_words(vocabulary, config.tokens)


def _spread(model: RewardModel) -> None:
    """Fresh weights for a narrow model.

    BLIP's deviation of 0.02 suits widths of 768 and more; here signals would die out layer by layer.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
    vision = model.vision.embeddings
    for parameter, std in (
        (vision.position_embedding, 0.3),
        (vision.class_embedding, 0.3),
        (vision.patch_embedding.weight, 0.05),
    ):
        nn.init.normal_(parameter, std=std)
    begin_as_likeness(model.text.embeddings.position_embeddings.weight, model.text.encoder.layer)

"""A fresh reward model of Shapes World: its sizes, its vocabulary and its initial weights."""

from __future__ import annotations

import torch
from PIL import Image
from torch import nn

from ...models.rewards import ASPECTS, RewardConfig, RewardModel, RewardTokenizer, prepare_pictures
from ...shapes_world import ShapesWorld
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


# How much a step from the middle to an edge moves a patch, in deviations of what patches show.
_PLACES = 0.5
_PICTURES = 16


@torch.no_grad()
def show_places(model: RewardModel, world: ShapesWorld) -> None:
    """Make where a patch is nearly as plain as what it shows: across and down, each in a random direction.

    The tower learnt what patches show. Of where they are, its output said nothing (the best linear guess of a
    patch's place was no better than the middle), and sides did not begin to be learnt: words see no places
    before they attend to single patches, and attend to none before that tells anything. A model in which
    places are plain already stays as it is.
    """
    embeddings = model.vision.embeddings
    pictures = [Image.fromarray(world[number].image) for number in range(_PICTURES)]
    shown = embeddings.patch_embedding(prepare_pictures(pictures, model.config.image_size))
    side, width = shown.shape[-1], shown.shape[1]
    along = torch.linspace(-1, 1, side)
    places = torch.cartesian_prod(along, along)
    directions = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    deviation = shown.std(dim=(0, 2, 3)).mean()
    if embeddings.position_embedding[0, 1:].std() > 0.8 * _PLACES * deviation:
        return
    embeddings.position_embedding[0, 1:] += _PLACES * deviation * places @ directions

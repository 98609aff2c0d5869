"""The reward model: a vision tower, a text tower that attends to the picture, and a head for one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from ..finite import require_finite
from .checkpoint import (
    check_weights,
    read_reward,
    to_published,
    write_reward,
)
from .config import RewardConfig

# Dropout after each of the first three layers of the head, in training.
_HEAD_DROPOUT = (0.2, 0.2, 0.1)


class RewardModel(nn.Module):
    """ImageReward's architecture on transformers' BLIP: how well a picture shows a prompt.

    `metadata` is what a file says beside its weights: the aspect, the vocabulary of a small model.

    Source: ImageReward (arXiv 2304.05977); IterComp (arXiv 2410.07171) trains one for attributes, one for
    spatial relations and one for everything else in a composition.
    """

    def __init__(self, config: RewardConfig, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.config, self.metadata = config, dict(metadata or {})
        self.vision, self.text = _towers(config)
        self.head = _head(config)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> RewardModel:
        """Read a published or trained file, as float32, for evaluation; sizes are read off the weights.

        Raises `CheckpointError` for a file that is not a whole reward model; nothing but tensors is ever
        unpickled.
        """
        state, metadata = read_reward(path)
        return cls.from_state_dict({key: value.float() for key, value in state.items()}, metadata)

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None
    ) -> RewardModel:
        """Build from published names (`blip.visual_encoder.…`, `blip.text_encoder.…`, `mlp.layers.…`).

        The tensors are taken over, not copied. `metadata` may hold fields of `RewardConfig` that weights do
        not tell: `vision_heads` and `text_heads` where heads are not 64 wide.
        """
        config = RewardConfig.infer(state, metadata)
        with torch.device("meta"):
            model = cls(config, metadata)
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        known = check_weights(state, shapes)
        require_finite({to_published(key): value for key, value in known.items()}, "this reward model")
        model.load_state_dict(known, assign=True)
        # A buffer that is not saved, so that no file has it, and that is on `meta` until now.
        model.text.embeddings.position_ids = torch.arange(config.positions)[None]
        return model.eval().requires_grad_(False)

    def save(self, path: str | PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Write `.safetensors` under the published names, optionally in another dtype."""
        state = self.state_dict()
        published = {to_published(key): value.to(dtype or value.dtype) for key, value in state.items()}
        write_reward(published, path, {**self.metadata, **self.config.to_dict()})

    def score(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Rewards (B,) on a common scale: 0 is average, 1 a standard deviation better; see `raw_score`."""
        raw = self.raw_score(pixel_values, input_ids, attention_mask)
        return (raw - self.config.mean) / self.config.std

    def raw_score(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Rewards (B,) as trained, in float32.

        pixel_values (B, 3, side, side) from `prepare_pictures`; input_ids and attention_mask (B, T).
        """
        return self.reward(self.read(self.see(pixel_values), input_ids, attention_mask))[:, 0]

    def see(self, pixel_values: Tensor) -> Tensor:
        """Features of pictures by the vision tower: (B, patches + 1, width). Several prompts may use them."""
        return self.vision(pixel_values.to(self.dtype)).last_hidden_state

    def read(self, seen: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Features (B, T, width) of prompts (B, T) by the text tower, which attends to those of pictures."""
        return self.text(
            input_ids=input_ids,
            attention_mask=attention_mask,
            # Given here, because transformers' own buffer stays behind when a host moves weights alone.
            position_ids=torch.arange(input_ids.shape[1], device=input_ids.device)[None],
            encoder_hidden_states=seen,
            is_decoder=False,
        ).last_hidden_state

    def reward(self, read: Tensor) -> Tensor:
        """Rewards (B, K) as trained, of features of prompts; K is 1 but while several aspects are trained."""
        return self.head(read[:, 0]).float()

    def one_aspect(self, number: int, metadata: Mapping[str, Any], mean: float, std: float) -> RewardModel:
        """The model of one of several aspects trained together, with the constants of its own rewards."""
        return self._with_outputs([number], metadata, mean, std).eval().requires_grad_(False)

    def several_aspects(self, count: int) -> RewardModel:
        """A model to train in `count` aspects together: each begins as the one of this model."""
        return self._with_outputs([0] * count, {}, 0.0, 1.0)

    def _with_outputs(
        self, numbers: list[int], metadata: Mapping[str, Any], mean: float, std: float
    ) -> RewardModel:
        """A copy whose outputs are these of the model."""
        config = replace(self.config, head=(*self.config.head[:-1], len(numbers)), mean=mean, std=std)
        state = {key: value.detach().clone() for key, value in self.state_dict().items()}
        for key in (f"head.{len(self.head) - 1}.{name}" for name in ("weight", "bias")):
            state[key] = state[key][numbers]
        model = RewardModel(config, {**self.metadata, **metadata})
        model.load_state_dict(state)
        return model

    @property
    def dtype(self) -> torch.dtype:
        return self.head[0].weight.dtype  # pyright: ignore[reportReturnType]


def _towers(config: RewardConfig) -> tuple[Any, Any]:
    """Both towers; transformers is slow to import and only needed here."""
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    vision = BlipVisionConfig(
        hidden_size=config.vision_width,
        intermediate_size=config.vision_hidden,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=config.vision_heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        layer_norm_eps=1e-6,
        initializer_range=0.02,
    )
    text = BlipTextConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.text_width,
        encoder_hidden_size=config.vision_width,
        intermediate_size=config.text_hidden,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        max_position_embeddings=config.positions,
        layer_norm_eps=1e-12,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        pad_token_id=0,
        bos_token_id=None,
        sep_token_id=None,
        # transformers builds cross-attention into decoders alone; each call says that its mask is not causal.
        is_decoder=True,
    )
    return BlipVisionModel(vision), BlipTextModel(text, add_pooling_layer=False)


def _head(config: RewardConfig) -> nn.Sequential:
    """Linear layers without activations between them, as published."""
    layers: list[nn.Module] = []
    width = config.text_width
    for number, next_width in enumerate(config.head):
        layers.append(nn.Linear(width, next_width))
        if number < min(len(_HEAD_DROPOUT), len(config.head) - 1):
            layers.append(nn.Dropout(_HEAD_DROPOUT[number]))
        width = next_width
    return nn.Sequential(*layers)

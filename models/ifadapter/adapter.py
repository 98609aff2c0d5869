"""The IFAdapter: instance captions and boxes in, one term per adapted cross-attention layer out."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..finite import require_finite
from ..regions import Regions
from .attention import InstanceAttention
from .checkpoint import check_keys, read_checkpoint, write_checkpoint
from .config import IFAdapterConfig
from .gate import Gate
from .position import PositionNet
from .prompt import InstancePrompt
from .resampler import Resampler


class IFAdapter(nn.Module):
    """Resampler, position net and adapted layers; attribute names are the groups of the official file.

    Source: IFAdapter (arXiv 2409.08240).
    """

    def __init__(self, config: IFAdapterConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        self.text_proj_model = Resampler(
            text_width=config.phrase_width,
            output_width=config.text_width,
            width=config.resampler_width,
            depth=config.resampler_depth,
            heads=config.resampler_heads,
            head_dim=config.resampler_head_dim,
            queries=config.queries,
            hidden=config.resampler_hidden,
            operations=operations,
        )
        self.pos_net = PositionNet(
            config.position_features, config.position_hidden, config.text_width, operations
        )
        self.adapter_modules = nn.ModuleDict(
            {
                str(number): InstanceAttention(
                    width=width,
                    text_width=config.text_width,
                    head_dim=config.head_dim,
                    gate_hidden=config.gate_hidden,
                    gate_kernel=config.gate_kernel,
                    operations=operations,
                )
                for number, width in config.layers.items()
            }
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> IFAdapter:
        """Read an official `.bin` or a `.safetensors` with its groups flattened, as float32.

        Sizes and adapted layers are inferred from the file. Raises `CheckpointError` for a file that is not
        a whole IFAdapter; nothing but tensors is ever unpickled.
        """
        state = {key: value.float() for key, value in read_checkpoint(path).items()}
        return cls.from_state_dict(state)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], operations: ModuleType | Any = nn) -> IFAdapter:
        """Build from flattened official groups (`text_proj_model.…`, `adapter_modules.<n>.…`, `pos_net.…`).

        The tensors are taken over, not copied. `operations` supplies Linear, LayerNorm and Conv2d, so that a
        host can pass its own. Raises `CheckpointError` listing missing keys; unknown keys are a warning.
        """
        config = IFAdapterConfig.infer(state)
        with torch.device("meta"):
            adapter = cls(config, operations)
        known = check_keys(state, {key: tuple(p.shape) for key, p in _parameters(config).items()})
        require_finite(known, "this IFAdapter file")
        adapter.load_state_dict(known, assign=True)
        return adapter.eval().requires_grad_(False)

    def save(self, path: str | PathLike[str], dtype: torch.dtype | None = None) -> None:
        """Write `.bin` (the official groups) or `.safetensors` (flattened), optionally in another dtype."""
        write_checkpoint({k: v.to(dtype or v.dtype) for k, v in self.state_dict().items()}, path)

    @property
    def attention(self) -> dict[int, InstanceAttention]:
        """The adapted layers by official processor number."""
        return {int(number): layer for number, layer in self.adapter_modules.items()}  # type: ignore[misc]

    def instance_tokens(
        self, hidden_states: Tensor, attention_mask: Tensor, eot: Tensor, boxes: Tensor
    ) -> Tensor:
        """Tokens of P phrases: appearance tokens of each text layer, end of text, plus the box embedding.

        hidden_states (P, K, T, C) from K layers of both text encoders, channels concatenated;
        attention_mask (P, T), 1 from start to end of text; eot (P, C), the penultimate layer at end of text;
        boxes (P, 4). Features and boxes in the adapter's dtype. Returns (P, K * queries + 1, D). Inputs are
        not changed.

        Source: IFAdapter, equation 3. The box embedding is added to the end-of-text token too, which the
        paper does not say and the released code does.
        """
        phrases, layers, _, _ = hidden_states.shape
        mask = attention_mask.repeat_interleave(layers, dim=0)
        appearance = self.text_proj_model(hidden_states.flatten(0, 1), mask)
        appearance = appearance.unflatten(0, (phrases, layers)).flatten(1, 2)
        return torch.cat((appearance, eot[:, None]), dim=1) + self.pos_net(boxes)[:, None]

    def unconditional_tokens(self, boxes: Tensor, text_layers: int = 3) -> Tensor:
        """Tokens of the unconditional branch: zero features and mask, but the same boxes (P, 4).

        The released code guides against these, not against an empty caption.
        """
        width = self.config.phrase_width
        features = boxes.new_zeros(1, text_layers, 1, width)
        # Without words every phrase is alike, so one pass through the resampler serves all.
        tokens = self.instance_tokens(features, boxes.new_zeros(1, 1), boxes.new_zeros(1, width), boxes[:1])
        return tokens - self.pos_net(boxes[:1])[:, None] + self.pos_net(boxes)[:, None]

    def prompt(self, tokens: Tensor, regions: Regions) -> InstancePrompt:
        """Keys and values of all adapted layers for tokens (P, N, D) of the instances in `regions`."""
        pairs = {number: layer.keys_values(tokens) for number, layer in self.attention.items()}
        return InstancePrompt(
            regions, {n: k for n, (k, _) in pairs.items()}, {n: v for n, (_, v) in pairs.items()}
        )

    def gates(self) -> dict[int, Gate]:
        """The weights of every layer that sampling needs, as float32 copies independent of this module."""
        return {number: layer.gate().frozen() for number, layer in self.attention.items()}


def _parameters(config: IFAdapterConfig) -> dict[str, Tensor]:
    """Names and shapes the configuration asks for, from plain torch modules (a host's may be lazy)."""
    with torch.device("meta"):
        return IFAdapter(config).state_dict()

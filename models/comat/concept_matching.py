"""Concept matching: how likely a captioner finds the prompt, given the picture that was made of it.

Source: CoMat (arXiv 2404.03653), equation of concept matching: -log p(prompt | picture), a sum over tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

IGNORED = -100
Reduction = Literal["mean", "sum"]


class Likelihood(NamedTuple):
    """What a captioner says of B captions, each (B,), summed over a caption's scored tokens.

    `negative`: -log p of the tokens; `uniform`: the mean of -log p over the vocabulary, which label smoothing
    mixes in; `tokens`: how many are scored.
    """

    negative: Tensor
    uniform: Tensor
    tokens: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Likelihood]) -> Likelihood:
        """Several batches as one."""
        return cls(*(torch.cat(part) for part in zip(*parts, strict=True)))


def likelihood_of(logits: Tensor, labels: Tensor) -> Likelihood:
    """Likelihood from a decoder's logits (B, L, V) and labels (B, L), where -100 is not scored.

    A position's logits are for the label after it.
    """
    logarithms = logits[:, :-1].float().log_softmax(-1)
    wanted = labels[:, 1:]
    scored = wanted != IGNORED
    negative = -logarithms.gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    uniform = -logarithms.mean(-1)
    return Likelihood((negative * scored).sum(-1), (uniform * scored).sum(-1), scored.sum(-1))


def concept_loss(likelihood: Likelihood, reduction: Reduction = "mean", smoothing: float = 0.0) -> Tensor:
    """The loss of a batch.

    "mean" is one mean over all scored tokens of the batch, as the released code has it: long prompts weigh
    more. "sum" is the paper's: the sum over a prompt's tokens, averaged over prompts. The released code ran
    with a label smoothing of 0.1, which the version of transformers it names puts into BLIP's loss.
    """
    loss = (1.0 - smoothing) * likelihood.negative + smoothing * likelihood.uniform
    return loss.mean() if reduction == "sum" else loss.sum() / likelihood.tokens.sum().clamp(min=1)


def rival_loss(negative: Tensor, rivals: Sequence[Tensor]) -> Tensor:
    """Minus the log of the prompt's share of what a captioner gives to a prompt and its rivals together.

    negative: -log p of B prompts, (B,); rivals: of each prompt's rivals, (N,) each, N may differ and be 0.
    What the captioner says of any caption (which thing it names first, its words for sizes) drops out; what
    remains is whether words are bound as the prompt binds them. Mean over prompts that have rivals, 0 if none
    has. Not in the paper: a softmax over captions, as contrastive losses have it (arXiv 1807.03748).
    """
    losses = [
        own + torch.logsumexp(-torch.cat((own[None], others)), 0)
        for own, others in zip(negative, rivals, strict=True)
        if len(others)
    ]
    return torch.stack(losses).mean() if losses else negative.new_zeros(())

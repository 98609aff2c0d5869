"""Fingerprints of what a run rests on, to tell whether it is still the same; they do not stop forgery."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Values of each tensor that are looked at one by one, spread over it; the sum tells of all others.
_SAMPLED = 4096
# Before this one sums were of floats, whose last bits the number of threads decides: they tell nothing.
_VERSION = "2-"
_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def of_texts(texts: Iterable[str]) -> str:
    """Number of texts, and a digest of them and their order."""
    digest, count = hashlib.sha256(), 0
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
        count += 1
    return f"{count} of {digest.hexdigest()[:16]}"


def of_weights(*modules: nn.Module) -> str:
    """One digest of all parameters of modules, trained or not."""
    digest = hashlib.sha256()
    for number, module in enumerate(modules):
        for name, value in module.named_parameters():
            digest.update(f"{number}.{name}{tuple(value.shape)}".encode() + _numbers(value))
    return f"{_VERSION}{digest.hexdigest()[:16]}"


def of_frozen(module: nn.Module) -> dict[str, str]:
    """A digest for each part of a module that has parameters which are not trained."""
    return _of_parameters(module, trained=False)


def of_start(module: nn.Module) -> dict[str, str]:
    """A digest for each part of a module of what is trained, before the first step; and whose numbers are
    random ones."""
    return {**_of_parameters(module, trained=True), "torch": str(torch.__version__)}


def same_start(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What of two starts is to be compared: another torch may draw other fresh weights."""
    if before.get("torch") != now.get("torch"):
        return {}, {}
    return comparable(before, now)


def comparable(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What of two sets of digests is to be compared: nothing with one of an earlier version."""
    digests = [digest for part, digest in before.items() if part != "torch"]
    if not all(digest.startswith(_VERSION) for digest in digests):
        return {}, {}
    return dict(before), dict(now)


@torch.no_grad()
def _of_parameters(module: nn.Module, *, trained: bool) -> dict[str, str]:
    digests: dict[str, Any] = {}
    for name, value in module.named_parameters():
        if value.requires_grad == trained:
            part = digests.setdefault(name.partition(".")[0], hashlib.sha256())
            part.update(name.encode() + str(tuple(value.shape)).encode() + _numbers(value))
    return {part: f"{_VERSION}{digest.hexdigest()[:16]}" for part, digest in digests.items()}


def _numbers(value: Tensor) -> bytes:
    flat = value.detach().flatten()
    sampled = flat[:: max(1, flat.numel() // _SAMPLED)].float()
    # Of bits, not of floats: whole numbers have one sum on every machine and with any number of threads.
    bits = flat.contiguous().view(_WHOLE[flat.element_size()])
    return sampled.cpu().numpy().tobytes() + bits.sum(dtype=torch.int64).cpu().numpy().tobytes()

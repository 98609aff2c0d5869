"""The difference of two UNets as a LoRA: its best approximation of a chosen rank, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..sdxl.names import GROUPS, in_group
from ..weights import CheckpointError, save_weights

METHODS = ("randomized", "full")
# Kinds of devices for which torch has the decompositions (SVD, QR).
DECOMPOSING = ("cpu", "cuda")

# Settings of the randomised decomposition (Halko, Martinsson and Tropp 2011, arXiv 0909.4061, section 4): the
# directions that are tried beyond the rank, and the power iterations.
OVERSAMPLING = 16
ITERATIONS = 2


@dataclass(frozen=True)
class ExtractionSettings:
    """Settings of a LoRA that is made of a delta.

    A layer gets the smallest rank that keeps the share `energy` of its squared entries, at most `rank`.
    `method`: "full" decomposes each layer exactly, "randomized" estimates its first directions, which is
    many times faster. `vectors` keeps norms and biases, entry by entry.
    """

    rank: int = 64
    energy: float = 1.0
    method: str = METHODS[0]
    vectors: bool = True
    dtype: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank is {self.rank}; it has to be 1 or more.")
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy is {self.energy}; it is a share, above 0 and up to 1.")
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}; it is randomized or full.")


@dataclass(frozen=True)
class LayerError:
    """Error of one weight of a LoRA.

    `size` is the Frobenius norm of its delta, `error` that of what the written file does not reproduce.
    """

    name: str
    shape: tuple[int, ...]
    rank: int
    size: float
    error: float

    @property
    def relative(self) -> float:
        """Error per size, 0 to 1; 0 where the delta is zero."""
        return self.error / self.size if self.size else 0.0


def extract_layer(
    name: str, delta: Tensor, settings: ExtractionSettings
) -> tuple[dict[str, Tensor], LayerError]:
    """Entries of a LoRA file for the delta of one weight (original name), and what they miss.

    Matrices and convolutions become `lora_up`, `lora_down` and `alpha`; norms become `diff`, biases `diff_b`,
    which ComfyUI and LyCORIS read. A zero delta gives no entry. Names are those of SDXL LoRAs by kohya's
    scripts: `lora_unet_` and the original name. Raises `CheckpointError` for a delta that is not finite.
    """
    delta = delta.float().to(decomposing_device(delta.device))
    size = float(torch.linalg.vector_norm(delta))
    if not torch.isfinite(torch.tensor(size)):
        raise CheckpointError(f"{name} has entries that are no finite numbers; a model is damaged.")
    module, _, kind = name.rpartition(".")
    key = f"lora_unet_{module.replace('.', '_')}"
    if size == 0 or (delta.ndim < 2 and not settings.vectors):
        return {}, LayerError(name, tuple(delta.shape), 0, size, size)
    if delta.ndim < 2:
        kept = delta.to("cpu", settings.dtype)
        error = float(torch.linalg.vector_norm(delta.cpu() - kept.float()))
        entry = {f"{key}.{'diff_b' if kind == 'bias' else 'diff'}": kept}
        return entry, LayerError(name, tuple(delta.shape), 0, size, error)
    up, down = low_rank(delta.flatten(1), settings)
    rank = down.shape[0]
    # One alpha for all layers, whatever their rank: diffusers mixes up alphas that differ.
    scale = settings.rank / rank
    up, down = ((factor / scale**0.5).to(settings.dtype) for factor in (up, down))
    error = float(torch.linalg.vector_norm(delta.flatten(1) - scale * (up.float() @ down.float())))
    state = {
        f"{key}.lora_up.weight": up.reshape(-1, rank, *[1] * (delta.ndim - 2)),
        f"{key}.lora_down.weight": down.reshape(rank, *delta.shape[1:]),
        f"{key}.alpha": torch.tensor(float(settings.rank)),
    }
    entries = {entry: value.to("cpu").contiguous() for entry, value in state.items()}
    return entries, LayerError(name, tuple(delta.shape), rank, size, error)


def decomposing_device(device: torch.device) -> torch.device:
    """The device itself where torch can decompose matrices there, else the CPU (MPS, XPU and others)."""
    return device if device.type in DECOMPOSING else torch.device("cpu")


def low_rank(matrix: Tensor, settings: ExtractionSettings) -> tuple[Tensor, Tensor]:
    """(m, r) and (r, n) whose product approximates a matrix (m, n), float32; both of about equal size."""
    rank, tried = settings.rank, settings.rank + OVERSAMPLING
    if settings.method == "full" or tried >= min(matrix.shape):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    else:
        # A seed for this alone, so that the same two models always give the same file.
        with torch.random.fork_rng(devices=[matrix.device] if matrix.is_cuda else []):
            torch.manual_seed(0)
            left, values, right = torch.svd_lowrank(matrix, q=tried, niter=ITERATIONS)
        right = right.mH
    if settings.energy < 1:
        share = values.square().cumsum(0) / torch.linalg.vector_norm(matrix).square()
        rank = min(rank, 1 + int((share < settings.energy).sum()))
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def save_lora(path: Path, state: Mapping[str, Tensor], settings: ExtractionSettings) -> None:
    """Write a LoRA file whose metadata says what it is for."""
    metadata = {
        "format": "pt",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(settings.rank),
        "ss_network_alpha": str(settings.rank),
    }
    save_weights(state, path, metadata)


def total_error(rows: Iterable[LayerError]) -> float:
    """Relative error of all weights together: Frobenius norms over the whole delta, 0 to 1."""
    rows = list(rows)
    size = sum(row.size**2 for row in rows)
    return (sum(row.error**2 for row in rows) / size) ** 0.5 if size else 0.0


def summary(rows: Iterable[LayerError], worst: int = 15) -> str:
    """The errors in a few lines: all together, by part of the UNet, and the largest."""
    rows = list(rows)
    ranks = [row.rank for row in rows if row.rank]
    lines = [
        f"relative error of the whole delta: {total_error(rows):.4f}",
        f"{len(ranks)} layers at rank {min(ranks)} to {max(ranks)}" if ranks else "no layer has a rank",
    ]
    for group in GROUPS[1:]:
        chosen = [row for row in rows if in_group(row.name, group)]
        lines.append(f"  {group}: {total_error(chosen):.4f}")
    lines.append("largest errors (relative, rank, weight):")
    for row in sorted(rows, key=lambda row: -row.error)[:worst]:
        lines.append(f"  {row.relative:.4f}  {row.rank:4d}  {row.name}")
    return "\n".join(lines)


def error_table(rows: Iterable[LayerError]) -> str:
    """All rows as comma-separated values, largest error first."""
    lines = ["weight,shape,rank,delta,error,relative error"]
    for row in sorted(rows, key=lambda row: -row.error):
        shape = "x".join(map(str, row.shape))
        lines.append(f"{row.name},{shape},{row.rank},{row.size:.6g},{row.error:.6g},{row.relative:.6g}")
    return "\n".join(lines) + "\n"

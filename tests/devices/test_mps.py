"""Apple's GPUs (MPS): what we ask of a device in a forward pass has a kernel there, by torch's own list."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from device_watch import DEVICE, watched
from torch import Tensor

from instance_composer.models.attention.probabilities import token_probabilities
from instance_composer.models.concentration import LocalGuidance, Targets, concentrate
from instance_composer.models.ifadapter import InstanceAttention, semantic_map
from instance_composer.models.regions import Regions

torchgen = pytest.importorskip("torchgen")
yaml = pytest.importorskip("yaml")

GRID, WIDTH, HEADS = (16, 16), 128, 2
BOXES = [(0.0, 0.0, 0.5, 0.5), (0.1, 0.2, 0.9, 1.0), (0.4, 0.4, 0.6, 0.6)]
# Kinds of kernels that every device has, since they are made of other operations.
COMPOSITE = {
    "CompositeImplicitAutograd",
    "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional",
}


@cache
def functions() -> dict[str, Any]:
    """Entries of native_functions.yaml by name and overload."""
    path = Path(torchgen.__path__[0]) / "packaged/ATen/native/native_functions.yaml"
    if not path.exists():
        pytest.skip(f"this torch was installed without {path}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = yaml.load(path.read_text(encoding="utf-8"), loader)
    return {entry["func"].partition("(")[0]: entry for entry in entries}


def runs_on_mps(name: str) -> bool:
    """Whether an operation, by torch's full name (aten::add.Tensor), has a kernel for MPS."""
    entry = functions().get(name.removeprefix("aten::"))
    if entry is None:
        return False
    if delegate := entry.get("structured_delegate"):
        return runs_on_mps(delegate)
    devices = {device.strip() for key in entry.get("dispatch", {}) for device in key.split(",")}
    return not devices or "MPS" in devices or bool(devices & COMPOSITE)


def tensor(*shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device=DEVICE)


def adapter() -> None:
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[4:20, 6:30] = mask[18:26, 3:9] = True
    with torch.device(DEVICE):
        layer = InstanceAttention(width=WIDTH, text_width=64, head_dim=64, gate_hidden=16, gate_kernel=7)
    keys, values = (tensor(2, 3, HEADS, 7, 64, dtype=torch.float32) for _ in range(2))
    for masks in ((None,) * 3, (None, mask, None)):
        regions = Regions(tuple(BOXES), masks, (1.0, 0.5, 1.0), ((0.0, 1.0),) * 3)
        placement = regions.place(GRID, None, DEVICE)
        assert placement is not None
        semantic_map(tensor(2, 256, WIDTH), keys, values, layer.gate(), placement)


def local() -> None:
    for derived in (False, True):
        targets = Targets(((1, 2), (4, 5)), ((2,), (5,)), Regions.of_boxes(BOXES[:2]), (derived, False))
        for settings in ({}, {"inner_steps": 2, "strength": 20.0, "token_weight": 9.0}, {"step": "plain"}):
            for rows in (1, 2):
                query, attended = (tensor(rows, 256, WIDTH) for _ in range(2))
                key, value = (tensor(rows, 77, WIDTH) for _ in range(2))
                concentrate(query, key, value, attended, HEADS, targets, GRID, LocalGuidance(**settings))


def recorder() -> None:
    spread, belongs = tensor(4, dtype=torch.int64), tensor(2, 6, dtype=torch.float32)
    found = token_probabilities(tensor(2, 256, WIDTH), tensor(2, 154, WIDTH), HEADS, spread).mean(1)
    (found.unflatten(-1, (2, 2)).sum(-2) @ belongs).transpose(1, 2).unflatten(-1, GRID) + 1.0


@pytest.mark.parametrize("work", [adapter, local, recorder])
def test_what_samples_runs_on_apples_gpus(work):
    with torch.inference_mode(), watched() as watch:
        work()
    assert len(watch.called) > 5
    assert not {name for name in watch.called if not runs_on_mps(name)}
    # There are no numbers of 64 bits with a fraction there.
    assert not watch.dtypes & {torch.float64, torch.complex64, torch.complex128}


def test_the_list_knows_what_is_missing():
    """The reasons for which the mode latent is refused there."""
    assert runs_on_mps("aten::baddbmm")
    assert not runs_on_mps("aten::native_group_norm_backward")
    assert not runs_on_mps("aten::_linalg_svd")

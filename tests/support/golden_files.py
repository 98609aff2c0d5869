"""Reference tensors made by the official implementations.

All of them lie at `<checkout>/../shared/golden`, too large for the repository; `tests/data` holds a trimmed
copy, so that a clone alone proves parity. Tests run on both where both are there, those that take long
on the whole data alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
TRIMMED = Path(__file__).resolve().parents[1] / "data"
BENCH_DATA = GOLDEN.parent / "data" / "bench"
HOW_TO_GET_GOLDEN = f"the full reference data is not beside this checkout (looked in ../shared/{GOLDEN.name})"

REFERENCES = [
    pytest.param(TRIMMED, id="trimmed"),
    pytest.param(GOLDEN, id="full", marks=pytest.mark.skipif(not GOLDEN.exists(), reason=HOW_TO_GET_GOLDEN)),
]
WHOLE_OR_TRIMMED = GOLDEN if GOLDEN.exists() else TRIMMED


def read_cases(path: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors of a reference file, `case/tensor` split at the first slash."""
    cases: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(path).items():
        case, _, key = name.partition("/")
        cases.setdefault(case, {})[key] = tensor
    return cases


def read_facts(path: Path) -> Any:
    """The JSON beside a reference file."""
    return json.loads(path.read_text(encoding="utf-8"))

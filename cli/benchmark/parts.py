"""What several steps of a benchmark ask for: a part of the cases, a device, the benchmark's own module."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, Any

from ..arguments import best_device, device, usable_device
from ..share import launched_share

if TYPE_CHECKING:
    from pathlib import Path

    from ...evaluation.harness.run_folder import RunFolder, Shard

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")


def add_shard(parser: Any) -> None:
    """Add the part of the cases that this process works on."""
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="N/OF",
        help="this process's part of the pictures: 1/4 to 4/4 for four (what accelerate launch says)",
    )


def add_machine(parser: Any) -> None:
    """Add device and precision."""
    parser.add_argument("--device", type=device, help="cpu, cuda, cuda:1, mps, … (the best there is)")
    parser.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), help="of the models (CPU: fp32, else fp16)"
    )


def chosen_shard(arguments: argparse.Namespace) -> Shard:
    """The part that was asked for, or that of a process that accelerate or torchrun started."""
    from ...evaluation.harness.run_folder import Shard

    if arguments.shard is not None:
        return Shard(*arguments.shard)
    return Shard(*launched_share())


def chosen_precision(arguments: argparse.Namespace) -> str:
    """The name of the precision that models have, told without trying the device."""
    return arguments.dtype or ("fp32" if _place(arguments) == "cpu" else "fp16")


def chosen_device(arguments: argparse.Namespace) -> tuple[str, Any]:
    """Device and dtype; of several processes on a machine each takes its own GPU."""
    import torch

    names = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return usable_device(_place(arguments)), names[chosen_precision(arguments)]


def _place(arguments: argparse.Namespace) -> str:
    best = best_device()
    if best == "cuda" and "LOCAL_RANK" in os.environ:
        best = f"cuda:{os.environ['LOCAL_RANK']}"
    return arguments.device or best


def benchmark_of(name: str) -> Any:
    """The benchmark's module."""
    from ...evaluation.benchmarks.published import BENCHMARKS

    return BENCHMARKS[name]


def open_run(arguments: argparse.Namespace) -> RunFolder:
    """The folder of a run; ValueError for one of another benchmark."""
    from ...evaluation.harness.run_folder import RunFolder

    folder: Path = arguments.folder
    run = RunFolder(folder)
    if run.list.benchmark != arguments.benchmark:
        raise ValueError(f"{folder} is a run of {run.list.benchmark}, not of {arguments.benchmark}")
    return run


def _shard(text: str) -> tuple[int, int]:
    match = _SHARD.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f'a part such as 1/4 is needed, up to 4/4, got "{text}"')
    return int(match[1]) - 1, int(match[2])

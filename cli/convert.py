"""`instance-composer convert`: published weights to smaller or safer files."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `ifadapter`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="kind")
    ifadapter = kinds.add_parser("ifadapter", help="an IFAdapter file to another container or precision")
    ifadapter.add_argument("input", help="the file to read, .bin or .safetensors")
    ifadapter.add_argument("output", help="the file to write, .safetensors or .bin")
    ifadapter.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), help="precision to write (as in the file)"
    )
    ifadapter.add_argument("--force", action="store_true", help="overwrite the output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Convert and report the sizes; the output appears only when it is whole."""
    import torch
    from tqdm import tqdm

    from ..models.ifadapter import IFAdapter, read_checkpoint

    source, target = Path(arguments.input), Path(arguments.output)
    _check(source, target, arguments.force)
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}
    with tqdm(total=2, desc="converting", disable=None) as bar:
        # The weights stay in the file, mapped into memory, until they are converted and written.
        adapter = IFAdapter.from_state_dict(read_checkpoint(source))
        bar.update()
        unfinished = target.with_name(f"{target.stem}.unfinished{target.suffix}")
        try:
            adapter.save(unfinished, dtypes[arguments.dtype])
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
        bar.update()
    weights = sum(parameter.numel() for parameter in adapter.parameters())
    print(f"{source.name}: {_megabytes(source)}, {target.name}: {_megabytes(target)}, {weights:,} weights")
    return 0


def _check(source: Path, target: Path, force: bool) -> None:
    if not source.is_file():
        raise ValueError(f"there is no file {source}")
    if target.suffix not in (".safetensors", ".bin"):
        raise ValueError(f"an IFAdapter is written as .safetensors or .bin, not as {target.name}")
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent}")
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target} would overwrite what is being read; name another output")
    if target.exists() and not force:
        raise ValueError(f"{target} exists; --force overwrites it")


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:,.1f} MB"

"""`instance-composer convert`: published weights to smaller or safer files, and IterComp's delta."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import device, finite, usable_device
from .files import whole, write_whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..models.sdxl.files import UNetFile

BLOCKS = ("all", "input", "middle", "output", "cross-attention")
FULL_SDXL = "a diffusers folder, or a file with or without text encoders and VAE"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `ifadapter`, `unet`, `delta` and `lora`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="kind")
    ifadapter = kinds.add_parser("ifadapter", help="an IFAdapter file to another container or precision")
    ifadapter.add_argument("input", help="the file to read, .bin or .safetensors")
    ifadapter.add_argument("output", help="the file to write, .safetensors or .bin")
    unet = kinds.add_parser("unet", help="an SDXL UNet such as IterComp's folder to one file for ComfyUI")
    unet.add_argument("input", help=f"what to read: {FULL_SDXL}")
    unet.add_argument("output", help="the .safetensors to write, for models/diffusion_models")
    delta = kinds.add_parser("delta", help="a model + strength x (IterComp - SDXL base) to one file")
    delta.add_argument("input", help=f"the model to change: {FULL_SDXL}")
    delta.add_argument("output", help="the .safetensors to write; it has all that the input has")
    delta.add_argument("--strength", type=finite, default=1.0, help="of the delta (1)")
    delta.add_argument("--blocks", choices=BLOCKS, default="all", help="what of the UNet changes (all)")
    lora = kinds.add_parser("lora", help="IterComp - SDXL base to a LoRA file")
    lora.add_argument("output", help="the .safetensors to write, for models/loras")
    lora.add_argument("--rank", type=int, default=64, help="highest rank of a layer (64)")
    lora.add_argument(
        "--energy", type=finite, default=1.0, help="share of a layer's squared entries that is enough (1)"
    )
    lora.add_argument("--full", action="store_true", help="decompose exactly, many times slower")
    lora.add_argument("--matrices-only", action="store_true", help="leave norms and biases out")
    lora.add_argument("--table", metavar="CSV", help="also write the error of every weight")
    lora.add_argument("--device", type=device, default="cpu", help="where to decompose, such as cuda (cpu)")
    for kind in (delta, lora):
        kind.add_argument("--itercomp", required=True, help=f"the tuned model: {FULL_SDXL}")
        kind.add_argument("--base", required=True, help="the model it was tuned from, SDXL base; as above")
    for kind in (ifadapter, unet, delta, lora):
        default = "fp16" if kind is lora else "as in the file"
        kind.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help=f"precision to write ({default})")
        kind.add_argument("--force", action="store_true", help="overwrite the output if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Convert and report; the output appears only when it is whole."""
    return {"ifadapter": _ifadapter, "unet": _unet, "delta": _delta, "lora": _lora}[arguments.kind](arguments)


def _ifadapter(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..models.ifadapter import IFAdapter, read_checkpoint

    source, target = Path(arguments.input), Path(arguments.output)
    if not source.is_file():
        raise ValueError(f"there is no file {source}")
    with (
        _whole(target, (".safetensors", ".bin"), arguments.force, source) as unfinished,
        tqdm(total=2, desc="converting", disable=None) as bar,
    ):
        # The weights stay in the file, mapped into memory, until they are converted and written.
        adapter = IFAdapter.from_state_dict(read_checkpoint(source))
        bar.update()
        adapter.save(unfinished, dtype := _dtype(arguments))
        if dtype is not None:
            _tell_not_finite((name, value.to(dtype)) for name, value in adapter.state_dict().items())
        bar.update()
    weights = sum(parameter.numel() for parameter in adapter.parameters())
    print(f"{source.name}: {_megabytes(source)}, {target.name}: {_megabytes(target)}, {weights:,} weights")
    return 0


def _unet(arguments: argparse.Namespace) -> int:
    from ..models.sdxl.files import open_unet
    from ..models.weights import save_weights

    source, target = Path(arguments.input), Path(arguments.output)
    with _whole(target, (".safetensors",), arguments.force, source) as unfinished:
        file = open_unet(source)
        state = _cast(file.weights.stream(), len(file.weights), arguments)
        save_weights(state | file.prediction.marks(), unfinished, file.metadata())
    print(
        f"{target.name}: {_megabytes(target)}, {len(state)} weights of the UNet in {source.name}"
        f"{_told(file, arguments)}"
    )
    return 0


def _delta(arguments: argparse.Namespace) -> int:
    from ..models.itercomp import with_delta
    from ..models.sdxl.files import open_unet
    from ..models.weights import save_weights

    source, target = Path(arguments.input), Path(arguments.output)
    with _whole(target, (".safetensors",), arguments.force, source) as unfinished:
        file, tuned, base = (open_unet(Path(one)) for one in (source, arguments.itercomp, arguments.base))
        # A single file keeps its own names, and its text encoders and autoencoder.
        names = {name: header.name if source.is_file() else name for name, header in file.weights.items()}
        changed = with_delta(file, tuned, base, arguments.strength, arguments.blocks)
        state = _cast(((names[name], value) for name, value in changed), len(names), arguments)
        state |= {name: value.clone() for name, value in file.others.stream()}
        save_weights(state | file.prediction.marks(), unfinished, file.metadata())
    print(
        f"{target.name}: {_megabytes(target)}, {source.name} + {arguments.strength:g} x "
        f"({tuned.name} - {base.name}), blocks: {arguments.blocks}{_told(file, arguments)}"
    )
    return 0


def _lora(arguments: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from ..models.itercomp import (
        ExtractionSettings,
        deltas,
        error_table,
        extract_layer,
        save_lora,
        summary,
    )
    from ..models.sdxl.files import open_unet

    place = usable_device(arguments.device)
    method = "full" if arguments.full else "randomized"
    settings = ExtractionSettings(
        arguments.rank,
        arguments.energy,
        method,
        not arguments.matrices_only,
        _dtype(arguments) or torch.float16,
    )
    target, table = Path(arguments.output), Path(arguments.table) if arguments.table else None
    if table is not None and not table.parent.is_dir():
        raise ValueError(f"--table: there is no folder {table.parent}")
    with _whole(target, (".safetensors",), arguments.force) as unfinished:
        tuned, base = open_unet(Path(arguments.itercomp)), open_unet(Path(arguments.base))
        state: dict[str, Tensor] = {}
        rows = []
        for name, delta in tqdm(deltas(tuned, base), total=len(tuned.weights), disable=None):
            entries, row = extract_layer(name, delta.to(place), settings)
            state |= entries
            rows.append(row)
        if not state:
            raise ValueError(f"{tuned.name} and {base.name} have the same weights; nothing to extract")
        save_lora(unfinished, state, settings)
        if table is not None:
            write_whole(table, error_table(rows).encode())
    print(f"{target.name}: {_megabytes(target)}\n{summary(rows)}")
    return 0


def _told(file: UNetFile, arguments: argparse.Namespace) -> str:
    """What is written beyond plain weights, in words."""
    from ..models.sdxl.prediction import in_words

    marked = f"; marked as {in_words(file.prediction)}" if file.prediction.marks() else ""
    restored = len(file.weights.quantised) if arguments.dtype is None else 0
    whole = f"; {restored} quantised weights as fp32 (--dtype fp16 is half the size)" if restored else ""
    return marked + whole


def _cast(
    weights: Iterator[tuple[str, Tensor]], count: int, arguments: argparse.Namespace
) -> dict[str, Tensor]:
    """Copies in the precision to write, with a bar."""
    from tqdm import tqdm

    dtype = _dtype(arguments)
    state = {
        name: value.to(dtype or value.dtype, copy=True).contiguous()
        for name, value in tqdm(weights, total=count, disable=None)
    }
    _tell_not_finite(state.items())
    return state


def _tell_not_finite(weights: Iterable[tuple[str, Tensor]]) -> None:
    """A warning that names what is written with NaN or infinity in it."""
    from ..models.finite import not_finite
    from ..models.weights import listing

    if names := list(not_finite(weights)):
        print(
            f"warning: {len(names)} weights are written with numbers that are not finite (NaN or infinity): "
            f"{listing(names, 10)}",
            file=sys.stderr,
        )


def _dtype(arguments: argparse.Namespace) -> torch.dtype | None:
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}.get(arguments.dtype)


@contextmanager
def _whole(target: Path, kinds: tuple[str, ...], force: bool, source: Path | None = None) -> Iterator[Path]:
    """A path to write to, which becomes `target` when it is whole, and nothing when writing fails."""
    if target.suffix not in kinds:
        raise ValueError(f"the output is written as {' or '.join(kinds)}, not as {target.name}")
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent}")
    if target.exists() and source is not None and source.exists() and target.samefile(source):
        raise ValueError(f"{target} would overwrite what is being read; name another output")
    if target.exists() and not force:
        raise ValueError(f"{target} exists; --force overwrites it")
    with whole(target) as unfinished:
        yield unfinished


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:,.1f} MB"

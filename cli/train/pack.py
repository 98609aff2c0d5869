"""`instance-composer train pack`: the trained demo model as it is shipped."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...demo import holds_transformer
from ...training.demo_model.stage_names import STAGE_NAMES

HELP = "the trained demo model as it is shipped"
DESCRIPTION = (
    "Write the trained demo model as it is shipped: one diffusers folder in half precision "
    "with its adapter, a model card and training curves."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the runs, the target, and what else than the runs' own can be packed."""
    parser.add_argument("folder", type=Path, help="the folder of `train base`, one run in each folder below")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write into")
    parser.add_argument("--model", type=Path, help="diffusers folder (FOLDER/base-numbers/model)")
    parser.add_argument(
        "--autoencoder", type=Path, help="another model's autoencoder (FOLDER/decoder/model if there is one)"
    )
    parser.add_argument(
        "--transformer", type=Path, help="(FOLDER/transformer/model if there is one, into `flux` below --out)"
    )
    parser.add_argument("--adapter", type=Path, help="(FOLDER/ifadapter/model/ifadapter.safetensors)")


def run(arguments: argparse.Namespace) -> int:
    """Pack, write the card, and say how large the files are."""
    from ...training.demo_model.card import write_card
    from ...training.demo_model.packing import pack, pack_transformer

    runs: Path = arguments.folder
    model = arguments.model or runs / "base-numbers" / "model"
    adapter = arguments.adapter or runs / "ifadapter" / "model" / "ifadapter.safetensors"
    if not adapter.is_file():
        raise ValueError(f"there is no adapter {adapter}; train it first, or name another with --adapter")
    decoder = runs / "decoder" / "model"
    autoencoder = arguments.autoencoder or (decoder if decoder.is_dir() else None)
    transformer: Path = arguments.transformer or runs / "transformer" / "model"
    if arguments.transformer is not None and not holds_transformer(transformer):
        raise ValueError(f"--transformer: {transformer} holds no transformer of the stage of that name")
    files = pack(model, adapter, arguments.out, autoencoder)
    if holds_transformer(transformer):
        files.append(pack_transformer(transformer, arguments.out))
    places = {**{name: runs / name for name in STAGE_NAMES}, "ifadapter": adapter.parent.parent}
    found = {name: place / "metrics.jsonl" for name, place in places.items()}
    write_card(arguments.out, {name: file for name, file in found.items() if file.is_file()})
    for file in files:
        print(f"{file.stat().st_size / 1e6:8.1f} MB  {file}")
    return 0

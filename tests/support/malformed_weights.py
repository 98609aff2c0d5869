"""Weight files of every kind, whole and then damaged: in their tensors, their containers, and their bytes.

As with `malformed_documents`, a number names a file.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_rewards import HEADS, WORDS, tiny_state
from tiny_sdxl import UNET, write_tiny_ifadapter
from torch import Tensor

from instance_composer.models.ifadapter import IFAdapter
from instance_composer.models.rewards import RewardModel, find_tokenizer
from instance_composer.models.sdxl.files import METADATA, open_unet
from instance_composer.models.weights import CheckpointError

LONGEST_MESSAGE = 10_000
REWARD = "instance_composer.reward"

State = dict[str, Any]
_NAMES = (
    "",
    "a",
    "adapter_modules.99999999999999999999.x",
    "blip.text_encoder.encoder.layer.999.x",
    "mlp.layers.x",
)
_TOLD = (
    None,
    True,
    -1,
    0,
    1,
    7,
    100_000,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "7",
    [],
    [[]],
    {},
    ["a"] * 9,
)
_TEXTS = (
    b"",
    b"PK",
    b"PK\x03\x04" + b"\0" * 60,
    b"\x80\x02}q\0.",
    b"hello\n" * 400,
    b"<!DOCTYPE html><html></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    b'{"weight_map": [1]}',
    b"\x89PNG\r\n\x1a\n" + b"\0" * 99,
    b"\xff" * 9,
    (2**62).to_bytes(8, "little") + b"{}",
    (2).to_bytes(8, "little") + b"{}",
    (200_000).to_bytes(8, "little") + b"[" * 200_000,
    b"(lp0\n" * 3_000,
)


@dataclass(frozen=True)
class Kind:
    """A kind of weight file: the reader, and a whole state with the metadata that tells the rest."""

    read: Callable[[Path], object]
    state: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    files: tuple[str, ...]


def kinds(folder: Path) -> dict[str, Kind]:
    """The kinds that are damaged; `folder` is for the whole ones."""
    adapter = load_file(write_tiny_ifadapter(folder / "adapter.safetensors"))
    reward = {**tiny_state()}
    told = {REWARD: json.dumps({**HEADS, "words": WORDS, "aspect": "spatial"})}
    return {
        "IFAdapter": Kind(IFAdapter.load, adapter, {}, ("a.safetensors", "a.bin", "a.pt")),
        "reward": Kind(_read_reward, reward, told, ("r.safetensors", "r.safetensors", "r.bin", "r.pt")),
        "UNet": Kind(
            _read_unet, _unet(), {METADATA: json.dumps(UNET)}, ("u.safetensors", "u.sft", "u.bin", "unet")
        ),
    }


def _read_reward(path: Path) -> None:
    model = RewardModel.load(path)
    find_tokenizer(path, model.metadata, model.config.vocabulary, model.config.tokens)


def _read_unet(path: Path) -> None:
    for _ in open_unet(path).weights.stream():
        pass


def _unet() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: value.half() for name, value in UNet2DConditionModel(**UNET).state_dict().items()}


def write(number: int, kind: Kind, folder: Path) -> Path:
    """The damaged file of a number, in an empty folder."""
    chance = random.Random(number)
    path = folder / chance.choice(kind.files)
    if path.suffix == "":
        return _write_shards(path, kind, chance)
    if chance.random() < 0.08:
        if chance.random() < 0.2:
            path.mkdir()
        else:
            path.write_bytes(chance.choice(_TEXTS))
        return path
    state: State = dict(kind.state)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
        _change(state, chance, torch_file=path.suffix in (".bin", ".pt"))
    if path.suffix in (".bin", ".pt"):
        content: Any = _grouped(state) if chance.random() < 0.5 else state
        torch.save(_wrapped(content, chance), path, _use_new_zipfile_serialization=chance.random() < 0.5)
    else:
        save_file({name: value.contiguous() for name, value in state.items()}, path, _told(kind, chance))
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        path.write_bytes(_flipped(path.read_bytes(), chance))
    return path


def _told(kind: Kind, chance: random.Random) -> dict[str, str]:
    """The metadata of a file, perhaps with one key that says something else."""
    told = dict(kind.metadata)
    if REWARD in told and chance.random() < 0.4:
        keys = (
            "text_layers",
            "vision_heads",
            "tokens",
            "mean",
            "std",
            "dropout",
            "head",
            "words",
            "image_size",
        )
        said = {**json.loads(told[REWARD]), chance.choice(keys): chance.choice(_TOLD)}
        told[REWARD] = chance.choice((json.dumps(said), json.dumps(said), "[", "[" * 100_000, "7"))
    return told


def _change(state: State, chance: random.Random, torch_file: bool) -> None:
    name = chance.choice([name for name, value in state.items() if isinstance(value, Tensor)] or [""])
    if not name:
        return
    value: Tensor = state[name]
    kind = chance.randrange(11 if torch_file else 8)
    if kind == 0:
        del state[name]
    elif kind == 1:
        state[chance.choice(_NAMES) or f"{name}.weight"] = state.pop(name)
    elif kind == 2:
        state[name] = chance.choice(
            (
                value.new_ones(()),
                value.flatten(),
                value.flatten()[:0],
                value[None],
                value.mT.clone() if value.ndim > 1 else value.repeat(2),
            )
        )
    elif kind == 3:
        types = (torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn)
        state[name] = value.to(chance.choice(types))
    elif kind <= 5 and value.is_floating_point() and value.numel():
        damaged = value.float().flatten().clone()
        damaged[0] = chance.choice((float("nan"), float("inf"), 1e38))
        state[name] = damaged.reshape(value.shape).to(value.dtype)
    elif kind == 6:
        state[f"{name}_scale"] = torch.ones(1)
    elif kind == 7:
        for key in list(state)[chance.randrange(len(state)) :]:
            del state[key]
    elif kind == 8:
        odd = (
            torch.ones(1).half().expand(4_000_000_000),
            torch.ones(2, 2).to_sparse(),
            torch.ones(2, device="meta"),
        )
        state[chance.choice((name, "beside", f"{name}.beside"))] = chance.choice(odd)
    elif kind == 9:
        state[chance.choice((name, "beside"))] = chance.choice(
            (None, 1, "text", [1, 2], [value], {}, {"a": 1})
        )
    else:
        state[1] = value  # type: ignore[index]


def _grouped(state: State) -> State:
    """The official IFAdapter's form: dictionaries by the beginning of a name."""
    groups: State = {}
    for name, value in state.items():
        group, _, rest = str(name).partition(".")
        groups.setdefault(group, {})[rest] = value
    return groups


def _wrapped(content: Any, chance: random.Random) -> Any:
    kind = chance.randrange(12)
    if kind == 0:
        return [content]
    if kind == 1:
        return {"state_dict": content, "step": 3}
    if kind == 2:
        content["state_dict"] = content
    elif kind == 3:
        shared: State = {"weight": torch.ones(1)}
        for _ in range(chance.choice((3, 60))):
            shared = {"model": shared, "b": shared}
        return shared
    elif kind == 4:
        deep: Any = content
        for _ in range(chance.choice((3, 300))):
            deep = {"model": deep}
        return deep
    elif kind == 5:
        return chance.choice((torch.ones(3), 1, None, [], {}))
    return content


def _write_shards(folder: Path, kind: Kind, chance: random.Random) -> Path:
    """A diffusers folder whose index says odd things."""
    folder.mkdir()
    stem = "diffusion_pytorch_model"
    save_file(dict(kind.state), folder / f"{stem}-1.safetensors")
    places: Any = dict.fromkeys(kind.state, f"{stem}-1.safetensors")
    odd = (
        [1],
        None,
        {},
        {"a": 1},
        {"a": ["b"]},
        {"a": "../a"},
        {"a": ""},
        {"a": "."},
        "x",
        places,
        {**places, "b": "c"},
    )
    index: Any = {"weight_map": chance.choice(odd)}
    text = chance.choice((json.dumps(index), json.dumps([index]), "[" * 100_000, "\xff", json.dumps(index)))
    (folder / f"{stem}.safetensors.index.json").write_text(text, encoding=chance.choice(("utf-8", "latin-1")))
    config = chance.choice(
        (
            {},
            [],
            {"attention_head_dim": 0, "block_out_channels": [1]},
            {"attention_head_dim": "a", "block_out_channels": 3},
            {"addition_time_embed_dim": "a"},
        )
    )
    (folder / "config.json").write_text(json.dumps(config))
    if chance.random() < 0.2:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / f"{stem}.safetensors").mkdir()
    return folder


def _flipped(data: bytes, chance: random.Random) -> bytes:
    start = chance.choice((chance.randrange(len(data) + 1), min(len(data), chance.randrange(400))))
    end = start + chance.choice((1, 1, 4, 50))
    kind = chance.randrange(5)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data + data[start:end] * 9
    return data[:start] + bytes(chance.randrange(256) for _ in data[start:end]) + data[end:]


def outcome(path: Path, kind: Kind) -> str:
    """How reading ends: `model`, or `refused`. Any other exception than CheckpointError comes through."""
    said, ending = "", "model"
    try:
        kind.read(path)
    except CheckpointError as error:
        said, ending = str(error), "refused"
    assert len(said) <= LONGEST_MESSAGE, f"a message of {len(said)} characters"
    return ending

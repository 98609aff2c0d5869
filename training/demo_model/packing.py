"""Packing of the demo model as it is shipped: one diffusers folder in half precision, with its adapter."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor

from ...demo import ADAPTER, FLUX
from ...hosts.diffusers_sdxl import load_sdxl
from ...hosts.diffusers_sdxl.ifadapter import find_adapted_layers
from ...models.ifadapter import IFAdapter
from ...models.weights import save_weights
from ...shapes_world.captions import join
from ...shapes_world.relations import RELATIONS
from ...shapes_world.vocabulary import (
    BACKGROUNDS,
    COLORS,
    PATTERNS,
    SHAPES,
)
from ..data.errors import SourceError
from .pipeline import TOKENIZER, make_tokenizers
from .recipe import load_autoencoder

# What configurations say of the machine and versions that wrote them.
_ABOUT_THE_WRITER = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
_TOKENIZERS = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
_PREFIX = "text_model."
_EMBEDDING = "text_model.embeddings.token_embedding.weight"


def pack(
    model: Path,
    adapter: Path,
    target: Path,
    autoencoder: Path | None = None,
) -> list[Path]:
    """Write the demo model into `target`, over an older one; returns the weight files, largest first.

    `model` is a diffusers folder, `adapter` an IFAdapter made for it; the autoencoder of the diffusers folder
    `autoencoder` takes the place of the model's own. Words that no caption has are forgotten. Other files in
    `target` stay. Raises `SourceError` for weights that half precision cannot hold.
    """
    pipeline = load_sdxl(model)
    if autoencoder is not None:
        pipeline.vae = load_autoencoder(autoencoder)
    fitting = IFAdapter.load(adapter)
    find_adapted_layers(pipeline.unet, fitting)
    _forget_unknown_words(pipeline, known_tokens())
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as place:
        beginning = Path(place)
        pipeline.to(torch.float16).save_pretrained(beginning)
        for part in _TEXT_ENCODERS:
            _name_as_published(beginning / part / "model.safetensors")
        for part, padding in _TOKENIZERS.items():
            _write_tokenizer(beginning / part, padding)
        for file in beginning.rglob("*.json"):
            if file.parent.name not in _TOKENIZERS:
                _drop_traces(file)
        fitting.save(beginning / ADAPTER, torch.float16)
        _check_finite(beginning)
        # Contents alone: temporary files are private, what is shipped is not.
        shutil.copytree(beginning, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return sorted(target.rglob("*.safetensors"), key=lambda file: -file.stat().st_size)


def pack_transformer(model: Path, target: Path) -> Path:
    """Write the transformer of a run's `model` into a packed demo model, in half precision; returns its file.

    It is drawn with by that model's text encoders and autoencoder. `SourceError` for weights that half
    precision cannot hold.
    """
    transformer: Any = FluxTransformer2DModel.from_pretrained(model / "transformer")
    place = target / FLUX
    with tempfile.TemporaryDirectory(dir=target) as beginning:
        transformer.half().save_pretrained(Path(beginning) / "transformer")
        shutil.copytree(model / "scheduler", Path(beginning) / "scheduler")
        for file in Path(beginning).rglob("*.json"):
            _drop_traces(file)
        _check_finite(Path(beginning))
        shutil.copytree(beginning, place, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return place / "transformer" / "diffusion_pytorch_model.safetensors"


def known_tokens() -> list[int]:
    """The token ids a caption of Shapes World can have, those of start, end and padding included."""
    figures = [
        f"{article} {size}{color} {pattern}{shape}"
        for article, size, color, pattern, shape in product(
            ("a", "an"), ("", "small ", "large "), COLORS, ("", *(f"{one} " for one in PATTERNS)), SHAPES
        )
    ]
    captions = [
        "",
        join(figures, "grey"),
        *(join(figures[:2], background) for background in BACKGROUNDS),
        *RELATIONS,
    ]
    tokenizers: list[Any] = [*make_tokenizers()]
    ids = {tokenizer.pad_token_id for tokenizer in tokenizers}
    for tokenizer in tokenizers:
        ids.update(*tokenizer(captions, verbose=False)["input_ids"])
    return sorted(ids)


def _forget_unknown_words(pipeline: StableDiffusionXLPipeline, ids: Sequence[int]) -> None:
    """Zero the embeddings of words no caption has.

    Training never touches them. Random numbers would be 90 % of the text encoders' files and could not be
    compressed; and to a word it does not know, nothing is a better answer than a random direction.
    """
    known = torch.tensor(ids)
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
        for name, table in encoder.named_parameters():  # pyright: ignore[reportOptionalMemberAccess]
            if name.endswith("token_embedding.weight"):
                rows = table.data[known]
                table.data.zero_()
                table.data[known] = rows


def _name_as_published(file: Path) -> None:
    """Give every weight but the projection the prefix that published text encoders have.

    transformers 5 writes CLIPTextModel without it and reads both; 4.57 misses the prefix without an error and
    leaves random weights.
    """
    state = {
        name if name.startswith((_PREFIX, "text_projection.")) else f"{_PREFIX}{name}": value
        for name, value in load_file(file).items()
    }
    if _EMBEDDING not in state:
        raise SourceError(f"{file.parent.name} has no {_EMBEDDING}; it is no CLIP text encoder")
    save_weights(state, file, {"format": "pt"})


def _write_tokenizer(folder: Path, padding: str) -> None:
    """CLIP's vocabulary in the two files every version of transformers reads."""
    shutil.rmtree(folder)
    folder.mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TOKENIZER / name, folder)
    end = "<|endoftext|>"
    words = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": padding}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "errors": "replace"}
    text = json.dumps({**settings, "add_prefix_space": False, "do_lower_case": True, **words}, indent=2)
    (folder / "tokenizer_config.json").write_text(f"{text}\n", encoding="utf-8")


def _drop_traces(file: Path) -> None:
    known = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in known.items() if name not in _ABOUT_THE_WRITER}
    file.write_text(f"{json.dumps(kept, indent=2)}\n", encoding="utf-8")


def _check_finite(folder: Path) -> None:
    for file, name, value in weights(sorted(folder.rglob("*.safetensors"))):
        if not bool(value.isfinite().all()):
            raise SourceError(
                f"{name} of {file.relative_to(folder)} holds values that half precision cannot: the training "
                "may have diverged"
            )


def weights(files: Sequence[Path]) -> Iterator[tuple[Path, str, Tensor]]:
    """(file, name, values) of everything in these safetensors files."""
    for file in files:
        state: dict[str, Any] = load_file(file)
        for name, value in state.items():
            yield file, name, value

"""Models of the transformers library, from a folder or from Hugging Face's hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError

from .interfaces import ModelError

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# The argument of `from_pretrained` for the precision, which was renamed in transformers 4.56.
_VERSION = tuple(int(part) for part in transformers.__version__.split(".")[:2])
DTYPE = "dtype" if _VERSION >= (4, 56) else "torch_dtype"


def find_model(name: str, option: str) -> str:
    """The argument of `from_pretrained` for a folder or a name on the hub; `ModelError` if it is neither."""
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{option}: {name} holds no config.json; a folder as Hugging Face's hub has it is needed"
            )
        return str(path)
    if path.exists():
        raise ModelError(f"{option}: {name} is a file; the folder of a model is needed")
    # "owner/model" may also be a path that is misspelt: then its first folder is here.
    if _HUB_NAME.fullmatch(name) and not path.parent.is_dir():
        return name
    raise ModelError(f"{option}: there is no folder {name}")


def loaded(name: str, option: str, load: Callable[[], Any]) -> Any:
    """The result of `load`; the library's complaints, which run over many lines, become a `ModelError`."""
    try:
        return load()
    except Exception as error:
        # torch's refusal of a file goes by its name, so that nothing here imports pickle.
        known = isinstance(error, (OSError, ValueError, KeyError, SafetensorError))
        if not known and type(error).__name__ != "UnpicklingError":
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"{option}: {name} cannot be loaded: {reason}") from error

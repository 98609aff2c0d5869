"""What reaches a node, looked at before it runs.

ComfyUI checks links by the names of their types, and literals of plain inputs. A literal where a link
belongs, a link from an output of any type, a number that is none, and a number beyond its limits that comes
over a link pass it.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from torch import Tensor

_NAME = "Instance Composer"
_PACK = __name__.removesuffix(".hosts.comfyui.inputs")

# Types of the pack by the names of what they carry: this module knows none of the rooms that make them.
_OWN = {
    "INSTANCE_LAYOUT": (("Layout",), "a layout"),
    "COMPOSITION_REWARDS": (("CompositionRewards", "ChecklistJudge"), "reward models or a judge"),
    "ENTITIES": (("PromptEntities",), "the entities of a prompt"),
    "ATTENTION_RECORD": (("AttentionRecord",), "a record of attention"),
}


class WrongInputError(ValueError):
    """An input of a node is not what its socket is for."""


def checked(node: Any) -> Any:
    """The node, whose `execute` refuses what its inputs are not for, in words."""
    execute = vars(node)["execute"].__func__
    if hasattr(execute, "__wrapped__"):
        return node

    @functools.wraps(execute)
    def checking(cls: Any, *arguments: Any, **values: Any) -> Any:
        try:
            check_inputs(node, values)
            return execute(cls, *arguments, **values)
        except Exception as error:
            name_plainly(type(error))
            raise

    node.execute = classmethod(checking)
    return node


def name_plainly(kind: type[BaseException]) -> None:
    """Let an error of the pack be of "Instance Composer": pages begin with the module of an error's class.

    ComfyUI calls the modules of a pack by the path of its folder; one that Python knows by name keeps it.
    """
    if kind.__module__.startswith(f"{_PACK}.") and not _PACK.isidentifier():
        kind.__module__ = _NAME


def name_errors() -> None:
    """`name_plainly` for every error that is defined by now: samplers raise some, outside of our nodes."""
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{_PACK}."):
            for kind in list(vars(module).values()):
                if isinstance(kind, type) and issubclass(kind, Exception):
                    name_plainly(kind)


def check_inputs(node: Any, values: Mapping[str, Any]) -> None:
    """Raise `WrongInputError` that names the first input which is not what the node's schema says."""
    schema = node.define_schema()
    # As in ComfyUI, the node's own word on a choice counts, and not its list.
    validated = inspect.signature(node.validate_inputs).parameters
    for one in schema.inputs or ():
        if one.id not in values:
            continue
        given = values[one.id]
        if given is None and one.optional:
            continue
        listed = getattr(schema, "is_input_list", False) and isinstance(given, list)
        parts = list(given or ()) if listed else [given]
        if listed and one.get_io_type() == "FLOAT":
            # In a list of numbers one may be none, such as the score of a picture that could not be judged.
            parts = [value for value in parts if not isinstance(value, float)]
        for value in parts:
            wrong = _wrong(one, value, listed_only=one.id not in validated)
            if wrong is not None:
                raise WrongInputError(f"{schema.display_name}: {one.id} needs {wrong}, got {_shown(value)}.")


def _wrong(one: Any, value: Any, listed_only: bool) -> str | None:
    """What an input needs, in words, if a value is not that; `listed_only`: a choice is one of its list."""
    kind = one.get_io_type()
    if kind in _OWN:
        names, words = _OWN[kind]
        return None if type(value).__name__ in names else f"{words}; connect an output {kind}"
    if kind == "COMBO":
        options: list[str] = list(one.options or ())
        if isinstance(value, str) and (value in options or not options or not listed_only):
            return None
        shown = ", ".join(map(str, options[:10])) + (" …" if len(options) > 10 else "")
        return f"one of: {shown}"
    # Sockets of several types list them; those of the pack are all kinds of one thing.
    fits, words = _KINDS.get(kind.partition(",")[0], (None, ""))
    if fits is not None and not fits(value):
        return words
    return _outside(one, value, words) if kind in ("INT", "FLOAT") else None


def _outside(one: Any, value: float, words: str) -> str | None:
    """What a number has to be, in words, if it is beyond its limits: ComfyUI checks typed ones alone."""
    least, most = one.min, one.max
    if (least is None or value >= least) and (most is None or value <= most):
        return None
    if most is None:
        return f"{words} of {least} or more"
    return f"{words} up to {most}" if least is None else f"{words} from {least} to {most}"


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _is_image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4 and value.numel() > 0


def _is_mask(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 2 and value.numel() > 0


def _is_latent(value: Any) -> bool:
    samples = value.get("samples") if isinstance(value, Mapping) else None
    return isinstance(samples, Tensor) and samples.ndim >= 3


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, (list, tuple))
        and len(pair) >= 2
        and isinstance(pair[0], Tensor)
        and isinstance(pair[1], Mapping)
        for pair in value
    )


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda value: all(hasattr(value, name) for name in names)


# By what the nodes use, because other packs have MODELs and CLIPs of classes of their own.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "INT": (lambda value: not isinstance(value, bool) and isinstance(value, Integral), "a whole number"),
    "FLOAT": (_is_number, "a number"),
    "STRING": (lambda value: isinstance(value, str), "a text"),
    "BOOLEAN": (lambda value: isinstance(value, bool), "true or false"),
    "IMAGE": (_is_image, "pictures; connect an output IMAGE"),
    "MASK": (_is_mask, "masks; connect an output MASK"),
    "LATENT": (_is_latent, "latents; connect an output LATENT"),
    "CONDITIONING": (_is_conditioning, "an encoded prompt; connect an output CONDITIONING"),
    "BOUNDING_BOX": (
        lambda value: isinstance(value, (list, tuple, Mapping)),
        "boxes; connect an output BOUNDING_BOX",
    ),
    "MODEL": (_has("model", "model_options", "clone"), "a model; connect an output MODEL"),
    "VAE": (_has("encode", "decode"), "an autoencoder; connect an output VAE"),
    "CLIP": (_has("tokenize", "tokenizer", "cond_stage_model"), "text encoders; connect an output CLIP"),
    "IFADAPTER": (
        lambda value: type(getattr(value, "model", None)).__name__ == "IFAdapter",
        "an IFAdapter; connect an output IFADAPTER",
    ),
}


def _shown(value: Any) -> str:
    """A value in a few words: plain ones as they are, others by their kind."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        text = repr(value[:40] if isinstance(value, str) else value)
        return text if len(text) <= 60 else f"{text[:59]}…"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a value of type {type(value).__name__}"

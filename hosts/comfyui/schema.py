"""Node schemas that older ComfyUI versions accept too.

Newer versions know more fields. A field the running version does not know is left out; a field no version
knows is still the TypeError it should be.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

from comfy_api.latest import io

# Missing in v0.3.64 and v0.8.0, known from v0.28.0 on.
NEWER_SCHEMA_FIELDS = frozenset(
    {"search_aliases", "essentials_category", "is_dev_only", "has_intermediate_output", "accept_all_inputs"}
)
NEWER_INPUT_OPTIONS = frozenset({"advanced"})


def schema(**fields: Any) -> io.Schema:
    """`io.Schema` of these fields, without those this ComfyUI does not know yet."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    made = io.Schema(**_without(fields, NEWER_SCHEMA_FIELDS - known))
    inputs = {one.id for one in made.inputs or ()}
    for output in made.outputs or ():
        # What people see and workflows keep is the name. Without one v0.3.64 shows the type instead, and it
        # refuses an output with the id of an input.
        output.display_name = output.display_name or output.id
        if output.id in inputs:
            output.id = f"out_{output.id}"
    return made


def socket(kind: Any, name: str, **options: Any) -> io.Input:
    """`kind.Input(name, …)`, without the options this ComfyUI does not know yet.

    `kind` is a type of `comfy_api.latest.io`, such as `io.Float` or `io.Custom("IFADAPTER")`.
    """
    # v0.3.64 has this for every kind of input, and takes it as an argument for some only.
    extra = options.pop("extra_dict", {})
    made = kind.Input(name, **_without(options, NEWER_INPUT_OPTIONS - _parameters(kind.Input)))
    made.extra_dict = {**made.extra_dict, **extra}
    return made


@functools.cache
def _parameters(callable_: Any) -> frozenset[str]:
    """Parameter names; cached because old versions rebuild the schema several times per prompt."""
    return frozenset(inspect.signature(callable_).parameters)


def _without(values: dict[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in unknown}

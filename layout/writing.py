"""From a document to JSON. Fields at their default are left out."""

from __future__ import annotations

from typing import Any

from .instance import VERSION, Document, Instance
from .json_text import dump_json
from .mask import Mask, Polygon

_PLAIN = ("caption", "negative", "strength", "start", "end", "enabled", "locked", "color")
_DEFAULTS = {name: Instance.__dataclass_fields__[name].default for name in _PLAIN}


def document_data(document: Document) -> dict[str, Any]:
    """The document as JSON values; keys of other programs come after ours."""
    data = _head(document)
    data["instances"] = [_instance_data(item) for item in document.instances]
    return {**data, **document.extra}


def document_text(document: Document) -> str:
    """The document as text: the head on one line, then one line per instance."""
    head = dump_json({**_head(document), **document.extra})
    lines = ",\n".join(f"  {dump_json(_instance_data(item))}" for item in document.instances)
    return f'{head[:-1]}, "instances": [\n{lines}\n]}}\n' if lines else f'{head[:-1]}, "instances": []}}\n'


def _head(document: Document) -> dict[str, Any]:
    canvas = {"width": document.canvas.width, "height": document.canvas.height, **document.canvas.extra}
    data: dict[str, Any] = {"version": VERSION, "canvas": canvas}
    for name in ("prompt", "negative"):
        if getattr(document, name):
            data[name] = getattr(document, name)
    return data


def _instance_data(item: Instance) -> dict[str, Any]:
    data: dict[str, Any] = {"id": item.id, "box": list(item.box)}
    data |= {name: getattr(item, name) for name in _PLAIN if getattr(item, name) != _DEFAULTS[name]}
    if item.mask is not None:
        data["mask"] = mask_data(item.mask)
    return {**data, **item.extra}


def mask_data(mask: Mask) -> dict[str, Any]:
    """A mask as JSON values."""
    if isinstance(mask, Polygon):
        return {"polygon": [list(point) for point in mask.points]}
    return {"rle": {"size": list(mask.size), "counts": list(mask.counts)}}

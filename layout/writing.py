"""From a document to JSON. Fields at their default are left out."""

from __future__ import annotations

from typing import Any

from .document import VERSION, Instance, Layout
from .json_text import dump_json
from .mask import Mask, Polygon

_PLAIN = ("caption", "negative", "strength", "start", "end", "enabled", "locked", "color")
_DEFAULTS = {name: Instance.__dataclass_fields__[name].default for name in _PLAIN}


def layout_data(layout: Layout) -> dict[str, Any]:
    """The document as JSON values; keys of other programs come after ours."""
    data = _head(layout)
    data["instances"] = [_instance_data(item) for item in layout.instances]
    return {**data, **layout.extra}


def layout_text(layout: Layout) -> str:
    """The document as text: the head on one line, then one line per instance."""
    head = dump_json({**_head(layout), **layout.extra})
    lines = ",\n".join(f"  {dump_json(_instance_data(item))}" for item in layout.instances)
    return f'{head[:-1]}, "instances": [\n{lines}\n]}}\n' if lines else f'{head[:-1]}, "instances": []}}\n'


def _head(layout: Layout) -> dict[str, Any]:
    canvas = {"width": layout.canvas.width, "height": layout.canvas.height, **layout.canvas.extra}
    data: dict[str, Any] = {"version": VERSION, "canvas": canvas}
    for name in ("prompt", "negative"):
        if getattr(layout, name):
            data[name] = getattr(layout, name)
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

"""What kept results were made with, noted beside them: results made otherwise are not added to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def check_made_with(note: Path, asked: Mapping[str, Any], is_begun: bool) -> None:
    """Note what results are made with; SystemExit where those that are there were made with something else.

    `is_begun`: there are results. Where nothing was noted of them, they go on as they are.
    """
    now = json.loads(json.dumps(asked))
    if not is_begun:
        note.parent.mkdir(parents=True, exist_ok=True)
        beginning = note.with_name(f"{note.name}.part")
        beginning.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        beginning.replace(note)
        return
    if not note.is_file():
        return
    before = json.loads(note.read_text(encoding="utf-8"))
    changed = [
        f"{name} was {before.get(name)} and is now {value}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    if changed:
        raise SystemExit(
            f"{note.parent} has results that were made otherwise: {'; '.join(changed)}. Name another place, "
            "or go on with the same"
        )

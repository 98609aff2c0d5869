"""OverLayBench (arXiv 2509.19282): rows as Parquet or JSON lines, without pictures; layouts of any order."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....layout import Box, Canvas, Instance, Layout
from ...benchmark import PlanError
from ...harness.cases import Case
from . import table_rows

# Boxes are in pixels of a picture of this side; the authors' meter reads <split>/<seed>/<image_id>.png.
SIDE, SEED = 1024, 42
SPLITS = ("simple", "medium", "hard")
# Rows do not say which of two is in front.
UNORDERED = "unordered"
# What a judge is asked about, and which pairs of boxes count as overlapping, by index.
NAMES, CATEGORIES, RELATIONS, PAIRS = "names", "categories", "relations", "pairs"
_COLUMNS = ("image_id", "annotation", "split")


def read_rows(data: Path, limit: int | None = None) -> list[Case]:
    """The cases of rows with `image_id` and `annotation`, see `table_rows`; `PlanError` for another form.

    Which split it is says `split`, or the name of the file.
    """
    cases: list[Case] = []
    for place, row in table_rows.rows(data, _COLUMNS, limit):
        try:
            cases.append(_case(row, Path(place).stem))
        except (KeyError, TypeError, ValueError, SyntaxError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise PlanError(f"{place} is no row of OverLayBench: {reason}") from error
    if not cases:
        raise PlanError(f"{data} has no rows")
    return cases


def _case(row: Mapping[str, Any], named: str) -> Case:
    split = str(row.get("split") or next((one for one in SPLITS if one in named), ""))
    if split not in SPLITS:
        raise ValueError(f"the split is {split or named!r}; {', '.join(SPLITS)} are allowed")
    said = row["annotation"]
    # The data set holds it as the text of a Python value.
    annotation: Mapping[str, Any] = ast.literal_eval(said) if isinstance(said, str) else said
    things: Mapping[str, Any] = annotation["annotations"]
    instances = tuple(
        Instance(str(place), Box(*(side / SIDE for side in one["bbox"])), one["local_prompts"])
        for place, one in enumerate(things.values(), 1)
    )
    layout = Layout(instances, Canvas(SIDE, SIDE), annotation["caption"])
    name = f"{split}/{row['image_id']}"
    file = f"{split}/{SEED}/{row['image_id']}.png"
    facts = {
        UNORDERED: True,
        NAMES: list(things),
        CATEGORIES: [one["category"] for one in things.values()],
        RELATIONS: {str(pair): text for pair, text in annotation["relations"].items()},
        PAIRS: [list(one["overlap_box"]) for one in annotation["valid_overlap"]],
    }
    return Case(name, file, layout, SEED, name, split, facts)

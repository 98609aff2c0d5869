"""`benchmark NAME prepare RUN`: the user's copy of a benchmark's data to frozen cases."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from ..arguments import number
from ..files import whole
from .parts import benchmark_of

PURPOSE = "read the benchmark's data where you have it, and freeze what is to be drawn"
_TINY = 4


def configure(parser: argparse.ArgumentParser, name: str) -> None:
    """Add where the data are."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--data", type=Path, help="the data as published; nothing is fetched")
    group.add_argument(
        "--cases", type=Path, help="cases.jsonl that somebody else froze, to compare with them"
    )
    group.add_argument(
        "--tiny",
        action="store_true",
        help="Shapes World in the benchmark's form, to try everything in minutes",
    )
    parser.add_argument(
        "--limit",
        type=number(1, 1_000_000, whole=True),
        help=f"take the first prompts only; with --tiny how many are made ({_TINY})",
    )
    if name == "t2i-compbench":
        parser.add_argument("--categories", help="separated by commas (all whose lists are there)")
        parser.add_argument(
            "--pictures", type=number(1, 1000, whole=True), help="for each prompt (10; 1 with --tiny)"
        )


def run(arguments: argparse.Namespace) -> int:
    """Freeze the cases and print their number and checksum."""
    from ...evaluation.harness.cases import FILE, CaseList, check_unique

    target: Path = arguments.folder / FILE
    if target.exists():
        raise ValueError(f"{target} is there already; a run keeps its cases, so name another folder")
    if arguments.cases is not None:
        _check_frozen(arguments)
    benchmark = benchmark_of(arguments.benchmark)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.cases is not None:
        cases = CaseList.read(arguments.cases)
        if cases.benchmark != benchmark.name:
            raise ValueError(f"{arguments.cases} holds cases of {cases.benchmark}, not of {benchmark.name}")
        with whole(target) as unfinished:
            shutil.copyfile(arguments.cases, unfinished)
    elif arguments.tiny:
        cases = _tiny(arguments, benchmark)
        cases.write(target)
    else:
        if not arguments.data.exists():
            raise ValueError(
                f"--data: there is nothing at {arguments.data}; {benchmark.title} needs {benchmark.DATA}"
            )
        cases = benchmark.read(arguments.data, arguments.limit, **_options(arguments))
        check_unique(cases.cases)
        cases.write(target)
    print(f"{target} ({len(cases.cases)} pictures, checksum {cases.checksum[:16]})")
    return 0


def _check_frozen(arguments: argparse.Namespace) -> None:
    """ValueError for what would choose among cases that somebody else froze."""
    chosen = [name for name in ("limit", "categories", "pictures") if getattr(arguments, name, None)]
    if chosen:
        given = " and ".join(f"--{name}" for name in chosen)
        raise ValueError(f"--cases are taken as they were frozen, all of them; leave {given} out")


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.benchmark != "t2i-compbench":
        return {}
    named = None if arguments.categories is None else [one.strip() for one in arguments.categories.split(",")]
    chosen = {"categories": named and [one for one in named if one]}
    if named is not None and not chosen["categories"]:
        raise ValueError(
            "--categories: none is named; name at least one, or leave it out for all whose lists are there"
        )
    return {**chosen, **({"pictures": arguments.pictures} if arguments.pictures else {})}


def _tiny(arguments: argparse.Namespace, benchmark: Any) -> Any:
    """Cases about Shapes World at the demo model's size, and the true pictures as a way called real."""
    from dataclasses import replace

    from PIL import Image

    from ...evaluation.harness.cases import CaseList
    from ...evaluation.harness.report import WORLD
    from ...layout import Canvas

    folder: Path = arguments.folder / "data"
    folder.mkdir(exist_ok=True)
    data, shown = benchmark.write_tiny(folder, arguments.limit or _TINY)
    options = _options(arguments)
    if arguments.benchmark == "t2i-compbench":
        options.setdefault("pictures", 1)
    read: CaseList = benchmark.read(data, None, **options)
    sides = {key: (sample.scene.width, sample.scene.height) for key, sample in shown.items()}
    # By prompt: each may have several pictures, and what is true of it is true of all of them.
    cases = tuple(
        replace(case, layout=replace(case.layout, canvas=Canvas(*sides[case.unit]))) for case in read.cases
    )
    for case in cases:
        file = arguments.folder / "real" / case.file
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown[case.unit].image).save(file)
    source = f"Shapes World, {read.source}"
    return replace(read, source=source, cases=cases, shared={**read.shared, WORLD: True})

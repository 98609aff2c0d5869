"""Models that stages of `benchmark NAME score RUN` will need: named before the first one looks, or told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...evaluation.harness.cases import Case
    from ...evaluation.harness.measuring import Stage
    from ...evaluation.harness.run_folder import RunFolder, Shard


def options_of(benchmark: Any, run_folder: RunFolder) -> dict[str, str]:
    """The option that names the model of each stage."""
    from ...evaluation.scorers.library_models import AskedError, UnloadedModels

    found: dict[str, str] = {}
    for stage in benchmark.stages(UnloadedModels(), run_folder.list.shared):
        try:
            stage.load()
        except AskedError as asked:
            found[stage.name] = asked.option
    return found


def check_named(
    run_folder: RunFolder,
    ways: Sequence[str],
    stages: Sequence[Stage],
    options: Mapping[str, str],
    shard: Shard,
    names: Mapping[str, str],
) -> None:
    """ValueError for models that pictures will need and nothing names, before one has measured for hours."""
    missing = [
        f"--{options[stage.name]}: name the model for the stage {stage.name}"
        for place, stage in enumerate(stages)
        if stage.name in options
        and options[stage.name] not in names
        and any(_may_look(run_folder, way, stages[: place + 1], shard) for way in ways)
    ]
    if missing:
        raise ValueError("; ".join(missing))


def _may_look(run_folder: RunFolder, way: str, stages: Sequence[Stage], shard: Shard) -> bool:
    """Whether the last of these stages has something to look at, or may have when the others are done."""
    from ...evaluation.harness.measuring import found_of

    *earlier, last = stages
    known = {stage.name: run_folder.findings(way, stage.name) for stage in earlier}
    done = run_folder.findings(way, last.name)
    return any(
        case.id not in done
        and run_folder.picture(way, case).is_file()
        and _may_ask(last, case, found_of(case, known))
        for case in shard.of(run_folder.cases)
    )


def _may_ask(stage: Stage, case: Case, found: Mapping[str, Any]) -> bool:
    try:
        return stage.asks(case, _SoFar(found))
    except _NotYetError:
        return True


class _NotYetError(Exception):
    """A stage asks by what an earlier one has not found yet."""


class _SoFar(dict[str, Any]):
    """What is found so far in a picture; of stages that did not look yet all may come."""

    def __contains__(self, stage: object) -> bool:
        return True

    def __missing__(self, stage: str) -> Any:
        raise _NotYetError

    def get(self, stage: str, default: Any = None) -> Any:
        return self[stage]

"""The report of an iteration: what rewards are worth, what tuning changed, who is where, what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...models.rewards import reward_files
from ...pictures.reading import read_picture
from ...rankings.gallery import TUNED, Gallery, Prompt
from ...rankings.merging import Ranking, read_rankings
from ...rankings.pictures import each_once, picture_file
from ..data.pictures import save_grid
from ..engine.checkpoint import write_whole
from ..gallery.judges import load_judge
from .picture_distance import SIDE, picture_distances
from .ranking import RANKINGS
from .scores import Shown, scores
from .stage_names import STAGE_NAMES
from .state import costs, notes_of, place, read_json, read_lines, rewards_of, write_json

FILE, DATA, SHEET = "report.md", "report.json", "samples.png"
_SHEET_PROMPTS, _SHEET_SIDE = 4, 192
# Prompts are drawn anew so often for an interval.
_RESAMPLINGS = 2000


def write_report(folder: Path, gallery: Gallery, iteration: int, judge: str | None) -> None:
    """Write `report.md`, its numbers as JSON, and a sheet of samples into the iteration's folder."""
    target = place(folder, iteration)
    members = [gallery.base, *(name for name in gallery.members if name.startswith(TUNED))]
    # The same prompts of every member, or differences would be of prompts.
    measured = {
        aspect: [
            one
            for one in gallery.of_aspect(aspect)
            if gallery.is_held_out(one) and all(picture_file(folder, m, one).is_file() for m in members)
        ]
        for aspect in gallery.aspects
    }
    found: dict[str, Any] = {"iteration": iteration, "rewards": _accuracies(folder, gallery, iteration)}
    files = reward_files(rewards_of(folder, iteration))
    by_reward = {
        aspect: scores(folder, files[aspect], prompts, {one.number: members for one in prompts})
        for aspect, prompts in measured.items()
        if aspect in files and prompts
    }
    found["scores by rewards"] = _summary(by_reward, members)
    if judge is not None:
        by_judge = _judged(folder, judge, measured, members)
        found["scores by judge"] = _summary(by_judge, members)
        found["drift"] = _drift(by_reward, by_judge, members)
    found["picture distance"] = {
        member: own
        for member in members[1:]
        if (own := _moved(folder, members[0], member, each_once(chain(*measured.values()))))
    }
    found["places"] = _places(read_rankings(gallery, read_lines(target / RANKINGS)))
    write_json(target / DATA, found)
    # Aspects that share prompts show other ones of them.
    shown: list[Prompt] = []
    for prompts in measured.values():
        shown += each_once([*shown, *prompts])[len(shown) :][:_SHEET_PROMPTS]
    if shown:
        _sheet(folder, members, shown, target / SHEET)
    text = _text(found, members, shown, judge, notes_of(folder, iteration), costs(folder, iteration))
    write_whole(target / FILE, text)


def _accuracies(folder: Path, gallery: Gallery, iteration: int) -> dict[str, dict[str, Any]]:
    """Pair accuracy of each trained reward on held-out rankings, this iteration's and those before."""
    found: dict[str, dict[str, Any]] = {}
    for aspect in gallery.aspects:
        for number in range(iteration + 1):
            file = place(folder, number) / "train" / aspect / "model" / "validation.json"
            if file.is_file():
                own = read_json(file)[aspect]
                found.setdefault(aspect, {})[str(number)] = {
                    key: own[key] for key in ("accuracy", "error", "pairs", "comparisons")
                }
    return found


def _judged(
    folder: Path, judge: str, measured: Mapping[str, Sequence[Prompt]], members: Sequence[str]
) -> dict[str, dict[Shown, float]]:
    _, judged = load_judge(judge)
    found: dict[str, dict[Shown, float]] = {}
    for aspect, prompts in measured.items():
        own = {
            (member, one.number): judged(read_picture(picture_file(folder, member, one)), one)
            for one in prompts
            for member in members
        }
        told = {key: value for key, value in own.items() if math.isfinite(value)}
        if told:
            found[aspect] = told
    return found


def _summary(
    values: Mapping[str, Mapping[Shown, float]], members: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean of each member in each aspect, and its differences on the same prompts.

    "difference" is from the base, "change" from the first tuned one.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for aspect, own in values.items():
        numbers = sorted({number for _, number in own})
        rows = {member: np.array([own[member, number] for number in numbers]) for member in members}
        found[aspect] = {
            member: {
                **_interval("mean", row),
                **(_interval("difference", row - rows[members[0]]) if member != members[0] else {}),
                **(_interval("change", row - rows[members[1]]) if member in members[2:] else {}),
                "prompts": len(numbers),
            }
            for member, row in rows.items()
        }
    return found


def _interval(name: str, values: np.ndarray) -> dict[str, Any]:
    """The mean, and its 95 % interval by drawing prompts anew."""
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLINGS, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    return {
        name: round(float(values.mean()), 4),
        f"{name} interval": [round(float(v), 4) for v in (low, high)],
    }


def _moved(folder: Path, base: str, tuned: str, prompts: Sequence[Prompt]) -> dict[str, Any]:
    if not prompts:
        return {}
    moved, unrelated = picture_distances(folder, base, tuned, prompts)
    return {
        **_interval("mean", moved),
        **({"unrelated": round(float(unrelated.mean()), 4)} if len(unrelated) else {}),
        "prompts": len(prompts),
    }


def _drift(
    by_reward: Mapping[str, Mapping[Shown, float]],
    by_judge: Mapping[str, Mapping[Shown, float]],
    members: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """Of pairs of base and tuned pictures that the judge tells apart, the share that rewards order alike."""
    found: dict[str, dict[str, Any]] = {}
    for aspect in by_reward.keys() & by_judge.keys():
        for member in members[1:]:
            numbers = {number for _, number in by_judge[aspect]}
            signs = [
                tuple(_difference(one[aspect], member, members[0], n) for one in (by_judge, by_reward))
                for n in sorted(numbers)
            ]
            told = [(judge, reward) for judge, reward in signs if judge]
            alike = sum((judge > 0) == (reward > 0) for judge, reward in told)
            found.setdefault(aspect, {})[member] = {
                "pairs": len(told),
                "alike": round(alike / len(told), 4) if told else None,
            }
    return {aspect: found[aspect] for aspect in sorted(found)}


def _difference(values: Mapping[Shown, float], one: str, other: str, number: int) -> float:
    return values[one, number] - values[other, number]


def _places(rankings: Sequence[Ranking]) -> dict[str, dict[str, dict[str, float]]]:
    """By aspect and member: the mean place from 0, the best, to 1, and how often it is first."""
    found: dict[str, dict[str, list[tuple[float, bool]]]] = {}
    for ranking in rankings:
        last = max(1, len(ranking.members) - 1)
        before = 0
        for number, place_ in enumerate(ranking.places):
            middle = (before + (len(place_) - 1) / 2) / last
            before += len(place_)
            for member in place_:
                own = found.setdefault(ranking.prompt.aspect, {}).setdefault(member, [])
                own.append((middle, number == 0))
    return {
        aspect: {
            member: {
                "mean place": round(_mean_place(own), 4),
                "first": round(sum(first for _, first in own) / len(own), 4),
                "prompts": len(own),
            }
            for member, own in sorted(members.items(), key=lambda item: _mean_place(item[1]))
        }
        for aspect, members in found.items()
    }


def _mean_place(own: Sequence[tuple[float, bool]]) -> float:
    return sum(where for where, _ in own) / len(own)


def _sheet(folder: Path, members: Sequence[str], prompts: Sequence[Prompt], path: Path) -> None:
    """A row for each prompt: the base, then each tuned one."""
    pictures = [
        np.asarray(_square(read_picture(picture_file(folder, member, one))))
        for one in prompts
        for member in members
    ]
    beginning = path.with_name(f"unfinished-{path.name}")
    save_grid(np.stack(pictures), len(members), beginning)
    beginning.replace(path)


def _square(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((_SHEET_SIDE, _SHEET_SIDE))


def _text(
    found: Mapping[str, Any],
    members: Sequence[str],
    shown: Sequence[Prompt],
    judge: str | None,
    notes: Sequence[str],
    seconds: Mapping[str, float],
) -> str:
    lines = [f"# Iteration {found['iteration']}", ""]
    lines += ["## Rewards", ""]
    lines += ["Share of pairs in held-out rankings of iteration 0 that a reward orders right.", ""]
    lines += _table(
        ["aspect", "iteration", "accuracy", "pairs"],
        [
            [aspect, number, f"{own['accuracy']:.3f} ± {own['error']:.3f}", own["pairs"]]
            for aspect, by_number in found["rewards"].items()
            for number, own in by_number.items()
        ],
    )
    told = "Held-out prompts, by the rewards of this iteration"
    lines += _scores("Scores by rewards", told, found["scores by rewards"])
    if judge is not None:
        lines += _scores("Scores by the judge", f"Held-out prompts, by {judge}", found["scores by judge"])
        lines += ["## Drift", ""]
        lines += [
            "Of pairs of base and tuned that the judge tells apart, the share that rewards order alike.",
            "",
        ]
        lines += _table(
            ["aspect", "member", "alike", "pairs"],
            [
                [aspect, member, "" if own["alike"] is None else f"{own['alike']:.3f}", own["pairs"]]
                for aspect, of in found["drift"].items()
                for member, own in of.items()
            ],
        )
    lines += ["## Picture distance", ""]
    lines += [
        "From the base's picture of the same prompt and seed: root of the mean squared difference at "
        f"{SIDE} × {SIDE} pixels, colours 0 to 1; held-out prompts of all aspects, 95 % intervals by drawing "
        "prompts anew. Unrelated: the same of the base's pictures of two prompts.",
        "",
    ]
    lines += _table(
        ["member", "distance", "unrelated", "prompts"],
        [
            [member, _cell(own, "mean"), own.get("unrelated", ""), own["prompts"]]
            for member, own in found["picture distance"].items()
        ],
    )
    lines += ["## Places", "", "Mean place from 0, the best, to 1; how often a member is first.", ""]
    lines += _table(
        ["aspect", "member", "mean place", "first", "prompts"],
        [
            [aspect, member, f"{own['mean place']:.3f}", f"{own['first']:.1%}", own["prompts"]]
            for aspect, of in found["places"].items()
            for member, own in of.items()
        ],
    )
    if shown:
        lines += ["## Samples", "", f"![{', '.join(members)}]({SHEET})", ""]
        lines += [f"Columns: {', '.join(members)}. Rows:", ""]
        lines += [*(f"{number}. {one.text} ({one.aspect})" for number, one in enumerate(shown, 1)), ""]
    if notes:
        lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    lines += ["## Cost", ""]
    lines += _table(["stage", "minutes"], [[name, f"{seconds[name] / 60:.1f}"] for name in STAGE_NAMES[:-1]])
    return "\n".join(lines)


def _scores(title: str, what: str, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    rows = [
        [aspect, member, *(_cell(own, name) for name in ("mean", "difference", "change")), own["prompts"]]
        for aspect, of in found.items()
        for member, own in of.items()
    ]
    heads = ["aspect", "member", "mean", "less the base", f"less {TUNED}1", "prompts"]
    return [f"## {title}", "", f"{what}; 95 % intervals by drawing prompts anew.", "", *_table(heads, rows)]


def _cell(own: Mapping[str, Any], name: str) -> str:
    if name not in own:
        return ""
    low, high = own[f"{name} interval"]
    return f"{own[name]:.3f} [{low:.3f}, {high:.3f}]"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    if not rows:
        return ["Nothing to measure.", ""]
    cells = [f"| {' | '.join(str(one) for one in row)} |" for row in (heads, *rows)]
    return [cells[0], f"|{'---|' * len(heads)}", *cells[1:], ""]

"""`instance-composer score`: rewards of pictures for a prompt, as a table."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import device, number, usable_device
from .files import read_text, write_whole

if TYPE_CHECKING:
    from ..layout import Layout

_ASPECTS = ("attribute", "spatial", "non-spatial")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add pictures, prompt, models and output."""
    parser.add_argument("pictures", type=Path, nargs="+", help="picture files, or folders of them")
    parser.add_argument(
        "--prompt", help="what they should show (default: the text file of each one's name, ending in .txt)"
    )
    parser.add_argument(
        "--rewards",
        type=Path,
        help="folder of reward models, their names containing attribute, spatial and non-spatial "
        "(default: the small models of Shapes World)",
    )
    for aspect in _ASPECTS:
        parser.add_argument(f"--{aspect}", type=Path, metavar="FILE", help=f"reward model for {aspect} alone")
        parser.add_argument(
            f"--{aspect}-weight",
            type=number(-10, 10),
            default=1.0,
            metavar="WEIGHT",
            help="what it counts in the combined score (1)",
        )
    checklist = parser.add_argument_group("a checklist of a layout instead of reward models")
    checklist.add_argument(
        "--layout", type=Path, help="what the pictures should show, in any format that is read"
    )
    checklist.add_argument("--vlm", help="a vision-language model that chats, a folder or a name on the hub")
    parser.add_argument("--out", type=Path, help="table to write, .csv or .json (default: shown as text)")
    parser.add_argument("--device", type=device, default="cpu", help="where to compute: cpu, cuda, mps (cpu)")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), default="fp32", help="precision (fp32)")
    parser.add_argument("--batch", type=number(1, 1024, whole=True), default=8, help="pictures at a time (8)")


def run(arguments: argparse.Namespace) -> int:
    """Score, then write the table, the best picture first; 1 if some could not be read."""
    from ..pictures.reading import named

    if arguments.out is not None and arguments.out.suffix not in (".csv", ".json"):
        raise ValueError(f"a table is written as .csv or .json, not as {arguments.out.name}")
    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise ValueError(f"--out: there is no folder {arguments.out.parent}")
    pictures, others = _pictures(arguments.pictures)
    layout = _layout(arguments)
    prompts = (
        [layout.prompt or "a layout" for _ in pictures]
        if layout is not None
        else [arguments.prompt if arguments.prompt is not None else _prompt(path) for path in pictures]
    )
    if empty := [path.name for path, prompt in zip(pictures, prompts, strict=True) if not prompt.strip()]:
        raise ValueError(f"the prompt of {', '.join(empty)} is empty")
    usable_device(arguments.device)
    files = _files(arguments) if layout is None else {}
    for aspect in _ASPECTS if layout is None else ():
        if aspect not in files and _is_weighed(arguments, aspect):
            raise ValueError(f"--{aspect}-weight is for a reward model for {aspect}, which is not given")
    failures = _failures(pictures)
    if all(path in failures for path in pictures):
        raise ValueError("; ".join(f"{path} {reason}" for path, reason in failures.items()))
    readable = [
        (path, prompt) for path, prompt in zip(pictures, prompts, strict=True) if path not in failures
    ]
    paths = [path for path, _ in readable]
    if layout is None:
        rows = _score(paths, [prompt for _, prompt in readable], files, arguments)
    else:
        rows = _check(paths, layout, arguments)
    _write(rows, arguments.out)
    if others:
        print(f"no pictures, and not scored: {named(others)}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(pictures)} pictures could not be read:", file=sys.stderr)
    for path, reason in failures.items():
        print(f"{path} {reason}", file=sys.stderr)
    return 1 if failures else 0


def _pictures(given: list[Path]) -> tuple[list[Path], list[Path]]:
    """The pictures that are given or lie in a folder that is given, and other files there."""
    from ..pictures.reading import ALL_ENDINGS, list_pictures

    found: list[Path] = []
    others: list[Path] = []
    for path in given:
        if not (path.is_file() or path.is_dir()):
            raise ValueError(f"there is no file or folder {path}")
        if not path.is_dir():
            found.append(path)
            continue
        inside = list_pictures(path, ALL_ENDINGS)
        if not inside.pictures:
            raise ValueError(f"there are no pictures in {path}; {', '.join(ALL_ENDINGS)} are read")
        found += inside.pictures
        others += inside.others
    return found, others


def _failures(pictures: list[Path]) -> dict[Path, str]:
    """What cannot be read, with the reason; what was decided about the others is said."""
    from tqdm import tqdm

    from ..pictures.reading import PictureError, read_noted

    failures: dict[Path, str] = {}
    for path in tqdm(pictures, desc="reading", unit="picture", disable=None):
        try:
            for note in read_noted(path).notes:
                tqdm.write(f"{path}: {note}", file=sys.stderr)
        except PictureError as error:
            failures[path] = str(error)
    return failures


def _prompt(picture: Path) -> str:
    file = picture.with_suffix(".txt")
    if not file.is_file():
        raise ValueError(f"{picture} has no prompt: give --prompt, or write it into {file.name} beside it")
    return read_text(file).strip()


def _layout(arguments: argparse.Namespace) -> Layout | None:
    """The layout of a checklist, None without one; ValueError for half of what it needs."""
    if arguments.layout is None and arguments.vlm is None:
        return None
    if arguments.layout is None or arguments.vlm is None:
        raise ValueError("a checklist needs both, --layout for the questions and --vlm for the answers")
    chosen = [
        aspect for aspect in _ASPECTS if getattr(arguments, _name(aspect)) or _is_weighed(arguments, aspect)
    ]
    if arguments.prompt is not None or arguments.rewards is not None or chosen:
        names = "".join(f" and --{aspect}, --{aspect}-weight" for aspect in chosen)
        raise ValueError(f"a checklist asks what the layout says: leave --prompt and --rewards{names} out")
    from ..layout import formats

    reading = formats.read_file(arguments.layout)
    for warning in reading.warnings:
        print(f"{arguments.layout}: warning: {warning}", file=sys.stderr)
    return reading.layout.checked()


def _name(aspect: str) -> str:
    return aspect.replace("-", "_")


def _is_weighed(arguments: argparse.Namespace, aspect: str) -> bool:
    return getattr(arguments, f"{_name(aspect)}_weight") != 1


def _check(pictures: list[Path], layout: Layout, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each picture with its share of yes and what was answered no, the best one first."""
    import torch
    from tqdm import tqdm

    from ..models.vision.captioning import TransformersCaptioner
    from ..models.vision.checklist import ANSWER_TOKENS, check
    from ..pictures.reading import read_picture

    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    judge = TransformersCaptioner.load(
        arguments.vlm,
        arguments.device,
        dtypes[arguments.dtype],
        most_tokens=ANSWER_TOKENS,
        batch=int(arguments.batch),
    )
    rows: list[dict[str, Any]] = []
    for path in tqdm(pictures, desc="asking", unit="picture", disable=None):
        found = check(read_picture(path), layout, judge)
        wrong = [one.text for one, yes in zip(found.questions, found.answers, strict=True) if not yes]
        rows.append({"score": round(found.score, 6), "picture": str(path), "no to": " | ".join(wrong)})
    # Of equals the first stays first.
    rows.sort(key=lambda row: -row["score"])
    return [{"place": place, **row} for place, row in enumerate(rows, 1)]


def _files(arguments: argparse.Namespace) -> dict[str, Path]:
    from ..models.rewards import reward_files

    single = {aspect: getattr(arguments, _name(aspect)) for aspect in _ASPECTS}
    chosen = {aspect: path for aspect, path in single.items() if path is not None}
    if chosen and arguments.rewards is None:
        return chosen
    if arguments.rewards is not None:
        if not arguments.rewards.is_dir():
            raise ValueError(f"there is no folder {arguments.rewards}")
        return {**reward_files(arguments.rewards), **chosen}
    from ..demo import FOLDER

    folder = FOLDER / "rewards"
    if not folder.is_dir():
        raise ValueError(f"the small models of Shapes World are not in {folder}; name others with --rewards")
    return reward_files(folder)


def _score(
    pictures: list[Path], prompts: list[str], files: dict[str, Path], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each picture, the best one first."""
    import torch

    from ..models.rewards import combine, rank

    rows: list[dict[str, Any]] = [
        {"picture": str(path), "prompt": prompt} for path, prompt in zip(pictures, prompts, strict=True)
    ]
    normalized: dict[str, torch.Tensor] = {}
    for aspect, path in files.items():
        raw, mean, std = _score_aspect(aspect, path, pictures, prompts, arguments)
        normalized[aspect] = (raw - mean) / std
        for row, value, scaled in zip(rows, raw.tolist(), normalized[aspect].tolist(), strict=True):
            row |= {aspect: round(scaled, 6), f"{aspect} raw": round(value, 6)}
    weights = {aspect: getattr(arguments, f"{_name(aspect)}_weight") for aspect in files}
    combined = combine(normalized, weights)
    if not bool(combined.isfinite().all()):
        raise ValueError("the scores are not finite numbers; compute in --dtype fp32")
    order = rank(combined)
    return [
        {"place": place, "score": round(float(combined[n]), 6), **rows[n]} for place, n in enumerate(order, 1)
    ]


def _score_aspect(
    aspect: str, path: Path, pictures: list[Path], prompts: list[str], arguments: argparse.Namespace
) -> tuple[Any, float, float]:
    """Raw rewards of all pictures, and the constants that bring them to a common scale."""
    import torch
    from tqdm import tqdm

    from ..models.rewards import RewardModel, find_tokenizer, prepare_pictures
    from ..pictures.reading import read_picture

    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    model = RewardModel.load(path).to(arguments.device, dtypes[arguments.dtype])
    config = model.config
    tokenizer = find_tokenizer(path, model.metadata, config.vocabulary, config.tokens)
    words = tokenizer(prompts)
    for cut in dict.fromkeys(filter(None, words.cut)):
        print(f"{aspect}: only {config.tokens - 2} word pieces are read, without: {cut}", file=sys.stderr)
    parts: list[torch.Tensor] = []
    size = int(arguments.batch)
    for start in tqdm(range(0, len(pictures), size), desc=aspect, unit="batch", disable=None):
        opened = [read_picture(file) for file in pictures[start : start + size]]
        with torch.no_grad():
            pixels = prepare_pictures(opened, config.image_size).to(arguments.device)
            ids, mask = (value[start : start + size].to(arguments.device) for value in words[:2])
            parts.append(model.raw_score(pixels, ids, mask).cpu())
    return torch.cat(parts), config.mean, config.std


def _write(rows: list[dict[str, Any]], out: Path | None) -> None:
    if out is None:
        names = [name for name in rows[0] if name != "prompt" and not name.endswith(" raw")]
        print("\t".join(names))
        for row in rows:
            print("\t".join(f"{row[n]:+.3f}" if isinstance(row[n], float) else str(row[n]) for n in names))
    elif out.suffix == ".json":
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        write_whole(out, text.encode("utf-8", "backslashreplace"))
    else:
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
        write_whole(out, table.getvalue().encode("utf-8", "backslashreplace"))

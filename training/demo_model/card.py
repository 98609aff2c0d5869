"""The model card of the demo model: what it is, how its training went, what it weighs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

CURVES = "curves.svg"
# Points of a curve: a mean over equal parts of the run.
_POINTS = 60

_CARD = """# Demo model

A small SDXL of coloured, patterned shapes, and an IFAdapter for it, so that everything in Instance Composer
can be tried on a CPU with nothing to download. It has SDXL's parts, block names, text conditioning and noise
schedule, at widths a CPU can train. It draws [Shapes World](../docs/shapes-world.md) and nothing else: its
numbers are about methods, they say nothing about SDXL.

| | |
|---|---|
| prompts | "a red striped circle left of a small blue square and a large green star on grey" |
| pictures | 128 × 128, 160 × 96 and 96 × 160 pixels |
| in ComfyUI | the node *Load Demo Checkpoint*, or the template *Try it* |
| on the command line | `instance-composer demo`, or `render` with this folder as `--model` |
| in diffusers | `StableDiffusionXLPipeline.from_pretrained("demo")` |
| tuned by ranked pictures | `composition_lora.safetensors`: [docs/itercomp.md](../docs/itercomp.md) |
| a transformer of the same world | `flux`: [docs/shapes-world.md](../docs/shapes-world.md#the-demo-model) |
| two LoRAs of a look each | `loras`, for *LoRA for Instance*: [docs/repair.md](../docs/repair.md) |

ComfyUI's own checkpoint loaders recognise SDXL by its published sizes and cannot load a smaller one; *Load
Demo Checkpoint* reads this folder.

## Files

{files}

Half precision. Embeddings of words that no caption of Shapes World has were never trained and are zero. The
vocabulary in `tokenizer` and `tokenizer_2` is that of OpenAI's CLIP (MIT licence); the rest is Apache-2.0.

## Data

Pictures, captions and boxes are drawn by the program in `shapes_world` from a seed; no other data.
15 % of all combinations of shape, colour and pattern are in no training picture.

## Training

{runs}

![Training curves]({curves})

Each point is a mean over a {points}th of a run. A model like it from nothing, on a CPU (the
shipped one was trained in several goes, [told here](../docs/training.md#the-demo-model)):

```
instance-composer train base runs/demo
instance-composer train ifadapter runs/demo/ifadapter --model runs/demo/base-numbers/model --small \\
    --size 128x128 --pictures 6144 --checked 2048 --region-weight 2 --snr-power 0.5 \\
    --set steps=6000 --set batch=16 --set learning_rate=2e-3 --set cool_down=1100
instance-composer train pack runs/demo --out demo
```

Stages and settings: [docs/training.md](../docs/training.md). How well it places and binds:
[docs/shapes-world.md](../docs/shapes-world.md).
"""


def write_card(target: Path, runs: Mapping[str, Path]) -> None:
    """Write README.md and the curves into the packed model's folder; `runs` maps names to `metrics.jsonl`."""
    metrics = {name: read_metrics(file) for name, file in runs.items()}
    draw_curves(metrics, target / CURVES)
    text = _CARD.format(
        files=_table(("file", "megabytes"), _file_rows(target)),
        runs=_table(("run", "steps", "hours", "loss at first", "loss at last"), _run_rows(metrics)),
        curves=CURVES,
        points=_POINTS,
    )
    (target / "README.md").write_text(text, encoding="utf-8")


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, in order."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def draw_curves(metrics: Mapping[str, Sequence[Mapping[str, Any]]], target: Path) -> None:
    """One small plot of the loss for each run, as SVG; the same file for the same numbers."""
    columns = 3
    rows = -(-len(metrics) // columns)
    # Names of elements are random otherwise, and every drawing of the same numbers another file.
    with mpl.rc_context({"svg.hashsalt": "curves", "font.size": 8}):
        figure = Figure(figsize=(9, 2.4 * rows), layout="constrained")
        for number, (name, lines) in enumerate(metrics.items(), start=1):
            axes = figure.add_subplot(rows, columns, number)
            axes.plot(*_smoothed(lines), linewidth=1)
            axes.set(title=name, xlabel="step", ylabel="loss")
            axes.grid(alpha=0.3)
        figure.savefig(target, metadata={"Date": None})


def _smoothed(lines: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    size = max(1, len(lines) // _POINTS)
    parts = [lines[start : start + size] for start in range(0, len(lines), size)]
    return [part[-1]["step"] for part in parts], [_mean(part, "loss") for part in parts]


def _mean(lines: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(line[name] for line in lines) / len(lines)


def _run_rows(metrics: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, lines in metrics.items():
        steps = int(lines[-1]["step"])
        hours = _mean(lines, "seconds_per_step") * steps / 3600
        tenth = max(1, len(lines) // 10)
        first, last = _mean(lines[:tenth], "loss"), _mean(lines[-tenth:], "loss")
        rows.append((name, f"{steps:,}", f"{hours:.1f}", f"{first:.3f}", f"{last:.3f}"))
    return rows


def _file_rows(target: Path) -> list[tuple[str, ...]]:
    files = sorted(target.rglob("*.safetensors"))
    sizes = [file.stat().st_size / 1e6 for file in files]
    rows = [(f"`{f.relative_to(target).as_posix()}`", f"{s:.1f}") for f, s in zip(files, sizes, strict=True)]
    return [*rows, ("together", f"{sum(sizes):.1f}")]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

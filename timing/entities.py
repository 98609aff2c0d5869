"""Speed of finding entities, and the share of many prompts that have some.

`parse`: spaCy's parse; `entities`: the rules on top of it; `tokens`: places among the tokens of both text
encoders through ComfyUI's own tokenizer (needs ComfyUI). Prompts come from a file, one a line, or are put
together from a grammar.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from instance_composer.models.entities.extraction import find_entities
from instance_composer.models.entities.pipelines import DEFAULT_PIPELINE, parse

sys.path.extend(str(Path(__file__).parents[1] / "tests" / folder) for folder in ("support", "support/host"))

ADJECTIVES = (
    "red",
    "blue",
    "small",
    "shiny",
    "wooden",
    "old",
    "fluffy",
    "striped",
    "very tall",
    "light green",
)
NOUNS = ("book", "vase", "dog", "car", "chair", "bottle", "teddy bear", "street", "sky", "coffee table")
JOINTS = (" and ", ", ", " next to ", " on ", ", which is bright, behind ", " with ")


def generated(count: int) -> list[str]:
    """Prompts of one to five things."""
    rng = random.Random(0)

    def thing() -> str:
        words = rng.sample(ADJECTIVES, rng.randint(0, 2))
        return " ".join(["a", *words, rng.choice(NOUNS)])

    return [
        "".join([thing(), *(rng.choice(JOINTS) + thing() for _ in range(rng.randint(0, 4)))])
        for _ in range(count)
    ]


def share(prompts: Sequence[str]) -> tuple[float, float, list[tuple[int, int, int]]]:
    """CPU seconds of parse and of rules; of each prompt its entities, described and localisable ones."""
    parse(["a warm start"])
    start = time.process_time()
    docs = parse(prompts)
    parsed = time.process_time()
    found = [find_entities(doc) for doc in docs]
    counts = [
        (len(one), sum(bool(entity.modifiers) for entity in one), sum(entity.localisable for entity in one))
        for one in found
    ]
    return parsed - start, time.process_time() - parsed, counts


def measured(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def locate_tokens(prompts: Sequence[str]) -> tuple[float, float, Any]:
    from comfyui_process import start_comfyui

    start_comfyui()
    from tiny_comfyui import tiny_clip

    from instance_composer.hosts.comfyui.prompts.text_axis import token_spans

    clip = tiny_clip()
    token_spans(clip, "a warm start")
    return measured(lambda: [token_spans(clip, prompt) for prompt in prompts])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prompts", nargs="?", type=Path, help="a text file; default: generated prompts")
    parser.add_argument("--count", type=int, default=20000, help="as many prompts, repeated if need be")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tokens", action="store_true", help="measure token places in ComfyUI too")
    arguments = parser.parse_args()

    prompts = generated(arguments.count)
    if arguments.prompts:
        lines = arguments.prompts.read_text(encoding="utf-8").splitlines()
        prompts = (lines * -(-arguments.count // len(lines)))[: arguments.count]
    parts = [prompts[n :: arguments.processes] for n in range(arguments.processes)]
    with get_context("spawn").Pool(arguments.processes) as pool:
        wall, _, shares = measured(lambda: pool.map(share, parts))
    counts = [count for part in shares for count in part[2]]
    rows = [("parse", sum(part[0] for part in shares)), ("entities", sum(part[1] for part in shares))]
    if arguments.tokens:
        rows.append(("tokens", locate_tokens(prompts)[1]))

    print(f"{len(prompts)} prompts, {DEFAULT_PIPELINE}, {arguments.processes} processes: parse and entities")
    print(f"took {wall:.1f} s, starting the processes and loading the pipelines included.\n")
    print("| stage | CPU seconds | prompts per CPU second |")
    print("|---|---|---|")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.1f} | {len(prompts) / seconds:.0f} |")
    entities, described, localisable = (sum(column) for column in zip(*counts, strict=True))
    without = sum(count[0] == 0 for count in counts)
    print(f"\n{entities} entities, {described} with modifiers, {localisable} localisable;", end=" ")
    print(f"{without} prompts without any. No prompt failed.")


if __name__ == "__main__":
    main()

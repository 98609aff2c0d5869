"""Costs of Draw Regions' attention: groups of rows against plain attention and against a dense mask.

One joint attention call of 24 heads of width 128 in float32: `--side` squared cells of the picture, a prompt
of 256 tokens, 64 tokens a caption, boxes over half of the picture together. `plain` attends everything over
the same tokens, without any rule; `mask` does with a dense additive mask of the rules; `gathered` is an
ordinary call for each group of rows; `merged` merges parts by their log-sum-exp, which is what a MODEL with
torch's own attention runs. CPU seconds of all threads, the least of the repeats; `MB` is what the mask alone
takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from instance_composer.models.attention import seeing
from instance_composer.models.attention.row_groups import RowGroups
from instance_composer.models.attention.seeing import Sway

HEADS, WIDTH, PROMPT, CAPTION = 24, 128, 256, 64


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    print("| instances | plain s | mask | gathered | merged | MB |\n|---|---|---|---|---|---|")
    for count in options.instances:
        groups, length = _groups(count, options.side)
        query, key, value = (torch.randn(1, HEADS, length, WIDTH) for _ in range(3))
        mask = _mask(groups, length)
        kernel = F.scaled_dot_product_attention
        ways: list[Callable[[], Tensor]] = [
            lambda: kernel(query, key, value),  # noqa: B023
            lambda: kernel(query, key, value, attn_mask=mask),  # noqa: B023
            lambda: groups.attend_each(query, key, value, kernel),  # noqa: B023
            lambda: groups.attend(query, key, value),  # noqa: B023
        ]
        with torch.inference_mode():
            expected = ways[1]()
            for way in ways[2:]:
                torch.testing.assert_close(way(), expected, atol=1e-6, rtol=0)
            # In turns, so that whatever else the machine does meets all of them.
            rounds = [[_seconds(way) for way in ways] for _ in range(options.repeats)]
        plain, *others = (min(times) for times in zip(*rounds, strict=True))
        shares = " | ".join(f"{one / plain:.2f}" for one in others)
        print(f"| {count} | {plain:.2f} | {shares} | {mask.numel() * 4 / 1e6:.0f} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Costs of Draw Regions' attention.")
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument(
        "--side", type=int, default=64, help="cells along a side: 64 at 1024 px, 128 at 2048 px"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _groups(count: int, side: int) -> tuple[RowGroups, int]:
    """Columns of equal width over the middle half of the picture's height, overlapping a bit."""
    covered = torch.zeros(count, side, side, dtype=torch.bool)
    for number in range(count):
        left, right = side * number // count, side * (number + 1) // count + 2
        covered[number, side // 4 : 3 * side // 4, left:right] = True
    text = PROMPT + CAPTION * count
    captions = list(torch.arange(CAPTION * count).split(CAPTION))
    prompt, picture = torch.arange(CAPTION * count, text), torch.arange(text, text + side * side)
    owner = seeing.owners(covered.flatten(1))
    return seeing.joint(prompt, captions, picture, owner, Sway((1.0,) * count)), text + side * side


def _mask(groups: RowGroups, length: int) -> Tensor:
    mask = torch.full((length, length), float("-inf"))
    for group in groups.groups:
        for one in group.sees:
            mask[group.rows[:, None], groups.pieces[one.piece][None]] = 0.0
    return mask


def _seconds(way: Callable[[], Tensor]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


if __name__ == "__main__":
    main()

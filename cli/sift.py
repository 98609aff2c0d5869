"""`instance-composer sift`: which pictures of a folder are not worth annotating."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from .arguments import Given, number, refuse_given
from .share import add_share, share_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, what is left out, and who does it."""
    parser.add_argument(
        "images", type=Path, help="folder of pictures (png, jpg, webp), of folders of them and of tar shards"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for left-out.tsv and the fingerprints (the same)",
    )
    rules = parser.add_argument_group("what is left out")
    rules.add_argument(
        "--shortest-side",
        type=number(0, whole=True),
        default=0,
        metavar="PIXELS",
        help="pictures with fewer on a side (0: none)",
    )
    rules.add_argument(
        "--stretched",
        type=_times,
        default=0.0,
        metavar="TIMES",
        help="pictures more than so many times as long as wide, or as wide as long (0: none)",
    )
    rules.add_argument(
        "--copies",
        choices=("keep", "same", "near"),
        default="near",
        help="none, those with the same pixels, or those that look alike too (near)",
    )
    rules.add_argument(
        "--distance",
        action=Given,
        type=number(0, 15, whole=True),
        default=6,
        help="how many of 128 edges may differ in pictures that look alike (6)",
    )
    add_share(parser.add_argument_group("the machine"))


def _times(text: str) -> float:
    """A ratio of the longer side to the shorter, or 0: every picture's is above what lies between."""
    return 0.0 if number(0)(text) == 0 else number(1)(text)


def run(arguments: argparse.Namespace) -> int:
    """Fingerprint a share of the pictures; without shares, write the list and say what is on it."""
    from tqdm import tqdm

    from ..annotation.fingerprints import FOLDER, fingerprint_pictures
    from ..annotation.folder import PictureFolder
    from ..annotation.sifting import FILE, Rules, sift, write_list

    if arguments.copies != "near":
        refuse_given(arguments, ["distance"], f"--copies near, and --copies {arguments.copies} is given")
    out = arguments.out or arguments.images
    pictures = PictureFolder(arguments.images, out).pictures()
    share = share_of(arguments)
    with tqdm(total=len(share.of(pictures)), desc="reading", unit="picture", disable=None) as bar:
        known = fingerprint_pictures(
            pictures,
            out / FOLDER,
            (share.place, share.total),
            on_pictures=bar.update,
            source=arguments.images,
        )
    if share.total > 1:
        print(f"share {share}; the same command without shares writes {FILE}", file=sys.stderr)
        return 0
    rules = Rules(arguments.shortest_side, arguments.stretched, arguments.copies, arguments.distance)
    found = sift(known, rules)
    write_list(found, out / FILE)
    counts = Counter(reason.kind for reason in found.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(
        f"{len(pictures) - len(found)} of {len(pictures)} pictures stay"
        + (f"; left out: {kinds}" if kinds else "")
    )
    print(out / FILE)
    return 0

"""`instance-composer rank`: people, or a judge, put a gallery's pictures into order."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import device, number

if TYPE_CHECKING:
    from ..rankings.gallery import Gallery

WORLD = "world"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the run, who ranks, and what is done with the rankings."""
    parser.add_argument(
        "folder", metavar="run", type=Path, help="the run's folder, with gallery.toml and pictures"
    )
    parser.add_argument("--gallery", type=Path, help="the gallery's file (RUN/gallery.toml)")
    parser.add_argument(
        "--iteration",
        type=number(0, whole=True),
        default=0,
        help="ask about members that are in the gallery in this iteration, tuned ones too (0); in the loop "
        "who joins later is placed by rewards all the same",
    )
    parser.add_argument("--port", type=number(0, 65_535, whole=True), default=0, help="of the page (any)")
    parser.add_argument(
        "--judge",
        help="answer by a judge instead of a page: world (Shapes World's truth), or a vision-language model "
        "that chats, as a folder or a name on the hub",
    )
    parser.add_argument("--device", type=device, default="cpu", help="of the vision-language model (cpu)")
    parser.add_argument("--export", type=Path, help="write the rankings as JSON Lines, and do nothing else")
    parser.add_argument(
        "--agreement", action="store_true", help="print how far annotators agree, and do nothing else"
    )


def run(arguments: argparse.Namespace) -> int:
    """Open the page until Ctrl-C, or do what was asked for instead."""
    from ..rankings.gallery import read_gallery

    if (number_of_process := os.environ.get("RANK", "0")) != "0":
        print(f"process {number_of_process} has nothing to do: ranking is the work of one", file=sys.stderr)
        return 0
    gallery = _with_tuned(read_gallery(arguments.gallery or arguments.folder), int(arguments.iteration))
    if arguments.export is not None:
        return _export(arguments, gallery)
    if arguments.agreement:
        return _print_agreement(arguments.folder)
    if arguments.judge is not None:
        return _judge(arguments, gallery)
    return _serve(arguments, gallery)


def _with_tuned(gallery: Gallery, iteration: int) -> Gallery:
    """The gallery with the tuned bases that are in it in an iteration of the loop."""
    from ..rankings.gallery import TUNED, Member

    kind = gallery.members[gallery.base].kind
    return gallery.with_members([Member(f"{TUNED}{n}", kind, {}, n) for n in range(1, iteration + 1)])


def _serve(arguments: argparse.Namespace, gallery: Gallery) -> int:
    from ..rankings.server import RankingServer

    with RankingServer(arguments.folder, gallery, int(arguments.port), int(arguments.iteration)) as server:
        for note in server.notes:
            print(f"note: {note}", file=sys.stderr)
        print(server.address, flush=True)
        print(
            "open the address in a browser on this machine; Ctrl-C ends, every answer is saved",
            file=sys.stderr,
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("", file=sys.stderr)
    return _print_agreement(arguments.folder)


def _judge(arguments: argparse.Namespace, gallery: Gallery) -> int:
    from ..training.gallery.judges import judge_all, load_judge

    name, judge = load_judge(arguments.judge, arguments.device)
    for note in judge_all(arguments.folder, gallery, name, judge, int(arguments.iteration)):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace, gallery: Gallery) -> int:
    from ..rankings.answers import all_answers
    from ..rankings.merging import preference_lines, rankings
    from ..rankings.pictures import write_lines

    found, notes = rankings(gallery, all_answers(arguments.folder))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if not found:
        raise ValueError(
            f"{arguments.folder} has no rankings; make some with: instance-composer rank {arguments.folder}"
        )
    target: Path = arguments.export
    write_lines(target, preference_lines(arguments.folder, found, target.parent))
    print(f"{len(found)} rankings in {target}")
    return 0


def _print_agreement(run: Path) -> int:
    from ..rankings.agreement import agreement
    from ..rankings.answers import all_answers

    answers = all_answers(run)
    for name, own in answers.items():
        told = sum(bool(one.places) for one in own.values())
        print(f"{name}: {told} rankings, {len(own) - told} times could not tell")
    for aspect, (w, questions, people) in agreement(answers).items():
        what = (
            "no prompt was ranked by two annotators"
            if w is None
            else (
                f"Kendall's W {w:.3f}, mean of {questions} prompts that several of {people} annotators ranked"
            )
        )
        print(f"{aspect}: {what}")
    return 0

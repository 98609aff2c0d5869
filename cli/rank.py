"""`instance-composer rank`: people, or a judge, put a gallery's pictures into order."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import device, number
from .files import write_whole

if TYPE_CHECKING:
    from ..rankings.gallery import Gallery

# What can be done instead of opening the page, the first that is given, and the option that goes with it.
_USES = {"export": "", "agreement": "", "judge": "device"}


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
    parser.add_argument("--port", type=number(0, 65_535, whole=True), help="of the page (any)")
    parser.add_argument(
        "--judge",
        help="answer by a judge instead of a page: world (Shapes World's truth), or a vision-language model "
        "that chats, as a folder or a name on the hub",
    )
    parser.add_argument("--device", type=device, help="of the vision-language model (cpu)")
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
    _check(arguments)
    gallery = _with_tuned(read_gallery(arguments.gallery or arguments.folder), int(arguments.iteration))
    if arguments.export is not None:
        return _export(arguments, gallery)
    if arguments.agreement:
        return _print_agreement(arguments.folder, gallery)
    if arguments.judge is not None:
        return _judge(arguments, gallery)
    return _serve(arguments, gallery)


def _check(arguments: argparse.Namespace) -> None:
    """ValueError for what would be passed over in silence, or is a file where a folder is meant."""
    folder: Path = arguments.folder
    if folder.is_file():
        raise ValueError(
            f"{folder} is a file; give the run's folder, {folder.parent}, and a gallery of another name with "
            "--gallery"
        )
    given = [name for name in (*_USES, "port", "device") if getattr(arguments, name) not in (None, False)]
    chosen = next((name for name in _USES if name in given), None)
    uses = "port" if chosen is None else _USES[chosen]
    if idle := [f"--{name}" for name in given if name not in (chosen, uses)]:
        what = "the page" if chosen is None else f"--{chosen}"
        raise ValueError(f"{what} does nothing with {', '.join(idle)}; leave that out")


def _with_tuned(gallery: Gallery, iteration: int) -> Gallery:
    """The gallery with the tuned bases that are in it in an iteration of the loop."""
    from ..rankings.gallery import TUNED, Member

    kind = gallery.members[gallery.base].kind
    return gallery.with_members([Member(f"{TUNED}{n}", kind, {}, n) for n in range(1, iteration + 1)])


def _serve(arguments: argparse.Namespace, gallery: Gallery) -> int:
    from ..rankings.server import RankingServer

    port, iteration = int(arguments.port or 0), int(arguments.iteration)
    with RankingServer(arguments.folder, gallery, port, iteration) as server:
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
    return _print_agreement(arguments.folder, gallery)


def _judge(arguments: argparse.Namespace, gallery: Gallery) -> int:
    from ..rankings.questions import check_there_are, questions

    run, iteration = arguments.folder, int(arguments.iteration)
    # Before a model is loaded.
    check_there_are(questions(run, gallery, iteration)[0], run)
    from ..training.gallery.judges import judge_all, load_judge

    name, judge = load_judge(arguments.judge, arguments.device or "cpu", run)
    for note in judge_all(run, gallery, name, judge, iteration):
        print(f"note: {note}", file=sys.stderr)
    return 0


def _export(arguments: argparse.Namespace, gallery: Gallery) -> int:
    from ..rankings.answers import all_answers
    from ..rankings.merging import preference_lines, rankings
    from ..rankings.pictures import as_json_lines
    from ..rankings.questions import of_these_pictures

    target: Path = arguments.export
    if target.is_dir():
        raise ValueError(f"--export is the folder {target}; name a file, such as {target / 'rankings.jsonl'}")
    answers, earlier = of_these_pictures(arguments.folder, gallery, all_answers(arguments.folder))
    found, notes = rankings(gallery, answers)
    for note in [*earlier, *notes]:
        print(f"note: {note}", file=sys.stderr)
    if not found:
        raise ValueError(
            f"{arguments.folder} has no rankings; make some with: instance-composer rank {arguments.folder}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, as_json_lines(preference_lines(arguments.folder, found, target.parent)))
    print(f"{len(found)} rankings in {target}")
    return 0


def _print_agreement(run: Path, gallery: Gallery) -> int:
    from ..rankings.agreement import agreement
    from ..rankings.answers import all_answers
    from ..rankings.questions import of_these_pictures

    answers, notes = of_these_pictures(run, gallery, all_answers(run))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
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

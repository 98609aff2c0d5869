"""Whole models on one device: detectors, segmenters and rewards, whose layers are not ComfyUI's own.

ComfyUI's layers fetch weights that were left in main memory when they are used. Those of other libraries
compute where their weights are: a model of them needs all of its weights and its inputs on one device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import comfy.model_management
import comfy.patcher_extension
import torch

logger = logging.getLogger("instance_composer")

Loaded = TypeVar("Loaded")


class LastLoaded(Generic[Loaded]):
    """What was loaded last, kept for the next run until ComfyUI unloads its model.

    So the memory it takes is given back by the same means as that of any model: another model that needs the
    room, "Unload Models" and "Free model and node cache".
    """

    def __init__(self, patcher_of: Callable[[Loaded], Any]) -> None:
        self._patcher_of = patcher_of
        self._box = _Box()

    def get(self, key: Hashable, load: Callable[[], Loaded]) -> Loaded:
        """What is kept under a key, else what `load` returns; the one before is let go first."""
        if self._box.key != key or self._box.loaded is None:
            self._box.key = self._box.loaded = None
            loaded = load()
            self._box.key, self._box.loaded = key, loaded
            patcher = self._patcher_of(loaded)
            patcher.add_callback(comfy.patcher_extension.CallbacksMP.ON_DETACH, self._forget)
        return self._box.loaded

    def _forget(self, patcher: Any, _unpatch: bool) -> None:
        kept = self._box.loaded
        if not _gathering and kept is not None and self._patcher_of(kept) is patcher:
            self._box = _Box()


class _Box:
    """A place that refers to itself, so that what is in it goes with the collection of garbage.

    ComfyUI counts its loaded models while it unloads them, and none may vanish then; it collects garbage when
    it is done.
    """

    def __init__(self) -> None:
        self.key: Hashable = None
        self.loaded: Any = None
        self.itself = self


# Patchers whose weights move for a run, which is no unloading.
_gathering: list[Any] = []


@contextmanager
def _moving(patcher: Any) -> Iterator[None]:
    _gathering.append(patcher)
    try:
        yield
    finally:
        _gathering.remove(patcher)


def load_whole(patcher: Any, memory: float) -> torch.device:
    """Load a ModelPatcher with room for `memory` bytes of activations; returns the device for its inputs."""
    comfy.model_management.load_models_gpu([patcher], memory_required=memory, force_full_load=True)
    return gather(patcher)


def gather(patcher: Any) -> torch.device:
    """The device of all weights; those of a model that was loaded in part go back to main memory first.

    ComfyUI loads in part, whatever it is asked, under --novram. A run that is slow for it is told in the log.
    """
    if len({parameter.device for parameter in patcher.model.parameters()}) > 1:
        with _moving(patcher):
            patcher.detach()
    device = next(patcher.model.parameters()).device
    if device.type != patcher.load_device.type:
        logger.warning(
            "%s was not loaded whole onto %s and cannot run in parts, so it runs on %s, which is slower. "
            "Start ComfyUI without --novram, or free memory, to change that.",
            type(patcher.model).__name__,
            patcher.load_device,
            device,
        )
    return device

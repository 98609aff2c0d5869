"""Documented address of the extraction of entities, which lives in `models.entities`."""

from ..entities.extraction import EntityTokens, extract_entities, find_entities, locate_entities

__all__ = ["EntityTokens", "extract_entities", "find_entities", "locate_entities"]

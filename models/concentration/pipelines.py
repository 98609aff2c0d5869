"""Documented address of spaCy's pipelines, which live in `models.entities`."""

from ..entities.pipelines import parse

__all__ = ["parse"]

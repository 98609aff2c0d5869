"""Errors of reaching into a MODEL: one that an effect does not fit, a batch that cannot be explained."""

from __future__ import annotations


class ModelMismatchError(ValueError):
    """The MODEL is not one this effect was made for."""


class UnexplainedRowsError(ValueError):
    """Another pack has changed the batch so that nobody knows which rows are which conditioning's."""

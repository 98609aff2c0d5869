"""Errors of reaching into a MODEL: it does not fit, its batch is unexplained."""

from __future__ import annotations


class ModelMismatchError(ValueError):
    """The MODEL is not one this effect was made for."""


class UnexplainedRowsError(ValueError):
    """Another pack has changed the batch so that nobody knows which rows are which conditioning's."""

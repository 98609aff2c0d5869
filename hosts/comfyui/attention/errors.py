"""Errors of binding attention: a MODEL that an effect does not fit."""

from __future__ import annotations


class ModelMismatchError(ValueError):
    """The MODEL is not one this effect was made for."""

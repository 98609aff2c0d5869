"""The error of this host: a model that does not fit."""


class UnsuitableModelError(ValueError):
    """A model that the given IFAdapter, or this host, cannot work with."""

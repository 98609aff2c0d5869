"""The error of this host."""


class UnsuitableModelError(ValueError):
    """A model that the given IFAdapter, or this host, cannot work with."""

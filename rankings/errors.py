"""Errors of galleries and rankings."""


class GalleryError(ValueError):
    """A gallery, its pictures or its rankings that cannot be used as they are."""

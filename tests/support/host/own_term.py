"""What terms of tests have in common."""

from __future__ import annotations


class Standing:
    """A term that is the same at every step, in every part of the picture and with zeroed text."""

    node = "Standing"
    window = (0.0, 1.0)

    def on_zeros(self):
        return self

    def at(self, sigma, sampling, text):
        return self

    def crop(self, rectangle, cache):
        return self

"""Documented address of Shapes World, which lives in the package `shapes_world`."""

from ...shapes_world import *  # noqa: F403
from ...shapes_world import __all__ as __all__

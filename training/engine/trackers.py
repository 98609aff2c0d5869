"""Where metrics go besides their file: accelerate's trackers, such as TensorBoard and Weights & Biases."""

from __future__ import annotations

from accelerate import tracking
from accelerate.utils import LoggerType

from .settings import Settings, SettingsError

PROJECT = "instance-composer"


def trackers_of(settings: Settings) -> list[str]:
    """The names asked for; `SettingsError` for one that there is not, or whose package is not installed."""
    names = [name.strip() for name in settings.trackers.split(",") if name.strip()]
    for name in names:
        if name not in tracking.LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(tracking.LOGGER_TYPE_TO_CLASS))
            raise SettingsError(f"there is no tracker {name!r}; there are {known}")
        available = [str(one) for one in tracking.get_available_trackers()]
        # Those that a program registers itself bring what they need.
        if name in [str(one) for one in LoggerType] and name not in available:
            raise SettingsError(
                f"the package of the tracker {name} is not installed; get it with: pip install {name}, or "
                "leave it out of trackers"
            )
    return names

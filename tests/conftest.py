"""Settings of every tier."""

import os
from importlib import metadata, util

from comfyui_location import HOW_TO_GET_COMFYUI, find_comfyui
from hypothesis import settings

# The same examples on every run, so that red means changed code; HYPOTHESIS_PROFILE=search looks further.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_report_header() -> list[str]:
    """The versions a result depends on, and where the host tests find their host."""
    installed = [name for name in ("torch", "transformers", "diffusers") if util.find_spec(name)]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in installed)
    return [versions, f"ComfyUI: {find_comfyui() or HOW_TO_GET_COMFYUI}"]

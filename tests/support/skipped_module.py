"""Modules of tests that are skipped, unread, with a line that says what they need."""

from __future__ import annotations

from pathlib import Path

import pytest


class SkippedModule(pytest.Module):
    """A module that is there and has no tests but the reason."""

    reason: str

    def collect(self):
        pytest.skip(self.reason, allow_module_level=True)


def skipped(module_path: Path, parent: pytest.Collector, reason: str | None) -> SkippedModule | None:
    """For `pytest_pycollect_makemodule`: the module skipped for a reason, or None where there is none."""
    if reason is None:
        return None
    module = SkippedModule.from_parent(parent, path=module_path)
    module.reason = reason
    return module

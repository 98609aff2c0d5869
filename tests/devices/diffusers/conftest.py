"""Without diffusers every module here is skipped, unread."""

from importlib.util import find_spec

import pytest

MISSING = 'diffusers is not installed: pip install "instance-composer[render]"'


class _SkippedModule(pytest.Module):
    def collect(self):
        pytest.skip(MISSING, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return None if find_spec("diffusers") else _SkippedModule.from_parent(parent, path=module_path)

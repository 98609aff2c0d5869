"""Without diffusers every module here is skipped, unread."""

from importlib.util import find_spec

from skipped_module import skipped

MISSING = 'diffusers is not installed: pip install "instance-composer[render]"'


def pytest_pycollect_makemodule(module_path, parent):
    return skipped(module_path, parent, None if find_spec("diffusers") else MISSING)

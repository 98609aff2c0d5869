"""Without ComfyUI every module here is skipped, unread, with a line that says how to get it."""

import pytest
from comfyui_location import HOW_TO_GET_COMFYUI, find_comfyui


class _SkippedModule(pytest.Module):
    def collect(self):
        pytest.skip(HOW_TO_GET_COMFYUI, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return None if find_comfyui() else _SkippedModule.from_parent(parent, path=module_path)


if find_comfyui():
    from comfyui_process import start_comfyui

    start_comfyui()

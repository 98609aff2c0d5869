"""Without ComfyUI every module here is skipped, unread, with a line that says how to get it."""

from comfyui_location import HOW_TO_GET_COMFYUI, find_comfyui
from skipped_module import skipped


def pytest_pycollect_makemodule(module_path, parent):
    return skipped(module_path, parent, None if find_comfyui() else HOW_TO_GET_COMFYUI)


if find_comfyui():
    from comfyui_process import start_comfyui

    start_comfyui()

"""The tiny SDXL and IFAdapter on disk, and loaded once for tests that leave them as they are."""

from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from demo_model import pack_fresh_demo
from tiny_sdxl import write_tiny_ifadapter, write_tiny_sdxl

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.layout import Box, Instance, Layout
from instance_composer.models.ifadapter import IFAdapter


@pytest.fixture(scope="session", autouse=True)
def no_progress_bars():
    """Bars of the libraries would bury the report."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models are tiny: more threads cost more than they bring, and much more on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("model") / "sdxl")


@pytest.fixture(scope="session")
def adapter_file(tmp_path_factory) -> Path:
    return write_tiny_ifadapter(tmp_path_factory.mktemp("adapter") / "ifadapter.safetensors")


@pytest.fixture(scope="session")
def fresh_demo(tmp_path_factory) -> Path:
    """The demo model with fresh weights, as it is shipped. Who changes a file copies the folder first."""
    return pack_fresh_demo(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="session")
def pipeline(sdxl_folder):
    pipeline = load_sdxl(sdxl_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def adapter(adapter_file) -> IFAdapter:
    return IFAdapter.load(adapter_file)


@pytest.fixture
def layout() -> Layout:
    return Layout(
        (
            Instance("cat", Box(0.0, 0.2, 0.6, 1.0), "a black cat"),
            Instance("hat", Box(0.3, 0.0, 0.9, 0.5), "an orange hat"),
        ),
        prompt="a cat with a hat",
    )

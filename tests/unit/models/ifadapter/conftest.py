from pathlib import Path

import pytest
from golden_files import REFERENCES

from instance_composer.models.ifadapter import IFAdapter


@pytest.fixture(scope="session", params=REFERENCES)
def reference(request: pytest.FixtureRequest) -> Path:
    """Folder of the official implementation's IFAdapter tensors."""
    return request.param / "ifadapter"


@pytest.fixture(scope="session")
def adapter(reference: Path) -> IFAdapter:
    return IFAdapter.load(reference / "adapter_small.safetensors")

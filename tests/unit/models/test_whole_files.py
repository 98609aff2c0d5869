"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from instance_composer.models.weights import save_weights
from instance_composer.models.whole_files import whole_file


def test_a_file_that_is_not_finished_leaves_the_earlier_one(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"earlier")

    def fail_midway() -> None:
        with whole_file(target) as unfinished:
            unfinished.write_bytes(b"la")
            assert unfinished.parent == tmp_path
            assert unfinished.suffix != target.suffix
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert target.read_bytes() == b"earlier"
    with whole_file(target) as unfinished:
        unfinished.write_bytes(b"later")
        assert target.read_bytes() == b"earlier"
    assert target.read_bytes() == b"later"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_goes_on_pointing_where_it_does(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    stored, link = tmp_path / "store" / "model.safetensors", tmp_path / "link.safetensors"
    stored.write_bytes(b"earlier")
    try:
        link.symlink_to(stored)
    except OSError:
        pytest.skip("this system makes no links")
    with whole_file(link) as unfinished:
        unfinished.write_bytes(b"later")
    assert link.is_symlink()
    assert stored.read_bytes() == b"later"


# A disk that is full after the first bytes.
FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from instance_composer.models.comat.lora import LowRank, save_lora
from instance_composer.models.ifadapter import write_checkpoint
from instance_composer.models.itercomp import ExtractionSettings
from instance_composer.models.itercomp import save_lora as save_delta
from instance_composer.models.rewards.checkpoint import write_reward
from instance_composer.models.weights import save_weights

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
much = torch.zeros(1000)
file = Path(sys.argv[2])
{
    "weights": lambda: save_weights({"a": much}, file),
    "adapter": lambda: write_checkpoint({"pos_net.a": much}, file),
    "adapter bin": lambda: write_checkpoint({"pos_net.a": much}, file.with_suffix(".bin")),
    "reward": lambda: write_reward({"a": much}, file, {}),
    "delta": lambda: save_delta(file, {"a": much}, ExtractionSettings(rank=4)),
    "lora": lambda: save_lora(file, {"mid.attn2.to_q": LowRank(much[None], much[:, None].clone())}, {}),
}[sys.argv[1]]()
"""


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
@pytest.mark.parametrize("kind", ["weights", "adapter", "adapter bin", "reward", "delta", "lora"])
def test_a_full_disk_costs_no_earlier_file(tmp_path: Path, kind: str) -> None:
    save_weights({"a": torch.arange(3.0)}, tmp_path / "model.safetensors")
    (tmp_path / "model.bin").write_bytes(b"earlier")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    process = subprocess.run(
        [sys.executable, "-c", FULL, kind, str(tmp_path / "model.safetensors")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "File too large" in process.stderr, process.stderr
    assert process.returncode == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

"""Files that are written whole or not at all."""

from __future__ import annotations

import json
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


# A disk that is full after the first bytes, for each kind of file in a process of its own: forked, because to
# import torch takes seconds. What each says comes through a pipe, which has no such limit.
FULL = """
import json, os, resource, signal, sys
from pathlib import Path
import torch
from instance_composer.models.comat.lora import LowRank, save_lora
from instance_composer.models.ifadapter import write_checkpoint
from instance_composer.models.itercomp import ExtractionSettings
from instance_composer.models.itercomp import save_lora as save_delta
from instance_composer.models.rewards.checkpoint import write_reward
from instance_composer.models.weights import save_weights

much = torch.zeros(1000)
write = {
    "weights": lambda file: save_weights({"a": much}, file),
    "adapter": lambda file: write_checkpoint({"pos_net.a": much}, file),
    "adapter bin": lambda file: write_checkpoint({"pos_net.a": much}, file.with_suffix(".bin")),
    "reward": lambda file: write_reward({"a": much}, file, {}),
    "delta": lambda file: save_delta(file, {"a": much}, ExtractionSettings(rank=4)),
    "lora": lambda file: save_lora(file, {"mid.attn2.to_q": LowRank(much[None], much[:, None].clone())}, {}),
}
ended = {}
for folder in map(Path, sys.argv[1:]):
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(writer, 2)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        write[folder.name](folder / "model.safetensors")
        sys.exit()
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read()
    ended[folder.name] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said
print(json.dumps(ended))
"""
# Its folder, the files that were there, how its process ended and what it said.
Ended = tuple[Path, dict[str, bytes], int, str]
KINDS = ("weights", "adapter", "adapter bin", "reward", "delta", "lora")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    place, earlier = tmp_path_factory.mktemp("full"), {}
    for kind in KINDS:
        (place / kind).mkdir()
        save_weights({"a": torch.arange(3.0)}, place / kind / "model.safetensors")
        (place / kind / "model.bin").write_bytes(b"earlier")
        earlier[kind] = contents(place / kind)
    process = subprocess.run(
        [sys.executable, "-c", FULL, *(str(place / kind) for kind in KINDS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    ended = json.loads(process.stdout)
    return {kind: (place / kind, earlier[kind], *ended[kind]) for kind in KINDS}


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_costs_no_earlier_file(full_disk: dict[str, Ended], kind: str) -> None:
    folder, before, code, said = full_disk[kind]
    assert "File too large" in said, said
    assert code == 1
    assert contents(folder) == before

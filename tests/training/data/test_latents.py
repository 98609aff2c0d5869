"""Encoded pictures: made once, read from disk by number, drawn from sets in proportion."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from latent_sets import latent_set
from safetensors.torch import save_file
from tiny_sdxl import tiny_vae

from instance_composer.shapes_world import ShapesWorld
from instance_composer.training.data.errors import SourceError
from instance_composer.training.data.latents import Buckets, LatentSet, encode
from instance_composer.training.data.pictures import posterior
from instance_composer.training.engine.task import BatchPosition


def test_encoding_continues_and_refuses_another_source(tmp_path):
    torch.manual_seed(0)
    autoencoder, world = tiny_vae(), ShapesWorld(1, 64, 64)
    done: list[int] = []
    encode(world, 5, autoencoder, tmp_path, {"seed": 1}, done.append)
    first = LatentSet.load(tmp_path)
    encode(world, 5, autoencoder, tmp_path, {"seed": 1}, done.append)
    assert sum(done) == 10
    # Written once: several processes ask for the same set, and one may be reading while another comes.
    before = (tmp_path / "index.json").stat().st_ino
    encode(world, 5, autoencoder, tmp_path, {"seed": 1})
    assert (tmp_path / "index.json").stat().st_ino == before
    assert not list(tmp_path.glob("*.part"))
    assert first.size == (64, 64)
    assert first.latents(range(5)).shape == (5, 4, 8, 8)
    assert [first.layout(n).prompt for n in range(5)] == [world[n].layout.prompt for n in range(5)]
    expected = posterior(
        autoencoder, torch.from_numpy(world[3].image).permute(2, 0, 1)[None].float() / 127.5 - 1
    )
    torch.testing.assert_close(
        first.latents([3])[0].float(), expected.mode()[0].detach() * 0.13025, atol=2e-3, rtol=1e-2
    )
    with pytest.raises(SourceError, match="other pictures or of another autoencoder"):
        encode(world, 5, autoencoder, tmp_path, {"seed": 2})
    torch.nn.init.zeros_(autoencoder.decoder.conv_out.weight)
    encode(world, 5, autoencoder, tmp_path, {"seed": 1})  # another decoder does not matter
    with pytest.raises(SourceError, match="another autoencoder"):
        encode(world, 5, tiny_vae(), tmp_path, {"seed": 1})


def test_an_incomplete_set_is_told(tmp_path):
    encode(ShapesWorld(1, 64, 64), 2, tiny_vae(), tmp_path, {})
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(SourceError, match="missing; encode it again"):
        LatentSet.load(tmp_path)


def written_set(folder: Path, count: int) -> torch.Tensor:
    """A folder as `encode` leaves it, each latent of four numbers, each document its own number."""
    latents = torch.arange(4 * count).float().view(count, 4, 1, 1)
    (folder / "index.json").write_text(json.dumps({"count": count}))
    for shard, rows in enumerate(latents.split(512)):
        file = folder / f"latents-{shard:05d}.safetensors"
        save_file({"latents": rows.contiguous()}, file)
        file.with_suffix(".json").write_text(json.dumps([{"prompt": str(int(row[0]) // 4)} for row in rows]))
    return latents


def mapped_files(folder: Path) -> set[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if str(folder) in line}


@pytest.mark.skipif(sys.platform != "linux", reason="reads which files the process has mapped")
def test_a_set_larger_than_what_may_be_open_is_read_by_number(tmp_path):
    count = 40 * 512 + 7
    latents = written_set(tmp_path, count)
    read = LatentSet.load(tmp_path)
    assert len(read) == count
    assert mapped_files(tmp_path) == set()
    numbers = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:300].tolist()
    for few in (numbers[:100], numbers[100:], [0, count - 1, 0]):
        assert torch.equal(read.latents(few), latents[few])
        assert len(mapped_files(tmp_path)) <= 32
    assert [read.document(number)["prompt"] for number in numbers] == [str(number) for number in numbers]
    assert len(mapped_files(tmp_path)) <= 32


def test_a_part_of_a_set_keeps_its_order_and_can_be_parted_again(tmp_path):
    latents = written_set(tmp_path, 600)
    part = LatentSet.load(tmp_path).select([599, 3, 512]).select([1, 0])
    assert len(part) == 2
    assert torch.equal(part.latents([0, 1]), latents[[3, 599]])
    assert part.document(1) == {"prompt": "599"}


def test_batches_come_from_sets_in_proportion():
    def one(count: int, side: int) -> LatentSet:
        return latent_set(torch.zeros(count, 4, side, side), [{}] * count)

    buckets = Buckets([one(300, 8), one(100, 4)])
    chosen = [
        [buckets.choose(BatchPosition(step, 0, process, 1, 2), 2, 0) for process in range(2)]
        for step in range(400)
    ]
    assert [one[0].size for one, _ in chosen].count((64, 64)) / 400 == pytest.approx(0.75, abs=0.06)
    assert all(one[0] is other[0] and one[1] != other[1] for one, other in chosen)
    assert chosen[5][0][1] == buckets.choose(BatchPosition(5, 0, 0, 1, 2), 2, 0)[1]


def sized_sets(*counts: int) -> list[LatentSet]:
    return [latent_set(torch.zeros(n, 4, 4 + k, 4), [{}] * n) for k, n in enumerate(counts)]


def pictures_of(buckets: Buckets, step: int, parts: int, processes: int, together: int, batch: int):
    """The set and the numbers of each batch of a step."""
    positions = [
        BatchPosition(step, part, process, parts, processes, together)
        for part in range(parts)
        for process in range(processes)
    ]
    chosen = [buckets.choose(position, batch, 9) for position in positions]
    return [(buckets.sets.index(one), numbers) for one, numbers in chosen]


@pytest.mark.parametrize(
    ("counts", "batch", "together"),
    [((300, 100), 4, 1), ((300, 100), 4, 4), ((301, 17, 90), 4, 2), ((1000, 3), 8, 2), ((5, 3), 8, 2)],
)
def test_an_epoch_has_every_picture_of_every_set_once(counts, batch, together):
    """Give or take the last turn of each set, after one epoch and after several."""
    buckets, turn = Buckets(sized_sets(*counts)), batch * together
    for epochs in (1, 2, 5):
        seen = [Counter() for _ in counts]
        for step in range(sum(-(-epochs * count // turn) for count in counts)):
            for which, numbers in pictures_of(buckets, step, 1, together, together, batch):
                seen[which].update(numbers)
        for one, count in zip(seen, counts, strict=True):
            assert min(one[number] for number in range(count)) >= epochs
            assert sum(one.values()) - epochs * count < turn


def test_sets_take_turns_in_another_order_in_every_epoch():
    buckets = Buckets(sized_sets(60, 40))
    epochs = [
        [pictures_of(buckets, step, 1, 1, 1, 2)[0][0] for step in range(first, first + 50)]
        for first in (0, 50)
    ]
    assert [one.count(0) for one in epochs] == [30, 30]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("together", [1, 2, 4])
def test_a_step_has_the_same_pictures_however_it_is_shared_out(together):
    buckets = Buckets(sized_sets(300, 100, 7))
    for step in range(40):
        one, two, four = (pictures_of(buckets, step, parts, 4 // parts, together, 3) for parts in (4, 2, 1))
        assert one == two == four
        # At first, batches of the same time are of the same size.
        assert all(
            len({which for which, _ in one[first : first + together]}) == 1 for first in range(0, 4, together)
        )


def test_one_set_has_its_order_however_a_run_began():
    buckets = Buckets(sized_sets(50))
    for step in range(30):
        old, new = (pictures_of(buckets, step, 2, 2, together, 3) for together in (0, 2))
        assert old == new


def test_batches_are_those_of_earlier_versions():
    """A run that was begun then goes on now: its position in the data is the number of the batch alone."""
    sets = [latent_set(torch.zeros(n, 4, side, side), [{}] * n) for n, side in ((300, 8), (100, 4))]
    ranks = [(step, part, rank) for step in range(200) for part in (0, 1) for rank in (0, 1)]
    chosen = [Buckets(sets).choose(BatchPosition(*one, 2, 2), 3, 9) for one in ranks]
    assert chosen[0][1] == [255, 59, 192]
    text = json.dumps([[list(one.size), numbers] for one, numbers in chosen])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "37889ee6aac63c7c"

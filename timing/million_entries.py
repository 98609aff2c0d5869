"""Start and memory of a data set of a million pictures in tar shards, with made-up pictures.

The shards have real headers and real layouts; pictures are a head and a hole in a sparse file, and their
latents are holes too, so that a million take 12 GB of the disk. `million_entries.py [COUNT [PROCESSES]]`:
so many processes start at once, as those of a run do that goes on or shares its latents. What a first start
takes is told by a sample: there every process looks at its share of pictures and layouts.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.training.data.folder import LayoutFolder
from instance_composer.training.data.keys import key_of
from instance_composer.training.data.latents import SHARD, encoder_digest
from instance_composer.training.data.looks import Look, look_at_all
from instance_composer.training.demo_model.architecture import make_autoencoder

PER_SHARD, PICTURE_BYTES, SIDE, SAMPLE = 10_000, 150_000, 512, 1000
NUMBER = b"000000000"
START = """
import resource, sys, time
from pathlib import Path
import torch
from instance_composer.training.data.folder import LayoutFolder
from instance_composer.training.data.folder_latents import encode_folder
from instance_composer.training.data.held_out import hold_out
from instance_composer.training.data.latents import Buckets
from instance_composer.training.demo_model.architecture import make_autoencoder
from instance_composer.training.engine.task import BatchPosition
torch.manual_seed(0)
torch.set_num_threads(1)
autoencoder = make_autoencoder()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
marks = [(time.perf_counter(), time.process_time())]
def mark(): marks.append((time.perf_counter(), time.process_time()))
source = LayoutFolder(Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[3])); mark()
one = encode_folder(source, autoencoder, Path(sys.argv[2])); mark()
assert (one.things() == 5).all()
held, left = hold_out(len(one), 512, "pictures")
used, told = Buckets([one.select(left)]), source.fingerprint; mark()
size = 16
for number in range(20):
    part, numbers = used.choose(BatchPosition(number, 0, 0, 1, 1), size, 0)
    part.latents(numbers)
    for each in numbers: part.layout(each), part.conditioning(each)
mark()
held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
spans = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(marks, marks[1:])]
print(len(source), *(value for span in spans for value in span), held)
"""


def head() -> bytes:
    """The beginning of a JPEG file whose comment has room for a number."""
    written = io.BytesIO()
    Image.new("L", (SIDE, SIDE)).save(written, "JPEG", comment=NUMBER)
    return written.getvalue()


def write_shards(folder: Path, count: int) -> None:
    """Tar files of pictures that are a head and a hole, and layouts that are real."""
    things = tuple(Instance(str(n), Box(0.1, 0.1, 0.6, 0.6), f"a thing of number {n}") for n in range(5))
    text = Layout(things, Canvas(1024, 1024), "a picture of five things").to_json().encode()
    picture = head()
    for first in range(0, count, PER_SHARD):
        with (folder / f"{first // PER_SHARD:05d}.tar").open("wb") as file:
            for number in range(first, min(first + PER_SHARD, count)):
                for ending, size, content in (
                    (".jpg", PICTURE_BYTES, picture.replace(NUMBER, f"{number:09d}".encode())),
                    (".layout.json", len(text), text),
                ):
                    info = tarfile.TarInfo(f"{number:09d}{ending}")
                    info.size = size
                    file.write(info.tobuf(tarfile.USTAR_FORMAT))
                    file.write(content)
                    file.seek(-(-size // 512) * 512 - len(content), os.SEEK_CUR)
            file.truncate(file.tell() + 1024)


def first_looks(folder: Path) -> float:
    """CPU seconds of the first look at a picture and its layout, the mean of a sample of them."""
    source = LayoutFolder(folder, SIDE, SIDE)
    source.leave_out(
        name for number, name in enumerate(source.names) if number % (len(source) // SAMPLE or 1)
    )
    started = time.process_time()
    wrong = source.check(shown=False)
    if wrong:
        sys.exit(f"made-up pictures cannot be read: {next(iter(wrong.items()))}")
    return (time.process_time() - started) / len(source)


def write_latents(data: Path, latents: Path, encoder: str) -> None:
    """What an earlier run would have left: looks at all pictures, and files of latents that are holes."""
    source = LayoutFolder(data, SIDE, SIDE)
    stamps = source._files.stamps(str([(SIDE, SIDE)]))  # pyright: ignore[reportPrivateUsage]
    looks = source._looks  # pyright: ignore[reportPrivateUsage]
    look_at_all(
        looks,
        lambda number: Look((SIDE, SIDE), key_of(str(number)), 5),
        stamps,
        latents / "looked-at",
        shown=False,
    )
    place = latents / f"{SIDE}x{SIDE}-{encoder[:16]}"
    place.mkdir()
    for first in range(0, len(source), SHARD):
        keys = looks.keys[first : first + SHARD]
        shape = [len(keys), 4, SIDE // 8, SIDE // 8]
        size = 2 * int(np.prod(shape))
        header = json.dumps({"latents": {"dtype": "F16", "shape": shape, "data_offsets": [0, size]}}).encode()
        header += b" " * (-len(header) % 8)
        file = place / f"{first:09d}.safetensors"
        with file.open("wb") as out:
            out.write(len(header).to_bytes(8, "little") + header)
            out.truncate(8 + len(header) + size)
        said = {"keys": [key.tobytes().hex() for key in keys], "unreadable": {}}
        file.with_suffix(".json").write_text(json.dumps(said))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    import torch

    torch.manual_seed(0)
    encoder = encoder_digest(make_autoencoder())
    with tempfile.TemporaryDirectory() as place:
        data, latents = Path(place) / "data", Path(place) / "latents"
        data.mkdir()
        latents.mkdir()
        started = time.perf_counter()
        write_shards(data, count)
        look = first_looks(data)
        write_latents(data, latents, encoder)
        print(f"made in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        command = [sys.executable, "-c", START, str(data), str(latents), str(SIDE)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
        outputs = [one.communicate()[0] for one in running]
        if any(one.returncode for one in running):
            sys.exit("a process failed; what it said is above")
    print("Seconds, and of CPU in brackets.\n")
    print("| process | pictures | found | looks, latents | held out, names | start | 16 read | MiB held |")
    print("|---|---|---|---|---|---|---|---|")
    for number, output in enumerate(outputs):
        found, *spans, held = map(float, output.split())
        pairs = list(zip(spans[::2], spans[1::2], strict=True))
        start = [sum(one[place] for one in pairs[:3]) for place in range(2)]
        cells = [f"{wall:.1f} ({cpu:.1f})" for wall, cpu in (*pairs[:3], start)]
        batch = f"{pairs[3][0] / 20 * 1000:.1f} ms ({pairs[3][1] / 20 * 1000:.1f})"
        print(f"| {number} | {found:,.0f} | {' | '.join(cells)} | {batch} | {held:.0f} |")
    print(
        f"\nfirst look at a picture and its layout: {look * 1e6:.0f} µs of CPU, {look * count:.0f} s for "
        "all, shared by the processes of a run"
    )
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"this process, which only wrote: {own:.0f} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()

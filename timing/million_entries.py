"""Start and memory of a data set of a million pictures in tar shards, with made-up pictures.

The shards have real headers and real layouts; pictures are a head and a hole in a sparse file, and their
latents are holes too, so that a million take 12 GB of the disk. `million_entries.py [COUNT [PROCESSES]]`: the
first start looks at every picture and layout, with the helpers of one process on all cores; then so many
processes start at once, as those of a run do that goes on or shares its latents, and read batches.
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
from instance_composer.training.data.latents import SHARD, encoder_digest
from instance_composer.training.data.looking.helpers import cores
from instance_composer.training.demo_model.architecture import make_autoencoder

PER_SHARD, PICTURE_BYTES, SIDE = 10_000, 150_000, 512
NUMBER = b"000000000"
MEMORY = ("MiB at most above libraries", "MiB at the end: Rss, Pss, own above libraries")
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
def own():
    told = ["Private_Dirty:", "nan"]
    if sys.platform == "linux":
        told = open("/proc/self/smaps_rollup").read().split()
    return float(told[told.index("Private_Dirty:") + 1]) / 1024
libraries = own()
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
print(len(source), *(value for span in spans for value in span), held, own() - libraries, flush=True)
sys.stdin.readline()
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


def first_looks(data: Path, latents: Path) -> tuple[LayoutFolder, float, float]:
    """The source after a first look at all of it, and the seconds and CPU seconds that took."""
    source = LayoutFolder(data, SIDE, SIDE)
    started, before = time.perf_counter(), cpu()
    wrong = source.check(place=latents / "looked-at")
    if wrong:
        sys.exit(f"made-up pictures cannot be read: {next(iter(wrong.items()))}")
    return source, time.perf_counter() - started, cpu() - before


def cpu() -> float:
    """Seconds of this process and of those it has waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def memory(process: int) -> list[str]:
    """MiB of a process: all of it, and with what it shares with others in equal parts; Linux tells."""
    try:
        told = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").split()
    except OSError:
        return ["?", "?"]
    return [f"{int(told[told.index(name) + 1]) / 1024:.0f}" for name in ("Rss:", "Pss:")]


def write_latents(source: LayoutFolder, latents: Path, encoder: str) -> None:
    """What an earlier run would have left: files of latents that are holes."""
    place = latents / f"{SIDE}x{SIDE}-{encoder[:16]}"
    place.mkdir()
    for first in range(0, len(source), SHARD):
        keys = source.keys[first : first + SHARD]
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
        print(f"shards made in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        source, wall, looked = first_looks(data, latents)
        write_latents(source, latents, encoder)
        # What this process knows must not be counted as shared with the others.
        del source
        command = [sys.executable, "-c", START, str(data), str(latents), str(SIDE)]
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        outputs = [one.stdout.readline() if one.stdout else "" for one in running]
        held = [memory(one.pid) for one in running]
        for one in running:
            one.communicate("\n")
        if any(one.returncode for one in running):
            sys.exit("a process failed; what it said is above")
    print(
        f"First look at {count:,} pictures and layouts on {cores()} cores: {wall:.0f} s, "
        f"{looked:.0f} s of CPU, {looked / count * 1e6:.0f} µs each.\n"
    )
    print("Seconds, and of CPU in brackets.\n")
    head = ("process", "pictures", "found", "looks, latents", "held out, names", "start", "16 read", *MEMORY)
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for number, output in enumerate(outputs):
        found, *spans, peak, own = map(float, output.split())
        pairs = list(zip(spans[::2], spans[1::2], strict=True))
        start = [sum(one[place] for one in pairs[:3]) for place in range(2)]
        cells = [f"{wall:.1f} ({cpu:.1f})" for wall, cpu in (*pairs[:3], start)]
        batch = f"{pairs[3][0] / 20 * 1000:.1f} ms ({pairs[3][1] / 20 * 1000:.1f})"
        sizes = ", ".join((*held[number], f"{own:.0f}"))
        print(f"| {number} | {found:,.0f} | {' | '.join(cells)} | {batch} | {peak:.0f} | {sizes} |")


if __name__ == "__main__":
    main()

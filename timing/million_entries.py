"""Start and memory of a data set of a million pictures in tar shards, with made-up pictures.

The shards have real headers and real layouts; pictures are holes in sparse files, so they take no disk.
`million_entries.py [COUNT [PROCESSES]]`: so many processes find them all at once, as those of a run do.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from instance_composer.layout import Box, Canvas, Instance, Layout

PER_SHARD, PICTURE_BYTES = 10_000, 100_000
LOOK = """
import sys, time, resource
from pathlib import Path
from instance_composer.training.data.picture_files import PictureFiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter(); cpu = time.process_time()
files = PictureFiles(Path(sys.argv[1]))
found = time.perf_counter() - started; found_cpu = time.process_time() - cpu
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
from instance_composer.layout import Layout
some = range(0, len(files), max(1, len(files) // 2000))
cpu = time.process_time()
for number in some: Layout.from_json(files.layout(number)).checked()
layout = (time.process_time() - cpu) / len(some)
print(len(files), found, found_cpu, held / 1024, layout * 1e6)
"""


def write_shards(folder: Path, count: int) -> None:
    """Tar files of pictures that are holes and layouts that are real."""
    things = tuple(Instance(str(n), Box(0.1, 0.1, 0.6, 0.6), f"a thing of number {n}") for n in range(5))
    text = Layout(things, Canvas(1024, 1024), "a picture of five things").to_json().encode()
    for first in range(0, count, PER_SHARD):
        with (folder / f"{first // PER_SHARD:05d}.tar").open("wb") as file:
            for number in range(first, min(first + PER_SHARD, count)):
                for ending, size, content in (
                    (".jpg", PICTURE_BYTES, b""),
                    (".layout.json", len(text), text),
                ):
                    info = tarfile.TarInfo(f"{number:09d}{ending}")
                    info.size = size
                    file.write(info.tobuf(tarfile.USTAR_FORMAT))
                    file.write(content)
                    file.seek(-(-size // 512) * 512 - len(content), os.SEEK_CUR)
            file.truncate(file.tell() + 1024)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        write_shards(Path(place), count)
        print(f"made in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        command = [sys.executable, "-c", LOOK, place]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
        outputs = [one.communicate()[0] for one in running]
        if any(one.returncode for one in running):
            sys.exit("a process failed; what it said is above")
    print("| process | pictures | seconds to find them | of CPU | MiB held | µs to read and check a layout |")
    print("|---|---|---|---|---|---|")
    for number, output in enumerate(outputs):
        found, seconds, cpu, held, layout = map(float, output.split())
        print(f"| {number} | {found:,.0f} | {seconds:.1f} | {cpu:.1f} | {held:.0f} | {layout:.0f} |")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"this process, which only wrote: {own:.0f} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()

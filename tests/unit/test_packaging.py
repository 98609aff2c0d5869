"""Packaging as pip, the Manager and the registry read it: pyproject.toml, requirements.txt, the wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it there

REPOSITORY = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]

# Folders of the checkout that are no part of the installed package.
NOT_INSTALLED = {"tests", "timing", "docs", "web", "requirements", "scripts"}


def packages_on_disk() -> set[str]:
    """The root and every folder with Python files below it, as dotted names."""
    folders = {
        file.parent.relative_to(REPOSITORY)
        for top in REPOSITORY.iterdir()
        if top.is_dir() and top.name.isidentifier() and top.name not in NOT_INSTALLED | {"build", "dist"}
        for file in top.rglob("*.py")
    }
    return {"instance_composer", *(".".join(["instance_composer", *folder.parts]) for folder in folders)}


def demo_files() -> list[Path]:
    """The demo model: everything but Python."""
    files = (REPOSITORY / "demo").rglob("*")
    return [file for file in files if file.is_file() and file.suffix not in (".py", ".pyc")]


def requirement_lines() -> list[str]:
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """The names in a wheel built from a copy of the tree, where no earlier build left anything behind."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(
        ".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "node_modules"
    )
    shutil.copytree(REPOSITORY, folder / "source", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    (path,) = folder.glob("instance_composer-*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_every_package_on_disk_is_listed():
    """An editable install finds a forgotten package all the same; the wheel would lack it."""
    assert set(SETUPTOOLS["packages"]) == packages_on_disk()


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    expected = {
        f"{package.replace('.', '/')}/{file.name}"
        for package in packages_on_disk()
        for file in REPOSITORY.joinpath(*package.split(".")[1:]).glob("*.py")
    }
    vocabulary = {"vocab.json", "merges.txt", "README.md"}
    data = {
        "instance_composer/py.typed",
        "instance_composer/layout/layout.schema.json",
        "instance_composer/models/entities/unlocalisable_nouns.txt",
        "instance_composer/models/entities/unlocalisable_tags.txt",
        *(
            f"instance_composer/rankings/page/{file.name}"
            for file in (REPOSITORY / "rankings" / "page").iterdir()
        ),
        *(f"instance_composer/training/demo_model/tokenizer/{name}" for name in vocabulary),
        *(f"instance_composer/{file.relative_to(REPOSITORY)}" for file in demo_files()),
    }
    assert {name for name in wheel if name.startswith("instance_composer/")} == expected | data
    rest = {name for name in wheel if not name.startswith("instance_composer/")}
    assert all(".dist-info/" in name for name in rest)
    assert any(name.endswith("licenses/LICENSE") for name in rest)


def test_requirements_are_the_dependencies_and_what_entities_need():
    """ComfyUI-Manager installs requirements.txt and nothing more."""
    assert requirement_lines() == PROJECT["dependencies"] + PROJECT["optional-dependencies"]["entities"]


def test_the_host_keeps_its_torch():
    """A requirement on torch lets pip replace the build the user chose for their graphics card."""
    names = {re.split(r"[<>=!~\[; ]", line, maxsplit=1)[0].lower() for line in requirement_lines()}
    assert names.isdisjoint({"torch", "torchvision", "torchaudio", "xformers", "triton"})


def test_requirements_are_lower_bounds_only():
    assert [line for line in requirement_lines() if not re.fullmatch(r"[A-Za-z0-9_-]+>=[0-9.]+", line)] == []


def test_the_version_has_a_heading_in_the_changelog():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, flags=re.MULTILINE)[0] == PROJECT["version"]


def test_the_installed_version_is_the_one_in_the_source():
    assert metadata.version("instance-composer") == PROJECT["version"]


def test_the_registry_accepts_the_metadata():
    """Its rules: a name without ComfyUI or a leading digit, a plain X.Y.Z, a publisher, a repository."""
    assert re.fullmatch(r"[a-z][a-z0-9-]*", PROJECT["name"])
    assert "comfyui" not in PROJECT["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["urls"]["Repository"].startswith("https://github.com/")
    comfy = PYPROJECT["tool"]["comfy"]
    assert comfy["PublisherId"]
    assert comfy["requires-comfyui"] == ">=0.3.64"
    # With WEB_DIRECTORY in __init__.py, a `web` entry here would load every script twice.
    assert "web" not in comfy


def test_the_licence_is_apache_2():
    assert PROJECT["license"] == "Apache-2.0"
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_the_console_script_is_installed():
    (script,) = metadata.entry_points(group="console_scripts", name="instance-composer")
    assert callable(script.load())

"""Imports between packages, read from the source and tried with what is forbidden out of reach."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# What each package may import: of the pack, and of what is neither the pack nor the standard library.
OWN: dict[str, set[str]] = {
    "annotation": {"models", "layout", "pictures"},
    "cli": {
        "annotation",
        "demo",
        "doctor",
        "evaluation",
        "generation",
        "hosts.comfyui_folders",
        "hosts.comfyui_process",
        "hosts.diffusers_sdxl",
        "layout",
        "models",
        "pictures",
        "rankings",
        "shapes_world",
        "training",
    },
    "demo": set(),
    "doctor": {"demo", "models"},
    "evaluation": {
        "generation",
        "hosts.diffusers_sdxl",
        "layout",
        "models",
        "pictures",
        "shapes_world",
    },
    "generation": {"layout"},
    "hosts.comfyui": {"demo", "doctor", "models", "layout", "pictures"},
    "hosts.comfyui.methods": {"demo", "generation", "hosts.comfyui", "layout", "models", "pictures"},
    "hosts.comfyui_folders": {"doctor"},
    "hosts.comfyui_process": {"generation"},
    "hosts.comfyui.attention": {"models"},
    "hosts.diffusers_regions": {"hosts.replacing", "models", "layout"},
    "hosts.diffusers_sdxl": {"models", "layout"},
    "hosts.diffusers_sdxl.methods": {
        "generation",
        "hosts.diffusers_sdxl",
        "hosts.replacing",
        "layout",
        "models",
    },
    "hosts.replacing": set(),
    "layout": set(),
    "models": {"layout"},
    "models.rewards": {"models.weights", "models.finite", "models.quantisation"},
    "models.vision": {
        "models.comat",
        "models.entities",
        "models.weights",
        "models.errors",
        "models.finite",
        "layout",
    },
    "nodes": {"hosts.comfyui", "models", "layout", "pictures", "demo"},
    "pictures": {"layout"},
    "rankings": set(),
    "shapes_world": {"layout"},
    "training": {"hosts.diffusers_sdxl", "shapes_world", "models", "layout", "pictures", "rankings", "demo"},
}
OUTSIDE: dict[str, set[str]] = {
    "annotation": {"numpy", "PIL", "safetensors", "torch"},
    "cli": {"torch", "diffusers", "safetensors", "PIL", "tqdm"},
    "demo": set(),
    "doctor": {"psutil", "torch"},
    "evaluation": {
        "diffusers",
        "matplotlib",
        "numpy",
        "PIL",
        "pyarrow",
        "scipy",
        "torch",
        "torch_fidelity",
        "tqdm",
    },
    "generation": set(),
    "hosts.comfyui": {
        "aiohttp",
        "comfy",
        "comfy_api",
        "comfy_execution",
        "comfyui_version",
        "folder_paths",
        "node_helpers",
        "torch",
        "numpy",
        "PIL",
        "segment_anything",
        "tokenizers",
        "transformers",
    },
    "hosts.comfyui.methods": {"comfy", "node_helpers", "numpy", "PIL", "torch"},
    "hosts.comfyui_folders": set(),
    "hosts.comfyui_process": set(),
    "hosts.comfyui.attention": {"comfy", "node_helpers", "torch"},
    "hosts.diffusers_regions": {"torch"},
    "hosts.diffusers_sdxl": {"diffusers", "transformers", "torch", "safetensors", "packaging"},
    "hosts.diffusers_sdxl.methods": {"diffusers", "torch"},
    "hosts.replacing": set(),
    "layout": set(),
    "models": {"torch", "safetensors", "spacy"},
    "models.rewards": {"torch", "safetensors", "tokenizers", "transformers"},
    "models.vision": {
        "torch",
        "PIL",
        "safetensors",
        "transformers",
        "groundingdino",
        "segment_anything",
        "torch_fidelity",
    },
    "nodes": {"comfy_api", "torch"},
    "pictures": {"PIL"},
    "rankings": {"PIL", "tomli"},
    "shapes_world": {"numpy", "PIL", "scipy"},
    "training": {
        "accelerate",
        "bitsandbytes",
        "diffusers",
        "matplotlib",
        "numpy",
        "peft",
        "PIL",
        "safetensors",
        "scipy",
        "tomli",
        "torch",
        "tqdm",
        "transformers",
    },
}
PACKAGES = tuple(OWN)


def modules(package: str) -> list[Path]:
    """The source files of a package of the pack, or the one of a module."""
    place = REPOSITORY / package.replace(".", "/")
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def imports(file: Path) -> Iterator[tuple[int, int, str]]:
    """(line, relative level, dotted name) of every import in a file, wherever it stands.

    In `from . import box` and `from .. import layout` the imported names are the modules.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module is None:
                yield from ((node.lineno, node.level, alias.name) for alias in node.names)
            else:
                yield node.lineno, node.level, node.module


def own_target(file: Path, level: int, name: str, root: Path) -> str:
    """The dotted place below the root that a relative import of this file leads to."""
    folder = file.parent
    for _ in range(level - 1):
        folder = folder.parent
    return ".".join([*folder.relative_to(root).parts, *name.split(".")])


def within(place: str, packages: set[str]) -> bool:
    return any(place == package or place.startswith(f"{package}.") for package in packages)


def violations(package: str, file: Path, root: Path = REPOSITORY) -> Iterator[str]:
    for line, level, name in imports(file):
        where = f"{file.relative_to(root)}:{line}"
        if level:
            target = own_target(file, level, name, root)
            if not within(target, {package, *OWN[package]}):
                yield f"{where}: {package} must not import {target}"
        elif (top := name.partition(".")[0]) not in sys.stdlib_module_names | OUTSIDE[package]:
            yield f"{where}: {package} must not import {top}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package):
    inner = {file for other in PACKAGES if other.startswith(f"{package}.") for file in modules(other)}
    own = (file for file in modules(package) if file not in inner)
    assert [line for file in own for line in violations(package, file)] == []


def test_the_rules_name_every_package_on_disk():
    found = {
        ".".join(file.parent.relative_to(REPOSITORY).parts)
        for folder in {package.partition(".")[0] for package in PACKAGES}
        for file in (REPOSITORY / folder).rglob("__init__.py")
    }
    assert {place for place in found if not within(place, set(PACKAGES))} <= {"hosts"}


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import torch", "must not import torch"),
        ("def f():\n    from comfy import ops", "must not import comfy"),
        ("from ..models.ifadapter import IFAdapter", "must not import models.ifadapter"),
        ("from .. import nodes", "must not import nodes"),
        ("import instance_composer.layout", "must not import instance_composer"),
        ("import nodes", "must not import nodes"),
    ],
)
def test_a_forbidden_import_is_found(source, complaint, tmp_path):
    """The check above would notice each kind of offence; the allowed kinds pass."""
    file = tmp_path / "layout" / "box.py"
    file.parent.mkdir()
    file.write_text(f"import json\nfrom .mask import Polygon\n{source}\n")
    (found,) = violations("layout", file, tmp_path)
    assert complaint in found


def test_every_file_with_nodes_is_collected():
    """A family file that `FAMILIES` leaves out would be there and do nothing."""
    families = {file.stem for file in modules("nodes") if "\nNODES = " in file.read_text(encoding="utf-8")}
    collector = (REPOSITORY / "nodes" / "__init__.py").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^FAMILIES = (\(.+?\))$", collector, flags=re.MULTILINE | re.DOTALL)
    assert set(ast.literal_eval(listed)) == families


def test_the_root_imports_nothing_of_ours_at_module_level():
    tree = ast.parse((REPOSITORY / "__init__.py").read_text(encoding="utf-8"))
    assert [node.lineno for node in tree.body if isinstance(node, ast.ImportFrom) and node.level] == []


IMPORT_WITHOUT = """
import importlib, sys

class OutOfReach:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError(f"{{name}} is out of reach", name=name)

sys.meta_path.insert(0, OutOfReach())
for name in {names!r}:
    importlib.import_module(name)
"""

HOSTS = {"comfy", "comfy_api", "folder_paths", "diffusers", "transformers", "accelerate"}


@pytest.mark.parametrize(
    ("packages", "forbidden"),
    [
        (("layout",), HOSTS | {"torch", "safetensors", "numpy", "PIL", "tqdm"}),
        (("pictures", "cli"), HOSTS | {"torch", "safetensors"}),
        (("models",), HOSTS | {"PIL", "tqdm", "spacy"}),
    ],
)
def test_packages_import_without_what_they_must_not_need(packages, forbidden):
    """`models/vision` is left out: its models are transformers' own."""
    names = [
        ".".join(["instance_composer", *file.relative_to(REPOSITORY).with_suffix("").parts]).removesuffix(
            ".__init__"
        )
        for package in packages
        for file in modules(package)
        if file.stem != "__main__" and "vision" not in file.parts
    ]
    program = IMPORT_WITHOUT.format(forbidden=forbidden, names=names)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

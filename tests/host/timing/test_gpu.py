"""timing/gpu.py as somebody runs it, at the size that needs no GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import comfy.model_management
import pytest
import torch
from comfyui_location import REPOSITORY

SCRIPT = REPOSITORY / "timing" / "gpu.py"
ROWS = [
    "plain",
    "Apply IFAdapter, 1 instance",
    "Apply IFAdapter, 4 instances",
    "Apply IFAdapter, 10 instances",
    "Attribute Concentration, local, boxes",
    "Attribute Concentration, local, own maps",
    "Attribute Concentration, latent",
    "Record Attention Maps",
    "Apply IterComp Delta",
]
COMPILED = [
    "compiled: plain",
    "compiled: Apply IFAdapter, 4 instances",
    "compiled: the same, its range over",
    "compiled: local, boxes",
]


@pytest.fixture(scope="module")
def script():
    # Where Python looks for what a script imports; last, because another file there has the name of a helper.
    sys.path.append(str(SCRIPT.parent))
    spec = spec_from_file_location("timing_gpu", SCRIPT)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False, timeout=900
    )


def rows_of(report: str) -> dict[str, list[str]]:
    """The cells of each row by its name."""
    lines = [line[1:-1].split("|") for line in report.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines[1:]}


@pytest.mark.slow
def test_a_tiny_run_measures_every_node_and_says_what_the_numbers_depend_on(tmp_path):
    out = tmp_path / "report.md"
    done = run("--tiny", "--rounds", "1", "--backend", "eager", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == done.stdout
    rows = rows_of(done.stdout)
    assert list(rows) == ROWS + COMPILED
    for name, cells in rows.items():
        milliseconds, added, ratio, spread = cells[:4]
        assert float(milliseconds) > 0, name
        assert float(ratio) > 0, name
        if name != "plain":
            assert re.fullmatch(r"[+-][\d.]+", added), name
            assert re.fullmatch(r"[\d.]+ to [\d.]+", spread), name
    for fact in (f"torch {torch.__version__}", "ComfyUI 0.", "Instance Composer 0.", "CPU", "mean nothing"):
        assert fact in done.stdout
    assert "round 1 of 1" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = run("--out", str(tmp_path / "report.md"))
    assert done.returncode == 1
    assert "finds no GPU. Run this with the Python that runs ComfyUI" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--side", "1000"], "--side is 1000; a multiple of 64 is needed"),
        (["--rounds", "0"], "--rounds is 0; at least 1 is needed"),
    ],
)
def test_impossible_settings_are_refused_in_words(script, capsys, arguments, said):
    with pytest.raises(SystemExit) as refused:
        script.parse(["--tiny", *arguments])
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_too_little_memory_is_told_before_anything_is_made(script, monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr(script, "describe", lambda device: "A card, 8.0 GiB, runtime 13.0")
    for free, enough in ((6, False), (7, False), (8, True)):
        monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device, free=free: free << 30)
        said = script.check_memory(device, torch.float16, 1024)
        assert (said is None) == enough
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 6 << 30)
    said = script.check_memory(device, torch.float16, 1024)
    assert said.startswith("A card, 8.0 GiB, runtime 13.0 has 6.0 GiB free, and")
    assert "about 7.3 GiB" in said
    assert script.check_memory(device, torch.float16, 512) is None
    assert script.check_memory(torch.device("cpu"), torch.float32, 1024) is None


def test_a_row_that_fails_says_why_and_the_others_are_measured(script, monkeypatch):
    def measured(case, *_):
        case.make()
        case.rounds.append(0.1 if case.name == "plain" else 0.2)

    def full():
        raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory, and two more lines\nof advice")

    def wrong():
        raise ValueError("the reason\nand more")

    monkeypatch.setattr(script, "run", measured)
    cases = [
        script.Case("plain", dict),
        script.Case("a", full),
        script.Case("b", wrong),
        script.Case("c", dict),
    ]
    script.measure(cases, torch.zeros(1), rounds=2, steps=1, device=torch.device("cpu"))
    rows = rows_of("\n".join(script.table(cases)))
    assert rows["a"][0] == "out of memory"
    assert rows["b"][0] == "ValueError: the reason"
    assert rows["c"][:4] == ["200.0", "+100.0", "2.000", "2.000 to 2.000"]
    assert all(len(cells) == len(rows["c"]) for cells in rows.values())

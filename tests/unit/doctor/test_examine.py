"""The report of an installation: what it finds, what it blames, and what it never does."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from golden_files import TRIMMED, read_facts

from instance_composer import cli
from instance_composer.demo import ADAPTER, COMPOSITION_LORA, FOLDER
from instance_composer.doctor import model_files, packs
from instance_composer.doctor.examine import examine
from instance_composer.doctor.installation import Installation
from instance_composer.doctor.report import Report
from instance_composer.hosts.comfyui_folders import read_installation

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def comfyui(tmp_path):
    """A folder laid out as ComfyUI's, with none of its code."""
    root = tmp_path / "ComfyUI"
    for folder in ("comfy", "models/ifadapter", "models/composition_rewards", "models/checkpoints"):
        (root / folder).mkdir(parents=True)
    (root / "comfyui_version.py").write_text('__version__ = "9.9.9"\n')
    return root


def rows(report: Report, title: str) -> dict[str, tuple[str, str, str]]:
    (section,) = (section for section in report.sections if section.title == title)
    return {row.name: (row.state, row.found, row.remedy) for row in section.rows}


def test_files_are_told_by_what_is_in_them(comfyui):
    models = comfyui / "models"
    shutil.copy(FOLDER / ADAPTER, models / "ifadapter" / "mine.safetensors")
    shutil.copy(FOLDER / COMPOSITION_LORA, models / "ifadapter" / "lora.safetensors")
    whole = (FOLDER / ADAPTER).read_bytes()
    (models / "ifadapter" / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    shutil.copy(FOLDER / "rewards" / "spatial.safetensors", models / "composition_rewards")
    (models / "diffusers").mkdir()
    (models / "diffusers" / "demo").symlink_to(FOLDER, target_is_directory=True)
    report = examine(read_installation(comfyui))
    found = rows(report, "Model files")
    assert found["ifadapter/mine.safetensors"][0] == "ok"
    assert "11 layers, 195 weights, sizes of its own" in found["ifadapter/mine.safetensors"][1]
    assert found["ifadapter/cut.safetensors"][0] == "fault"
    assert "truncated" in found["ifadapter/cut.safetensors"][2]
    assert found["ifadapter/lora.safetensors"][0] == "fault"
    assert "composition reward model" in found["composition_rewards/spatial.safetensors"][1]
    assert found["checkpoints"][:2] == ("ok", "1 of SDXL's plan among 1")
    assert report.faults == 2
    assert rows(report, "Features")["Apply IFAdapter on SDXL"][0] == "ok"


def test_an_empty_installation_has_no_fault_and_says_what_to_put_where(comfyui):
    report = examine(read_installation(comfyui))
    assert report.faults == 0
    state, _, remedy = rows(report, "Features")["Apply IFAdapter on SDXL"]
    assert state == "missing"
    assert "spd_adapter.bin" in remedy
    assert rows(report, "Versions")["ComfyUI"][1] == "9.9.9"
    assert "extra_model_paths.yaml was not read" in rows(report, "Versions")["model folders"][1]


def test_a_thorough_report_gives_the_same_numbers_twice_and_the_files_hash(comfyui):
    shutil.copy(FOLDER / ADAPTER, comfyui / "models" / "ifadapter" / "mine.safetensors")
    shutil.copy(FOLDER / "rewards" / "spatial.safetensors", comfyui / "models" / "composition_rewards")
    installation = read_installation(comfyui)
    first, second = (examine(installation, thorough=True, hashes=model_files.sha256) for _ in range(2))
    checked = rows(first, "Self-check")
    assert checked == rows(second, "Self-check")
    assert set(checked) == {"mine.safetensors", "spatial.safetensors"}
    assert all(state == "ok" for state, _, _ in checked.values())
    own = hashlib.sha256((FOLDER / ADAPTER).read_bytes()).hexdigest()
    assert f"SHA-256 {own}" in rows(first, "Model files")["ifadapter/mine.safetensors"][1]


def test_a_file_that_cannot_be_read_to_its_end_costs_its_own_row_alone(comfyui):
    for name in ("broken", "mine"):
        shutil.copy(FOLDER / ADAPTER, comfyui / "models" / "ifadapter" / f"{name}.safetensors")

    def sha256(path):
        if path.stem == "broken":
            raise OSError(5, "Input/output error", str(path))
        return model_files.sha256(path)

    report = examine(read_installation(comfyui), hashes=sha256)
    found = rows(report, "Model files")
    state, _, remedy = found["ifadapter/broken.safetensors"]
    assert (state, remedy) == ("fault", "It cannot be read to its end: Input/output error")
    assert found["ifadapter/mine.safetensors"][0] == "ok"
    assert "SHA-256" in found["ifadapter/mine.safetensors"][1]
    assert rows(report, "Features")


def test_weights_that_compute_nothing_finite_are_a_fault(comfyui):
    from safetensors.torch import load_file, save_file

    state = load_file(FOLDER / ADAPTER)
    state["pos_net.linears_position.0.weight"][0, 0] = float("inf")
    save_file(state, comfyui / "models" / "ifadapter" / "broken.safetensors")
    report = examine(read_installation(comfyui), thorough=True)
    assert rows(report, "Self-check")["broken.safetensors"][0] == "fault"


def test_the_published_sizes_are_those_of_the_published_files():
    facts = read_facts(TRIMMED / "ifadapter" / "sdxl_manifest.json")
    import torch

    from instance_composer.models.ifadapter import IFAdapterConfig

    state = {
        f"{group}.{key}": torch.empty(value["shape"], device="meta")
        for group, keys in facts["groups"].items()
        for key, value in keys.items()
    }
    config = IFAdapterConfig.infer(state)
    assert {
        name: getattr(config, name) for name in model_files.PUBLISHED_ADAPTER
    } == model_files.PUBLISHED_ADAPTER
    from instance_composer.models.rewards.config import RewardConfig

    reward = read_facts(TRIMMED / "itercomp" / "reward_manifest.json")
    sizes = RewardConfig.infer(
        {key: torch.empty(shape, device="meta") for key, shape in reward["keys"].items()}
    )
    assert {
        name: getattr(sizes, name) for name in model_files.PUBLISHED_REWARD
    } == model_files.PUBLISHED_REWARD


def test_packs_are_found_by_what_their_source_touches(tmp_path):
    for name, source in {
        "ComfyUI-ppm": "model.set_model_attn2_replace(f)",
        "Other": "options['optimized_attention_override'] = f",
        "Plain": "print('a picture')",
        "Off.disabled": "set_model_attn2_patch",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "nodes.py").write_text(source)
    found = {row.name: (row.state, row.found) for row in packs.pack_rows([tmp_path], REPOSITORY)}
    assert found == {
        "ComfyUI-ppm": ("ok", "changes cross-attention; tested together"),
        "Other": ("note", "changes the attention override; not tested together"),
    }
    text = (REPOSITORY / "docs" / "compatibility.md").read_text(encoding="utf-8").lower()
    assert all(f"[{name}]" in text for name in packs.TESTED)


def test_files_of_a_pack_that_cannot_be_read_are_told_and_the_others_count(tmp_path):
    pack = tmp_path / "Broken"
    (pack / "folder.py").mkdir(parents=True)
    (pack / "gone.py").symlink_to(tmp_path / "nowhere.py")
    (pack / "nodes.py").write_text("model.set_model_attn2_replace(f)")
    found = [(row.state, row.found) for row in packs.pack_rows([tmp_path], REPOSITORY)]
    assert found == [
        ("note", "1 of its files cannot be read"),
        ("note", "changes cross-attention; not tested together"),
    ]


def test_a_requirement_that_is_too_old_is_a_fault_with_its_remedy(tmp_path):
    from instance_composer.doctor.machine import version_rows

    (tmp_path / "requirements.txt").write_text("numpy>=999.0\n")
    (row,) = (row for row in version_rows(tmp_path / "requirements.txt") if row.name == "numpy")
    assert row.state == "fault"
    assert 'pip install "numpy>=999.0"' in row.remedy


def test_the_command_exits_with_one_where_something_is_broken(comfyui, capsys, monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    assert cli.main(["doctor", "--quick", "--comfyui", str(comfyui)]) == 0
    (comfyui / "models" / "ifadapter" / "page.bin").write_text("<!DOCTYPE html>")
    assert cli.main(["doctor", "--quick", "--comfyui", str(comfyui)]) == 1
    assert "fault" in capsys.readouterr().out
    assert cli.main(["doctor", "--comfyui", str(comfyui / "models")]) == 2
    assert "there is no ComfyUI in" in capsys.readouterr().err


def test_without_comfyui_the_rest_is_told():
    report = examine(Installation(remark="not looked for"))
    assert rows(report, "Versions")["ComfyUI"] == ("note", "not looked for", "")
    assert rows(report, "Features")["demo model"][0] == "ok"

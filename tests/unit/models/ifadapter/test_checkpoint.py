"""IFAdapter files: the official layout key for key, both containers, and what bad files get."""

import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_files import TRIMMED, read_facts
from safetensors.torch import load_file, save_file
from torch import Tensor

from instance_composer.models.ifadapter import IFAdapter, IFAdapterConfig
from instance_composer.models.sdxl.attention_layers import number_attention_layers
from instance_composer.models.weights import CheckpointError

SMALL = TRIMMED / "ifadapter" / "adapter_small.safetensors"
MANIFEST = read_facts(TRIMMED / "ifadapter" / "sdxl_manifest.json")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return load_file(SMALL)


def official_state() -> dict[str, Tensor]:
    """The official file's keys and shapes, without its numbers."""
    return {
        f"{group}.{key}": torch.empty(facts["shape"], device="meta")
        for group, keys in MANIFEST["groups"].items()
        for key, facts in keys.items()
    }


def test_the_official_file_is_understood_key_for_key() -> None:
    official = official_state()
    adapter = IFAdapter.from_state_dict(official)
    assert {key: value.shape for key, value in adapter.state_dict().items()} == {
        key: value.shape for key, value in official.items()
    }
    counts = MANIFEST["parameter_counts"]
    for group in ("text_proj_model", "adapter_modules", "pos_net"):
        assert sum(p.numel() for p in getattr(adapter, group).parameters()) == counts[group]
    assert sorted(adapter.attention) == MANIFEST["adapted_indices"]
    assert adapter.config == IFAdapterConfig(
        phrase_width=2048,
        text_width=2048,
        queries=4,
        resampler_width=2560,
        resampler_depth=4,
        resampler_heads=20,
        resampler_head_dim=128,
        resampler_hidden=10240,
        position_features=512,
        position_hidden=768,
        head_dim=64,
        gate_hidden=80,
        gate_kernel=7,
        layers=dict.fromkeys(MANIFEST["adapted_indices"], 1280),
    )


def test_official_numbers_name_the_official_layers() -> None:
    numbered = number_attention_layers(down=[2, 2, 10, 10], up=[10, 10, 10, 2, 2, 2], mid=10)
    assert len(numbered) == 70
    for entry in MANIFEST["adapted_layers"]:
        layer = numbered[entry["index"]]
        stage = {"up_blocks.0": "up", "mid_block": "mid"}[entry["block"]]
        assert layer == (stage, entry["attention"], entry["transformer_block"])


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_save_and_load_give_the_same_adapter_in_both_containers(tmp_path: Path, suffix: str) -> None:
    adapter = IFAdapter.load(SMALL)
    adapter.save(tmp_path / f"copy{suffix}")
    copy = IFAdapter.load(tmp_path / f"copy{suffix}")
    assert copy.config == adapter.config
    for key, value in adapter.state_dict().items():
        assert torch.equal(copy.state_dict()[key], value), key


# In a process of its own: to write over mapped memory ends Python.
OVER_ITSELF = """
import sys
import torch
from instance_composer.models.ifadapter import IFAdapter

for file in sys.argv[1:]:
    print(file, flush=True)
    adapter = IFAdapter.load(file)
    before = {key: value.clone() for key, value in adapter.state_dict().items()}
    adapter.save(file)
    after = IFAdapter.load(file).state_dict()
    for state in (after, adapter.state_dict()):
        assert state.keys() == before.keys()
        assert all(torch.equal(state[key], value) for key, value in before.items())
"""


def test_an_adapter_is_saved_over_the_file_it_was_loaded_from(tmp_path: Path) -> None:
    files = [str(tmp_path / f"adapter{suffix}") for suffix in (".bin", ".safetensors")]
    for file in files:
        IFAdapter.load(SMALL).save(file)
    process = subprocess.run(
        [sys.executable, "-c", OVER_ITSELF, *files], capture_output=True, text=True, check=False
    )
    assert process.stdout.splitlines() == files
    assert process.returncode == 0, process.stderr
    assert sorted(str(path) for path in tmp_path.iterdir()) == files


def test_the_published_file_is_read_under_the_name_that_the_templates_give_it(tmp_path: Path) -> None:
    """Front ends offer to download it, and only under a name that ends in `.safetensors`."""
    IFAdapter.load(SMALL).save(tmp_path / "spd_adapter.bin")
    (tmp_path / "spd_adapter.bin").rename(tmp_path / "spd_adapter.safetensors")
    assert IFAdapter.load(tmp_path / "spd_adapter.safetensors").config == IFAdapter.load(SMALL).config


def test_a_bin_has_the_three_official_groups(tmp_path: Path) -> None:
    IFAdapter.load(SMALL).save(tmp_path / "adapter.bin")
    content = torch.load(tmp_path / "adapter.bin", weights_only=True)
    assert sorted(content) == ["adapter_modules", "pos_net", "text_proj_model"]
    assert content["adapter_modules"]["29.alpha"].shape == ()


def test_half_precision_files_halve_and_load(tmp_path: Path) -> None:
    adapter = IFAdapter.load(SMALL)
    adapter.save(tmp_path / "half.safetensors", torch.float16)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.52 * SMALL.stat().st_size
    half = IFAdapter.load(tmp_path / "half.safetensors")
    weight = adapter.text_proj_model.proj_in.weight
    assert torch.equal(half.text_proj_model.proj_in.weight, weight.half().float())


@pytest.mark.parametrize("place", ["text_proj_model.module.", "module.text_proj_model."])
def test_prefixes_of_distributed_training_are_stripped(
    tmp_path: Path, state: dict[str, Tensor], place: str
) -> None:
    renamed = {key.replace("text_proj_model.", place): value for key, value in state.items()}
    save_file(renamed, tmp_path / "prefixed.safetensors")
    assert IFAdapter.load(tmp_path / "prefixed.safetensors").config == IFAdapter.load(SMALL).config


def test_unknown_weights_are_a_warning_that_lists_them(
    tmp_path: Path, state: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    save_file(state | {"adapter_modules.29.surprise": torch.zeros(1)}, tmp_path / "more.safetensors")
    with caplog.at_level(logging.WARNING, "instance_composer"):
        IFAdapter.load(tmp_path / "more.safetensors")
    assert "adapter_modules.29.surprise" in caplog.text


def expect_error(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        IFAdapter.load(path)
    for word in words:
        assert word in str(caught.value)


def test_missing_weights_are_listed(tmp_path: Path, state: dict[str, Tensor]) -> None:
    kept = {key: value for key, value in state.items() if not key.endswith(("to_v_ap.weight", "29.alpha"))}
    save_file(kept, tmp_path / "part.safetensors")
    expect_error(
        tmp_path / "part.safetensors",
        "8 of",
        "adapter_modules.29.alpha",
        "adapter_modules.41.to_v_ap.weight",
    )


def test_a_group_that_is_missing_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file({k: v for k, v in state.items() if not k.startswith("pos_net")}, tmp_path / "part.safetensors")
    expect_error(tmp_path / "part.safetensors", "part.safetensors is not an IFAdapter file", "'pos_net'")


def test_weights_that_do_not_fit_together_are_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state | {"adapter_modules.41.q_norm.weight": torch.zeros(3)}, tmp_path / "odd.safetensors")
    expect_error(tmp_path / "odd.safetensors", "adapter_modules.41.q_norm.weight is (3,), not (16,)")


def test_other_models_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    save_file(
        {"lora_unet_mid.alpha": torch.zeros(1), "lora_te.alpha": torch.zeros(1)},
        tmp_path / "lora.safetensors",
    )
    expect_error(
        tmp_path / "lora.safetensors", "not an IFAdapter file", "lora_te, lora_unet_mid", "spd_adapter.bin"
    )
    torch.save([1, 2], tmp_path / "list.bin")
    expect_error(tmp_path / "list.bin", "holds a list")
    torch.save({"epoch": 3}, tmp_path / "numbers.bin")
    expect_error(tmp_path / "numbers.bin", "not an IFAdapter file", "it has none")


def test_truncated_files_say_so(tmp_path: Path) -> None:
    IFAdapter.load(SMALL).save(tmp_path / "whole.bin")
    for name, source in (("cut.safetensors", SMALL), ("cut.bin", tmp_path / "whole.bin")):
        content = source.read_bytes()
        for length in (0, 7, 4000, len(content) - 100):
            (tmp_path / name).write_bytes(content[:length])
            expect_error(tmp_path / name, name, "truncated")


class Payload:
    """A hostile pickle: an object whose reading calls a function."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_with_code_are_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    ran = tmp_path / "ran"
    content = {"text_proj_model": Payload(ran), "adapter_modules": {}, "pos_net": {}}
    torch.save(content, tmp_path / "hostile.bin", _use_new_zipfile_serialization=not legacy)
    expect_error(tmp_path / "hostile.bin", "hostile.bin was refused", "could run code")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(content))
    expect_error(tmp_path / "plain.bin", "plain.bin")
    assert not ran.exists()


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.bin"):
        IFAdapter.load(tmp_path / "absent.bin")
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        IFAdapter.load(tmp_path / "absent.safetensors")


def test_only_the_two_containers_are_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"\.safetensors or \.bin"):
        IFAdapter.load(SMALL).save(tmp_path / "adapter.ckpt")

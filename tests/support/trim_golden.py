"""Makes `tests/data` from the whole reference data beside the checkout.

`python tests/support/trim_golden.py`; `tests/data/README.md` tells what is copied from the official run and
what is derived from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import torch
from diffusers import UNet2DConditionModel
from golden_files import BENCH_DATA, GOLDEN, TRIMMED, read_cases, read_facts
from safetensors.torch import load_file, save_file
from torch import Tensor

from instance_composer.hosts.diffusers_sdxl import attach_ifadapter
from instance_composer.models.ifadapter import IFAdapter

SOURCE, TARGET = GOLDEN / "ifadapter", TRIMMED / "ifadapter"
MID = "mid_block.attentions.0"
MID_LAYERS = (71, 73, 75, 77)
# The middle, and the layers of the attention cases.
KEPT_LAYERS = (29, 41, 55, *MID_LAYERS)
POSITION_HIDDEN = 96
PHRASES = [1, 3, 5]
# Cases of each kind of the published benchmarks.
CASES = 12
ATTENTION_CASES = ["mix3_8", "corner_touch_8", "degenerate_8", "batch_1_3_cfg_8"]
ATTENTION_TENSORS = ("hidden_states", "ap_tokens", "boxes", "added", "box_mask", "area_ratio", "logits")
CONCENTRATION_CASES = ["three_entities_same_resolution_16"]
MANIFEST = "reward_manifest.json"
REPORTED = ("rewards", "loss")


def keep(source: Path, target: Path, wanted: Callable[[str], bool]) -> None:
    """Copy the wanted tensors of a file."""
    tensors = {key: value.contiguous() for key, value in load_file(source).items() if wanted(key)}
    save_file(tensors, target / source.name)


def write_facts(facts: object, path: Path) -> None:
    path.write_text(json.dumps(facts, separators=(",", ":")) + "\n", encoding="utf-8")


def trim_adapter() -> IFAdapter:
    """The small adapter with seven of its sixteen layers and a position net of 96 instead of 768 units.

    The position net alone is four of its six megabytes. Returns the adapter as written.
    """
    state = load_file(SOURCE / "adapter_small.safetensors")
    dropped = tuple(
        f"adapter_modules.{n}." for n in IFAdapter.from_state_dict(state).attention if n not in KEPT_LAYERS
    )
    kept = {key: value for key, value in state.items() if not key.startswith(dropped)}
    for key in (key for key in kept if key.startswith("pos_net.")):
        units = tuple(slice(POSITION_HIDDEN if size == 768 else size) for size in kept[key].shape)
        kept[key] = kept[key][units].contiguous()
    save_file(kept, TARGET / "adapter_small.safetensors")
    write_facts(read_facts(SOURCE / "box_masks.json"), TARGET / "box_masks.json")
    manifest = read_facts(SOURCE / "sdxl_manifest.json")
    names = ("adapted_indices", "adapted_layers", "parameter_counts", "groups")
    write_facts({key: manifest[key] for key in names}, TARGET / "sdxl_manifest.json")
    return IFAdapter.from_state_dict(kept)


@torch.no_grad()
def trim_positions(trimmed: IFAdapter) -> None:
    """Box embeddings of the smaller position net, and tokens with it in place of the official one."""
    golden = load_file(SOURCE / "position_net.safetensors")
    golden["embedding"] = trimmed.pos_net(golden["boxes"])
    save_file(golden, TARGET / "position_net.safetensors")
    whole = IFAdapter.load(SOURCE / "adapter_small.safetensors")
    tokens = {k: v for k, v in load_file(SOURCE / "ap_tokens.safetensors").items() if k.startswith("n3/")}
    boxes = tokens["n3/boxes"].repeat(2, 1)
    change = trimmed.pos_net(boxes) - whole.pos_net(boxes)
    tokens["n3/ap_tokens"] = tokens["n3/ap_tokens"] + change[:, None]
    save_file(tokens, TARGET / "ap_tokens.safetensors")


def trim_stages() -> None:
    """Some cases of each stage of the adapter."""
    keep(
        SOURCE / "resampler.safetensors", TARGET, lambda key: key.endswith(("effective_mask", "mask_before"))
    )
    facts = read_facts(SOURCE / "attention.json")
    layers = {f"layers/{facts[case]['layer_index']}/to_q.weight" for case in ATTENTION_CASES}
    wanted = layers | {f"{case}/{name}" for case in ATTENTION_CASES for name in ATTENTION_TENSORS}
    keep(SOURCE / "attention.safetensors", TARGET, wanted.__contains__)
    write_facts({case: facts[case] for case in ATTENTION_CASES}, TARGET / "attention.json")


def trim_concentration() -> None:
    """One case of the concentration losses, and all entities."""
    source, target = GOLDEN / "comat", TRIMMED / "comat"
    cases = tuple(f"{case}/" for case in CONCENTRATION_CASES)
    keep(
        source / "attention_losses.safetensors",
        target,
        lambda key: key.startswith(cases) and not key.endswith("resized_mask"),
    )
    facts = read_facts(source / "attention_losses.json")
    write_facts({case: facts[case] for case in CONCENTRATION_CASES}, target / "attention_losses.json")
    for name in ("entity_extraction.json", "filtered_nouns.json"):
        write_facts(read_facts(source / name), target / name)


def trim_comat_training() -> None:
    """The step of Stable Diffusion 1, but for what follows from the rest, and a case of the captioner."""
    source, target = GOLDEN / "comat_training", TRIMMED / "comat_training"
    target.mkdir(exist_ok=True)
    keep(
        source / "concept_matching.safetensors",
        target,
        lambda key: (
            key.startswith(("weights/", "one_short/", "preprocess/res512")) and not key.endswith("logits")
        ),
    )
    keep(
        source / "weights.safetensors", target, lambda key: key.startswith(("sd15_unet/", "D_unet/", "vae/"))
    )
    keep(
        source / "joint_step_sd15.safetensors",
        target,
        lambda key: key.startswith(("inputs/", "lora_", "D_lora_", "D_mlp_")),
    )
    for name in ("concept_matching", "joint_step_sd15", "schedule", "lora_targets"):
        write_facts(read_facts(source / f"{name}.json"), target / f"{name}.json")


def trim_rewards() -> None:
    """The small reward model whole; of the large preprocessed picture every fourth row and column."""
    source, target = GOLDEN / "itercomp", TRIMMED / "itercomp"
    target.mkdir(exist_ok=True)
    tensors = load_file(source / "reward_small.safetensors")
    large = tensors.pop("preprocess/pil_path_224")
    tensors["preprocess/pil_path_224_every_4th"] = large[:, ::4, ::4].contiguous()
    # A gradient of one picture tells as much as four.
    tensors["grad_image_of_score_sum"] = tensors["grad_image_of_score_sum"][:1].contiguous()
    save_file(tensors, target / "reward_small.safetensors")
    write_facts(read_facts(source / "reward_small.json"), target / "reward_small.json")
    manifest = read_facts(source / "reward_manifest.json")
    shapes = {key: facts["shape"] for key, facts in manifest["keys"].items()}
    write_facts({"keys": shapes, "parameter_count": manifest["parameter_count"]}, target / MANIFEST)


def trim_itercomp_loop() -> None:
    """The feedback step without the maps between its inputs and its gradients; rankings and pairs whole."""
    source, target = GOLDEN / "itercomp_loop", TRIMMED / "itercomp_loop"
    target.mkdir(exist_ok=True)
    keep(
        source / "feedback_step.safetensors",
        target,
        lambda key: key.startswith(("inputs/", "reward/", "weights/", "grad_unet/")) or key in REPORTED,
    )
    for name in ("feedback_step", "gallery_expansion", "pairs"):
        write_facts(read_facts(source / f"{name}.json"), target / f"{name}.json")


def trim_phrase_encoding() -> None:
    """Both text encoders whole, three of the six phrases."""
    tensors = load_file(SOURCE / "phrase_encoding.safetensors")
    trimmed = {key: v if key.startswith("te") else v[PHRASES].clone() for key, v in tensors.items()}
    save_file(trimmed, TARGET / "phrase_encoding.safetensors")
    copyfile(SOURCE / "phrase_encoding.json", TARGET / "phrase_encoding.json")


def trim_unet() -> None:
    """The needs of the four adapted blocks of the middle: their official values, and their input."""
    facts = json.loads((SOURCE / "config_small.json").read_text())
    weights = load_file(SOURCE / "unet_small.safetensors")
    unet = UNet2DConditionModel(**facts["unet"])
    unet.load_state_dict({key: value.float() for key, value in weights.items()})
    case = read_cases(SOURCE / "unet_e2e.safetensors")["three_cfg"]
    unused = tuple(f"{MID}.transformer_blocks.{block}" for block in ("3.ff", "3.norm3", "4"))
    trimmed = {
        f"unet/{key}": value
        for key, value in weights.items()
        if key.startswith(MID) and not key.startswith((*unused, f"{MID}.proj_out"))
    }
    trimmed |= {key: case[key] for key in ("ap_tokens", "boxes", "prompt_embeds")}
    trimmed |= {f"pre_to_out/{n}": case[f"t801/pre_to_out/{n}"] for n in MID_LAYERS}
    trimmed["hidden_states"] = record_mid_input(unet, case)
    save_file(trimmed, TARGET / "unet_mid_block.safetensors")
    (TARGET / "unet_mid_block.json").write_text(json.dumps({"unet": facts["unet"]}, indent=1) + "\n")


@torch.no_grad()
def record_mid_input(unet: UNet2DConditionModel, case: dict[str, Tensor]) -> Tensor:
    """Inputs of the attention of the middle block when the whole UNet runs the case."""
    seen: list[Tensor] = []
    unet.get_submodule(MID).register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    adapter = IFAdapter.load(SOURCE / "adapter_small.safetensors")
    boxes = case["boxes"].repeat(2, 1)
    condition = {"text_embeds": case["pooled_embeds"], "time_ids": case["time_ids"]}
    with attach_ifadapter(unet, adapter, case["ap_tokens"], boxes, [3, 3]):
        unet(case["t801/latents"].repeat(2, 1, 1, 1), 801, case["prompt_embeds"], added_cond_kwargs=condition)
    return seen[0]


def trim_benchmarks() -> None:
    """Some cases of each scorer of the published benchmarks, and the names that the count of things knows."""
    source, target = GOLDEN / "benchmarks", TRIMMED / "benchmarks"
    target.mkdir(exist_ok=True)
    words = BENCH_DATA / "t2i_compbench"
    copyfile(words / "new_objects.txt", target / "new_objects.txt")
    copyfile(words / "LICENSE.txt", target / "T2I-CompBench-LICENSE.txt")
    for name in ("ifg", "layoutsam", "mig"):
        write_facts(read_facts(source / f"{name}.json"), target / f"{name}.json")

    facts = read_facts(source / "t2i_blip_vqa.json")
    for category in facts["categories"].values():
        category["rows"] = category["rows"][:CASES]
        category["average"] = sum(float(row["score"]) for row in category["rows"]) / CASES
    write_facts(facts, target / "t2i_blip_vqa.json")

    facts = read_facts(source / "t2i_spatial_parse.json")
    for kind in ("simple", "complex", "three_d"):
        facts[kind] = facts[kind][: 3 * CASES]
    write_facts(facts, target / "t2i_spatial_parse.json")

    facts = read_facts(source / "t2i_relations.json")
    for kind in ("pairs_2d", "pairs_3d"):
        facts[kind] = facts[kind][:CASES]
    write_facts(facts, target / "t2i_relations.json")

    facts = read_facts(source / "t2i_detection_scores.json")
    for category in facts.values():
        # The numbers of several things stand at the end.
        category["images"] = category["images"][:CASES] + category["images"][-CASES // 2 :]
    write_facts(facts, target / "t2i_detection_scores.json")

    facts = read_facts(source / "t2i_three_in_one.json")
    for column in ("kind_of_prompt", "clip_text_complex", "attribute", "spatial", "action", "total"):
        facts[column] = facts[column][: 3 * CASES]
    write_facts(facts, target / "t2i_three_in_one.json")


if __name__ == "__main__":
    trim_positions(trim_adapter())
    trim_stages()
    trim_concentration()
    trim_comat_training()
    trim_rewards()
    trim_itercomp_loop()
    trim_phrase_encoding()
    trim_unet()
    trim_benchmarks()

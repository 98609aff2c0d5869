"""Methods of placing things as ComfyUI's own nodes do them, and an evaluation from words to report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import comfy.lora
import folder_paths
import pytest
import torch
from comfyui_location import find_comfyui, find_packs
from PIL import Image
from safetensors.torch import load_file, save_file

import nodes
from instance_composer.cli import main
from instance_composer.demo import ADAPTER
from instance_composer.evaluation.benchmark import Point
from instance_composer.evaluation.benchmarks.binding.plan import BindingPlan, Guidance, Lora
from instance_composer.evaluation.benchmarks.placement.plan import PlacementPlan
from instance_composer.evaluation.scenes import Scenes
from instance_composer.generation import binding_methods, placing_methods
from instance_composer.generation.methods import NOT_SAMPLED
from instance_composer.hosts.comfyui.attention.terms import CARRIED
from instance_composer.hosts.comfyui.checkpoints.small_sdxl import load_clip
from instance_composer.hosts.comfyui.checkpoints.unet import load_unet
from instance_composer.hosts.comfyui.concentration.latent import LatentTerm
from instance_composer.hosts.comfyui.concentration.local import LocalTerm
from instance_composer.hosts.comfyui.ifadapter.term import InstanceTerm
from instance_composer.hosts.comfyui.ifadapter.weights import load_adapter
from instance_composer.hosts.comfyui.methods.binding import METHODS as BINDING_METHODS
from instance_composer.hosts.comfyui.methods.binding import BindingRequest, find_entities
from instance_composer.hosts.comfyui.methods.placing import (
    METHODS,
    MissingPackError,
    Parts,
    Request,
    area,
    couple,
    ifadapter,
    mask,
    plain,
    without_appearance,
    without_end_of_text,
)
from instance_composer.hosts.comfyui.prompts.text_axis import token_spans
from instance_composer.hosts.comfyui.regions.term import RegionTerm
from instance_composer.models.entities.matching import match_entities
from instance_composer.models.sdxl.files import open_unet
from instance_composer.models.weights import CheckpointError

PACKS = find_comfyui().parent / "packs"
NEEDS_PPM = pytest.mark.skipif(
    "ComfyUI-ppm" not in find_packs(),
    reason=f"git clone https://github.com/pamparamm/ComfyUI-ppm {PACKS}/ComfyUI-ppm",
)


@pytest.fixture(scope="module")
def folder(fresh_demo):
    return fresh_demo


@pytest.fixture(scope="module")
def parts(folder):
    with torch.inference_mode():
        return Parts(load_unet(str(folder)), load_clip(folder), load_adapter(folder / ADAPTER), PACKS)


@pytest.fixture(scope="module")
def request_of():
    def made(base: float = 1.0) -> Request:
        plan = PlacementPlan(scenes=Scenes(size=(96, 64)), base=base)
        return Request.from_job(plan.job(Point("area"), 1))

    return made


def test_prompts_are_those_of_the_core_nodes(parts, request_of):
    _, positive, negative = plain(parts, request_of())
    (expected,) = nodes.CLIPTextEncode().encode(parts.clip, request_of().layout.prompt)
    (zeroed,) = nodes.ConditioningZeroOut().zero_out(expected)
    for found, core in ((positive, expected), (negative, zeroed)):
        torch.testing.assert_close(found[0][0], core[0][0])
        torch.testing.assert_close(found[0][1]["pooled_output"], core[0][1]["pooled_output"])


def test_areas_and_masks_are_those_of_the_core_nodes(parts, request_of):
    request = request_of()
    first, box = request.sentences[0], request.layout.active[0].box
    (text,) = nodes.CLIPTextEncode().encode(parts.clip, first)
    sizes = (box.x1 - box.x0, box.y1 - box.y0, box.x0, box.y0)
    (expected,) = nodes.ConditioningSetAreaPercentage().append(text, *sizes, 1.0)
    _, positive, _ = area(parts, request)
    assert len(positive) == 1 + len(request.sentences)
    found = positive[1][1]
    assert all(found[name] == expected[0][1][name] for name in ("area", "strength", "set_area_to_bounds"))

    _, positive, _ = mask(parts, request_of(base=0.25))
    inside = positive[1][1]["mask"]
    (expected,) = nodes.ConditioningSetMask().append(text, inside[0], "default", 1.0)
    for name in ("set_area_to_bounds", "mask_strength"):
        assert positive[1][1][name] == expected[0][1][name]
    assert torch.equal(inside, expected[0][1]["mask"])
    assert abs(float(inside.mean()) - box.area) < 0.02
    covered = torch.stack([entry[1]["mask"] for entry in positive[1:]]).amax(dim=0)
    assert torch.equal(positive[0][1]["mask"], 1 - 0.75 * covered)


@NEEDS_PPM
def test_attention_couple_is_another_pack_s_node(parts, request_of):
    bound, positive, _ = couple(parts, request_of())
    patches = bound.model_options["transformer_options"]["patches"]
    assert set(patches) >= {"attn2_patch", "attn2_output_patch"}
    assert len(positive) == 1
    with pytest.raises(MissingPackError, match="pamparamm/ComfyUI-ppm"):
        couple(replace(parts, packs=None), request_of())


def test_ablations_leave_tokens_out_of_both_branches(parts, request_of):
    whole, words, looks = (
        [
            conditioning[0][1]["model_conds"][CARRIED].cond[0].prompt
            for conditioning in method(parts, request_of())[1:]
        ]
        for method in (ifadapter, without_appearance, without_end_of_text)
    )
    for full, end, appearance in zip(whole, words, looks, strict=True):
        for number, keys in full.keys.items():
            assert keys.shape[2] == 13
            assert torch.equal(torch.cat((appearance.keys[number], end.keys[number]), dim=2), keys)
            assert end.values[number].shape[2] == 1


def test_every_method_that_has_a_name_is_there():
    assert set(METHODS) == set(placing_methods.METHODS) - set(NOT_SAMPLED)
    assert set(BINDING_METHODS) == set(binding_methods.METHODS) - set(NOT_SAMPLED)


def binding_request(number: int, lora: Lora | None = None, **settings: float) -> BindingRequest:
    plan = BindingPlan(scenes=Scenes((2, 3, 4), (96, 64)), guidance=Guidance(**settings))
    if lora is None:
        return BindingRequest.from_job(plan.job(Point("local"), number))
    point = Point("lora+local", lora=lora.identity)
    return BindingRequest.from_job(replace(plan, loras=(lora,)).job(point, number))


@pytest.fixture(scope="module")
def lora_file(folder, tmp_path_factory):
    """A LoRA of one layer of the fresh model, in the names that core's loader reads."""
    unet = open_unet(folder)
    layer = "middle_block.1.transformer_blocks.0.attn2.to_v"
    rows, columns = unet.weights.read(f"{layer}.weight").shape
    noise = torch.Generator().manual_seed(0)
    key = f"lora_unet_{layer.replace('.', '_')}"
    file = tmp_path_factory.mktemp("lora") / "binds.safetensors"
    state = {
        f"{key}.lora_down.weight": torch.randn(2, columns, generator=noise),
        f"{key}.lora_up.weight": torch.randn(rows, 2, generator=noise),
        f"{key}.alpha": torch.tensor(2.0),
    }
    save_file(state, file)
    return file


def test_entities_stand_at_their_words_and_have_their_own_boxes(parts):
    for number in range(30):
        request = binding_request(number)
        text, spans = token_spans(parts.clip, request.layout.prompt)
        found = find_entities(parts.clip, request)
        for each, instance in zip(found, request.layout.active, strict=True):
            pieces = "".join(text.text[slice(*spans[token])] for token in each.tokens)
            assert pieces == "".join(instance.caption.split()[1:])
            assert instance.caption.endswith("".join(text.text[slice(*spans[t])] for t in each.noun_tokens))
        places = match_entities([each.entity for each in found], request.layout)
        assert places == {index: index for index in range(len(found))}


@torch.inference_mode()
def test_methods_of_binding_carry_what_their_names_say(parts, lora_file):
    request = binding_request(1, Lora("binds", lora_file, 0.5))
    kinds = {"local": LocalTerm, "latent": LatentTerm, "attend": LatentTerm, "ifadapter": InstanceTerm}
    kinds |= {"regions": RegionTerm, "strong": RegionTerm}
    for name, method in BINDING_METHODS.items():
        model, positive, _ = method(parts, request)
        carried = positive[0][1].get("model_conds", {})
        terms = carried[CARRIED].cond if CARRIED in carried else ()
        parts_of_name = [
            part for word in name.split("+") if (part := word.split("-")[0]) not in ("plain", "lora")
        ]
        assert [type(term) for term in terms] == [kinds[part] for part in parts_of_name], name
        assert (model is parts.model) == (name == "plain")
        assert bool(model.patches) == (name in binding_methods.WITH_LORA)
        for term in terms:
            if isinstance(term, (LocalTerm, LatentTerm)):
                named = binding_methods.METHODS[name]
                assert term.targets.self_derived == (not (named.boxes or named.redraws),) * 3
                assert term.layers
    for name in ("local", "latent-boxes", "attend-and-excite"):
        assert BINDING_METHODS[name](parts, binding_request(1, strength=0.0))[0] is parts.model


@torch.inference_mode()
def test_a_lora_is_put_on_as_core_s_loader_does(parts, lora_file, tmp_path):
    model, *_ = BINDING_METHODS["lora"](parts, binding_request(1, Lora("binds", lora_file, 0.5)))
    shutil.copy(lora_file, tmp_path)
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    core, _ = nodes.LoraLoader().load_lora(parts.model, parts.clip, lora_file.name, 0.5, 0.0)
    (key,) = model.patches
    assert set(core.patches) == {key}
    weight = parts.model.get_model_object(key)
    found, expected = (
        comfy.lora.calculate_weight(one.patches[key], weight.clone(), key) for one in (model, core)
    )
    assert torch.equal(found, expected)
    assert not torch.equal(found, weight)
    assert not parts.model.patches


def test_a_lora_of_another_model_is_refused(parts, lora_file, tmp_path):
    other = {f"lora_unet_x_{key}": value for key, value in load_file(lora_file).items()}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors has no layer of this model"):
        BINDING_METHODS["lora"](parts, binding_request(1, Lora("other", tmp_path / "other.safetensors")))
    with pytest.raises(ValueError, match="a LoRA file is needed"):
        BINDING_METHODS["lora"](parts, binding_request(1))


@pytest.mark.slow
@NEEDS_PPM
def test_an_evaluation_runs_stops_and_goes_on(folder, tmp_path, capsys):
    command = ["evaluate", "layout", str(tmp_path / "run"), "--model", str(folder)]
    command += ["--size", "96x64", "--steps", "1", "--figures", "2-3"]
    where = ["--comfyui", str(find_comfyui()), "--packs", str(PACKS)]
    # What needs no sampling needs no ComfyUI either.
    assert main([*command, "--layouts", "3", "--methods", "real"]) == 0
    records = tmp_path / "run" / "records.jsonl"
    before = records.read_text().splitlines()
    assert len(before) == 3
    # A run that was killed while it wrote, then more of everything.
    records.write_text("\n".join(before)[: -len(before[-1]) // 2])
    assert main([*command, *where, "--layouts", "4"]) == 0
    after = [json.loads(line) for line in records.read_text().splitlines()]
    assert len(after) == 4 * len(placing_methods.METHODS)
    assert json.loads(before[-1]) in after
    for record in after:
        picture = tmp_path / "run" / "pictures" / record["method"] / f"{record['number']:05d}.png"
        with Image.open(picture) as image:
            assert image.size == (96, 64)
        assert (record["seconds"] is None) == (record["method"] in NOT_SAMPLED)
    report = (tmp_path / "run" / "report.md").read_text()
    assert "4 layouts of held-out looks, 2 to 3 things each, 10 in all; 96 × 64 pixels" in report
    assert all(f"| {method.label} |" in report for method in placing_methods.METHODS.values())
    assert "| real renders | 100.0 [100.0, 100.0] |" in report
    assert (tmp_path / "run" / "report.svg").read_text().startswith("<?xml")
    assert "report.md (4 layouts)" in capsys.readouterr().out

    assert main([*command, "--report-only", "--steps", "2"]) == 2
    assert "steps was 1 and is now 2" in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_of_binding_runs_in_comfyui(folder, lora_file, tmp_path):
    run = tmp_path / "run"
    command = ["evaluate", "binding", str(run), "--model", str(folder), "--comfyui", str(find_comfyui())]
    command += ["--size", "96x64", "--steps", "1", "--figures", "2", "--prompts", "3"]
    command += ["--methods", ",".join(binding_methods.METHODS), "--lora", str(lora_file)]
    assert main([*command, "--strengths", "0,3", "--weights", "1:0"]) == 0
    pictures = {}
    drawn = [file.name for file in (run / "pictures").iterdir()]
    assert len(drawn) == len(binding_methods.METHODS) + 1
    for method in drawn:
        with Image.open(run / "pictures" / method / "00001.png") as image:
            pictures[method] = image.tobytes()
    assert len((run / "records.jsonl").read_text().splitlines()) == 3 * len(pictures)
    # A model of random weights shows nothing that could be found.
    assert pictures.pop("local-found") == pictures["plain"]
    assert len(set(pictures.values())) == len(pictures)
    report = (run / "report.md").read_text()
    assert "3 prompts of held-out looks" in report
    for method in binding_methods.METHODS.values():
        assert f"| {method.label}{' (binds)' if method.lora else ''} |" in report
    assert "| local, own maps, 1 : 0 | 3 |" in report
    assert (run / "report-strength.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--methods", "gligen"], "no method gligen"),
        (["--methods", "plain"], "name the folder of a ComfyUI"),
        (["--methods", "plain", "--comfyui", "{}"], "there is no ComfyUI in"),
        (["--figures", "6-9"], "1 to 8 things"),
        (["--report-only"], "3 are needed"),
        (["--model", "{}/none"], "Install the pack again"),
    ],
)
def test_what_cannot_be_done_is_told(words, complaint, folder, tmp_path, capsys):
    command = ["evaluate", "layout", str(tmp_path / "run"), "--model", str(folder)]
    assert main([*command, *(word.format(tmp_path) for word in words)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_published_benchmark_is_drawn_in_comfyui(folder, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["benchmark", "overlap", "prepare", str(run), "--tiny", "--limit", "2"]) == 0
    words = [
        "benchmark",
        "overlap",
        "draw",
        str(run),
        "--comfyui",
        str(find_comfyui()),
        "--model",
        str(folder),
    ]
    words += ["--packs", str(PACKS), "--way", "regions", "--steps", "1", "--cfg", "2"]
    assert main(words) == 0, capsys.readouterr().err
    place = run / "pictures" / "regions"
    # Every second scene is a row of OverLayBench, in the folder of its split and seed.
    pictures = sorted(place.rglob("*.png"))
    names = [file.relative_to(place).as_posix() for file in pictures]
    assert names == ["hard/42/scene-000.png", "scene-000.png"]
    with Image.open(pictures[0]) as first:
        assert first.size == (128, 128)
    assert main([*words, "--lora", "x.safetensors"]) == 2
    assert "leave --lora" in capsys.readouterr().err

"""The pack in a running ComfyUI server, asked as the editor asks it: nodes, help, templates, whole runs."""

from __future__ import annotations

import copy
import io
import json
import re
import shutil
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from comfyui_location import REPOSITORY
from comfyui_server import api_prompt, inputs_of
from PIL import Image, ImageChops
from safetensors.torch import load_file, save_file
from tiny_server import FOLDER

from instance_composer.demo import COMPOSITION_LORA, LOOK_LORAS
from instance_composer.layout import Box
from instance_composer.shapes_world.judge import match, read_things

WORKFLOWS = sorted((REPOSITORY / "example_workflows").glob("*.json"))
NODE_IDS = {
    "IC_RepairInstance",
    "IC_InstanceLora",
    "IC_ApplyIterCompDelta",
    "IC_ExtractIterCompLoRA",
    "IC_LoadIterCompUNet",
    "IC_ApplyIFAdapter",
    "IC_AttributeConcentration",
    "IC_CombineLayouts",
    "IC_ComposeLayout",
    "IC_CompositionScore",
    "IC_DrawRegions",
    "IC_InstanceLayout",
    "IC_LayoutFromText",
    "IC_LayoutPreview",
    "IC_LoadChecklistJudge",
    "IC_LoadCompositionRewards",
    "IC_LoadDemoCheckpoint",
    "IC_LoadIFAdapter",
    "IC_RecordAttentionMaps",
    "IC_SegmentEntities",
    "IC_ShowAttentionMaps",
    "IC_PickBest",
    "IC_PromptEntities",
    "IC_TransformLayout",
}


def small(prompt):
    """The API workflow with the tiny checkpoint and adapter, at 128 pixels and two steps."""
    changes = {
        "IC_LoadIFAdapter": {"ifadapter_name": "tiny.safetensors"},
        "IC_LoadIterCompUNet": {"unet_name": "tuned/"},
        "IC_LoadChecklistJudge": {"folder": "tiny-qwen"},
        "EmptyLatentImage": {"width": 128, "height": 128},
        "KSampler": {"steps": 2},
    }
    for node in prompt.values():
        if node["class_type"] == "CheckpointLoaderSimple":
            node.update(class_type="TinySDXL", inputs={})
        node["inputs"] |= changes.get(node["class_type"], {})
    return prompt


def workflow_prompt(object_info, name):
    (path,) = (path for path in WORKFLOWS if path.stem.startswith(name))
    return small(api_prompt(json.loads(path.read_text(encoding="utf-8")), object_info))


def find(prompt, class_type):
    (node_id,) = (node_id for node_id, node in prompt.items() if node["class_type"] == class_type)
    return node_id


def saved_picture(server, prompt, entry):
    assert entry["status"]["status_str"] == "success", entry["status"]
    (image,) = entry["outputs"][find(prompt, "SaveImage")]["images"]
    return Image.open(io.BytesIO((server.base / "output" / image["filename"]).read_bytes()))


def test_every_node_explains_itself(server):
    printed = len(server.log)  # with what other tests made it fail at
    ours = {name: info for name, info in server.get("/object_info").items() if name.startswith("IC_")}
    assert set(ours) == NODE_IDS
    for name, info in ours.items():
        assert info["category"].startswith("instance composer/"), name
        assert info["description"], name
        assert info["search_aliases"], name
        assert all(info["output_tooltips"]), name
        for socket, spec in inputs_of(info):
            assert spec[1].get("tooltip"), f"{name}.{socket}"
    assert "Traceback" not in server.started + server.log[printed:]


def test_every_node_has_a_help_page_that_names_its_inputs_and_outputs(server, object_info):
    for name in NODE_IDS:
        page = server.read(f"/extensions/{FOLDER}/docs/{name}.md").decode()
        assert page.startswith(f"# {object_info[name]['display_name']}\n")
        sockets = [socket for socket, _ in inputs_of(object_info[name])]
        for socket in (*sockets, *object_info[name]["output_name"]):
            assert f"`{socket}`" in page, f"{name}.md does not explain {socket}"


def test_the_workflows_are_offered_as_templates(server):
    assert sorted(server.get("/workflow_templates")[FOLDER]) == sorted(path.stem for path in WORKFLOWS)
    for path in WORKFLOWS:
        assert path.with_suffix(".jpg").is_file(), "the Templates dialog shows a picture of the same name"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_fits_the_nodes(object_info, path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    insides = {one["id"]: one for one in workflow.get("definitions", {}).get("subgraphs", ())}
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for node in (*nodes.values(), *(node for one in insides.values() for node in one["nodes"])):
        if inside := insides.get(node["type"]):
            for end in ("inputs", "outputs"):
                given = [(one["name"], one["type"]) for one in inside[end]]
                assert [(one["name"], one["type"]) for one in node[end]] == given[: len(node[end])]
            continue
        if node["type"] == "MarkdownNote":
            continue
        info = object_info[node["type"]]
        known = dict(inputs_of(info))
        for socket in node["inputs"]:
            assert socket["name"] in known, f"{node['type']}.{socket['name']}"
        # Newer versions may give core nodes further outputs, at the end.
        count = None if node["type"].startswith("IC_") else len(node["outputs"])
        assert [o["name"] for o in node["outputs"]] == info["output_name"][:count]
        assert [o["type"] for o in node["outputs"]] == info["output"][:count]
    for number, source, output, target, position, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][position]["link"] == number
        assert kind == nodes[source]["outputs"][output]["type"]
        taken = set(nodes[target]["inputs"][position]["type"].split(","))
        assert taken & {*kind.split(","), "*"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_the_files_it_needs_with_their_address(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    loaders = [node for node in workflow["nodes"] if "Load" in node["type"]]
    if any(node["type"] == "IC_LoadDemoCheckpoint" for node in loaders):
        # A judge is a folder of many files, which the page's dialog of missing models does not know.
        notes = "".join(
            node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote"
        )
        for node in [node for node in loaders if node["type"] == "IC_LoadChecklistJudge"]:
            loaders.remove(node)
            assert node["widgets_values"][0] in notes
            assert "models/vision_language_models" in notes
        shipped = {"IC_LoadDemoCheckpoint", "IC_LoadCompositionRewards", "IC_LoadIterCompUNet"}
        assert {node["type"] for node in loaders} <= shipped
        for node in loaders:
            assert "models" not in node["properties"]
            assert all("demo" in name for name in node["widgets_values"][:1])
        return  # what they load comes with the pack
    folders = {
        "CheckpointLoaderSimple": "checkpoints",
        "IC_LoadIFAdapter": "ifadapter",
        "IC_LoadIterCompUNet": "diffusion_models",
        "UNETLoader": "diffusion_models",
        "CLIPLoader": "text_encoders",
        "DualCLIPLoader": "text_encoders",
        "VAELoader": "vae",
    }
    assert {node["type"] for node in loaders} <= set(folders)
    for node in loaders:
        models = node["properties"]["models"]
        assert node["widgets_values"][: len(models)] == [model["name"] for model in models]
        assert len(models) == (2 if node["type"] == "DualCLIPLoader" else 1)
        for model in models:
            assert model["url"].startswith("https://huggingface.co/")
            # Under a name that the page's dialog of missing models downloads; the loader finds either.
            assert model["name"].endswith(".safetensors")
            assert model["url"].rsplit("/", 1)[1].rsplit(".", 1)[0] == model["name"].rsplit(".", 1)[0]
            assert model["directory"] == folders[node["type"]]


def test_a_workflow_asks_a_judge_and_keeps_the_picture_it_prefers(server, object_info):
    prompt = workflow_prompt(object_info, "Judge by")
    entry = server.run(prompt)
    assert saved_picture(server, prompt, entry).size == (128, 128)
    (sheet,) = entry["outputs"][find(prompt, "IC_CompositionScore")]["images"]
    assert sheet["filename"]


@pytest.mark.parametrize("name", ["Bind", "Regions"])
def test_a_workflow_that_binds_attributes_runs_and_changes_the_picture(server, object_info, name):
    prompt = workflow_prompt(object_info, name)
    settings = prompt[find(prompt, "IC_AttributeConcentration")]["inputs"]
    settings["strength"] = 8.0  # random weights attend to every word alike, and little comes of moving that
    picture = saved_picture(server, prompt, server.run(prompt))
    settings["strength"] = 0.0
    plain = saved_picture(server, prompt, server.run(prompt))
    assert plain.size == picture.size == (128, 128)
    assert plain.tobytes() != picture.tobytes()


def test_heat_maps_are_shown_again_when_comfyui_keeps_the_sample(server, object_info):
    prompt = workflow_prompt(object_info, "See")
    entry = server.run(prompt)
    picture = saved_picture(server, prompt, entry)
    show = find(prompt, "IC_ShowAttentionMaps")
    outputs = entry["outputs"][show]
    (table,) = outputs["text"]
    names = [re.split(" {2,}", row)[1] for row in table.splitlines()[1:]]
    assert {"red book", "yellow vase"} <= set(names)
    assert len(outputs["images"]) == len(names)
    first = Image.open(server.base / "temp" / outputs["images"][0]["filename"])
    assert first.size == picture.size
    assert first.convert("RGB").tobytes() != picture.tobytes()

    # Nothing but the drawing changed: the sampler is not run again, and the record still has its maps.
    text = {"text": "0.1 0.2 0.5 0.9: a red leather book", "picture": "", "width": 0, "height": 0}
    text |= {"format": "auto", "order": "auto", "units": "auto"}
    prompt["layout"] = {"class_type": "IC_LayoutFromText", "inputs": text}
    prompt[show]["inputs"] |= {"opacity": 0.0, "layout": ["layout", 0]}
    again = server.run(prompt)
    (regions,) = again["outputs"][show]["text"]
    assert [re.split(" {2,}", row)[1] for row in regions.splitlines()[1:]] == names
    assert regions != table
    (heat,) = again["outputs"][show]["instance_heat_maps"]
    assert heat["instance"] in regions.splitlines()[1 + names.index("red book")]
    red, green, blue = Image.open(server.base / "temp" / heat["filename"]).convert("RGB").split()
    assert red.getextrema() == (0, 255), "from dark to light"
    assert red.tobytes() == green.tobytes() == blue.tobytes(), "grey"
    cached = next(data["nodes"] for kind, data in again["status"]["messages"] if kind == "execution_cached")
    assert find(prompt, "KSampler") in cached

    # With another MODEL for the sampler it is the same picture: recording leaves no trace.
    record = find(prompt, "IC_RecordAttentionMaps")
    prompt[find(prompt, "KSampler")]["inputs"]["model"] = prompt[record]["inputs"]["model"]
    del prompt[show], prompt["layout"], prompt[find(prompt, "PreviewAny")]
    assert saved_picture(server, prompt, server.run(prompt)).tobytes() == picture.tobytes()


@pytest.mark.parametrize("name", ["Place", "Import"])
def test_a_workflow_runs_to_a_picture_with_its_layout_beside_it(server, object_info, name):
    prompt = workflow_prompt(object_info, name)
    entry = server.run(prompt)
    picture = saved_picture(server, prompt, entry)
    assert (picture.size, picture.mode) == ((128, 128), "RGB")
    assert "IC_ApplyIFAdapter" in picture.text["prompt"]
    (preview,) = entry["outputs"][find(prompt, "IC_LayoutPreview")]["images"]
    shown = Image.open(server.base / "temp" / preview["filename"])
    assert shown.size == (128, 128)
    assert shown.tobytes() != picture.tobytes()

    # The layout matters: with strength 0 the same graph gives another picture.
    find_apply = find(prompt, "IC_ApplyIFAdapter")
    prompt[find_apply]["inputs"]["strength"] = 0.0
    plain = saved_picture(server, prompt, server.run(prompt))
    assert plain.tobytes() != picture.tobytes()
    prompt[find_apply]["inputs"]["strength"] = 1.0
    prompt[find(prompt, "SaveImage")]["inputs"]["filename_prefix"] = "again"
    again = saved_picture(server, prompt, server.run(prompt))
    assert again.tobytes() == picture.tobytes()


def test_the_delta_changes_the_picture_and_is_extracted_beside(server, object_info):
    prompt = workflow_prompt(object_info, "Compose")
    delta = find(prompt, "IC_ApplyIterCompDelta")
    sources = {name: prompt[delta]["inputs"][name] for name in ("itercomp", "base")}
    options = {"rank": 2, "energy": 1.0, "method": "randomized", "norms_and_biases": True}
    options |= {"precision": "fp16", "device": "default", "filename_prefix": "loras/tuned"}
    prompt["lora"] = {"class_type": "IC_ExtractIterCompLoRA", "inputs": {**sources, **options}}
    entry = server.run(prompt)
    picture = saved_picture(server, prompt, entry)
    (report,) = entry["outputs"]["lora"]["text"]
    assert report.startswith("loras/tuned_00001_.safetensors: ")
    assert "relative error of the whole delta: 0." in report
    offered = server.get("/object_info/LoraLoader")["LoraLoader"]["input"]["required"]["lora_name"]
    assert "tuned_00001_.safetensors" in str(offered)

    del prompt["lora"]
    prompt[delta]["inputs"]["strength"] = 0.0
    plain = saved_picture(server, prompt, server.run(prompt))
    assert plain.tobytes() != picture.tobytes()


DEMO_MODEL = pytest.mark.skipif(
    not (REPOSITORY / "demo" / "unet").is_dir(),
    reason="this checkout has no demo model; instance-composer train pack writes it",
)


SHAPES = {
    "version": 1,
    "canvas": {"width": 128, "height": 128},
    "prompt": "a red striped circle and a large blue square on grey",
    "instances": [
        {"id": "circle", "box": [0.05, 0.1, 0.45, 0.6], "caption": "a red striped circle"},
        {"id": "square", "box": [0.5, 0.4, 0.95, 0.9], "caption": "a large blue square"},
    ],
}


@DEMO_MODEL
def test_the_demo_model_draws_with_the_layout_and_without(server, object_info):
    prompt = workflow_prompt(object_info, "With and without")
    entry = server.run(prompt)
    picture = saved_picture(server, prompt, entry)
    assert picture.size == (128, 128)
    (preview,) = entry["outputs"][find(prompt, "PreviewImage")]["images"]
    without = Image.open(server.base / "temp" / preview["filename"])
    assert without.size == (128, 128)
    assert without.convert("RGB").tobytes() != picture.tobytes()
    # Three nodes draw the same picture as their parts one by one.
    short = workflow_prompt(object_info, "Try it")
    short[find(short, "ImageScaleBy")]["inputs"]["scale_by"] = 1.0
    assert saved_picture(server, short, server.run(short)).tobytes() == picture.tobytes()


@DEMO_MODEL
def test_the_demo_model_takes_the_place_of_sdxl_and_its_adapter(server, object_info):
    prompt = workflow_prompt(object_info, "Place")
    checkpoint, loader = find(prompt, "TinySDXL"), find(prompt, "IC_LoadIFAdapter")
    prompt[checkpoint]["class_type"] = "IC_LoadDemoCheckpoint"
    del prompt[loader]
    prompt[find(prompt, "IC_ApplyIFAdapter")]["inputs"]["ifadapter"] = [checkpoint, 3]
    saved_picture(server, prompt, server.run(prompt))


@pytest.fixture(scope="module")
def tuned_demo(server):
    """A diffusers folder with the demo's UNet after a little tuning, every weight moved by 2 %: its name."""
    weights = load_file(REPOSITORY / "demo" / "unet" / "diffusion_pytorch_model.safetensors")
    generator = torch.Generator().manual_seed(5)
    for name, value in weights.items():
        move = torch.randn(value.shape, generator=generator) * value.float().square().mean().sqrt()
        weights[name] = value.float() + 0.02 * move
    folder = server.base / "models" / "diffusers" / "tuned-demo" / "unet"
    folder.mkdir(parents=True)
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    shutil.copy(REPOSITORY / "demo" / "unet" / "config.json", folder)
    return "tuned-demo/"


SHIPPED = pytest.mark.skipif(
    not (REPOSITORY / "demo" / COMPOSITION_LORA).is_file(),
    reason="this checkout has no LoRA of the demo model; docs/training.md tells how it is made",
)


@DEMO_MODEL
@SHIPPED
def test_everything_together_runs_on_the_demo_model_as_it_is_shipped(server, object_info):
    """Regions, attributes, composition and scores; each of the first three changes the picture."""
    (path,) = (path for path in WORKFLOWS if path.stem == "Try everything")
    prompt = api_prompt(json.loads(path.read_text(encoding="utf-8")), object_info)
    entry = server.run(prompt)
    picture = saved_picture(server, prompt, entry)
    assert picture.size == (128, 128)
    (table,) = entry["outputs"][find(prompt, "IC_CompositionScore")]["text"]
    assert all(aspect in table for aspect in ("attribute", "spatial", "non-spatial"))
    for node in ("IC_ApplyIFAdapter", "IC_AttributeConcentration", "IC_ApplyIterCompDelta"):
        without = copy.deepcopy(prompt)
        without[find(without, node)]["inputs"]["strength"] = 0.0
        assert saved_picture(server, without, server.run(without)).tobytes() != picture.tobytes(), node


@DEMO_MODEL
@pytest.mark.parametrize("source", ["folder", pytest.param("shipped", marks=SHIPPED)])
def test_regions_attributes_and_the_delta_on_the_demo_model(server, object_info, tuned_demo, source):
    prompt = workflow_prompt(object_info, "Compose")
    checkpoint, loader = find(prompt, "TinySDXL"), find(prompt, "IC_LoadIterCompUNet")
    delta, apply = find(prompt, "IC_ApplyIterCompDelta"), find(prompt, "IC_ApplyIFAdapter")
    prompt[checkpoint]["class_type"] = "IC_LoadDemoCheckpoint"
    del prompt[find(prompt, "IC_LoadIFAdapter")]
    prompt[apply]["inputs"]["ifadapter"] = [checkpoint, 3]
    prompt[loader]["inputs"]["unet_name"] = tuned_demo if source == "folder" else "demo model, tuned"
    prompt[find(prompt, "IC_InstanceLayout")]["inputs"]["document"] = json.dumps(SHAPES)

    def draw(model, strength=1.0):
        changed = copy.deepcopy(prompt)
        changed[apply]["inputs"]["model"] = [model, 0]
        changed[delta]["inputs"]["strength"] = strength
        return saved_picture(server, changed, server.run(changed))

    base, whole, half = draw(checkpoint), draw(delta), draw(delta, 0.5)
    assert base.size == (128, 128)
    # After the others: nothing of the delta stayed in the model.
    assert draw(delta, 0.0).tobytes() == base.tobytes()
    own = draw(loader)
    # base + (tuned - base) is tuned up to the rounding of two sums.
    assert largest_difference(whole, own) <= 2
    assert min(largest_difference(whole, base), largest_difference(half, base)) > 2
    assert largest_difference(half, own) > 2


def largest_difference(one, other):
    """Of two pictures, in levels of 255."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def test_the_model_with_and_without_the_adapter_in_one_graph(server, object_info):
    prompt = workflow_prompt(object_info, "Place")
    checkpoint, positive = find(prompt, "TinySDXL"), find(prompt, "CLIPTextEncode")
    negative, sampler = find(prompt, "ConditioningZeroOut"), find(prompt, "KSampler")
    inputs = {**prompt[sampler]["inputs"], "model": [checkpoint, 0]}
    inputs |= {"positive": [positive, 0], "negative": [negative, 0]}
    prompt["plain"] = {"class_type": "KSampler", "inputs": inputs}
    prompt["plain decoded"] = {
        "class_type": "VAEDecode",
        "inputs": {"samples": ["plain", 0], "vae": [checkpoint, 2]},
    }
    prompt["plain saved"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["plain decoded", 0], "filename_prefix": "plain"},
    }
    both = server.run(prompt)
    assert both["status"]["status_str"] == "success"
    names = [both["outputs"][node]["images"][0]["filename"] for node in (find_save(prompt), "plain saved")]
    placed, plain = (Image.open(server.base / "output" / name).tobytes() for name in names)
    assert placed != plain
    alone = workflow_prompt(object_info, "Place")
    alone[find(alone, "IC_ApplyIFAdapter")]["inputs"]["strength"] = 0.0
    assert saved_picture(server, alone, server.run(alone)).tobytes() == plain


def find_save(prompt):
    return next(node_id for node_id, node in prompt.items() if node["class_type"] == "SaveImage")


def test_a_broken_document_says_so_and_the_next_run_is_clean(server, object_info):
    prompt = workflow_prompt(object_info, "Place")
    layout = find(prompt, "IC_InstanceLayout")
    document = prompt[layout]["inputs"]["document"]
    for broken, message in (
        ('{"version": 2}', "version 1 is read"),
        ("", None),  # the plain picture, and a note
        (document.replace('"book"', '"vase"'), '2 instances have the id "vase"'),
        (document.replace("a red leather book", "<img src=x onerror=alert(1)> \\u0000 a red book"), None),
    ):
        prompt[layout]["inputs"]["document"] = broken
        entry = server.run(prompt)
        if message is None:
            # A caption is text, whatever it holds.
            assert entry["status"]["status_str"] == "success"
            continue
        assert entry["status"]["status_str"] == "error"
        errors = [
            data["exception_message"]
            for kind, data in entry["status"]["messages"]
            if kind == "execution_error"
        ]
        assert message in errors[0]
    prompt[layout]["inputs"]["document"] = document
    saved_picture(server, prompt, server.run(prompt))


@pytest.mark.parametrize("name", ["../tiny/unet.safetensors", "/etc/passwd", "absent.bin"])
def test_files_outside_the_model_folder_are_refused_before_the_run(server, object_info, name):
    prompt = workflow_prompt(object_info, "Place")
    prompt[find(prompt, "IC_LoadIFAdapter")]["inputs"]["ifadapter_name"] = name
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 400
    (error,) = (error for node in answer["node_errors"].values() for error in node["errors"])
    assert error["type"] == "custom_validation_failed"
    assert "There is no IFAdapter file" in error["details"]


def test_a_run_can_be_interrupted_and_repeated(server, object_info):
    prompt = workflow_prompt(object_info, "Place")
    sampler = prompt[find(prompt, "KSampler")]["inputs"]
    sampler |= {"steps": 2000, "seed": 1}
    _, answer = server.post("/prompt", {"prompt": prompt})
    deadline = time.monotonic() + 120
    while "/2000" not in server.log and time.monotonic() < deadline:
        time.sleep(0.1)
    server.post("/interrupt", {})
    while not (history := server.get(f"/history/{answer['prompt_id']}")):
        time.sleep(0.1)
        assert time.monotonic() < deadline
    kinds = [kind for kind, _ in history[answer["prompt_id"]]["status"]["messages"]]
    assert "execution_interrupted" in kinds
    sampler |= {"steps": 2, "seed": 42}
    clean = workflow_prompt(object_info, "Place")
    clean[find(clean, "SaveImage")]["inputs"]["filename_prefix"] = "clean"
    prompt[find(prompt, "SaveImage")]["inputs"]["filename_prefix"] = "after"
    pictures = [saved_picture(server, p, server.run(p)).tobytes() for p in (prompt, clean)]
    assert pictures[0] == pictures[1]


def test_the_best_pictures_of_a_batch_are_chosen(server, object_info):
    prompt = workflow_prompt(object_info, "Choose")
    prompt[find(prompt, "IC_LoadDemoCheckpoint")].update(class_type="TinySDXL", inputs={})
    prompt[find(prompt, "IC_LoadCompositionRewards")]["inputs"]["folder"] = "tiny"
    prompt[find(prompt, "EmptyLatentImage")]["inputs"]["batch_size"] = 3
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]
    score = entry["outputs"][find(prompt, "IC_CompositionScore")]
    (table,) = score["text"]
    assert len(table.splitlines()) == 4
    assert len(score["images"]) == 1
    assert len(entry["outputs"][find(prompt, "SaveImage")]["images"]) == 2


def test_the_server_reads_and_writes_layouts_for_its_own_page_alone(server):
    path = "/instance_composer/layouts"
    status, read = server.post(path, {"text": "0.1 0.2 0.5 0.9: a red book", "canvas": None})
    assert (status, read["format"], read["count"]) == (200, "lines", 1)
    status, written = server.post(path, {"document": read["document"], "format": "lines"})
    assert (status, written["text"].splitlines()[-1]) == (200, "0.1 0.2 0.5 0.9: a red book")
    status, refused = server.post(path, {"text": "no layout"})
    assert (status, refused["error"]["code"]) == (200, "unknown_text")

    foreign = {"Origin": "https://elsewhere.example", "Content-Type": "text/plain"}
    request = urllib.request.Request(server.address + path, b'{"text": "0 0 1 1: a"}', foreign)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    assert caught.value.code == 403


@DEMO_MODEL
@pytest.mark.skipif(
    not all((REPOSITORY / "demo" / file).is_file() for file in LOOK_LORAS.values()),
    reason="this checkout has no LoRAs of looks; scripts/look_loras.py makes them",
)
def test_each_lora_of_the_template_acts_on_its_own_instance(server, object_info):
    (path,) = (path for path in WORKFLOWS if path.stem == "A LoRA for each")
    prompt = api_prompt(json.loads(path.read_text(encoding="utf-8")), object_info)
    loras = [key for key, node in prompt.items() if node["class_type"] == "IC_InstanceLora"]
    assert len(loras) == 2
    entry = server.run(prompt)
    picture = saved_picture(server, prompt, entry)
    for key in loras:
        assert "acts on instance" in entry["outputs"][key]["text"][0]
    document = prompt[find(prompt, "IC_InstanceLayout")]["inputs"]["document"]
    boxes = [Box(*one["box"]) for one in json.loads(document)["instances"]]
    found = [reading for reading, _ in match(read_things(np.asarray(picture.convert("RGB"))), boxes)]
    seen = [(one.color, one.pattern, one.shape) for one in found]
    assert seen == [("pink", "dotted", "cross"), ("purple", "plain", "square"), ("red", "plain", "star")]

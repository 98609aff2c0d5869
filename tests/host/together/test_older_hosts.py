"""Other ComfyUI versions, each as a server of its own: the same nodes and latents as the tested one gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_location import find_comfyui, find_newer_hosts, find_older_hosts, version_of
from comfyui_server import Server, running_server
from safetensors.torch import load_file
from tiny_server import PACKS, write_tiny_models

from instance_composer.layout import Layout

# Where something changed for custom nodes: the oldest supported, before and after newer schema fields.
VERSIONS = ("v0.3.64", "v0.8.0", "v0.28.0")
HOW_TO_GET = (
    "ComfyUI {version} was not found. Get it with `git clone --depth 1 --branch {version} "
    "https://github.com/Comfy-Org/ComfyUI {folder}/{version}`."
)

# Versions whose server looks for a folder that newer packages of workflow templates no longer have.
NEED_TEMPLATES_FOLDER = ("v0.3.64",)

# Of the largest entry. Rounding alone: versions may sum in another order, and three steps at CFG 5 multiply
# that. The versions named here agree bit for bit on one machine.
TOLERANCE = 1e-5

# What is sampled, each kept as a latent.
KINDS = ("placed", "plain", "composed", "bound", "guided")


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def concentrated(name: str, mode: str, sampler: dict[str, Any]) -> dict[str, Any]:
    """Attribute Concentration and the sampler `name` behind it."""
    settings = {"token_weight": 1.0, "pixel_weight": 1.0, "strength": 8.0, "start": 0.0, "end": 1.0}
    settings |= {"layers": "coarse", "without_region": "own map", "inner_steps": 1, "overrides": ""}
    sources = {"model": ["checkpoint", 0], "positive": ["positive", 0], "entities": ["entities", 0]}
    made = node("IC_AttributeConcentration", **sources, layout=["layout", 0], mode=mode, **settings)
    place = f"{mode} guidance"
    outputs = {"model": [place, 0], "positive": [place, 1], "negative": ["negative", 0]}
    return {place: made, name: node("KSampler", **outputs, **sampler)}


def main_graph(layout: Layout) -> dict[str, Any]:
    """Prompt and layout to latents: plain, and with each node that changes what is sampled."""
    lines = "\n".join(f"{' '.join(map(str, one.box))}: {one.caption}" for one in layout.instances)
    text = {"text": lines, "format": "auto", "width": 192, "height": 128}
    sampler = {"seed": 7, "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"}
    sampler |= {"denoise": 1.0, "latent_image": ["latent", 0]}
    return {
        "checkpoint": node("TinySDXL"),
        "positive": node("CLIPTextEncode", clip=["checkpoint", 1], text="a red book, a vase and a cup"),
        "negative": node("CLIPTextEncode", clip=["checkpoint", 1], text="blurry"),
        "latent": node("EmptyLatentImage", width=192, height=128, batch_size=2),
        "adapter": node("IC_LoadIFAdapter", ifadapter_name="tiny.safetensors"),
        "layout": node("IC_LayoutFromText", **text, order="auto", units="auto", picture=""),
        "apply": node(
            "IC_ApplyIFAdapter",
            model=["checkpoint", 0],
            clip=["checkpoint", 1],
            ifadapter=["adapter", 0],
            layout=["layout", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            strength=1.0,
            start=0.0,
            end=1.0,
        ),
        "placed": node(
            "KSampler",
            model=["apply", 0],
            positive=["apply", 1],
            negative=["apply", 2],
            **sampler,
        ),
        "plain": node(
            "KSampler",
            model=["checkpoint", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            **sampler,
        ),
        "tuned": node("IC_LoadIterCompUNet", unet_name="tuned/", weight_dtype="default", clip_and_vae=False),
        "delta": node(
            "IC_ApplyIterCompDelta",
            model=["checkpoint", 0],
            itercomp=["tuned", 0],
            base=["checkpoint", 0],
            strength=0.7,
            blocks="all",
        ),
        "composed": node(
            "KSampler",
            model=["delta", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            **sampler,
        ),
        "entities": node(
            "IC_PromptEntities",
            clip=["checkpoint", 1],
            text="a red book, a vase and a cup",
            pipeline="en_core_web_sm",
            ignore="",
        ),
        **concentrated("bound", "local", sampler),
        **concentrated("guided", "latent", sampler),
        "save composed": node("SaveLatent", samples=["composed", 0], filename_prefix="composed"),
        "save bound": node("SaveLatent", samples=["bound", 0], filename_prefix="bound"),
        "save guided": node("SaveLatent", samples=["guided", 0], filename_prefix="guided"),
        "save placed": node("SaveLatent", samples=["placed", 0], filename_prefix="placed"),
        "save plain": node("SaveLatent", samples=["plain", 0], filename_prefix="plain"),
        "preview": node("IC_LayoutPreview", layout=["layout", 0], opacity=0.35),
    }


@dataclass
class Run:
    """The pictures that one version made of the graph, and its description of our nodes."""

    placed: torch.Tensor
    plain: torch.Tensor
    composed: torch.Tensor
    bound: torch.Tensor
    guided: torch.Tensor
    previews: list[dict[str, Any]]
    nodes: dict[str, Any]


def run(server: Server, layout: Layout, object_info: dict[str, Any]) -> Run:
    """The graph through a server that offers these nodes."""
    assert "IMPORT FAILED" not in server.log, server.log
    # What the editor asks for.
    answer = server.post("/api/instance_composer/tokens", {"texts": ["a red book"]})
    assert answer == (200, {"tokens": [5]})
    history = server.run(main_graph(layout))
    assert history["status"]["status_str"] == "success", server.log
    return Run(
        *(_latents(server.base, history["outputs"][f"save {name}"]) for name in KINDS),
        history["outputs"]["preview"]["images"],
        {name: info for name, info in object_info.items() if name[:3] == "IC_"},
    )


def _templates_package(base: Path) -> Path:
    """A folder with a package `comfyui_workflow_templates` that has the folder the current one lacks."""
    package = base / "python" / "comfyui_workflow_templates"
    (package / "templates").mkdir(parents=True)
    (package / "__init__.py").touch()
    return package.parent


def _latents(base: Path, output: dict[str, Any]) -> torch.Tensor:
    (saved,) = output["latents"]
    return load_file(base / saved["type"] / saved["subfolder"] / saved["filename"])["latent_tensor"]


@pytest.fixture(scope="module")
def tested(server, layout, object_info) -> Run:
    return run(server, layout, object_info)


@pytest.fixture(scope="module", params=(*VERSIONS, *find_newer_hosts()))
def other(request, unet_weights, adapter_file, layout, tmp_path_factory) -> Run:
    comfyui = {**find_older_hosts(), **find_newer_hosts()}.get(request.param)
    if comfyui is None:
        pytest.skip(HOW_TO_GET.format(version=request.param, folder=find_comfyui().parent / "hosts"))
    base = tmp_path_factory.mktemp(f"host-{comfyui.name}")
    write_tiny_models(base / "models", unet_weights, adapter_file)
    with pytest.MonkeyPatch.context() as patch:
        if version_of(comfyui) in NEED_TEMPLATES_FOLDER:
            patch.setenv("PYTHONPATH", str(_templates_package(base)))
        with running_server(comfyui, base, PACKS) as server:
            return run(server, layout, server.get("/object_info"))


@pytest.mark.slow
def test_another_version_gives_the_same_latents(other, tested):
    for kind in KINDS:
        found, expected = getattr(other, kind), getattr(tested, kind)
        torch.testing.assert_close(found, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0)
    for changed in (other.placed, other.composed, other.bound, other.guided):
        effect = (changed - other.plain).abs().max() / other.plain.abs().max()
        assert effect > 1000 * TOLERANCE
    assert len(other.previews) == len(tested.previews) == 1


@pytest.mark.slow
def test_another_version_offers_the_same_nodes(other, tested):
    assert _sockets(other) == _sockets(tested)


SAMPLING = ("sampler_name", "scheduler")


def _sockets(run: Run) -> dict[str, Any]:
    """Names, types and choices of inputs and outputs, in order; how an input is shown may differ, and which
    samplers there are.
    """
    return {
        name: {
            "inputs": {
                kind: [
                    (socket, *((spec[0], spec[1].get("options")) if socket not in SAMPLING else ()))
                    for socket, spec in sockets.items()
                ]
                for kind, sockets in info["input"].items()
                if kind != "hidden"
            },
            "outputs": list(zip(info["output"], info["output_name"], strict=True)),
            "texts": (info["display_name"], info["category"], info["description"]),
        }
        for name, info in run.nodes.items()
    }

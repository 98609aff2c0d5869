"""Nodes for IterComp: its UNet, its delta on any SDXL, and the delta as a LoRA."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..hosts.comfyui.checkpoints.delta import apply_delta, extract_lora
from ..hosts.comfyui.checkpoints.unet import DTYPES, load_model
from ..hosts.comfyui.checkpoints.unet_files import list_unets
from ..hosts.comfyui.schema import schema, socket
from ..models.itercomp import METHODS
from ..models.sdxl.names import GROUPS


class LoadIterCompUNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_LoadIterCompUNet",
            display_name="Load IterComp UNet",
            category="instance composer/loaders",
            description=(
                "Loads IterComp, an SDXL tuned for composition, from the published diffusers folder or from "
                "one file; any other full SDXL UNet too. Casts while it reads."
            ),
            search_aliases=["itercomp", "diffusers loader", "sdxl unet loader", "load diffusers folder"],
            inputs=[
                socket(
                    io.Combo,
                    "unet_name",
                    options=list_unets(),
                    tooltip=(
                        "A folder in models/diffusers (ends in a slash), a file in "
                        "models/diffusion_models or models/checkpoints, or the demo model after its own "
                        "tuning for composition."
                    ),
                ),
                socket(
                    io.Combo,
                    "weight_dtype",
                    options=list(DTYPES),
                    default="default",
                    tooltip=(
                        "Precision to keep the weights in. default: what ComfyUI finds best for the device. "
                        "fp32 for an exact delta or LoRA."
                    ),
                ),
                socket(
                    io.Boolean,
                    "clip_and_vae",
                    default=True,
                    tooltip="Also load text encoders and VAE, where the folder or file has them.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="For a sampler, or for Apply IterComp Delta."),
                io.Clip.Output("clip", tooltip="The text encoders that come with it, which are SDXL's."),
                io.Vae.Output("vae", tooltip="The VAE that comes with it, which is SDXL's."),
            ],
        )

    @classmethod
    def execute(cls, unet_name: str, weight_dtype: str, clip_and_vae: bool) -> io.NodeOutput:
        return io.NodeOutput(*load_model(unet_name, weight_dtype, clip_and_vae))


class ApplyIterCompDelta(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_ApplyIterCompDelta",
            display_name="Apply IterComp Delta",
            category="instance composer/model",
            description=(
                "Adds what IterComp learned beyond SDXL base to any SDXL model: "
                "model + strength x (itercomp - base)."
            ),
            search_aliases=["itercomp", "model merge add difference", "delta", "merge subtract add"],
            inputs=[
                socket(
                    io.Model,
                    "model",
                    tooltip="The SDXL model to change: base, a community checkpoint, an inpainting model.",
                ),
                socket(io.Model, "itercomp", tooltip="From Load IterComp UNet."),
                socket(
                    io.Model,
                    "base",
                    tooltip="The model IterComp was tuned from, SDXL base 1.0. May be the same as model.",
                ),
                socket(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    tooltip="1 is all that IterComp learned, 0 changes nothing, below 0 goes the other way.",
                ),
                socket(
                    io.Combo,
                    "blocks",
                    options=list(GROUPS),
                    default="all",
                    tooltip=(
                        "Which part of the UNet is changed. Chain several of these nodes to give each part "
                        "its own strength."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output(
                    "out_model",
                    display_name="model",
                    tooltip="The changed model; the one that came in stays.",
                )
            ],
        )

    @classmethod
    def execute(cls, model: Any, itercomp: Any, base: Any, strength: float, blocks: str) -> io.NodeOutput:
        return io.NodeOutput(apply_delta(model, itercomp, base, strength, blocks))


class ExtractIterCompLoRA(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_ExtractIterCompLoRA",
            display_name="Extract IterComp LoRA",
            category="instance composer/model",
            description=(
                "Saves the difference of two SDXL models as a LoRA that Load LoRA reads, with the error of "
                "every layer beside it."
            ),
            search_aliases=["itercomp", "extract lora", "svd lora", "save lora", "lora from difference"],
            is_output_node=True,
            inputs=[
                socket(io.Model, "itercomp", tooltip="From Load IterComp UNet; fp32 loses least."),
                socket(io.Model, "base", tooltip="The model it was tuned from, SDXL base 1.0."),
                socket(
                    io.Int,
                    "rank",
                    default=64,
                    min=1,
                    max=2048,
                    tooltip="The highest rank of a layer: higher is closer and larger.",
                ),
                socket(
                    io.Float,
                    "energy",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip=(
                        "A layer gets the smallest rank that keeps this share of its squared entries. "
                        "At 1 every layer gets the full rank above."
                    ),
                ),
                socket(
                    io.Combo,
                    "method",
                    options=list(METHODS),
                    default="randomized",
                    tooltip="full decomposes each layer exactly and takes many times longer.",
                ),
                socket(
                    io.Boolean,
                    "norms_and_biases",
                    default=True,
                    tooltip="Also keep norms and biases, exactly. ComfyUI reads them; some programs do not.",
                ),
                socket(
                    io.Combo,
                    "precision",
                    options=["fp16", "bf16", "fp32"],
                    default="fp16",
                    tooltip="Precision of the file.",
                ),
                socket(
                    io.Combo,
                    "device",
                    options=["default", "cpu"],
                    default="default",
                    tooltip=(
                        "Where to decompose. default: the GPU where torch can do it there (CUDA and ROCm), "
                        "else the CPU, as with MPS and XPU."
                    ),
                ),
                socket(
                    io.String,
                    "filename_prefix",
                    default="loras/itercomp",
                    tooltip="Below the output folder. In output/loras Load LoRA finds it.",
                ),
            ],
            outputs=[
                io.String.Output("report", tooltip="The file and its errors: together, by part, largest.")
            ],
        )

    @classmethod
    def execute(
        cls,
        itercomp: Any,
        base: Any,
        rank: int,
        energy: float,
        method: str,
        norms_and_biases: bool,
        precision: str,
        device: str,
        filename_prefix: str,
    ) -> io.NodeOutput:
        report = extract_lora(
            itercomp,
            base,
            rank=rank,
            energy=energy,
            method=method,
            vectors=norms_and_biases,
            precision=precision,
            on_cpu=device == "cpu",
            prefix=filename_prefix,
        )
        return io.NodeOutput(report, ui=ui.PreviewText(report))


NODES = [LoadIterCompUNet, ApplyIterCompDelta, ExtractIterCompLoRA]

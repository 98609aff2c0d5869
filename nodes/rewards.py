"""Nodes that score pictures against a prompt and pick the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..demo import FOLDER as DEMO_FOLDER
from ..hosts.comfyui.conversions import image_tensor, images_from
from ..hosts.comfyui.rewards.folder import (
    NONE,
    chosen_files,
    list_reward_files,
    list_reward_folders,
    register_reward_folder,
)
from ..hosts.comfyui.rewards.judge import ChecklistJudge, check_pictures, load_judge
from ..hosts.comfyui.rewards.judge_folder import list_judges, register_judge_folder
from ..hosts.comfyui.rewards.score import (
    DTYPES,
    CompositionRewards,
    CompositionScores,
    load_rewards,
    pick,
    score_pictures,
    score_table,
    select_latents,
)
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from ..models.rewards import (
    ASPECTS,
    combine,
    rank,
    reward_files,
)
from ..pictures.score_sheet import draw_score_sheet
from .sockets import CompositionRewardsSocket, InstanceLayoutSocket

CATEGORY = "instance composer/choose"
FILES, DEMO = "files chosen below", "demo (Shapes World)"
# How an input names an aspect.
INPUTS = {"attribute": "attribute", "spatial": "spatial", "non-spatial": "non_spatial"}

register_reward_folder()
register_judge_folder()


class LoadCompositionRewards(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def file(name: str, judges: str) -> io.Input:
            return socket(
                io.Combo,
                name,
                options=[NONE, *list_reward_files()],
                default=NONE,
                tooltip=f"A file in models/composition_rewards that judges {judges}",
            )

        return schema(
            node_id="IC_LoadCompositionRewards",
            display_name="Load Composition Rewards",
            category=CATEGORY,
            description="Loads models that say how well a picture shows a prompt, one for each aspect.",
            search_aliases=["itercomp reward", "image reward", "preference model", "aesthetic scorer"],
            inputs=[
                socket(
                    io.Combo,
                    "folder",
                    options=[FILES, DEMO, *list_reward_folders()],
                    default=FILES,
                    tooltip=(
                        "A folder in models/composition_rewards whose file names contain attribute, spatial "
                        "and non-spatial; the small models of the demo; or the three files below."
                    ),
                ),
                file("attribute", "attributes: are colours, shapes and materials on the right things?"),
                file("spatial", "spatial relations: is everything where the prompt says?"),
                file(
                    "non_spatial", "everything else: is what the prompt says there, and doing what it says?"
                ),
                socket(
                    io.Combo,
                    "dtype",
                    options=["as in the file", *DTYPES],
                    default="as in the file",
                    advanced=True,
                    tooltip=(
                        "Precision of the models. fp16 halves the 1.8 GB each published one takes and "
                        "changes scores in the third digit."
                    ),
                ),
            ],
            outputs=[CompositionRewardsSocket.Output("rewards", tooltip="For Composition Score.")],
        )

    @classmethod
    def execute(
        cls, folder: str, attribute: str, spatial: str, non_spatial: str, dtype: str
    ) -> io.NodeOutput:
        if folder == DEMO:
            return io.NodeOutput(load_rewards(_demo_files(), dtype))
        names = dict(zip(ASPECTS, (attribute, spatial, non_spatial), strict=True))
        return io.NodeOutput(load_rewards(chosen_files(None if folder == FILES else folder, names), dtype))


def _demo_files() -> dict[str, Path]:
    folder = DEMO_FOLDER / "rewards"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The demo's reward models are not in {folder}. Install the pack again, or make them: "
            "docs/rewards.md tells how they are trained."
        )
    return reward_files(folder)


class LoadChecklistJudge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_LoadChecklistJudge",
            display_name="Load Checklist Judge",
            category=CATEGORY,
            description=(
                "Loads a vision-language model that answers questions about a layout: is each thing in its "
                "place, does it look as its caption says, is the right one in front."
            ),
            search_aliases=["vlm judge", "qwen vl", "vqa score", "visual question answering", "tifa"],
            inputs=[
                socket(
                    io.Combo,
                    "folder",
                    options=list_judges(),
                    tooltip=(
                        "A folder in models/vision_language_models with a model that chats about pictures, "
                        "as Hugging Face's hub has it, such as Qwen2-VL-2B-Instruct. Nothing is downloaded."
                    ),
                ),
                socket(
                    io.Combo,
                    "dtype",
                    options=["as in the file", *DTYPES],
                    default="as in the file",
                    advanced=True,
                    tooltip="Precision of the model. On a CPU without a choice full precision.",
                ),
            ],
            outputs=[
                CompositionRewardsSocket.Output("rewards", tooltip="For Composition Score, with a layout.")
            ],
        )

    @classmethod
    def execute(cls, folder: str, dtype: str) -> io.NodeOutput:
        return io.NodeOutput(load_judge(folder, dtype))


class CompositionScore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def weight(aspect: str) -> io.Input:
            return socket(
                io.Float,
                f"{INPUTS[aspect]}_weight",
                default=1.0,
                min=-10.0,
                max=10.0,
                step=0.05,
                tooltip=f"What the {aspect} score counts in the combined one; 0 leaves it out.",
            )

        def scores(name: str, tooltip: str) -> io.Output:
            return io.Float.Output(name, is_output_list=True, tooltip=tooltip)

        return schema(
            node_id="IC_CompositionScore",
            display_name="Composition Score",
            category=CATEGORY,
            description=(
                "Scores every picture of a batch: how well it shows the text, in each aspect and altogether, "
                "with bars and a star for the best."
            ),
            search_aliases=["image reward", "rate images", "rank images", "clip score", "itercomp score"],
            is_output_node=True,
            inputs=[
                socket(
                    CompositionRewardsSocket,
                    "rewards",
                    tooltip="From Load Composition Rewards, or from Load Checklist Judge.",
                ),
                socket(io.Image, "image", tooltip="The pictures, as one batch."),
                socket(
                    io.String,
                    "text",
                    multiline=True,
                    default="",
                    tooltip=(
                        "What the pictures should show, usually their prompt. The models read its first 33 "
                        "word pieces; the table says what was left out."
                    ),
                ),
                *(weight(aspect) for aspect in ASPECTS),
                socket(
                    InstanceLayoutSocket,
                    "layout",
                    optional=True,
                    tooltip=(
                        "What a checklist judge asks about: the layout that the pictures were made of. "
                        "Reward models read the text instead."
                    ),
                ),
            ],
            outputs=[
                scores("scores", "The combined score of each picture, a list for Pick Best."),
                *(
                    scores(
                        f"{INPUTS[aspect]}_scores",
                        f"The {aspect} score of each picture; no numbers if that model is not loaded.",
                    )
                    for aspect in ASPECTS
                ),
                io.String.Output("table", tooltip="All scores as text, the best picture first."),
            ],
        )

    @classmethod
    def execute(
        cls,
        rewards: CompositionRewards | ChecklistJudge,
        image: Tensor,
        text: str,
        attribute_weight: float,
        spatial_weight: float,
        non_spatial_weight: float,
        layout: Layout | None = None,
    ) -> io.NodeOutput:
        scores = _scores(rewards, image, text, layout)
        weights = dict(zip(ASPECTS, (attribute_weight, spatial_weight, non_spatial_weight), strict=True))
        combined = combine(scores.normalized, weights)
        table = score_table(scores, combined)
        if scores.remarks:
            table += f"\n\n{scores.remarks}"
        missing = torch.full_like(combined, torch.nan)
        single = [scores.normalized.get(aspect, missing).tolist() for aspect in ASPECTS]
        sheet = draw_score_sheet(images_from(image), rank(combined), _named(scores.normalized, combined))
        return io.NodeOutput(
            combined.tolist(),
            *single,
            table,
            ui={**ui.PreviewImage(image_tensor([sheet]), cls=cls).as_dict(), "text": (table,)},
        )


def _scores(
    rewards: CompositionRewards | ChecklistJudge, image: Tensor, text: str, layout: Layout | None
) -> CompositionScores:
    if isinstance(rewards, ChecklistJudge):
        if layout is None:
            raise ValueError(
                "A checklist judge asks about a layout. Connect the one that the pictures were made of to "
                "layout."
            )
        return check_pictures(rewards, image, layout)
    if not text.strip():
        raise ValueError("The text is empty. Write what the pictures should show, usually their prompt.")
    return score_pictures(rewards, image, text)


def _named(normalized: dict[str, Tensor], combined: Tensor) -> list[list[tuple[str, float]]]:
    """The scores below each picture: the combined one after its number, then the aspects."""
    return [
        [
            (f"picture {number + 1}", score),
            *((aspect, float(values[number])) for aspect, values in normalized.items()),
        ]
        for number, score in enumerate(combined.tolist())
    ]


class PickBest(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_PickBest",
            display_name="Pick Best",
            category=CATEGORY,
            description="Keeps the pictures or latents with the highest scores, the best one first.",
            search_aliases=["best of n", "top k", "sort images", "select best", "filter batch"],
            is_input_list=True,
            inputs=[
                socket(
                    io.Float,
                    "scores",
                    force_input=True,
                    tooltip="One number for each picture: from Composition Score or any other node.",
                ),
                socket(
                    io.Int,
                    "count",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="How many to keep. More than there are keeps all, sorted.",
                ),
                socket(io.Image, "image", optional=True, tooltip="The pictures that were scored."),
                socket(
                    io.Latent,
                    "latent",
                    optional=True,
                    tooltip="Their latents, for instance for a second pass over the best ones only.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The best pictures, the best one first."),
                io.Latent.Output("latent", tooltip="Their latents in the same order."),
                io.Int.Output(
                    "places",
                    is_output_list=True,
                    tooltip="Where each one was in the batch, counted from 0, the best one first.",
                ),
                io.Float.Output(
                    "best_scores", is_output_list=True, tooltip="Their scores, the highest first."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        scores: list[float],
        count: list[int],
        image: list[Tensor] | None = None,
        latent: list[dict[str, Any]] | None = None,
    ) -> io.NodeOutput:
        pictures = _only("image", image)
        latents = _only("latent", latent)
        values = torch.tensor([float(score) for score in scores], dtype=torch.float64)
        chosen = pick(values, count[0], pictures, latents)
        return io.NodeOutput(
            None if pictures is None else pictures[chosen],
            None if latents is None else select_latents(latents, chosen),
            chosen,
            values[chosen].tolist(),
        )


def _only(name: str, given: list[Any] | None) -> Any:
    """The batch itself; this node takes lists for the sake of the scores."""
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(
            f"There are {len(given)} batches at {name}; the scores are of one. Make one batch of them first."
        )
    return given[0]


NODES = [LoadCompositionRewards, LoadChecklistJudge, CompositionScore, PickBest]

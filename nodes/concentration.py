"""The node that keeps attributes on their nouns while sampling."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hosts.comfyui.concentration.apply import (
    MODES,
    Concentration,
    apply_concentration,
)
from ..hosts.comfyui.prompts.entities import PromptEntities
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from ..models.concentration.find_targets import WITHOUT_REGION
from .inputs import layers_input, silhouettes_input, window_inputs
from .notes import noted, told_on
from .sockets import EntitiesSocket, InstanceLayoutSocket

DEFAULTS = Concentration()


class AttributeConcentration(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_AttributeConcentration",
            display_name="Attribute Concentration",
            category="instance composer/attention",
            description=(
                "Keeps the attention of each thing's words, its noun and its attributes, in one place of the "
                "picture while it is sampled. Connect both outputs to the sampler."
            ),
            has_intermediate_output=True,  # the node shows what is worth a look in the layout
            search_aliases=[
                "attribute binding",
                "attend and excite",
                "comat",
                "color bleeding",
                "guidance",
                "multi subject",
                "character",
            ],
            inputs=[
                socket(
                    io.Model,
                    "model",
                    tooltip="A model that Draw Regions works with, LoRAs and other patches included.",
                ),
                socket(io.Conditioning, "positive", tooltip="The prompt that the entities were found in."),
                socket(
                    EntitiesSocket,
                    "entities",
                    tooltip="From Prompt Entities, given the same text and the same CLIP as the prompt.",
                ),
                socket(
                    io.Float,
                    "token_weight",
                    default=DEFAULTS.token_weight,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "How much the token term counts: each word's own attention gathers inside its "
                        "region, however much there is of it. It binds attributes to their noun. Try "
                        "0.5 to 2."
                    ),
                ),
                socket(
                    io.Float,
                    "pixel_weight",
                    default=DEFAULTS.pixel_weight,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "How much the pixel term counts: inside a region its words get all attention, "
                        "outside none. It asks for what is missing, and is the stronger of the two. Try "
                        "0.5 to 2."
                    ),
                ),
                socket(
                    io.Float,
                    "strength",
                    default=DEFAULTS.strength,
                    min=0.0,
                    max=20.0,
                    step=0.05,
                    tooltip=(
                        "How far attention is moved, the same at every size of picture and in every layer. 0 "
                        "switches the node off. Try 1, and up to 2 where a layout gives the regions."
                    ),
                ),
                socket(
                    io.Combo,
                    "mode",
                    options=list(MODES),
                    default=DEFAULTS.mode,
                    tooltip=(
                        "local moves attention inside the layers: cheap, with every model that Draw Regions "
                        "works with. latent (experimental) moves the picture itself along a gradient: SDXL "
                        "alone, slower, needs memory, not with quantised or paged weights."
                    ),
                ),
                *window_inputs(
                    start=(
                        "Where in the sampling run it begins to act, as a share of the noise schedule (not "
                        "of the steps): 0 is the first step. Try 0 to 0.2."
                    ),
                    end="Where in the sampling run it stops. After it nothing is computed. Try 0.4 to 1.",
                    advanced=True,
                ),
                layers_input("In which of the layers that read text attention is moved", advanced=True),
                socket(
                    io.Combo,
                    "without_region",
                    options=list(WITHOUT_REGION),
                    default=DEFAULTS.without_region,
                    advanced=True,
                    tooltip=(
                        "What happens to an entity without region. own map: its region is where its noun "
                        "gets most attention. nowhere: it should get none. leave alone: nothing."
                    ),
                ),
                socket(
                    io.Int,
                    "inner_steps",
                    default=DEFAULTS.inner_steps,
                    min=1,
                    max=10,
                    advanced=True,
                    tooltip=(
                        "Parts in which local moves the attention of a layer, looking again after each. "
                        "Try 1 to 3."
                    ),
                ),
                socket(
                    io.String,
                    "overrides",
                    default="",
                    multiline=True,
                    advanced=True,
                    tooltip=(
                        "Which instance an entity is, where its words do not tell. One line each, for "
                        "example: red book = 2. The instance by its number or id, or none."
                    ),
                ),
                socket(
                    InstanceLayoutSocket,
                    "layout",
                    optional=True,
                    tooltip="Regions: each entity takes that of the instance whose caption has its noun.",
                ),
                socket(
                    io.Mask,
                    "masks",
                    optional=True,
                    tooltip=(
                        "Regions as a batch of masks: the first for the first entity that can have a place, "
                        "and so on. They come before those of the layout."
                    ),
                ),
                silhouettes_input("the attention to each entity's noun"),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Model.Output("out_model", display_name="model", tooltip="Samples with the guidance."),
                io.Conditioning.Output(
                    "out_positive", display_name="positive", tooltip="The prompt with its entities."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        entities: PromptEntities,
        token_weight: float,
        pixel_weight: float,
        strength: float,
        mode: str,
        start: float,
        end: float,
        layers: str,
        without_region: str,
        inner_steps: int = 1,
        overrides: str = "",
        layout: Layout | None = None,
        masks: Any = None,
        silhouettes_from: float = 0.0,
    ) -> io.NodeOutput:
        settings = Concentration(
            token_weight,
            pixel_weight,
            strength,
            mode,
            start,
            end,
            layers,
            without_region,
            inner_steps,
            silhouettes_from,
        )
        applied = apply_concentration(
            model, positive, entities.entities, settings, layout, masks, overrides, told_on(cls)
        )
        return io.NodeOutput(*applied, ui=noted(layout, strength))


NODES = [AttributeConcentration]

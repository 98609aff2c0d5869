"""The node that finds the entities of a prompt."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..hosts.comfyui.prompts.entities import describe, find_prompt_entities
from ..hosts.comfyui.schema import schema, socket
from ..layout import Layout
from ..models.entities.pipelines import DEFAULT_PIPELINE, installed_pipelines
from .sockets import EntitiesSocket, InstanceLayoutSocket


class PromptEntities(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_PromptEntities",
            display_name="Prompt Entities",
            category="instance composer/attention",
            description="Finds the things a prompt speaks of, and the words that describe each.",
            is_output_node=True,  # it runs alone too, and hands its table to whoever asks the server
            search_aliases=["attributes", "nouns", "spacy", "attention tokens", "attribute binding"],
            inputs=[
                socket(
                    io.Clip,
                    "clip",
                    tooltip="The text encoders of the prompt: they number the words.",
                ),
                socket(
                    io.String,
                    "text",
                    default="",
                    multiline=True,
                    tooltip=(
                        "The prompt, exactly as CLIP Text Encode gets it, weights and embeddings included. "
                        "Connect one text to both. Empty: the prompt of the layout as written, without the "
                        "captions that join it."
                    ),
                ),
                socket(
                    io.Combo,
                    "pipeline",
                    options=installed_pipelines(),
                    default=DEFAULT_PIPELINE,
                    tooltip="The spaCy pipeline that reads the prompt; every installed one is listed.",
                ),
                socket(
                    io.String,
                    "ignore",
                    default="",
                    advanced=True,
                    tooltip="Nouns to leave out, separated by commas; singular and plural are the same.",
                ),
                socket(
                    InstanceLayoutSocket,
                    "layout",
                    optional=True,
                    tooltip=(
                        "What its captions are about has a region, also when it is on the stop list. The "
                        "table tells which entity is which instance."
                    ),
                ),
            ],
            outputs=[
                EntitiesSocket.Output(
                    "entities",
                    tooltip="For Attribute Concentration, Segment Entities, Record Attention Maps.",
                ),
                io.String.Output("table", tooltip="What was found, as text for Preview as Text."),
            ],
        )

    @classmethod
    def execute(
        cls, clip: Any, text: str, pipeline: str, ignore: str = "", layout: Layout | None = None
    ) -> io.NodeOutput:
        prompt = layout.prompt if layout and not text.strip() else text
        entities = find_prompt_entities(clip, prompt, pipeline, layout=layout, ignored=ignore.split(","))
        table = describe(entities, layout)
        return io.NodeOutput(entities, table, ui=ui.PreviewText(table))


NODES = [PromptEntities]

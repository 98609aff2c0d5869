"""Nodes that make, read and show layouts."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..hosts.comfyui.conversions import (
    boxes_of,
    elements_of,
    image_tensor,
    images_from,
    masks_of,
    with_upstream_regions,
)
from ..hosts.comfyui.schema import schema, socket
from ..layout import (
    Canvas,
    Layout,
    transform,
)
from ..layout.formats import FORMATS, READERS, detect, find_reader, read_noted
from ..layout.formats.conventions import CORNERS, UNITS
from ..models.entities.naming import join_captions
from ..pictures import draw_layout
from .sockets import (
    LAYOUT_CATEGORY,
    ArraySocket,
    BoundingBoxesSocket,
    BoundingBoxSocket,
    InstanceLayoutSocket,
    layout_output,
)

AUTOMATIC = "auto"


def _side(name: str, default: int, low: int, tooltip: str) -> io.Input:
    return socket(io.Int, name, default=default, min=low, max=16384, step=8, tooltip=tooltip)


def _join_input() -> io.Input:
    return socket(
        io.Boolean,
        "join_captions",
        default=True,
        optional=True,  # workflows saved before it existed
        tooltip=(
            "Adds the captions that the prompt does not name to the output prompt, where a thing that only "
            "its region tells of is easily left out of the picture. With Draw Regions switch it off and let "
            "the prompt name the background alone."
        ),
    )


class InstanceLayout(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_InstanceLayout",
            display_name="Instance Layout",
            category=LAYOUT_CATEGORY,
            description="Says what goes where and what each thing looks like.",
            has_intermediate_output=True,  # the editor hears of the document that a run used
            search_aliases=[
                "regions",
                "bounding boxes",
                "regional prompt",
                "layout editor",
                "composition",
                "place",
                "box",
                "area",
                "multi subject",
                "character",
            ],
            inputs=[
                _side("width", 1024, 16, "Width of the picture in pixels. Boxes are fractions and follow."),
                _side("height", 1024, 16, "Height of the picture in pixels. Boxes are fractions and follow."),
                socket(
                    io.String,
                    "document",
                    default="",
                    multiline=True,
                    optional=True,  # a prompt from elsewhere need not have it
                    tooltip=(
                        "The layout as JSON. Empty is a layout without instances; text of other programs "
                        "goes through Layout from Text."
                    ),
                ),
                io.MultiType.Input(
                    "bounding_boxes",
                    [BoundingBoxSocket, BoundingBoxesSocket],
                    optional=True,
                    tooltip=(
                        "Regions from a detector or another editor, in pixels: the first box goes to the "
                        "first instance and so on, further ones become instances."
                    ),
                ),
                socket(
                    io.Mask,
                    "masks",
                    optional=True,
                    tooltip=(
                        "Free-form regions: the first mask of the batch goes to the first instance and so "
                        "on, further ones become instances."
                    ),
                ),
                socket(
                    io.Image,
                    "image",
                    optional=True,
                    tooltip="Shown under the regions while drawing; it changes nothing in the picture.",
                ),
                _join_input(),
                socket(
                    ArraySocket,
                    "elements",
                    optional=True,
                    tooltip=(
                        "Elements of core's Create Bounding Boxes: the first one's region goes to the first "
                        "instance and so on, with words and palette where it has none; further ones become "
                        "instances."
                    ),
                ),
            ],
            outputs=[
                layout_output(),
                BoundingBoxSocket.Output(
                    "bounding_boxes", tooltip="Boxes of the enabled instances in pixels."
                ),
                io.Mask.Output("masks", tooltip="One mask for each enabled instance, as a batch."),
                io.String.Output(
                    "prompt",
                    tooltip=(
                        "The prompt of the whole picture, from the editor, with the captions that it does "
                        "not name."
                    ),
                ),
                io.String.Output("negative", tooltip="The negative prompt of the whole picture."),
                io.Int.Output("width", tooltip="Width of the picture in pixels, for the empty latent."),
                io.Int.Output("height", tooltip="Height of the picture in pixels, for the empty latent."),
                ArraySocket.Output(
                    "elements",
                    tooltip=(
                        "The enabled instances for core's nodes that build a prompt with boxes: Ideogram, "
                        "FLUX 3, MOSS."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        width: int,
        height: int,
        document: str = "",
        bounding_boxes: Any = None,
        masks: Tensor | None = None,
        image: Tensor | None = None,
        join_captions: bool = True,
        elements: Any = None,
    ) -> io.NodeOutput:
        drawn = Layout.from_json(document) if document.strip() else Layout()
        drawn = transform.resize_canvas(drawn, width, height)
        layout = with_upstream_regions(drawn, bounding_boxes, masks, elements)
        shown: dict[str, Any] = {"width": width, "height": height}
        if layout is not drawn:
            shown |= {"document": layout.to_json(), "seeded_from": document}
        # Not under "images": ComfyUI would draw its own preview below the editor.
        reference = [] if image is None else ui.PreviewImage(image[:1], cls=cls).as_dict()["images"]
        size = layout.canvas.width, layout.canvas.height
        return io.NodeOutput(
            layout,
            boxes_of(layout),
            masks_of(layout),
            _prompt(layout, join_captions),
            layout.negative,
            *size,
            elements_of(layout),
            ui={"instance_layout": [shown], "instance_layout_reference": reference},
        )


def _prompt(layout: Layout, joined: bool) -> str:
    return join_captions(layout) if joined else layout.prompt


class LayoutFromText(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_LayoutFromText",
            display_name="Layout from Text",
            category=LAYOUT_CATEGORY,
            description="Reads layouts of other programs, and plain lines like 0.1 0.2 0.5 0.9: a red book.",
            has_intermediate_output=True,  # how the text was read is shown although nothing is saved
            search_aliases=[
                *(
                    "import layout",
                    "coco",
                    "omost",
                    "ideogram",
                    "flux 3",
                    "ifadapter json",
                    "llm layout",
                    "yolo",
                ),
                *(
                    "labelme",
                    "label studio",
                    "via",
                    "gligen",
                    "migc",
                    "florence",
                    "forge couple",
                    "detections",
                ),
            ],
            inputs=[
                socket(
                    io.String, "text", default="", multiline=True, tooltip="The text in any known format."
                ),
                socket(
                    io.Combo,
                    "format",
                    options=[AUTOMATIC, *FORMATS, *READERS],
                    default=AUTOMATIC,
                    tooltip=(
                        "The format of the text; auto recognises it or says why it cannot. The node shows "
                        "how the text was read: format, unit, order of the numbers, and what was left out."
                    ),
                ),
                _side(
                    "width",
                    0,
                    0,
                    "Width the boxes are drawn on, where the text does not tell. 0: the format's own.",
                ),
                _side(
                    "height",
                    0,
                    0,
                    "Height the boxes are drawn on, where the text does not tell. 0: the format's own.",
                ),
                socket(
                    io.Combo,
                    "order",
                    options=[AUTOMATIC, *CORNERS],
                    default=AUTOMATIC,
                    advanced=True,
                    tooltip=(
                        "What the four numbers of a language model's boxes mean, if it does not tell: "
                        "corners, corner and size, corners with y first, or centre and size (cxcywh)."
                    ),
                ),
                socket(
                    io.Combo,
                    "units",
                    options=[AUTOMATIC, *UNITS],
                    default=AUTOMATIC,
                    advanced=True,
                    tooltip="The unit of a language model's boxes or plain lines, if the text does not tell.",
                ),
                socket(
                    io.String,
                    "picture",
                    default="",
                    advanced=True,
                    tooltip=(
                        "Which picture of a COCO, Label Studio or VIA file (id or file name), or of core's "
                        "bounding boxes of a batch (a number from 0); empty if there is one only."
                    ),
                ),
                _join_input(),
            ],
            outputs=[
                layout_output(),
                io.String.Output(
                    "prompt",
                    tooltip=(
                        "The prompt of the whole picture, if the text has one, with the captions that it "
                        "does not name."
                    ),
                ),
                io.String.Output("negative", tooltip="The negative prompt, if the text has one."),
                io.Int.Output("width", tooltip="Width of the canvas in pixels."),
                io.Int.Output("height", tooltip="Height of the canvas in pixels."),
            ],
        )

    @classmethod
    def execute(
        cls,
        text: str,
        format: str,
        width: int,
        height: int,
        order: str,
        units: str,
        picture: str,
        join_captions: bool = True,
    ) -> io.NodeOutput:
        name = detect(text) if format == AUTOMATIC else format
        options = {"order": order, "units": units}
        reading = read_noted(
            text,
            name,
            canvas=_canvas(width, height),
            **{option: value for option, value in options.items() if value != AUTOMATIC},
            **_chosen(name, picture.strip()),
        )
        layout = reading.layout.checked()
        size = layout.canvas.width, layout.canvas.height
        prompt = _prompt(layout, join_captions)
        report = reading.report()
        if prompt != layout.prompt:
            report += f"\nThe output prompt also names what the prompt of the text does not: {prompt}"
        return io.NodeOutput(layout, prompt, layout.negative, *size, ui=ui.PreviewText(report))


def _chosen(format: str, picture: str) -> dict[str, Any]:
    """The option of a format that chooses a picture; none where none is named."""
    if picture in ("", AUTOMATIC):
        return {}
    if "frame" not in find_reader(format).options:
        return {"image": picture}
    if not (picture.isdecimal() and len(picture) < 10):
        raise ValueError(f"picture is {picture!r}; of bounding boxes it is a whole number from 0")
    return {"frame": int(picture)}


def _canvas(width: int, height: int) -> Canvas | None:
    if bool(width) != bool(height):
        raise ValueError(f"width is {width} and height is {height}: give both, or 0 for both")
    return Canvas(width, height) if width else None


class LayoutPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="IC_LayoutPreview",
            display_name="Layout Preview",
            category=LAYOUT_CATEGORY,
            description="Draws a layout, over a picture if there is one.",
            search_aliases=["show layout", "draw boxes", "draw regions", "visualize layout"],
            is_output_node=True,
            inputs=[
                socket(InstanceLayoutSocket, "layout", tooltip="The layout to draw."),
                socket(
                    io.Image,
                    "image",
                    optional=True,
                    tooltip="Drawn under it, each picture of a batch.",
                ),
                socket(
                    io.Float,
                    "opacity",
                    default=0.35,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much the colours of the regions cover the picture.",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The layout drawn over the picture.")],
        )

    @classmethod
    def execute(cls, layout: Layout, opacity: float, image: Tensor | None = None) -> io.NodeOutput:
        backgrounds = [None] if image is None else images_from(image)
        drawn = image_tensor([draw_layout(layout, background=b, opacity=opacity) for b in backgrounds])
        return io.NodeOutput(drawn, ui=ui.PreviewImage(drawn, cls=cls))


NODES = [InstanceLayout, LayoutFromText, LayoutPreview]

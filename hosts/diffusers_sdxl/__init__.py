"""IFAdapter and attribute concentration on diffusers' SDXL, and a layout to a picture."""

from ...models.ifadapter.phrases import Phrases
from .concentration import (
    attach_concentration,
    move_noise,
    preset_layers,
    record_attention,
)
from .errors import UnsuitableModelError
from .ifadapter import Attachment, attach_ifadapter, attach_prompts
from .loading import load_loras, load_sdxl
from .phrases import encode_phrases, encode_tokens
from .pipeline import (
    EncodedLayout,
    active_instances,
    encode_layout,
    fit_size,
    generate,
    generate_base,
)

__all__ = [
    "Attachment",
    "EncodedLayout",
    "Phrases",
    "UnsuitableModelError",
    "active_instances",
    "attach_concentration",
    "attach_ifadapter",
    "attach_prompts",
    "encode_layout",
    "encode_phrases",
    "encode_tokens",
    "fit_size",
    "generate",
    "generate_base",
    "load_loras",
    "load_sdxl",
    "move_noise",
    "preset_layers",
    "record_attention",
]

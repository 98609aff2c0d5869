"""IFAdapter and attribute concentration on diffusers' SDXL, and a layout to a picture."""

from ...models.ifadapter.phrases import Phrases
from .concentration import (
    attach_concentration,
    move_noise,
    preset_layers,
    probabilities_of,
    record_attention,
    record_projections,
)
from .conditions import Conditions, load_ip_adapter, offload, with_controlnet
from .errors import UnsuitableModelError
from .ifadapter import Attachment, attach_ifadapter, attach_prompts
from .loading import TextToImage, load_gligen, load_loras, load_sdxl, load_stable_diffusion
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
    "Conditions",
    "EncodedLayout",
    "Phrases",
    "TextToImage",
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
    "load_gligen",
    "load_ip_adapter",
    "load_loras",
    "load_sdxl",
    "load_stable_diffusion",
    "move_noise",
    "offload",
    "preset_layers",
    "probabilities_of",
    "record_attention",
    "record_projections",
    "with_controlnet",
]

"""IFAdapter (arXiv 2409.08240): instance captions and regions through an instance semantic map."""

from ..regions import Placement, Regions
from ..sdxl.attention_layers import AttentionLayer, number_attention_layers
from ..weights import CheckpointError
from .adapter import IFAdapter
from .attention import InstanceAttention
from .cell_lists import SLOTS
from .checkpoint import read_checkpoint, write_checkpoint
from .config import IFAdapterConfig
from .gate import Gate
from .prompt import InstancePrompt, StackedPrompts
from .semantic_map import prompts_semantic_map, semantic_map
from .semantic_map_cropped import cropped_semantic_map
from .semantic_map_gathered import gathered_semantic_map

__all__ = [
    "SLOTS",
    "AttentionLayer",
    "CheckpointError",
    "Gate",
    "IFAdapter",
    "IFAdapterConfig",
    "InstanceAttention",
    "InstancePrompt",
    "Placement",
    "Regions",
    "StackedPrompts",
    "cropped_semantic_map",
    "gathered_semantic_map",
    "number_attention_layers",
    "prompts_semantic_map",
    "read_checkpoint",
    "semantic_map",
    "write_checkpoint",
]

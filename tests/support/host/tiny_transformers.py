"""Tiny transformers of ComfyUI's own classes with random weights, reading texts of the tiny CLIP's width."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import comfy.ldm.anima.model
import comfy.supported_models
import torch
from host_cases import assert_close
from tiny_comfyui import CPU, Patcher, random_like

from instance_composer.models.entities.extraction import EntityTokens

WIDTH = 48  # of the tiny CLIP's texts
POOLED = 24

_FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "context_in_dim": WIDTH,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 4,
    "depth": 2,
    "depth_single_blocks": 2,
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
}
_FLUX1 = {
    **_FLUX,
    "vec_in_dim": POOLED,
    "axes_dim": [4, 6, 6],
    "guidance_embed": True,
    "txt_ids_dims": [],
}
_FLUX2 = {
    **_FLUX,
    "vec_in_dim": None,
    "in_channels": 128,
    "out_channels": 128,
    "patch_size": 1,
    "axes_dim": [4, 4, 4, 4],
    "guidance_embed": False,
    "txt_ids_dims": [3],
    "global_modulation": True,
    "mlp_silu_act": True,
    "ops_bias": False,
    "qkv_bias": False,
}
_CHROMA = {
    **_FLUX,
    "in_channels": 64,
    "out_channels": 64,
    "vec_in_dim": POOLED,
    "axes_dim": [4, 6, 6],
    "txt_ids_dims": [],
    "in_dim": 64,
    "out_dim": 64,
    "hidden_dim": 64,
    "n_layers": 1,
}
_QWEN = {
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (4, 6, 6),
}
_LUMINA = {
    "patch_size": 2,
    "in_channels": 16,
    "dim": 64,
    "n_layers": 2,
    "n_refiner_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "multiple_of": 32,
    "qk_norm": True,
    "cap_feat_dim": WIDTH,
    "axes_dims": [4, 6, 6],
    "axes_lens": [64, 64, 64],
}
_ZIMAGE = {
    **_LUMINA,
    # The width of its time embedding is fixed.
    "dim": 256,
    "n_heads": 16,
    "n_kv_heads": 16,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
_KREA = {
    "features": 128,
    "tdim": 32,
    "txtdim": 16,
    "heads": 8,
    "kvheads": 2,
    "multiplier": 2,
    "layers": 2,
    "txtlayers": 3,
    "txtheads": 2,
    "txtkvheads": 2,
}
_COSMOS = {
    "max_img_h": 64,
    "max_img_w": 64,
    "max_frames": 8,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 64,
    "num_blocks": 2,
    "num_heads": 2,
    "crossattn_emb_channels": WIDTH,
    "pos_emb_cls": "rope3d",
    "use_adaln_lora": True,
    "adaln_lora_dim": 16,
}
_WAN = {
    "model_type": "t2v",
    "in_dim": 16,
    "dim": 64,
    "ffn_dim": 64,
    "freq_dim": 32,
    "text_dim": WIDTH,
    "out_dim": 16,
    "num_heads": 4,
    "num_layers": 2,
}
_SD3 = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "num_patches": 36864,
    "pos_embed_max_size": 192,
    "adm_in_channels": POOLED,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": WIDTH, "out_features": 128},
    },
    "qk_norm": "rms",
    "x_block_self_attn_layers": [0],
    "input_size": None,
}
_HIDREAM = {
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "caption_channels": [WIDTH, 32],
    "text_emb_dim": POOLED,
    # As many as there are: which expert a token goes to cannot hang on its last digit.
    "num_routed_experts": 2,
    "num_activated_experts": 2,
    "axes_dims_rope": (4, 6, 6),
    "max_resolution": (64, 64),
    "llama_layers": [0, 1, 2, 2],
}
LLAMA = 50  # tokens that the tiny CLIP's Llama makes of a text, beside the 77 of its T5
# Name -> ComfyUI's description of the model, the sizes of its class, and the shape of a picture's latent.
CONFIGS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "Flux.1": ("Flux", _FLUX1, (16,)),
    "FLUX.2": ("Flux2", _FLUX2, (128,)),
    "Chroma": ("Chroma", _CHROMA, (16,)),
    "Qwen-Image": ("QwenImage", _QWEN, (16, 1)),
    "Lumina 2": ("Lumina2", _LUMINA, (16,)),
    "Z-Image": ("ZImage", _ZIMAGE, (16,)),
    "Krea 2": ("Krea2", _KREA, (16, 1)),
    "Cosmos-Predict2": ("CosmosT2IPredict2", _COSMOS, (16, 1)),
    "Anima": ("Anima", _COSMOS, (16, 1)),
    "Wan": ("WAN21_T2V", _WAN, (16, 3)),
    "SD3.5": ("SD3", _SD3, (16,)),
    "HiDream I1": ("HiDream", _HIDREAM, (16,)),
}


class WithLlama:
    """A CLIP that also makes the layers (1, 3, LLAMA, 32) of Llama, as HiDream's does; others ignore them."""

    def __init__(self, clip: Any) -> None:
        self.clip = clip
        self.to_llama = torch.randn(3, WIDTH, 32, generator=torch.Generator().manual_seed(7)) / 4

    def __getattr__(self, name: str) -> Any:
        return getattr(self.clip, name)

    def encode_from_tokens_scheduled(self, *args: Any, **kwargs: Any) -> Any:
        found = self.clip.encode_from_tokens_scheduled(*args, **kwargs)
        return [[text, {**values, "conditioning_llama3": self.layers(text)}] for text, values in found]

    def layers(self, text: torch.Tensor) -> torch.Tensor:
        return (text[:, None, :LLAMA] @ self.to_llama).sin()


def in_three_texts(entity: EntityTokens) -> EntityTokens:
    """An entity's places among 77 tokens of T5, and one later in each of Llama's two texts behind them."""

    def places(tokens: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(start + n for start in (0, 78, 78 + LLAMA) for n in tokens)

    own = {key: places(getattr(entity, key)) for key in ("tokens", "noun_tokens", "modifier_tokens")}
    return replace(entity, **own)


def tiny_transformer(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The MODEL of this name."""
    kind, sizes, _ = CONFIGS[name]
    adapter = comfy.ldm.anima.model.LLMAdapter
    tiny = partial(adapter, source_dim=WIDTH, target_dim=WIDTH, model_dim=WIDTH, num_layers=1, num_heads=2)
    comfy.ldm.anima.model.LLMAdapter = tiny
    try:
        settings = getattr(comfy.supported_models, kind)(dict(sizes))
        settings.set_inference_dtype(dtype, None)
        made = settings.get_model({}, "", CPU)
    finally:
        comfy.ldm.anima.model.LLMAdapter = adapter
    state = made.diffusion_model.state_dict()
    made.diffusion_model.load_state_dict(random_like(state, seed=len(state)))
    return Patcher(made, load_device=CPU, offload_device=CPU)


def latents(name: str, batch: int, height: int, width: int, seed: int = 1) -> torch.Tensor:
    """Unit noise of the shape that the model samples."""
    shape = CONFIGS[name][2]
    return torch.randn(batch, *shape, height, width, generator=torch.Generator().manual_seed(seed))


def close(name: str, found: Any, expected: Any, tolerance: float = 2e-5) -> None:
    """Predictions of two ways through this model are alike.

    They are of order one (Wan's of order 20); a few hundred float32 numbers are summed in another order, and
    their rounding goes through the layers behind them. In float64, which few of the classes can run in, the
    same is below 1e-6.
    """
    scale = 20 if name == "Wan" else 1
    assert_close(found.positive, expected.positive, tolerance * scale)
    if expected.negative is not None:
        assert_close(found.negative, expected.negative, tolerance * scale)

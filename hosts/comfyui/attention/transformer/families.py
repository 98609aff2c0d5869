"""Families of transformers: where their text is, how it is numbered, and how a picture lies in the sequence.

Facts of ComfyUI's own classes (`comfy/ldm`), 0.33. A family is told by the name of its class, so that a
version without it needs no import.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelMismatchError
from ..placed import Caption

# Rows and columns of the latent, and frames, as whole patches.
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Stream:
    """Text that a model reads beside its first: the argument, and the entry of a CONDITIONING's values.

    Its tokens lie along `axis`, and every block reads so many `stretches` of as many tokens.
    """

    argument: str
    value: str
    axis: int
    stretches: int


@dataclass(frozen=True)
class Family:
    """One class of transformer.

    `module` and `name` say which; `title` is how people call it. `text` is the argument with the text (B, P,
    width). `crossed`: text is read in a cross-attention of its own, not in one sequence with the picture.
    `patch` is the attribute with the side of a patch. `trims`: captions go without padding. `taken`: lengths
    of text at which a call could be taken for another one. `refused`: arguments with which the sequence is
    another one, each with what it stands for. `wrapped`: whether its forward goes through ComfyUI's wrappers.
    `stacks`: attributes with the blocks in which the picture reads text, in order. `streams`: text beside the
    first, behind it in the sequence. `behind`: the text is behind the picture, not before it.
    """

    module: str
    name: str
    title: str
    text: str = "context"
    crossed: bool = False
    patch: str = "patch_size"
    trims: bool = False
    taken: tuple[int, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    wrapped: bool = True
    stacks: tuple[str, ...] = ("blocks",)
    streams: tuple[Stream, ...] = ()
    behind: bool = False

    def serves(self, transformer: Any) -> bool:
        """Whether this is the class of a diffusion model."""
        kind = type(transformer)
        return (kind.__module__, kind.__name__) == (self.module, self.name)

    def grid(self, transformer: Any, latent: Tensor) -> Grid:
        """Frames, rows and columns of the picture's tokens."""
        sides = getattr(transformer, self.patch)
        frame, *side = sides if isinstance(sides, Sequence) else (1, sides, sides)
        frames = latent.shape[2] if latent.ndim == 5 else 1
        height, width = latent.shape[-2:]
        return math.ceil(frames / frame), math.ceil(height / side[0]), math.ceil(width / side[-1])

    def words(self, transformer: Any, caption: Caption, like: Tensor) -> Tensor:
        """A caption as the model's argument `text` has it: (1, n, width), device and dtype of `like`."""
        return (caption.text[:, caption.words] if self.trims else caption.text).to(like)

    def spoken(self, caption: Caption) -> tuple[int, ...] | None:
        """Places of a caption's words among the tokens of `words`, of a model that reads text crossed."""
        return caption.spoken

    def multiple(self, transformer: Any) -> int:
        """The model pads its text to a multiple of so many tokens."""
        return 1

    def blocks(self, transformer: Any) -> list[Any]:
        """The modules in which the picture reads text, in order."""
        return [block for stack in self.stacks for block in getattr(transformer, stack)]

    def depth(self, transformer: Any) -> int:
        """How many of them there are."""
        return len(self.blocks(transformer))

    def padding(self, text: Tensor) -> int:
        """How many rows ComfyUI has put before a prompt's text (1, rows, width)."""
        return 0

    def tokens(self, text: Tensor, values: Mapping[str, Any]) -> int:
        """How many tokens the model reads of a text of a CONDITIONING with these values."""
        return text.shape[1] + self.beside({one.argument: values.get(one.value) for one in self.streams})

    def beside(self, arguments: Mapping[str, Any]) -> int:
        """How many of them are not in the first text, by the arguments with the others."""
        found = ((one, arguments.get(one.argument)) for one in self.streams)
        return sum(one.stretches * text.shape[one.axis] for one, text in found if text is not None)

    def stream(self, stream: Stream, caption: Caption, like: Tensor) -> Tensor:
        """A caption's part of text beside the first, with device and dtype of `like`.

        `ModelMismatchError` where the CLIP has made none.
        """
        text = caption.values.get(stream.value)
        if text is None:
            raise ModelMismatchError(
                f"{self.title} reads captions through more text encoders than this CLIP has. Connect the "
                "CLIP that the prompt was encoded with."
            )
        return text.to(like)

    def check(self, arguments: Mapping[str, Any], grid: Grid, joins: bool) -> None:
        """`ModelMismatchError` for a call whose sequence this family does not know.

        `joins`: whether captions join the prompt, which Draw Regions alone does.
        """
        for name, what in self.refused.items():
            given = arguments.get(name)
            if given is not None and not (isinstance(given, (list, tuple)) and not given):
                raise ModelMismatchError(
                    f"{who(joins)} cannot be used with {what} on {self.title}. Take one of the two off."
                )

    def numbering(self, transformer: Any) -> str:
        """How text tokens are numbered: "" not at all, else by which end captions are to be aligned."""
        return ""

    def turned(self, transformer: Any, tokens: Tensor, steps: Sequence[int]) -> Tensor:
        """Tokens (B, heads, n, width) as if each stood so many places later."""
        return tokens


def who(joins: bool) -> str:
    """Whom a sentence about a call is about: Draw Regions, or the nodes that look at words."""
    return "Draw Regions" if joins else "Attribute Concentration, and Record Attention Maps,"


class _Flux(Family):
    def numbering(self, transformer: Any) -> str:
        # Of FLUX.2 alone; ComfyUI pads its prompts on the left, so that all end at the same place. Versions
        # before FLUX.2 do not have the parameter.
        return "end" if getattr(transformer.params, "txt_ids_dims", None) else ""

    def padding(self, text: Tensor) -> int:
        # Of FLUX.2 alone; no text encoder makes a row of zeros.
        shown = text[0].any(-1)
        return int(shown.int().argmax()) if bool(shown.any()) else 0


class _Qwen(Family):
    def numbering(self, transformer: Any) -> str:
        return "start"

    def check(self, arguments: Mapping[str, Any], grid: Grid, joins: bool) -> None:
        super().check(arguments, grid, joins)
        mask = arguments.get("attention_mask")
        if mask is not None and not bool((mask == 1).all()):
            raise ModelMismatchError(
                f"{who(joins)} cannot be used with a prompt of which a part is masked on {self.title}."
            )


class _Krea(Family):
    def check(self, arguments: Mapping[str, Any], grid: Grid, joins: bool) -> None:
        super().check(arguments, grid, joins)
        if grid[0] > 1:
            raise ModelMismatchError(f"{who(joins)} can be used with one frame at a time on {self.title}.")


class _Lumina(Family):
    def serves(self, transformer: Any) -> bool:
        # Ming-Image, of ComfyUI after 0.33, is of the same class: a second text stands behind the first, and
        # the picture is numbered from where both would end.
        return super().serves(transformer) and getattr(transformer, "masked_pad_multiple", None) is None

    def multiple(self, transformer: Any) -> int:
        return transformer.pad_tokens_multiple or 1

    def numbering(self, transformer: Any) -> str:
        return "turn"

    def turned(self, transformer: Any, tokens: Tensor, steps: Sequence[int]) -> Tensor:
        # The model numbers what it is given in one row, caption by caption; a turn moves a caption to where
        # it would stand alone, right before the picture, as rotary positions are turns themselves.
        from comfy.ldm.flux.math import apply_rope1

        places = torch.zeros(1, len(steps), len(transformer.axes_dims), device=tokens.device)
        places[0, :, 0] = torch.tensor(steps, dtype=torch.float32)
        turns = transformer.rope_embedder(places).movedim(1, 2)
        return apply_rope1(tokens.transpose(1, 2), turns).transpose(1, 2)


class _Anima(Family):
    def tokens(self, text: Tensor, values: Mapping[str, Any]) -> int:
        ids = values.get("t5xxl_ids")
        return text.shape[1] if ids is None else len(ids)

    def words(self, transformer: Any, caption: Caption, like: Tensor) -> Tensor:
        # As ComfyUI does for a prompt when sampling begins.
        ids, weights = caption.values.get("t5xxl_ids"), caption.values.get("t5xxl_weights")
        if ids is None:
            return caption.text.to(like)
        if weights is not None:
            weights = weights[None, :, None].to(like)
        return transformer.preprocess_text_embeds(caption.text.to(like), ids[None].to(like.device), weights)

    def spoken(self, caption: Caption) -> tuple[int, ...] | None:
        # T5's ids: 0 is padding, 1 the end.
        ids = caption.values.get("t5xxl_ids")
        if ids is None:
            return caption.spoken
        return tuple(place for place, token in enumerate(ids.tolist()) if token > 1)


REDUX = {"attention_mask": "an attention mask on the prompt (a style model)"}

DOUBLE_SINGLE = ("double_blocks", "single_blocks")

FLUX = _Flux("comfy.ldm.flux.model", "Flux", "Flux", trims=True, refused=REDUX, stacks=DOUBLE_SINGLE)
CHROMA = Family("comfy.ldm.chroma.model", "Chroma", "Chroma", trims=True, refused=REDUX, stacks=DOUBLE_SINGLE)
QWEN = _Qwen(
    "comfy.ldm.qwen_image.model", "QwenImageTransformer2DModel", "Qwen-Image", stacks=("transformer_blocks",)
)
LUMINA = _Lumina(
    "comfy.ldm.lumina.model",
    "NextDiT",
    "Z-Image and Lumina 2",
    stacks=("layers",),
    refused={"ref_latents": "reference pictures", "siglip_feats": "reference pictures"},
)
KREA = _Krea("comfy.ldm.krea2.model", "SingleStreamDiT", "Krea 2", patch="patch")
COSMOS = Family(
    "comfy.ldm.cosmos.predict2", "MiniTrainDIT", "Cosmos-Predict2", crossed=True, patch="patch_spatial"
)
ANIMA = _Anima("comfy.ldm.anima.model", "Anima", "Anima", crossed=True, patch="patch_spatial")
WAN = Family(
    "comfy.ldm.wan.model",
    "WanModel",
    "Wan",
    crossed=True,
    # Length of the picture that image-to-video reads beside the text.
    taken=(257,),
    refused={"reference_latent": "a reference picture"},
)
SD3 = Family(
    "comfy.ldm.modules.diffusionmodules.mmdit",
    "OpenAISignatureMMDITWrapper",
    "SD3.5",
    text="c_crossattn",
    wrapped=False,
    stacks=("joint_blocks",),
)
HIDREAM = Family(
    "comfy.ldm.hidream.model",
    "HiDreamImageTransformer2DModel",
    "HiDream I1",
    text="c_crossattn",
    # Its wrappers take no keyword that it does not know.
    wrapped=False,
    stacks=("double_stream_blocks", "single_stream_blocks"),
    refused={"image_cond": "a reference picture"},
    # Of Llama's layers the last, which goes from block to block, and behind it each block's own.
    streams=(Stream("encoder_hidden_states_llama3", "conditioning_llama3", 2, 2),),
    behind=True,
)
FAMILIES = (FLUX, CHROMA, QWEN, LUMINA, KREA, COSMOS, ANIMA, WAN, SD3, HIDREAM)

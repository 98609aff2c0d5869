"""Folders of captioners as Hugging Face's hub has them, beside those of `tiny_annotators`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from tiny_annotators import SIDE, SPECIAL, WORDS, bert_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    PreTrainedTokenizerFast,
    Qwen2TokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
)
from transformers.models.qwen2_vl import Qwen2VLVideoProcessor

# The processor of transformers 4 takes no other; the class of transformers 5 makes a vocabulary of its own.
BEFORE_5 = int(transformers.__version__.split(".")[0]) < 5
QwenTokenizer = Qwen2TokenizerFast if BEFORE_5 else PreTrainedTokenizerFast
TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def write_tiny_git(folder: Path, seed: int = 0) -> Path:
    """A captioner whose decoder reads the picture's tokens before the caption's."""
    tokenizer = bert_tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = GitConfig(
            vision_config={**TOWER, "image_size": SIDE, "patch_size": 16},
            vocab_size=len(tokenizer),
            **TOWER,
            max_position_embeddings=64,
            bos_token_id=SPECIAL["[CLS]"],
            eos_token_id=SPECIAL["[SEP]"],
            pad_token_id=0,
        )
        GitForCausalLM(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    GitProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


CHAT = (
    "{% for message in messages %}<start> {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<vision> <|image_pad|> <visionend>"
    "{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %} </s>{% endfor %}{% if add_generation_prompt %} <start>{% endif %}"
)


def write_tiny_qwen(folder: Path, seed: int = 0, more: Sequence[str] = ()) -> Path:
    """A Qwen2-VL: pictures as patches of any number, positions in three axes; it knows `more` words."""
    folder.mkdir(parents=True, exist_ok=True)
    special = [
        "<pad>",
        "</s>",
        "<unk>",
        "<start>",
        "<vision>",
        "<visionend>",
        "<|image_pad|>",
        "<|video_pad|>",
    ]
    words = [*special, *WORDS, *more]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = QwenTokenizer(
        tokenizer_object=inner,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=special[3:],
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.image_token, tokenizer.video_token = special[-2:]
    numbers = {f"{name}_token_id": words.index(f"<|{name}_pad|>") for name in ("image", "video")}
    numbers |= {"vision_start_token_id": words.index("<vision>"), "vision_end_token_id": 5}
    text = {
        "vocab_size": len(words),
        **TOWER,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 8, "mlp_ratio": 1}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = Qwen2VLConfig(text_config=text, vision_config=vision, **numbers)
        Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    pictures = Qwen2VLImageProcessor(patch_size=8, min_pixels=16 * 16, max_pixels=64 * 64)
    videos = Qwen2VLVideoProcessor(patch_size=8)
    Qwen2VLProcessor(pictures, tokenizer, videos, chat_template=CHAT).save_pretrained(folder)
    return folder

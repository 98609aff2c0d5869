"""Folders as Hugging Face's hub has them: BLIP for questions, CLIP and DPT, tiny, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_annotators import SIDE, SPECIAL, bert_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
    PreTrainedTokenizerFast,
)

TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT_LENGTH = 48


def write_tiny_blip_vqa(folder: Path, seed: int = 0, answers: tuple[str, str] = ("yes", "no")) -> Path:
    """Two words behind BERT's vocabulary, the decoder's and the encoder's, as in the published one."""
    bert_tokenizer(folder)
    vocabulary = folder / "vocab.txt"
    words = vocabulary.read_text().split("\n")
    words[900:902] = answers
    vocabulary.write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab_file=str(vocabulary), vocab=str(vocabulary))
    text = {
        **TOWER,
        "vocab_size": len(words) + 2,
        "encoder_hidden_size": 16,
        "projection_dim": 16,
        "max_position_embeddings": 64,
        "bos_token_id": len(words),
        "sep_token_id": SPECIAL["[SEP]"],
        "eos_token_id": SPECIAL["[SEP]"],
        "pad_token_id": 0,
    }
    vision = {**TOWER, "image_size": SIDE, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16, initializer_range=0.5)
        model = BlipForQuestionAnswering(config)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape)
        model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    BlipProcessor(BlipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return folder


def write_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """Pictures of 32 pixels, texts of up to 48 tokens."""
    words = ["<pad>", "<s>", "</s>", "<unk>", "a", "red", "blue", "cat", "dog"]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )
    text = {**TOWER, "vocab_size": len(words), "max_position_embeddings": TEXT_LENGTH, "eos_token_id": 2}
    vision = {**TOWER, "image_size": SIDE, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(
            folder
        )
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


def write_tiny_dpt(folder: Path, seed: int = 0) -> Path:
    """Depth at 32 pixels."""
    config = DPTConfig(
        **{**TOWER, "num_hidden_layers": 4},
        image_size=SIDE,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder

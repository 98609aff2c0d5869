"""Folders as Hugging Face's hub has them: a Grounding DINO, a BLIP, a LLaVA and taggers, tiny, with random
weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SwinConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

# The places that BERT's uncased vocabulary gives them; Grounding DINO has the first four built in.
SPECIAL = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029, "[PAD]": 0, "[UNK]": 100, "[MASK]": 103}
WORDS = ("red", "blue", "cat", "dog", "traffic", "light", "##s", "a", "picture", "of", "this")
SIDE = 32


def bert_tokenizer(folder: Path) -> BertTokenizerFast:
    """BERT's tokenizer with a few words and fillers for all others up to the highest that is built in."""
    words = {token: word for word, token in SPECIAL.items()} | dict(enumerate(WORDS, 1040))
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words.get(n, f"[unused{n}]") for n in range(1040 + len(WORDS))))
    return BertTokenizerFast(vocab_file=str(vocabulary), vocab=str(vocabulary))


def write_tiny_grounding_dino(folder: Path, seed: int = 0) -> Path:
    """Two layers of everything, 7 queries, texts of up to 16 tokens."""
    tokenizer = bert_tokenizer(folder)
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
        "model_type": "bert",
    }
    swin = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_indices=[2, 3, 4],
    )
    config = GroundingDinoConfig(
        backbone_config=swin,
        text_config=text,
        d_model=32,
        num_queries=7,
        max_text_len=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        disable_custom_kernels=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        GroundingDinoForObjectDetection(config).save_pretrained(folder)
    pictures = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


def write_tiny_blip(folder: Path, seed: int = 0) -> Path:
    """A captioner without chat template."""
    tokenizer = bert_tokenizer(folder)
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        **tower,
        "vocab_size": len(tokenizer),
        "encoder_hidden_size": 16,
        "projection_dim": 16,
        "max_position_embeddings": 64,
        "bos_token_id": SPECIAL["[CLS]"],
        "sep_token_id": SPECIAL["[SEP]"],
        "eos_token_id": SPECIAL["[SEP]"],
        "pad_token_id": 0,
    }
    vision = {**tower, "image_size": SIDE, "patch_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
        BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer).save_pretrained(folder)
    return folder


CHAT = (
    "<s>{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} answer{% endif %}"
)


def write_tiny_llava(folder: Path, seed: int = 0) -> Path:
    """A model that chats, with a decoder that goes on from the question."""
    words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "answer", *WORDS]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        model_input_names=["input_ids", "attention_mask"],
    )
    decoder = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        projection_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlavaConfig(vision_config=vision, text_config=decoder, image_token_index=4, image_token_id=4)
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def write_tiny_siglip(folder: Path, seed: int = 0) -> Path:
    """Texts of up to 8 tokens."""
    tokenizer = bert_tokenizer(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**sizes, "vocab_size": len(tokenizer), "max_position_embeddings": 8}
    vision = {**sizes, "image_size": SIDE, "patch_size": 16}
    torch.manual_seed(seed)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    model.logit_bias.data.fill_(-1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def write_tiny_classifier(folder: Path, several: bool = True, seed: int = 0) -> Path:
    """A ViT with four labels, several of which may hold, or one."""
    labels = dict(enumerate(("cat", "dog", "traffic_light", "red")))
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIDE,
        patch_size=16,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
        problem_type="multi_label_classification" if several else None,
    )
    torch.manual_seed(seed)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder

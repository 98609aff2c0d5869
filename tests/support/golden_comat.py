"""One step of CoMat's released trainer on tiny models, with our objects in its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from golden_files import read_cases, read_facts
from torch import Tensor, nn
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration

from instance_composer.models.comat import Schedule
from instance_composer.models.comat.lora import LowRank
from instance_composer.models.vision.likelihood.decoders import BlipScorer
from instance_composer.models.vision.likelihood.pixels import Preparation
from instance_composer.models.vision.likelihood.scorer import CaptionScorer
from instance_composer.training.comat.fidelity import Discriminator
from instance_composer.training.comat.lora import add_lora
from instance_composer.training.comat.objective import Balance, CoMatObjective, Sampling
from instance_composer.training.comat.prompts import Conditions

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PREPARE = Preparation((384, 384), None, None, CLIP_MEAN, CLIP_STD)


def make_captioner(folder: Path, place: Path) -> BlipScorer:
    """The tiny BLIP; `place` is a folder for its vocabulary."""
    weights = read_cases(folder / "concept_matching.safetensors")["weights"]
    facts = read_facts(folder / "concept_matching.json")
    special = {"pad_token_id": 0, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    text = {**facts["captioner_config"]["text"], **special}
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=facts["captioner_config"]["vision"])
    )
    missing, unexpected = model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    assert unexpected == []
    assert all(name.endswith(("decoder.weight", "decoder.bias", "position_ids")) for name in missing), missing
    model.tie_weights()
    vocabulary = place / "vocab.txt"
    vocabulary.write_text("\n".join(facts["vocab"]))
    return BlipScorer(model, BertTokenizerFast(vocab_file=str(vocabulary), vocab=str(vocabulary)), PREPARE)


class AsDecoded(CaptionScorer):
    """The released code's slip for SDXL: the captioner gets the picture in about -1 to 1."""

    def __init__(self, inner: CaptionScorer) -> None:
        super().__init__()
        self.inner = inner

    def likelihood(self, pictures, captions):
        return self.inner.likelihood((pictures - 0.5) * 2, captions)


class Rectangles:
    """The segmenter of the released run: a rectangle for each noun."""

    def __init__(self, rectangles: dict[str, Any]) -> None:
        self.rectangles = rectangles

    def masks(self, pictures, nouns):
        found = []
        for words in nouns:
            masks = torch.zeros(len(words), *pictures.shape[-2:], dtype=torch.bool)
            for mask, word in zip(masks, words, strict=True):
                (top, bottom), (left, right) = (self.rectangles[word][name] for name in ("rows", "cols"))
                mask[top:bottom, left:right] = True
            found.append(masks)
        return found


def flat(group: list[Any]) -> list[int]:
    return [token for one in group for token in (one if isinstance(one, list) else [one])]


def layers_of(case: dict[str, Tensor]) -> dict[str, LowRank]:
    """LoRA layers from names `<module>.lora_layer.down.weight`."""
    names = sorted({name.rsplit(".lora_layer", 1)[0] for name in case})
    return {
        name: LowRank(*(case[f"{name}.lora_layer.{half}.weight"].float() for half in ("down", "up")))
        for name in names
    }


def repeat(low: Tensor) -> Tensor:
    return low.float().repeat_interleave(4, -1).repeat_interleave(4, -2)


def make_unet(config: dict[str, Any], weights: dict[str, Tensor]) -> UNet2DConditionModel:
    unet = UNet2DConditionModel(**config)
    unet.load_state_dict({name: value.float() for name, value in weights.items()})
    return unet


class ReleasedStep:
    """The released step `joint_step_<kind>`: what went in, what came out, and our objective in its place."""

    def __init__(self, folder: Path, kind: str, place: Path, as_decoded: bool = False) -> None:
        self.tensors = read_cases(folder / f"joint_step_{kind}.safetensors")
        # Scalars and pictures have no case; they are read as cases of an empty name.
        self.facts = read_facts(folder / f"joint_step_{kind}.json")
        weights = read_cases(folder / "weights.safetensors")
        configs, args = self.facts["configs"], self.facts["official_args"]
        self.unet = make_unet(configs["unet"], weights[f"{kind}_unet"])
        add_lora(self.unet, args["lora_rank"], layers_of(self.tensors["lora_before"]))
        judge = make_unet(configs["D_unet"], weights["D_unet"])
        add_lora(judge, args["lora_rank"], layers_of(self.tensors["D_lora_before"]))
        vae = AutoencoderKL(**configs["vae"])
        _, unexpected = vae.load_state_dict({k: v.float() for k, v in weights["vae"].items()}, strict=False)
        assert unexpected == []
        scheduler = DDPMScheduler(**{k: v for k, v in configs["scheduler"].items() if k in _SCHEDULE})
        pipeline = SimpleNamespace(
            unet=self.unet, vae=vae, scheduler=scheduler, text_encoder=nn.Identity(), tokenizer=None
        )
        captioner: CaptionScorer = make_captioner(folder, place)
        balance = Balance(
            token=args["mask_token_loss_weight"],
            pixel=args["mask_pixel_loss_weight"],
            fidelity=args["gan_loss_weight"],
            smoothing=0.1,
        )
        sampling = Sampling(args["total_step"], args["cfg_scale"], args["K"], args["attrcon_train_steps"])
        discriminator = Discriminator(judge, 1)
        discriminator.head.mlp.load_state_dict(
            {name: value.float() for name, value in self.tensors["D_mlp_before"].items()}
        )
        self.objective = CoMatObjective(
            pipeline,
            balance,
            sampling,
            AsDecoded(captioner) if as_decoded else captioner,
            Rectangles(self.facts["masks"]),
            discriminator,
        )
        self.objective.sampler = type(self.objective.sampler)(
            self.unet, self.objective.sampler.scheduler, sampling.steps, sampling.guidance, kind == "sd15"
        )

    def run(self) -> dict[str, Tensor]:
        """The generator's losses, from the released run's noise."""
        inputs, facts = self.tensors["inputs"], self.facts
        prompts = facts["prompts_in_batch_order"]
        groups = [[flat(group) for group in sample] for sample in facts["entities"]]
        nouns = [
            [self._noun(prompt, group) for group in sample]
            for prompt, sample in zip(prompts, groups, strict=True)
        ]
        noise = repeat(inputs["step_noise_low"])
        both = inputs["prompt_embeds"]
        rows = len(prompts)
        added = None
        if "text_embeds" in inputs:
            added = {"text_embeds": inputs["text_embeds"], "time_ids": inputs["time_ids"]}
        conditions = Conditions(both, added)
        self.judging = Conditions(inputs["D_null_embeds"][:1], None)
        schedule = Schedule(
            tuple(facts["training_steps"]),
            tuple(facts["attrcon_train_steps"]),
            (facts["caption_crop_row_offset"], facts["caption_crop_col_offset"]),
        )
        batch = {"prompts": prompts, "groups": groups, "nouns": nouns, "part": 0}
        return self.objective.generate(
            batch,
            repeat(inputs["initial_noise_low"]),
            conditions.rows(slice(rows)),
            conditions.rows(slice(rows, None)),
            self.judging,
            noise.__getitem__,
            schedule,
        )

    def _noun(self, prompt: str, group: list[int]) -> str:
        """The group's word among the masks; token 1 is the prompt's first word."""
        return prompt.split()[group[-1] - 1]


_SCHEDULE = {
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "variance_type", "clip_sample",
    "prediction_type", "timestep_spacing", "steps_offset",
}  # fmt: skip

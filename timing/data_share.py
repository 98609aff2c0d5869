"""The share of loading in a training step at SDXL's size: measured parts of a picture of 1024 × 1024, and
arithmetic for what a graphics card does meanwhile.

Parts are CPU time of one thread, medians over batches of 16, few files in the system's cache: latents and
layout out of mapped files; text features of a caption and five things out of mapped files, or their tokens;
a JPEG of 2048 × 1536 decoded, scaled and cropped. A card is an A100 at 40 % of its 312 TFLOP/s, and of 19.5
in float32.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import million_entries
import torch
from PIL import Image
from safetensors.torch import save_file

from instance_composer.hosts.diffusers_sdxl import load_sdxl
from instance_composer.layout import Box, Canvas, Instance, Layout
from instance_composer.training.data.folder import LayoutFolder
from instance_composer.training.data.folder_latents import encode_folder
from instance_composer.training.data.keys import as_rows, key_of
from instance_composer.training.data.latents import encoder_digest
from instance_composer.training.data.text import Tokenizer
from instance_composer.training.data.text_features import PHRASE, PROMPT, KeptTextFeatures
from instance_composer.training.demo_model.architecture import make_autoencoder

SIDE, BATCH, BATCHES, THINGS, PHRASE_TOKENS = 1024, 16, 8, 5, 8
DEMO = Path(__file__).parents[1] / "demo"
# Floating-point operations: three passes of the UNet, the text encoders for a caption (two for each weight of
# their layers and each of 77 tokens), and the autoencoder's encoder (counted by torch).
STEP, CAPTION, AUTOENCODER = 3 * 6.8e12, 2 * 77 * 12 * (12 * 768**2 + 32 * 1280**2), 4.9e12
HALF, FULL = 0.4 * 312e12, 0.4 * 19.5e12


def per_picture(load: Callable[[list[int]], object]) -> float:
    """CPU milliseconds of a picture."""
    times: list[float] = []
    for batch in range(BATCHES):
        started = time.process_time()
        load(list(range(batch * BATCH, (batch + 1) * BATCH)))
        times.append(1000 * (time.process_time() - started) / BATCH)
    return statistics.median(times)


def captions(number: int) -> list[str]:
    """Those of a picture's things, like no other's."""
    return [f"a small striped cup of number {number} {thing}" for thing in range(THINGS)]


def kept_latents(folder: Path) -> float:
    """Latents, layout and conditioning out of what an earlier run left."""
    million_entries.SIDE = SIDE
    data, latents = folder / "shards", folder / "latents"
    data.mkdir()
    latents.mkdir()
    million_entries.write_shards(data, BATCH * BATCHES)
    autoencoder = make_autoencoder()
    source = LayoutFolder(data, SIDE, SIDE)
    source.check(place=latents / "looked-at")
    million_entries.write_latents(source, latents, encoder_digest(autoencoder))
    found = encode_folder(source, autoencoder, latents)

    def load(numbers: list[int]) -> None:
        found.latents(numbers)
        for number in numbers:
            found.layout(number)
            found.conditioning(number)

    return per_picture(load)


def kept_text(folder: Path) -> float:
    """Features of SDXL's widths for a caption and the things of a picture."""
    folder.mkdir()
    count = BATCH * BATCHES
    prompts = [f"a picture of number {number}" for number in range(count)]
    phrases = [one for number in range(count) for one in captions(number)]
    keys = {
        f"{kind}_keys": torch.from_numpy(as_rows(key_of(kind, one) for one in texts).copy())
        for kind, texts in ((PROMPT, prompts), (PHRASE, phrases))
    }
    save_file(
        {
            **keys,
            "prompts": torch.randn(count, 77, 2048).half(),
            "pooled": torch.randn(count, 1280).half(),
            "tokens": torch.randn(len(phrases) * PHRASE_TOKENS, 3, 2048).half(),
            "bounds": torch.arange(len(phrases) + 1) * PHRASE_TOKENS,
        },
        folder / "0.safetensors",
    )
    kept = KeptTextFeatures(folder)

    def load(numbers: list[int]) -> None:
        kept.prompts([prompts[number] for number in numbers])
        kept.phrases([one for number in numbers for one in captions(number)])

    return per_picture(load)


def tokens() -> float:
    """Tokens of the same captions, by the demo's tokenizers."""
    tokenizer = Tokenizer(load_sdxl(DEMO))

    def load(numbers: list[int]) -> None:
        tokenizer([f"a picture of number {number}" for number in numbers])
        tokenizer([one for number in numbers for one in captions(number)])

    return per_picture(load)


def decoded(folder: Path) -> float:
    """A JPEG file of 2048 × 1536 as training encodes it."""
    folder.mkdir()
    noise = torch.nn.functional.interpolate(torch.rand(1, 3, 192, 256), scale_factor=8, mode="bicubic")[0]
    noise = (noise + 0.05 * torch.randn_like(noise)).clamp(0, 1).mul(255).byte().permute(1, 2, 0)
    Image.fromarray(noise.numpy()).save(folder / "0.jpg", quality=90)
    things = tuple(Instance(str(n), Box(0.1, 0.1, 0.6, 0.6), one) for n, one in enumerate(captions(0)))
    (folder / "0.json").write_text(Layout(things, Canvas(2048, 1536), "a picture").to_json())
    source = LayoutFolder(folder, SIDE, SIDE)
    return per_picture(lambda numbers: [source[0].image for _ in numbers])


def main() -> None:
    torch.set_num_threads(1)
    step, texts = 1000 * STEP / HALF, 1000 * (1 + THINGS) * CAPTION / HALF
    with tempfile.TemporaryDirectory() as place:
        latents, text = kept_latents(Path(place)), kept_text(Path(place) / "text")
        words, picture = tokens(), decoded(Path(place) / "pictures")
    print(f"A step takes {step:.0f} ms for a picture, the text encoders {texts:.0f} ms more.\n")
    print("| a picture of 1024 × 1024 | ms of CPU | ms of the card besides the step | loading, of the step |")
    print("|---|---|---|---|")
    online = 1000 * AUTOENCODER / FULL
    for name, loading, more in (
        ("kept latents, kept text features", latents + text, 0.0),
        ("kept latents, text encoders at every step", latents + words, texts),
        ("nothing kept: JPEG decoded and encoded at every step", picture + words, texts + online),
    ):
        print(f"| {name} | {loading:.1f} | {more:.0f} | {100 * loading / (step + more):.1f} % |")
    print(f"\nParts: latents {latents:.1f}, features {text:.1f}, tokens {words:.1f}, JPEG {picture:.1f} ms.")


if __name__ == "__main__":
    main()

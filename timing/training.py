"""Pictures a second of adapter training beside a plain loop, on the demo model.

Both train the same adapter on the same frozen model and the same samples in the same order, with latents
and text features made beforehand. The plain loop is what one writes by hand: everything is in memory, and a
step takes a batch, adds noise, calls the UNet with the adapter on it, goes back, clips, steps and averages.
Ours reads from mapped files and does what it does in a run. Steps take turns, so that a busy machine slows
both alike, in CPU time of the process and one thread; how many is said beforehand (`--steps`). At the end the
weights of both have to be the same. `--profile` says where the time of our steps goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch import Tensor

from instance_composer.hosts.diffusers_sdxl import attach_ifadapter, load_sdxl
from instance_composer.models.ifadapter import IFAdapter
from instance_composer.training.data.text import EncodedPhrases
from instance_composer.training.data.text_encoding import TextEncoding
from instance_composer.training.data.world import Pictures, encoded_world
from instance_composer.training.engine.loop import Trainer
from instance_composer.training.engine.order import generator_at, sample_numbers
from instance_composer.training.engine.settings import Settings
from instance_composer.training.engine.task import BatchPosition, parameter_groups
from instance_composer.training.ifadapter.initial_weights import make_adapter
from instance_composer.training.ifadapter.objective import DROP_INSTANCES, DROP_PROMPT, IFAdapterTask

DEMO = Path(__file__).parents[1] / "demo"
SIDE = 128
# Not measured: the first steps choose kernels and fill caches.
WARM_UP = 3
# By how much ours may be slower.
ALLOWED = 0.03


class PlainLoop:
    """A training loop as one writes it by hand, with all samples in memory."""

    def __init__(self, pipeline: Any, adapter: IFAdapter, task: IFAdapterTask, settings: Settings) -> None:
        self.unet, self.adapter, self.settings, self.step = pipeline.unet, adapter, settings, 0
        self.scheduler: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
        # In the order of the first epoch.
        samples = task.batch(BatchPosition(0, 0, 0, 1, 1), task.samples, settings.seed)
        order = sample_numbers(task.samples, task.samples, 0, settings.seed)
        first = [sum(samples["counts"][:place]) for place in range(len(order))]
        self.samples: dict[int, dict[str, Any]] = {
            number: {
                "latents": samples["latents"][place].float(),
                "prompt": samples["ids"].states[place],
                "pooled": samples["ids"].pooled[place],
                "sizes": samples["sizes"][place],
                "phrases": slice(first[place], first[place] + samples["counts"][place]),
            }
            for place, number in enumerate(order)
        }
        self.phrases: EncodedPhrases = samples["phrases"]
        self.lengths = self.phrases.mask.sum(-1)
        self.boxes: Tensor = samples["boxes"]
        groups = parameter_groups(adapter.named_parameters(), settings.weight_decay)
        self.trained = list(adapter.parameters())
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self.average = EMAModel(
            self.trained, decay=settings.ema_decay, use_ema_warmup=True, power=0.75, foreach=True
        )

    def batch(self) -> dict[str, Any]:
        """The samples of the next step."""
        numbers = sample_numbers(len(self.samples), self.settings.batch, self.step, self.settings.seed)
        own = [self.samples[number] for number in numbers]
        rows = torch.cat([torch.arange(len(self.boxes))[one["phrases"]] for one in own])
        length = int(self.lengths[rows].max())
        whole = {
            name: torch.stack([one[name] for one in own]) for name in ("latents", "prompt", "pooled", "sizes")
        }
        return {
            **whole,
            "states": self.phrases.states[rows, :, :length],
            "mask": self.phrases.mask[rows, :length],
            "eot": self.phrases.states[rows, 0, self.lengths[rows] - 1],
            "boxes": self.boxes[rows],
            "counts": [one["phrases"].stop - one["phrases"].start for one in own],
        }

    def advance(self) -> float:
        """One step; its loss."""
        settings, batch = self.settings, self.batch()
        generator = generator_at(BatchPosition(self.step, 0, 0, 1, 1), settings.seed)
        latents, count = batch["latents"], len(batch["latents"])
        bare, silent = (torch.rand(count, generator=generator) < p for p in (DROP_INSTANCES, DROP_PROMPT))
        worded = ~bare.repeat_interleave(torch.tensor(batch["counts"]))
        tokens = self.adapter.instance_tokens(
            batch["states"] * worded[:, None, None, None],
            batch["mask"] * worded[:, None],
            batch["eot"] * worded[:, None],
            batch["boxes"],
        )
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(self.scheduler.config.num_train_timesteps, (count,), generator=generator)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        with attach_ifadapter(self.unet, self.adapter, tokens, batch["boxes"], batch["counts"]):
            predicted = self.unet(
                noisy,
                timesteps,
                batch["prompt"] * ~silent[:, None, None],
                added_cond_kwargs={
                    "text_embeds": batch["pooled"] * ~silent[:, None],
                    "time_ids": batch["sizes"],
                },
            ).sample
        loss = F.mse_loss(predicted, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate(self.step) * settings.learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.step(self.trained)
        self.step += 1
        return float(loss.detach())


def measured(calls: dict[str, Callable[[], Any]], steps: int) -> dict[str, list[float]]:
    """CPU seconds of each step of each call, the calls taking turns and the first of a turn changing."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(steps):
        for name in calls if number % 2 else reversed(calls):
            started = time.process_time()
            calls[name]()
            times[name].append(time.process_time() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=60, help="steps of each that are measured")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=64, help="to learn from")
    parser.add_argument("--profile", type=int, metavar="LINES", help="of our steps, by their own time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(
        steps=WARM_UP + arguments.steps, batch=arguments.batch, warm_up=0, every_sample=0, every_checkpoint=0
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sides = [load_sdxl(DEMO) for _ in range(2)]
        pictures = Pictures(SIDE, SIDE, arguments.pictures)
        sets = [encoded_world(sides[0].vae, pictures, folder)]
        adapters: list[IFAdapter] = []
        for pipeline in sides:
            torch.manual_seed(0)
            adapters.append(make_adapter(pipeline.unet, small=True))
        texts = partial(TextEncoding, sides[0], folder=folder)
        task = IFAdapterTask(sides[0], adapters[0], sets, texts=texts)
        task.prepare()
        sides[1].unet.requires_grad_(False)
        plain = PlainLoop(sides[1], adapters[1].requires_grad_(True), task, settings)
        ours = Trainer(task, settings, folder / "run")
        calls = {"plain": plain.advance, "ours": ours.advance}
        measured(calls, WARM_UP)
        profile = cProfile.Profile() if arguments.profile else None
        if profile is not None:
            calls["ours"] = partial(profile.runcall, ours.advance)
        times = measured(calls, arguments.steps)
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(arguments.profile)
    print(
        f"torch {torch.__version__}, 1 thread, float32, demo model at {SIDE} px, batch {arguments.batch}, "
        f"{arguments.steps} steps of each in turns, CPU time"
    )
    print("\n| loop | pictures/s, median step | milliseconds a step | to the plain one, step by step |")
    print("|---|---|---|---|")
    ratios = [own / base for own, base in zip(times["ours"], times["plain"], strict=True)]
    for name, taken in times.items():
        middle = statistics.median(taken)
        beside = f"{100 * (statistics.median(ratios) - 1):+.1f} %" if name == "ours" else ""
        print(f"| {name} | {arguments.batch / middle:.1f} | {1000 * middle:.0f} | {beside} |")
    quarters = statistics.quantiles(ratios, n=4)
    print(f"\nquarters of the ratio: {', '.join(f'{one:.3f}' for one in quarters)}; allowed {1 + ALLOWED}")
    pairs = zip(adapters[0].parameters(), adapters[1].parameters(), strict=True)
    apart = max(float((one - other).detach().abs().max()) for one, other in pairs)
    print(f"largest difference between the weights of both: {apart:.1e}")
    if apart > 1e-4 or statistics.median(ratios) > 1 + ALLOWED:
        sys.exit("ours is not the same, or more than 3 % slower")


if __name__ == "__main__":
    main()

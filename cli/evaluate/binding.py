"""`instance-composer evaluate binding`: methods of keeping attributes on their nouns, on the same prompts."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...generation.binding_methods import METHODS, WITH_LORA
from ...models.sdxl.layer_presets import LAYER_PRESETS
from ..arguments import Given, number, refuse_given
from .scenes import (
    add_comparison,
    add_run,
    add_where,
    check_drawable,
    evaluate,
    listed,
    read_methods,
    read_sampling,
    read_scenes,
)

if TYPE_CHECKING:
    from ...evaluation.benchmarks.binding.plan import Guidance, Lora, Sweep

PURPOSE = "how well methods keep attributes on their nouns, without boxes and with"
DESCRIPTION = (
    "Sample the same prompts with every method in ComfyUI, judge the pictures wherever things are, and write "
    "tables and plots."
)

_LAYERS = tuple(LAYER_PRESETS)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what is compared, the run, its guidance, the strengths and its place."""
    comparison = add_comparison(parser, [name for name in METHODS if name not in WITH_LORA], "2-4")
    comparison.add_argument(
        "--prompts",
        action=Given,
        type=number(3, 100_000, whole=True),
        default=300,
        help="how many; the report is of the first so many (300; with --report-only all that are there)",
    )
    comparison.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help=f"a LoRA of the UNet, for {', '.join(WITH_LORA)}; may be given several times, under a name each",
    )
    comparison.add_argument(
        "--lora-strength", action=Given, type=number(-10, 10), default=1.0, help="of the LoRAs (1)"
    )
    add_run(parser)
    guidance = parser.add_argument_group("guidance, as in the node Attribute Concentration")
    for name, purpose in (
        ("strength", "how far attention or the latent is moved"),
        ("token-weight", "weight of the token term"),
        ("pixel-weight", "weight of the pixel term"),
    ):
        guidance.add_argument(f"--{name}", type=number(0, 20), default=1.0, help=f"{purpose} (1)")
    guidance.add_argument("--start", type=number(0, 1), default=0.0, help="of the run, where it begins (0)")
    guidance.add_argument("--end", type=number(0, 1), default=1.0, help="of the run, where it stops (1)")
    guidance.add_argument("--layers", choices=_LAYERS, default=_LAYERS[0], help=f"which ({_LAYERS[0]})")
    sweep = parser.add_argument_group("strengths compared, with a plot of their own")
    sweep.add_argument("--strengths", help="separated by commas, such as 0,0.5,1,2,4")
    sweep.add_argument(
        "--weights", help="pairs of token and pixel weight, such as 1:1,1:0,0:1 (those of the node settings)"
    )
    sweep.add_argument("--sweep", action=Given, default="local", help="methods, separated by commas (local)")
    add_where(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, write the report and name it on standard output."""
    from ...evaluation.benchmarks.binding.plan import BindingPlan
    from ...evaluation.benchmarks.binding.report import write_report
    from ...evaluation.scorers.binding import score

    if not arguments.strengths:
        refuse_given(arguments, ["sweep"], "--strengths, which is not given")
    if not arguments.lora:
        refuse_given(arguments, ["lora_strength"], "--lora, which is not given")
    methods, guidance = read_methods("--methods", arguments.methods, METHODS), _guidance(arguments)
    loras = _loras(arguments)
    sweeps = _sweeps(arguments, guidance, loras)
    chosen = [*methods, *(listed(arguments.sweep) if arguments.strengths else ())]
    _check_loras(loras, chosen)
    check_drawable(arguments.model, chosen, METHODS)
    plan = BindingPlan(
        methods,
        arguments.prompts,
        read_scenes(arguments),
        read_sampling(arguments),
        guidance,
        sweeps,
        loras,
    )
    return evaluate(arguments, plan, score, write_report, "prompts")


def _guidance(arguments: argparse.Namespace) -> Guidance:
    from ...evaluation.benchmarks.binding.plan import Guidance

    names = ("strength", "token_weight", "pixel_weight", "start", "end", "layers")
    guidance = Guidance(**{name: getattr(arguments, name) for name in names})
    if guidance.start >= guidance.end:
        raise ValueError(f"--start {guidance.start:g} must come before --end {guidance.end:g}")
    return guidance


def _loras(arguments: argparse.Namespace) -> tuple[Lora, ...]:
    """The LoRAs by name, which is the file's where none is given; ValueError for two of one name."""
    from ...evaluation.benchmarks.binding.plan import Lora

    loras: list[Lora] = []
    for given in arguments.lora:
        name, sign, rest = given.partition("=")
        if not sign or Path(given).is_file():
            name, rest = Path(given).stem, given
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ValueError(f'--lora: "{name}" is no name; letters, digits and .+-_ are allowed')
        if not Path(rest).is_file():
            raise ValueError(f"--lora: there is no file {rest}")
        if name in [lora.name for lora in loras]:
            raise ValueError(f"--lora: two are called {name}; give each a name of its own, as NAME=FILE")
        loras.append(Lora(name, Path(rest), arguments.lora_strength))
    return tuple(loras)


def _check_loras(loras: Sequence[Lora], methods: Sequence[str]) -> None:
    """ValueError for a LoRA without a method that draws with it, and for such a method without a LoRA."""
    drawing = [name for name in methods if name in WITH_LORA]
    if drawing and not loras:
        raise ValueError(f"--lora: name the LoRA file that {', '.join(drawing)} draw with")
    if loras and not drawing:
        raise ValueError(f"--lora: no method draws with it; add {' or '.join(WITH_LORA)} to --methods")


def _sweeps(arguments: argparse.Namespace, guidance: Guidance, loras: Sequence[Lora]) -> tuple[Sweep, ...]:
    from ...evaluation.benchmarks.binding.plan import make_sweeps

    strengths = [_number("--strengths", one) for one in listed(arguments.strengths or "")]
    weights = [_pair(one) for one in listed(arguments.weights or "")]
    for option, given, found, example in (
        ("--strengths", arguments.strengths, strengths, "0,0.5,1,2,4"),
        ("--weights", arguments.weights, weights, "1:1,1:0,0:1"),
    ):
        if given is not None and not found:
            raise ValueError(f"{option}: none is named; name at least one, as in {example}, or leave it out")
    if weights and not strengths:
        raise ValueError("--weights: name the strengths to compare them at with --strengths")
    swept = read_methods("--sweep", arguments.sweep, METHODS) if strengths else ()
    own = (guidance.token_weight, guidance.pixel_weight)
    return make_sweeps(swept, strengths, weights or [own], loras)


def _number(option: str, text: str) -> float:
    try:
        return number(0, 20)(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{option}: {error}") from None


def _pair(text: str) -> tuple[float, float]:
    token, colon, pixel = text.partition(":")
    if not colon:
        raise ValueError(f'--weights: token and pixel weight are needed, such as "1:0", got "{text}"')
    return _number("--weights", token), _number("--weights", pixel)

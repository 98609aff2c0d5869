"""`benchmark NAME draw RUN`: what is missing of a way of drawing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...generation import diffusers_methods, placing_methods
from ..arguments import file_with_strength, number, size
from .parts import add_machine, add_shard, chosen_device, chosen_precision, chosen_shard, open_run

if TYPE_CHECKING:
    from ...generation.jobs import Drawer
    from ...generation.methods import Method

PURPOSE = "draw what is missing, with one of our ways; stop it at any time and start it again to go on"
_STEPS, _CFG = 30, 5.0


def configure(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the way, the sampler, where it runs."""
    known = dict.fromkeys([*diffusers_methods.METHODS, *_comfyui_methods()])
    parser.add_argument("--way", default="plain", choices=list(known), help="how it is drawn (plain)")
    parser.add_argument(
        "--label", help="name of the pictures' folder, where a way is drawn twice (the way's)"
    )
    parser.add_argument(
        "--model", type=Path, help="SDXL as a diffusers folder or a single file (the demo model)"
    )
    parser.add_argument(
        "--adapter", type=Path, help="IFAdapter, for the ways that have one (the demo model's)"
    )
    parser.add_argument("--config", help="diffusers folder: configuration and tokenizers for a single file")
    parser.add_argument(
        "--lora",
        type=file_with_strength,
        action="append",
        default=[],
        metavar="FILE[:STRENGTH]",
        help="a LoRA; may be given several times",
    )
    parser.add_argument(
        "--strength", type=number(0, 100), help="of the guidance, for the ways that have one (1)"
    )
    parser.add_argument("--steps", type=number(1, 1000, whole=True), default=_STEPS, help=f"({_STEPS})")
    parser.add_argument("--cfg", type=number(1), default=_CFG, help=f"guidance ({_CFG:g})")
    parser.add_argument("--size", type=size, help="width x height in pixels (the benchmark's)")
    where = parser.add_argument_group("in ComfyUI instead of diffusers, with the demo model")
    where.add_argument("--comfyui", type=Path, help="folder of a ComfyUI")
    where.add_argument("--packs", type=Path, help="folder of other packs' checkouts (COMFYUI/custom_nodes)")
    add_shard(parser)
    add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw and print the folder of the pictures."""
    from tqdm import tqdm

    from ...evaluation.harness.drawing import Way, draw
    from ...generation.jobs import Sampling

    run_folder, shard = open_run(arguments), chosen_shard(arguments)
    family, options = _family(arguments)
    name = arguments.label or arguments.way
    if _method(arguments.way).boxes and not any(case.layout.active for case in run_folder.cases):
        raise ValueError(
            f"--way {arguments.way} needs boxes, and {arguments.benchmark} asks for its pictures by prompts "
            "alone; take plain"
        )
    if arguments.comfyui is None and _method(arguments.way).adapter and _adapter(arguments) is None:
        raise ValueError(f"--way {arguments.way} draws with an IFAdapter; name its file with --adapter")
    sampling = Sampling(steps=arguments.steps, cfg=arguments.cfg)
    way = Way(name, family, arguments.way, sampling, arguments.size, options)
    about = _about(arguments, run_folder.ways_of(name))
    run_folder.add_way(name, about)

    @contextmanager
    def opened() -> Iterator[Drawer]:
        with _drawer(arguments) as drawer:
            # Once more, since another process may have begun under this name while this one was loading.
            run_folder.add_way(name, about)
            yield drawer

    with tqdm(total=len(shard.of(run_folder.cases)), desc=name, unit="picture", disable=None) as bar:
        draw(run_folder, way, opened, shard, bar.update)
    print(run_folder.folder / "pictures" / name)
    return 0


def _comfyui_methods() -> list[str]:
    return [name for name, method in placing_methods.METHODS.items() if method.sampled]


def _method(way: str) -> Method:
    return {**placing_methods.METHODS, **diffusers_methods.METHODS}[way]


def _family(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The family of the way where it is to be drawn, and what its jobs need besides."""
    if arguments.strength is not None and not _method(arguments.way).baseline:
        guided = ", ".join(name for name, method in diffusers_methods.METHODS.items() if method.baseline)
        raise ValueError(f"--strength: --way {arguments.way} has no guidance; {guided} have")
    if arguments.comfyui is None:
        if arguments.way not in diffusers_methods.METHODS:
            known = ", ".join(diffusers_methods.METHODS)
            raise ValueError(
                f"--way {arguments.way} is drawn in ComfyUI: name its folder (--comfyui), or one of {known}"
            )
        own = diffusers_methods.METHODS[arguments.way]
        if own.own_model and (arguments.model is None or arguments.lora or arguments.config):
            raise ValueError(
                f"--way {arguments.way} draws with {own.label}'s own model: name its diffusers folder with "
                "--model, and leave --lora and --config out"
            )
        if arguments.adapter and not own.adapter:
            with_one = " or ".join(
                name for name, method in diffusers_methods.METHODS.items() if method.adapter
            )
            raise ValueError(
                f"--adapter: --way {arguments.way} draws without an IFAdapter; leave it out, or take "
                f"{with_one}"
            )
        if arguments.packs:
            raise ValueError("--packs is for --comfyui, which is not given")
        return diffusers_methods.FAMILY, _strength(arguments)
    if arguments.way not in _comfyui_methods():
        raise ValueError(
            f"--way {arguments.way} is not drawn in ComfyUI; leave --comfyui out, or choose from "
            f"{', '.join(_comfyui_methods())}"
        )
    if arguments.lora or arguments.adapter or arguments.config:
        raise ValueError(
            "--comfyui draws with the demo model as it is; leave --lora, --adapter and --config out"
        )
    if arguments.device or arguments.dtype:
        raise ValueError("--comfyui chooses device and precision itself; leave --device and --dtype out")
    return "placing", {"base": 1.0}


def _strength(arguments: argparse.Namespace) -> dict[str, Any]:
    """The strength where one is given, so that what was drawn without is known as it was."""
    return {} if arguments.strength is None else {"strength": arguments.strength}


def _about(arguments: argparse.Namespace, before: Mapping[str, Any]) -> dict[str, Any]:
    """What the pictures of a way depend on, files by name and digest, without the folders of this machine.

    `before` is what an earlier start noted.
    """
    from ...evaluation.benchmark import WEIGHTS

    label, adapter = _method(arguments.way).label, arguments.adapter.name if arguments.adapter else ""
    host, dtype = ("ComfyUI", "") if arguments.comfyui else ("diffusers", chosen_precision(arguments))
    # Earlier versions took and noted an adapter, and in ComfyUI a precision, that did nothing.
    if (before.get("way"), before.get("host")) == (arguments.way, host):
        adapter = adapter if _method(arguments.way).adapter else before.get("adapter", "")
        dtype = before.get("dtype", "") if arguments.comfyui else dtype
    return {
        "label": label if arguments.label is None else f"{arguments.label} ({label})",
        "way": arguments.way,
        "host": host,
        "model": arguments.model.name if arguments.model else "demo",
        "adapter": adapter,
        "config": Path(arguments.config).name if arguments.config else "",
        "loras": [[Path(path).name, strength] for path, strength in arguments.lora],
        "steps": arguments.steps,
        "cfg": arguments.cfg,
        "size": list(arguments.size) if arguments.size else [],
        "dtype": dtype,
        **_strength(arguments),
        WEIGHTS: _weights(arguments),
    }


def _weights(arguments: argparse.Namespace) -> dict[str, str]:
    """Digests of the files that draw, by part; ValueError for one that is not there."""
    from ...demo import ADAPTER, FOLDER, demo_folder
    from ...models.weights import digest_of_model, digest_of_weights

    loras = [Path(path) for path, _ in arguments.lora]
    given = [("--model", arguments.model), ("--adapter", arguments.adapter)]
    for option, path in [*given, *(("--lora", lora) for lora in loras)]:
        if path is not None and not path.exists():
            raise ValueError(f"{option}: there is nothing at {path}; name what is there")
    if arguments.comfyui is not None:
        model = demo_folder(arguments.model or FOLDER)
        adapter = model / ADAPTER
    else:
        model, adapter = arguments.model or demo_folder(), _adapter(arguments)
    weights = digest_of_model(model)
    if _method(arguments.way).adapter and adapter is not None:
        weights["IFAdapter"] = digest_of_weights([adapter])
    return {**weights, **({"LoRAs": digest_of_weights(loras)} if loras else {})}


def _adapter(arguments: argparse.Namespace) -> Path | None:
    """The IFAdapter that diffusers draws with: the demo model's for that model alone."""
    from ...demo import ADAPTER, FOLDER

    return arguments.adapter or (None if arguments.model else FOLDER / ADAPTER)


@contextmanager
def _drawer(arguments: argparse.Namespace) -> Iterator[Drawer]:
    from ...demo import FOLDER, demo_folder

    if arguments.comfyui is not None:
        from ...hosts.comfyui_process import running_comfyui

        packs = arguments.packs or arguments.comfyui / "custom_nodes"
        with running_comfyui(arguments.comfyui, demo_folder(arguments.model or FOLDER), packs) as drawer:
            yield drawer
        return
    from ...hosts.diffusers_sdxl import load_gligen, load_loras, load_sdxl
    from ...hosts.diffusers_sdxl.methods.drawer import DiffusersDrawer
    from ...models.ifadapter import IFAdapter

    place, dtype = chosen_device(arguments)
    method = diffusers_methods.METHODS[arguments.way]
    file = _adapter(arguments)
    adapter = IFAdapter.load(file).to(place) if method.adapter and file is not None else None
    if method.own_model:
        pipeline: Any = load_gligen(arguments.model, dtype=dtype, device=place)
    else:
        model = arguments.model or demo_folder()
        pipeline = load_sdxl(model, dtype=dtype, device=place, config=arguments.config)
    if arguments.lora:
        load_loras(pipeline, arguments.lora)
    pipeline.set_progress_bar_config(disable=True)
    yield DiffusersDrawer(pipeline, adapter)

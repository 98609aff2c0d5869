"""`instance-composer train`: the demo world's models, IFAdapters for any SDXL, and reward models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

_STAGES = ("crops", "autoencoder", "base-scenes", "base-mixed", "base-final", "base-checked", "decoder")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `base`, `ifadapter` and `reward`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="action")
    base = commands.add_parser(
        "base",
        help="train the demo model, one stage after the other",
        description="Train the demo model: autoencoder, then text encoders and UNet. "
        "A run that was interrupted continues from its last checkpoint, exactly as if it had not been.",
    )
    base.add_argument("folder", type=Path, help="where everything is kept, one folder a stage")
    base.add_argument(
        "--stage", choices=_STAGES, action="append", help="only this stage; may be repeated (all, in order)"
    )
    base.add_argument("--pictures", type=int, help="how many pictures to encode for a base stage")
    base.set_defaults(act=_base)
    adapter = commands.add_parser(
        "ifadapter",
        help="train an IFAdapter on a frozen SDXL",
        description="Train an IFAdapter: the paper's objective on a frozen model. A run that was interrupted "
        "continues from its last checkpoint, exactly as if it had not been.",
    )
    adapter.add_argument("folder", type=Path, help="where checkpoint, metrics, samples and adapter are kept")
    adapter.add_argument("--model", type=Path, required=True, help="diffusers folder or .safetensors of SDXL")
    adapter.add_argument(
        "--data",
        type=Path,
        help="folder of pictures, each with a layout of the same name and the ending .json "
        "(default: Shapes World)",
    )
    adapter.add_argument("--size", type=_size, default=(1024, 1024), help="width x height (1024x1024)")
    adapter.add_argument("--pictures", type=int, default=10_000, help="of Shapes World to encode (10000)")
    adapter.add_argument(
        "--checked", type=int, default=0, help="more of Shapes World, with checked things alone (0)"
    )
    adapter.add_argument("--init", type=Path, help="start from this adapter instead of fresh weights")
    adapter.add_argument("--small", action="store_true", help="a fresh adapter of the demo model's size")
    adapter.add_argument(
        "--region-weight", type=float, default=0.0, help="weight of the error inside boxes, once more (0)"
    )
    adapter.add_argument(
        "--snr-power",
        type=float,
        default=0.0,
        help="weigh errors by signal-to-noise ratio ** -power, such as 0.5 (0: all alike)",
    )
    adapter.add_argument(
        "--gradient-checkpointing", action="store_true", help="less memory, about a third more time"
    )
    adapter.set_defaults(act=_ifadapter)
    pack = commands.add_parser(
        "pack",
        help="the trained demo model as it is shipped",
        description="Write the trained demo model as it is shipped: one diffusers folder in half precision "
        "with its adapter, a model card and training curves.",
    )
    pack.add_argument("folder", type=Path, help="the folder of `train base`, one run in each folder below")
    pack.add_argument("--out", type=Path, required=True, help="the folder to write into")
    pack.add_argument("--model", type=Path, help="diffusers folder (FOLDER/base-checked/model)")
    pack.add_argument(
        "--autoencoder", type=Path, help="another model's autoencoder (FOLDER/decoder/model if there is one)"
    )
    pack.add_argument("--adapter", type=Path, help="(FOLDER/ifadapter/model/ifadapter.safetensors)")
    pack.set_defaults(act=_pack)
    reward = commands.add_parser(
        "reward",
        help="train reward models from preferences",
        description="Train a reward model: the better of two pictures shall get the higher reward. Without "
        "--data, small models of all three aspects learn from Shapes World. A run that was interrupted "
        "continues from its last checkpoint, exactly as if it had not been.",
    )
    reward.add_argument("folder", type=Path, help="where checkpoint, metrics and models are kept")
    reward.add_argument(
        "--data", type=Path, help="preferences, one JSON object a line; docs/rewards.md has the format"
    )
    reward.add_argument("--validation", type=Path, help="preferences to choose the best model by")
    reward.add_argument("--init", type=Path, help="the reward model to start from")
    reward.add_argument("--aspect", help="attribute, spatial or non-spatial")
    reward.add_argument(
        "--frozen", type=float, default=0.7, help="share of both towers' layers that is not trained (0.7)"
    )
    reward.set_defaults(act=_reward)
    feedback = commands.add_parser(
        "feedback",
        help="tune an SDXL UNet by reward models, as IterComp does",
        description="Tune a UNet so that reward models like its pictures: IterComp's multi-reward feedback "
        "learning. A run that was interrupted continues from its last checkpoint, exactly as if it had not "
        "been.",
    )
    feedback.add_argument("folder", type=Path, help="where checkpoint, metrics, samples and UNet are kept")
    feedback.add_argument(
        "--model", type=Path, required=True, help="diffusers folder or .safetensors of SDXL"
    )
    feedback.add_argument(
        "--rewards", type=Path, required=True, help="folder of reward models, one for each aspect"
    )
    feedback.add_argument(
        "--prompts", type=Path, help="text file, one prompt a line (default: captions of Shapes World)"
    )
    feedback.add_argument("--size", type=_size, default=(512, 512), help="width x height (512x512)")
    feedback.add_argument(
        "--gradient-checkpointing", action="store_true", help="less memory, about a third more time"
    )
    feedback.set_defaults(act=_feedback)
    for command in (base, adapter, reward, feedback):
        command.add_argument("--settings", type=Path, help="TOML file of settings (base: one table a stage)")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="one setting, for instance steps=2000; may be repeated",
        )


def run(arguments: argparse.Namespace) -> int:
    """Do what was chosen; returns the exit code."""
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("instance_composer").setLevel(logging.INFO)
    return arguments.act(arguments)


def _base(arguments: argparse.Namespace) -> int:
    from ..training.demo_model.recipe import choose_stage, train_stage
    from ..training.engine.settings import read_toml

    tables = read_toml(arguments.settings) if arguments.settings else {}
    stages = [
        choose_stage(name, {**tables.get(name, {}), **_changes(arguments.set)}, arguments.pictures)
        for name in arguments.stage or _STAGES
    ]
    for stage in stages:
        print(f"stage {stage.name}: {stage.settings.steps} steps in {arguments.folder / stage.name}")
        train_stage(stage, arguments.folder)
    return 0


def _ifadapter(arguments: argparse.Namespace) -> int:
    from ..training.engine.settings import read_settings, read_toml
    from ..training.ifadapter.run import AdapterRun, train_adapter

    changes = {**(read_toml(arguments.settings) if arguments.settings else {}), **_changes(arguments.set)}
    plan = AdapterRun(
        model=arguments.model,
        data=arguments.data,
        size=arguments.size,
        pictures=arguments.pictures,
        checked=arguments.checked,
        init=arguments.init,
        small=arguments.small,
        region_weight=arguments.region_weight,
        snr_power=arguments.snr_power,
        gradient_checkpointing=arguments.gradient_checkpointing,
    )
    train_adapter(plan, read_settings(changes), arguments.folder)
    print(arguments.folder / "model" / "ifadapter.safetensors")
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from ..training.demo_model.card import write_card
    from ..training.demo_model.packing import pack

    runs: Path = arguments.folder
    model = arguments.model or runs / "base-checked" / "model"
    adapter = arguments.adapter or runs / "ifadapter" / "model" / "ifadapter.safetensors"
    if not adapter.is_file():
        raise ValueError(f"there is no adapter {adapter}; train it first, or name another with --adapter")
    decoder = runs / "decoder" / "model"
    autoencoder = arguments.autoencoder or (decoder if decoder.is_dir() else None)
    files = pack(model, adapter, arguments.out, autoencoder)
    places = {**{name: runs / name for name in _STAGES}, "ifadapter": adapter.parent.parent}
    found = {name: place / "metrics.jsonl" for name, place in places.items()}
    write_card(arguments.out, {name: file for name, file in found.items() if file.is_file()})
    for file in files:
        print(f"{file.stat().st_size / 1e6:8.1f} MB  {file}")
    return 0


def _reward(arguments: argparse.Namespace) -> int:
    from ..training.demo_model.rewards import train_world_rewards
    from ..training.engine.settings import read_settings, read_toml
    from ..training.itercomp.reward_run import REWARD_SETTINGS, RewardRun, train_reward

    changes = read_toml(arguments.settings) if arguments.settings else {}
    names = ("data", "validation", "init", "aspect")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if not given:
        stages = {**changes, "rewards": {**changes.get("rewards", {}), **_changes(arguments.set)}}
        train_world_rewards(arguments.folder, stages)
        print(arguments.folder / "rewards" / "model")
        return 0
    if missing := [f"--{name}" for name in names if name not in given]:
        raise ValueError(f"to learn from a file of preferences, give {', '.join(missing)} too")
    settings = read_settings({**changes, **_changes(arguments.set)}, REWARD_SETTINGS)
    train_reward(RewardRun(**given, frozen=arguments.frozen), settings, arguments.folder)
    print(arguments.folder / "model" / f"{arguments.aspect}.safetensors")
    return 0


def _feedback(arguments: argparse.Namespace) -> int:
    from ..training.engine.settings import read_settings, read_toml
    from ..training.itercomp.feedback_run import FEEDBACK_SETTINGS, FeedbackRun, train_feedback

    changes = {**(read_toml(arguments.settings) if arguments.settings else {}), **_changes(arguments.set)}
    run = FeedbackRun(
        model=arguments.model,
        rewards=arguments.rewards,
        prompts=arguments.prompts,
        size=arguments.size,
        gradient_checkpointing=arguments.gradient_checkpointing,
    )
    train_feedback(run, read_settings(changes, FEEDBACK_SETTINGS), arguments.folder)
    print(arguments.folder / "model" / "unet")
    return 0


def _changes(words: list[str]) -> dict[str, Any]:
    """`name=value` words; values as in TOML, anything else is text."""
    changes: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise ValueError(f"--set {word}: write NAME=VALUE, for instance steps=2000")
        changes[name.strip()] = _value(value.strip())
    return changes


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 1024x768") from None
    return width, height

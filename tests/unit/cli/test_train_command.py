"""`instance-composer train` before anything is trained: flags come from the fields of a run."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from instance_composer.cli.train import ACTIONS
from instance_composer.cli.train.options import add_options, read_options
from instance_composer.training.ifadapter.options import AdapterRun
from instance_composer.training.itercomp.feedback_options import FeedbackRun
from instance_composer.training.itercomp.reward_options import RewardRun

HELP = """
import sys
from instance_composer.cli import main
try: main(["train", *sys.argv[1:], "--help"])
except SystemExit as ended: assert not ended.code, ended.code
heavy = {"torch", "diffusers", "transformers", "accelerate", "numpy", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""


def parser_of(run: type, required: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_options(parser, run, required=required)
    return parser


@pytest.mark.parametrize("action", ACTIONS)
def test_help_of_an_action_is_instant(action):
    done = subprocess.run([sys.executable, "-c", HELP, action], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"instance-composer train {action}" in done.stdout


@pytest.mark.parametrize("run", [AdapterRun, FeedbackRun, RewardRun])
def test_flags_left_out_leave_the_defaults_of_the_fields(run):
    needed = {one.name: Path(one.name) for one in fields(run) if one.default is MISSING}
    words = [word for name in needed for word in (f"--{name}", name)]
    assert read_options(parser_of(run).parse_args(words), run) == run(
        **{name: str(value) if name == "aspect" else value for name, value in needed.items()}
    )


def test_every_kind_of_flag_reaches_its_field():
    words = ["--model", "m", "--data", "d", "--size", "96x64", "--pictures", "7", "--checked", "3", "--small"]
    words += ["--region-weight", "2", "--snr-power", "0.5", "--gradient-checkpointing", "--init", "i"]
    words += ["--latents", "l", "--leave-out"]
    assert read_options(parser_of(AdapterRun).parse_args(words), AdapterRun) == AdapterRun(
        Path("m"), Path("d"), (96, 64), 7, 3, Path("i"), True, 2.0, 0.5, True, Path("l"), True
    )


def test_a_run_file_gives_the_options_and_flags_go_first(tmp_path):
    from instance_composer.cli.train.settings import add_settings, changes, settings_file
    from instance_composer.training.engine.run_file import write_run_file
    from instance_composer.training.engine.settings import Settings, read_settings

    given = AdapterRun(Path('a "model"'), Path("ü"), (96, 64), small=True, region_weight=2.0, held_out=3)
    write_run_file(tmp_path, given, Settings(steps=7, learning_rate=3e-4))
    for words, changed in (
        ([], {}),
        (["--model", "m", "--size", "64x64"], {"model": Path("m"), "size": (64, 64)}),
        # As large as the defaults are, and given all the same.
        (["--size", "1024x1024", "--held-out", "0"], {"size": (1024, 1024), "held_out": 0}),
    ):
        for ordered in (
            [*words, "--settings", f"{tmp_path}/run.toml"],
            ["--settings", f"{tmp_path}/run.toml", *words],
        ):
            parser = parser_of(AdapterRun)
            add_settings(parser)
            arguments = parser.parse_args(ordered)
            assert read_options(arguments, AdapterRun) == replace(given, **changed)
            read = read_settings({**settings_file(arguments), **changes(arguments)})
            assert read == Settings(steps=7, learning_rate=3e-4)
    parser = parser_of(FeedbackRun)
    add_settings(parser)
    with pytest.raises(ValueError, match="there is no option 'data'"):
        parser.parse_args(["--settings", f"{tmp_path}/run.toml"])


def test_words_of_set_are_read_as_toml_reads_them():
    from instance_composer.cli.train.settings import changes
    from instance_composer.training.engine.settings import SettingsError, read_settings

    words = ["fsdp=true", "batch=2", "learning_rate=1e-3", "trackers=tensorboard,wandb"]
    read = changes(argparse.Namespace(set=words))
    assert read == {"fsdp": True, "batch": 2, "learning_rate": 1e-3, "trackers": "tensorboard,wandb"}
    assert read_settings(read).fsdp is True
    quoted = changes(argparse.Namespace(set=['mixed_precision="bf16"', "trackers='a,b'", 'optimizer="']))
    assert quoted == {"mixed_precision": "bf16", "trackers": "a,b", "optimizer": '"'}
    assert read_settings(changes(argparse.Namespace(set=["fsdp=false"]))).fsdp is False
    with pytest.raises(SettingsError, match="fsdp is 'True'; it must be true or false"):
        read_settings(changes(argparse.Namespace(set=["fsdp=True"])))


def test_the_help_quotes_defaults():
    text = parser_of(AdapterRun).format_help()
    for quoted in (
        "width x height (1024x1024)",
        "to encode (10000)",
        "things alone (0)",
        "0.5 (0: all alike)",
    ):
        assert quoted in " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--size", "96"], 'a size like "1024x768" is needed, got "96"'),
        (["--size", "0x64"], 'a size like "1024x768" is needed, got "0x64"'),
        (["--pictures", "many"], "argument --pictures: invalid int value: 'many'"),
        (["--checked-pattern-pictures", "3"], "required: --model"),
    ],
)
def test_what_cannot_be_read_is_refused(words, complaint, capsys):
    with pytest.raises(SystemExit):
        parser_of(AdapterRun).parse_args(words)
    assert complaint in capsys.readouterr().err

"""`run.toml`: everything a run was asked for and by which versions, to read again with `--settings`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from .checkpoint import write_whole
from .settings import Settings, read_toml

FILE = "run.toml"
# Tables beside the settings; only the first is read again.
OPTIONS, VERSIONS = "options", "versions"
_PACKAGES = ("instance-composer", "torch", "diffusers", "transformers", "accelerate", "safetensors")


def write_run_file(folder: Path, options: Any, settings: Settings) -> None:
    """Write the settings, the fields of a run's options and versions; the file of an earlier start is
    replaced, for its number of steps may be another."""
    tables = {OPTIONS: options_of(options), VERSIONS: versions()}
    lines = [*_lines(settings.to_dict())]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_lines(table)]
    write_whole(folder / FILE, "\n".join(lines) + "\n")


def options_of(options: Any) -> dict[str, Any]:
    """The fields of a run's options as plain values, without those that say nothing."""
    found = {one.name: getattr(options, one.name) for one in fields(options)}
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in found.items()}
    return {name: value for name, value in plain.items() if value is not None}


def changed_options(folder: Path, options: Any) -> list[str]:
    """A line that tells which options differ from those of the run's last start, none where none does."""
    path = folder / FILE
    if options is None or not path.is_file():
        return []
    # An option that the run's version did not know had its default.
    defaults = {one.name: one.default for one in fields(options) if one.default is not MISSING}
    before, now = {**defaults, **read_toml(path).get(OPTIONS, {})}, {**defaults, **options_of(options)}
    changed = [
        f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
        for name in sorted({*before, *now})
        if _shown(before.get(name)) != _shown(now.get(name))
    ]
    return [f"options have changed since the last start: {'; '.join(changed)}"] if changed else []


def _shown(value: Any) -> str:
    return "not given" if value is None else _value(value)


def versions() -> dict[str, str]:
    """Versions of the packages that decide a run's numbers, of those that are there."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value(value)}" for name, value in table.items()]


def _value(value: Any) -> str:
    """A value as TOML writes it, which for all that settings hold is as JSON does."""
    if isinstance(value, tuple):
        value = list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    # TOML wants what JSON leaves alone: no surrogates, and DEL escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

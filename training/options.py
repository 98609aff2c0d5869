"""Options of a run: fields of its dataclass that carry the words of their flag on the command line.

Files with such dataclasses import nothing heavy, so that `--help` is instant.
"""

from __future__ import annotations


def flag(help: str, name: str | None = None) -> dict[str, str | None]:
    """Metadata of a field: its help, which may quote the default as `%(default)s`, and its flag's name.

    The flag is called like the field unless `name` says otherwise. A run cannot do without a field that has
    no default.
    """
    return {"help": help, "flag": name}

"""Links, options and commands in the prose of every page lead somewhere."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from importlib import import_module

import pytest
from documentation import REPOSITORY, anchors, blocks, inline_commands, links, named_scripts, pages

from instance_composer import cli

# A subcommand named in prose stands for itself; "…" stands for whatever comes.
INLINE = sorted({(page, code) for page in pages() for code in inline_commands(page)})


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_a_file_and_to_a_heading_in_it(page):
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / name if name else REPOSITORY / page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", pages())
def test_a_script_that_is_named_exists(page):
    """From the root, or beside the page; what begins with no folder of ours is another program's."""
    around = (REPOSITORY, (REPOSITORY / page).parent)
    ours = [name for name in named_scripts(page) if (REPOSITORY / name.partition("/")[0]).is_dir()]
    assert [name for name in ours if not any((folder / name).is_file() for folder in around)] == []


@pytest.mark.parametrize("page", pages())
def test_the_pack_is_installed_from_where_it_is(page):
    """No package index has it under its name."""
    assert re.findall(r"instance-composer\[[^\]\n]+\](?! @ git\+https://github\.com/)", pages()[page]) == []


def test_every_script_of_a_timing_is_in_their_table():
    folder = REPOSITORY / "timing"
    table = set(re.findall(r"^\| `(\w+\.py)\b", pages()["timing/README.md"], re.MULTILINE))
    scripts = {path.name for path in folder.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert table == scripts


@pytest.mark.parametrize(("page", "code"), INLINE)
def test_a_command_in_a_sentence_exists(page, code, capsys):
    words = [word for word in shlex.split(code)[1:] if word != "…"]
    names = [word for word in words if not word.startswith("-")]
    with pytest.raises(SystemExit) as ended:
        cli.main([*names[:2], "--help"])
    assert ended.value.code == 0
    described = capsys.readouterr().out
    assert [word for word in words if word.startswith("--") and word not in described] == []


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of a command's actions, or its own."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for below in group.choices.values():
            yield from leaves(below)


def described(name: str) -> str:
    """A command's section of the command line's page; all of docs for one that has pages of its own."""
    section = re.search(
        rf"^## {name}\n(.*?)(?=^## |\Z)", pages()["docs/command-line.md"], re.DOTALL | re.MULTILINE
    )
    return section[1] if section else "\n".join(pages()[page] for page in pages() if page.startswith("docs/"))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_is_described(name):
    parser = argparse.ArgumentParser()
    import_module(f"instance_composer.cli.{name}").configure(parser)
    options = {
        option
        for leaf in leaves(parser)
        for action in leaf._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    text = described(name)
    missing = [one for one in options - {"--help"} if not re.search(rf"(?<![\w-]){one}(?![\w-])", text)]
    assert missing == []


@pytest.mark.parametrize("page", pages())
def test_a_variable_of_a_shell_is_set_somewhere(page):
    """By SLURM, or by a line of the page."""
    codes = [block.text for block in blocks(page) if block.kind != "python"]
    codes += re.findall(r"`([^`]+)`", pages()[page])
    used = {name for code in codes for name in re.findall(r"\$\{?([A-Z][A-Z_]+)", code)}
    unset = {name for name in used if not re.search(rf"\b{name}=", pages()[page])}
    assert [name for name in unset if not name.startswith("SLURM_")] == []


def test_there_is_something_to_look_at():
    assert len(pages()) > 30
    assert sum(len(blocks(page)) for page in pages()) > 40
    assert len(INLINE) > 10

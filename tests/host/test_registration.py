"""How ComfyUI sees the pack as a whole: loading it, surviving a broken part, schemas on older versions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_location import REPOSITORY, find_comfyui, find_older_hosts

HOSTS = {"current": find_comfyui(), **find_older_hosts()}


def run_in(host: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own inside a ComfyUI checkout."""
    start = "import sys; sys.path.insert(0, '.')\nfrom comfy.cli_args import args; args.cpu = True\n"
    command = [sys.executable, "-c", start + program, *arguments]
    return subprocess.run(command, cwd=host, capture_output=True, text=True, check=False)


SCHEMA = """
import json
from comfy_api.latest import io
from instance_composer.hosts.comfyui.schema import schema, socket

strength = socket(io.Float, "strength", default=1.0, tooltip="how strong", advanced=True)
adapter = socket(io.Custom("IFADAPTER"), "adapter", optional=True, advanced=True)
newest = dict(search_aliases=["a"], essentials_category="b", is_dev_only=False, accept_all_inputs=False)
newest["has_intermediate_output"] = False
made = schema(node_id="IC_Probe", category="c", inputs=[strength, adapter], **newest)
refused = []
for attempt in (lambda: schema(node_id="x", search_alias=["a"]), lambda: socket(io.Float, "x", advance=True)):
    try:
        attempt()
    except TypeError as error:
        refused.append(str(error))
values = [(one.id, one.tooltip, one.optional, getattr(one, "advanced", "unknown")) for one in made.inputs]
print(json.dumps([made.node_id, made.category, values, getattr(made, "search_aliases", "unknown"), refused]))
"""


@pytest.mark.parametrize("version", HOSTS)
def test_a_schema_keeps_what_the_version_knows_and_refuses_what_none_knows(version):
    done = run_in(HOSTS[version], SCHEMA)
    assert done.returncode == 0, done.stderr
    node_id, category, inputs, aliases, refused = json.loads(done.stdout.splitlines()[-1])
    assert (node_id, category) == ("IC_Probe", "c")
    newer = version not in ("v0.3.64", "v0.8.0")
    advanced = True if newer else "unknown"
    assert inputs == [["strength", "how strong", False, advanced], ["adapter", None, True, advanced]]
    assert aliases == (["a"] if newer else "unknown")
    assert "search_alias" in refused[0]
    assert "advance" in refused[1]


LOAD = """
import asyncio, json, sys
import utils.extra_config, nodes
before = set(nodes.NODE_CLASS_MAPPINGS)
loaded = asyncio.run(nodes.load_custom_node(sys.argv[1], ignore=before))
folder = dict(nodes.EXTENSION_WEB_DIRS)
print(json.dumps([loaded, sorted(set(nodes.NODE_CLASS_MAPPINGS) - before), folder]))
"""


def load(pack: Path) -> tuple[bool, list[str], dict[str, str], str]:
    """(loaded, new node ids, web folders, log) of ComfyUI loading the pack in this folder."""
    done = run_in(find_comfyui(), LOAD, str(pack))
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout.splitlines()[-1]), done.stderr + done.stdout


@pytest.fixture
def pack(tmp_path) -> Path:
    """A copy of the pack in a folder named as users have it, hyphens included."""
    folder = tmp_path / "custom_nodes" / "ComfyUI-Instance-Composer"
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(".*", "tests", "*.egg-info", "build"))
    return folder


def test_comfyui_loads_the_pack_from_a_hyphenated_folder(pack):
    loaded, names, web, log = load(pack)
    assert loaded, log
    assert "Traceback" not in log
    assert {"IC_LoadIFAdapter", "IC_ApplyIFAdapter"} <= set(names)
    assert all(name.startswith("IC_") for name in names)
    assert list(web.values()) == ([str(pack / "web")] if (pack / "web").is_dir() else [])


def test_a_broken_family_leaves_the_others_and_its_traceback(pack):
    (pack / "nodes" / "layout.py").write_text("raise RuntimeError('a library of this family is broken')")
    loaded, names, _, log = load(pack)
    assert loaded
    assert "IC_ApplyIFAdapter" in names
    assert "The layout nodes of Instance Composer could not be loaded" in log
    assert "RuntimeError: a library of this family is broken" in log
    assert 'layout.py", line 1' in log


def test_a_pack_that_cannot_load_leaves_its_traceback(pack):
    (pack / "nodes" / "__init__.py").write_text("raise RuntimeError('nothing works')")
    loaded, names, _, log = load(pack)
    assert not loaded
    assert names == []
    assert 'nodes/__init__.py", line 1' in log

"""Pack as ComfyUI sees it: loading it, surviving a broken part, schemas on older versions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

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
def test_a_schema_keeps_what_the_version_knows_and_refuses_what_none_knows(version, capsys):
    if version == "current":  # it is in this process already
        exec(SCHEMA, {})
        said = capsys.readouterr().out
    else:
        done = run_in(HOSTS[version], SCHEMA)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    node_id, category, inputs, aliases, refused = json.loads(said.splitlines()[-1])
    assert (node_id, category) == ("IC_Probe", "c")
    newer = version not in ("v0.3.64", "v0.8.0")
    advanced = True if newer else "unknown"
    assert inputs == [["strength", "how strong", False, advanced], ["adapter", None, True, advanced]]
    assert aliases == (["a"] if newer else "unknown")
    assert "search_alias" in refused[0]
    assert "advance" in refused[1]


LOAD = """
import asyncio, io, json, logging, sys
import utils.extra_config, nodes

def load(pack):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    before = dict(nodes.NODE_CLASS_MAPPINGS)
    loaded = asyncio.run(nodes.load_custom_node(pack))
    found = sorted(set(nodes.NODE_CLASS_MAPPINGS) - set(before))
    web = dict(nodes.EXTENSION_WEB_DIRS)
    logging.getLogger().removeHandler(handler)
    nodes.NODE_CLASS_MAPPINGS.clear()
    nodes.NODE_CLASS_MAPPINGS.update(before)
    nodes.EXTENSION_WEB_DIRS.clear()
    return dict(loaded=loaded, nodes=found, web=web, log=log.getvalue())

print(json.dumps([load(pack) for pack in sys.argv[1:]]))
"""

# What stands in the place of a file of the pack, in the copy of this name.
BREAKAGE = {
    "ComfyUI-Instance-Composer": {},
    "broken-family": {"nodes/layout.py": "raise RuntimeError('a library of this family is broken')"},
    "broken-pack": {"nodes/__init__.py": "raise RuntimeError('nothing works')"},
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """ComfyUI's reading of copies of the pack, whole and broken, in folders named as users have them."""
    folder = tmp_path_factory.mktemp("custom_nodes")
    ignored = shutil.ignore_patterns(".*", "tests", "*.egg-info", "node_modules", "output")
    for name, files in BREAKAGE.items():
        shutil.copytree(REPOSITORY, folder / name, ignore=ignored)
        for path, source in files.items():
            (folder / name / path).write_text(source)
    done = run_in(find_comfyui(), LOAD, *(str(folder / name) for name in BREAKAGE))
    assert done.returncode == 0, done.stderr
    return {"folder": folder, **dict(zip(BREAKAGE, json.loads(done.stdout.splitlines()[-1]), strict=True))}


def test_comfyui_loads_the_pack_from_a_hyphenated_folder(loaded):
    pack = loaded["ComfyUI-Instance-Composer"]
    assert pack["loaded"], pack["log"]
    assert "Traceback" not in pack["log"]
    assert {"IC_LoadIFAdapter", "IC_ApplyIFAdapter"} <= set(pack["nodes"])
    assert all(name.startswith("IC_") for name in pack["nodes"])


def test_the_web_folder_is_registered_once(loaded):
    """Once is enough: a second name for the same folder loads every script twice."""
    web = loaded["folder"] / "ComfyUI-Instance-Composer" / "web"
    assert list(loaded["ComfyUI-Instance-Composer"]["web"].values()) == ([str(web)] if web.is_dir() else [])


def test_a_broken_family_leaves_the_others_and_its_traceback(loaded):
    pack = loaded["broken-family"]
    assert pack["loaded"]
    assert "IC_ApplyIFAdapter" in pack["nodes"]
    assert "The layout nodes of Instance Composer could not be loaded" in pack["log"]
    assert "RuntimeError: a library of this family is broken" in pack["log"]
    assert 'layout.py", line 1' in pack["log"]


def test_a_pack_that_cannot_load_leaves_its_traceback(loaded):
    pack = loaded["broken-pack"]
    assert (pack["loaded"], pack["nodes"]) == (False, [])
    assert "Instance Composer could not be loaded" in pack["log"]
    assert 'nodes/__init__.py", line 1' in pack["log"]

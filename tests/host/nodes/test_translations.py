"""Node definitions in other languages: every node, input and output, nothing that is gone."""

from __future__ import annotations

import json
import re

import pytest
from comfyui_location import REPOSITORY

from instance_composer.nodes import collect_nodes

TRANSLATED = sorted(REPOSITORY.glob("locales/*/nodeDefs.json"))


@pytest.mark.parametrize("file", TRANSLATED, ids=lambda file: file.parent.name)
def test_every_part_of_every_node_is_translated(file):
    translated = json.loads(file.read_text(encoding="utf-8"))
    schemas = {node.define_schema().node_id: node.define_schema() for node in collect_nodes()}
    assert set(translated) == set(schemas)
    for name, schema in schemas.items():
        words = translated[name]
        assert words["display_name"].strip()
        assert words["description"].strip()
        assert set(words["inputs"]) == {one.id for one in schema.inputs}, name
        assert set(words["outputs"]) == {str(place) for place, _ in enumerate(schema.outputs)}, name
        for part in (*words["inputs"].values(), *words["outputs"].values()):
            assert part["name"].strip(), name
            assert part["tooltip"].strip(), name


def test_a_tooltip_ends_with_one_stop():
    for node in collect_nodes():
        schema = node.define_schema()
        for one in (*schema.inputs, *schema.outputs):
            assert not re.search(r"[?!.]\.$", one.tooltip), (schema.node_id, one.id, one.tooltip)


@pytest.mark.parametrize("file", TRANSLATED, ids=lambda file: file.parent.name)
def test_a_start_says_of_what_it_is_a_share(file):
    """Core's ranges are shares of the noise schedule; who thinks of steps sets it too late."""
    translated = json.loads(file.read_text(encoding="utf-8"))
    named = {node.define_schema().node_id: node.define_schema().inputs for node in collect_nodes()}
    starts = {name: one for name, inputs in named.items() for one in inputs if one.id == "start"}
    assert len(starts) > 4
    for name, one in starts.items():
        assert "as a share of the noise schedule (not of the steps)" in one.tooltip, name
        assert "以噪声调度（而非步数）的比例计" in translated[name]["inputs"]["start"]["tooltip"], name

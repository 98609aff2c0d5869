"""Node definitions in other languages: every node, input and output, nothing that is gone."""

from __future__ import annotations

import json

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

"""What helps a person to find and to set a node: words of the search, folded widgets, spans in tooltips."""

from __future__ import annotations

import re

import pytest

from instance_composer.nodes import collect_nodes

SCHEMAS = {node.define_schema().node_id: node.define_schema() for node in collect_nodes()}
PLACING = ("IC_InstanceLayout", "IC_ComposeLayout", "IC_ApplyIFAdapter", "IC_DrawRegions")
SEARCHED = {"place", "box", "area", "multi subject", "character"}


@pytest.mark.parametrize("name", PLACING)
def test_a_node_that_places_is_found_by_what_people_search(name):
    assert set(SCHEMAS[name].search_aliases) >= SEARCHED


def test_attribute_concentration_shows_little_and_says_a_span_of_every_number():
    widgets = [one for one in SCHEMAS["IC_AttributeConcentration"].inputs if hasattr(one, "default")]
    shown = [one.id for one in widgets if not getattr(one, "advanced", None)]
    assert set(shown) - {"model", "positive", "entities", "layout", "mask"} == {"strength", "mode"}
    numbers = [one for one in widgets if type(one.default) in (int, float)]
    assert len(numbers) > 5
    for one in numbers:
        assert re.search(r"(Try|such as) [\d.]+", one.tooltip), one.id

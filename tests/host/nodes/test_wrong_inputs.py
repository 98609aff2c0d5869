"""Values that inputs are not for: a sentence that names the input, for every input of every node."""

from __future__ import annotations

import pytest
from comfy_api.latest import io
from wrong_inputs import combinations, outcome, right_values

from instance_composer.hosts.comfyui.inputs import WrongInputError, check_inputs, checked
from instance_composer.nodes import collect_nodes


def test_every_input_of_every_node_refuses_wrong_values_by_name(model, clip, adapter):
    ways, failures = 0, []
    for label, node, name, values in combinations(right_values(model, clip, adapter)):
        ways += 1
        try:
            outcome(node, name, values)
        except Exception as error:
            failures.append(f"{label}: {type(error).__name__}: {error}")
    assert ways > 500
    assert not failures, "\n".join(failures)


def test_right_values_pass_the_check(model, clip, adapter):
    right = right_values(model, clip, adapter)
    for node in collect_nodes():
        inputs = node.define_schema().inputs or ()
        check_inputs(node, {one.id: right[kind] for one in inputs if (kind := one.get_io_type()) in right})


def test_numbers_beyond_their_limits_are_refused_over_links_too():
    """ComfyUI refuses typed ones before a node runs."""
    limits = 0
    for node in collect_nodes():
        schema = node.define_schema()
        numbers = [one for one in schema.inputs or () if one.get_io_type() in ("INT", "FLOAT")]
        for one in numbers:
            for limit, beyond in ((one.min, -1), (one.max, 1)):
                if limit is None:
                    continue
                limits += 1
                # A limit is still allowed.
                check_inputs(node, {one.id: limit})
                with pytest.raises(WrongInputError) as refused:
                    check_inputs(node, {one.id: limit + beyond})
                said = str(refused.value)
                assert f"{schema.display_name}: {one.id} needs a " in said
                assert str(limit) in said
                assert f"got {limit + beyond}" in said
    assert limits > 50


def test_a_node_is_wrapped_once_and_answers_as_comfyui_calls_it():
    class Doubles(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="IC_Probe", display_name="Probe", inputs=[io.Int.Input("number")])

        @classmethod
        def execute(cls, number):
            return io.NodeOutput(2 * number)

    once = checked(Doubles).execute
    assert checked(Doubles).execute == once
    assert Doubles.EXECUTE_NORMALIZED(number=4).result == (8,)
    with pytest.raises(WrongInputError, match=r"Probe: number needs a whole number, got 'four'\."):
        Doubles.EXECUTE_NORMALIZED(number="four")

"""Files that are tried: whatever a library says of one, the others are told of."""

from __future__ import annotations

import pytest

from instance_composer.demo import FOLDER
from instance_composer.doctor.model_files import ModelFile
from instance_composer.doctor.report import PassRefusedError
from instance_composer.doctor.self_check import self_check

FILES = [ModelFile("diffusers", f"itercomp-{number}", FOLDER, "SDXL", True) for number in (1, 2)]


@pytest.mark.parametrize("kind", [ValueError, TypeError, KeyError, AttributeError, AssertionError])
@pytest.mark.parametrize("words", ["activation function sillu not found", ""])
def test_a_file_that_a_library_cannot_read_costs_its_own_row(kind, words):
    def unet_pass(path, inputs):
        raise kind(words) if words else kind

    rows = [check() for _, check in self_check(FILES, unet_pass)]
    assert [(row.state, row.name) for row in rows] == [("fault", "itercomp-1"), ("fault", "itercomp-2")]
    assert all((words or kind.__name__) in row.found and "hash" in row.remedy for row in rows)


def test_memory_that_ran_out_is_no_fault_of_the_file():
    def unet_pass(path, inputs):
        raise MemoryError

    assert [check().state for _, check in self_check(FILES, unet_pass)] == ["note", "note"]


def test_a_pass_that_may_not_run_now_ends_the_check_and_blames_no_file():
    def unet_pass(path, inputs):
        raise PassRefusedError("ComfyUI is drawing")

    _, check = next(self_check(FILES, unet_pass))
    with pytest.raises(PassRefusedError, match="drawing"):
        check()

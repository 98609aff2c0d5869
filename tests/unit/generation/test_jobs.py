"""Jobs as the process receives them, and methods by their names."""

from __future__ import annotations

import json

import pytest

from instance_composer.evaluation.benchmark import Point
from instance_composer.evaluation.benchmarks.binding.plan import BindingPlan
from instance_composer.evaluation.benchmarks.placement.plan import PlacementPlan
from instance_composer.generation import binding_methods, placing_methods
from instance_composer.generation.jobs import Job
from instance_composer.hosts.comfyui_process import SamplingError, running_comfyui


@pytest.mark.parametrize("plan", [PlacementPlan(), BindingPlan()])
def test_a_job_is_the_same_after_a_line_of_json(plan):
    job = plan.job(Point("ifadapter"), 2)
    read = Job.from_dict(json.loads(json.dumps(job.to_dict())))
    assert read.to_dict() == json.loads(json.dumps(job.to_dict()))
    assert read.layout == job.layout
    assert read.sampling == job.sampling


def test_guidance_is_added_to_a_method_that_needs_no_more_than_the_guided_one():
    methods = binding_methods.METHODS
    for name, baseline in binding_methods.BASELINES.items():
        assert methods[baseline].sampled
        assert not methods[baseline].baseline
        assert methods[name].adapter == methods[baseline].adapter
    assert all(placing_methods.METHODS[name].boxes for name in placing_methods.TRAINING_FREE)


def test_a_folder_without_comfyui_is_told(tmp_path):
    with (
        pytest.raises(SamplingError, match="there is no ComfyUI in"),
        running_comfyui(tmp_path, tmp_path, None),
    ):
        pass

"""Recipe of the demo model: its stages and how many pictures they see."""

from __future__ import annotations

import pytest

from instance_composer.training.demo_model.recipe import STAGES, choose_stage
from instance_composer.training.demo_model.stage_names import STAGE_NAMES
from instance_composer.training.engine.settings import SettingsError


def test_stages_build_on_stages_there_are():
    assert tuple(STAGES) == STAGE_NAMES
    assert all(stage.before in {None, *STAGES} for stage in STAGES.values())
    with pytest.raises(SettingsError, match="choose crops, autoencoder"):
        choose_stage("base", {})


def test_fewer_pictures_keep_the_proportions_of_sizes():
    encoded = choose_stage("base-mixed", {"steps": 7}, pictures=800).pictures
    assert [one.number for one in encoded] == [800, 600, 100, 100]

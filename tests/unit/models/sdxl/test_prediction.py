"""What a model predicts, by the marks of a file and by a folder's scheduler."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from instance_composer.models.sdxl.prediction import (
    EPSILON,
    VELOCITY,
    Prediction,
    prediction_of,
    read_prediction,
    scheduler_prediction,
)
from instance_composer.models.weights import CheckpointError, open_weights, read_texts

NONE = torch.zeros(0)


def read(folder, marks, texts=None):
    file = folder / "model.safetensors"
    save_file({"layer.weight": torch.zeros(2, 2), **marks}, file, texts)
    weights = open_weights([file])
    return read_prediction(file.name, weights, weights.read, read_texts(file))


@pytest.mark.parametrize(
    ("marks", "texts", "kind", "zero_snr"),
    [
        ({}, {}, EPSILON, False),
        ({"v_pred": NONE}, {}, VELOCITY, False),
        ({"v_pred": NONE, "ztsnr": NONE}, {}, VELOCITY, True),
        ({}, {"modelspec.prediction_type": "v"}, VELOCITY, False),
        ({}, {"modelspec.predict_key": "v"}, VELOCITY, False),
        ({}, {"modelspec.prediction_type": "V_Prediction"}, VELOCITY, False),
        ({"ztsnr": NONE}, {"modelspec.prediction_type": "v"}, VELOCITY, True),
        ({}, {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}, VELOCITY, True),
        ({}, {"modelspec.prediction_type": "epsilon"}, EPSILON, False),
    ],
)
def test_marks_that_hosts_and_trainers_write(tmp_path, caplog, marks, texts, kind, zero_snr):
    found = read(tmp_path, marks, texts)
    assert (found.kind, found.zero_snr, found.edm) == (kind, zero_snr, None)
    assert found.said == bool(marks or texts)
    assert not caplog.records


@pytest.mark.parametrize(
    ("marks", "texts", "message"),
    [
        (
            {"ztsnr": NONE},
            {},
            "not known or not whole: ztsnr. It is taken for a model with epsilon prediction",
        ),
        ({"edm_mean": torch.zeros(4)}, {}, "not whole: edm_mean"),
        ({"rectified_flow": NONE}, {}, "not known or not whole: rectified_flow"),
        ({"brand_new": NONE}, {}, "not known or not whole: brand_new"),
        ({"v_pred": NONE, "v_pred_x": NONE}, {}, "v_pred_x. It is taken for a model with v-prediction"),
        ({}, {"modelspec.prediction_type": "flow"}, "predicts 'flow', which is not known"),
        (
            {"v_pred": NONE},
            {"modelspec.prediction_type": "epsilon"},
            "tensors say v-prediction, its metadata ep",
        ),
    ],
)
def test_marks_that_are_not_known_or_contradict_are_a_warning(tmp_path, caplog, marks, texts, message):
    with caplog.at_level(logging.WARNING, "instance_composer"):
        read(tmp_path, marks, texts)
    assert message in caplog.text


def test_edm_in_both_kinds(tmp_path):
    cosxl = {"edm_vpred.sigma_max": torch.tensor(80.0), "edm_vpred.sigma_min": torch.tensor(0.01)}
    found = read(tmp_path, cosxl)
    assert found.kind == VELOCITY
    assert found.edm is not None
    assert (found.edm.sigma_max, found.edm.sigma_min) == (80, pytest.approx(0.01))
    mean, std = torch.arange(4.0).reshape(1, 4, 1, 1), torch.full((1, 4, 1, 1), 2.0)
    found = read(tmp_path, {"edm_mean": mean, "edm_std": std})
    assert found.kind == EPSILON
    assert found.edm is not None
    assert (found.edm.mean, found.edm.std, found.edm.sigma_data) == ((0, 1, 2, 3), (2, 2, 2, 2), 0.5)
    with pytest.raises(CheckpointError, match="mark edm_mean without finite numbers"):
        read(tmp_path, {"edm_mean": torch.full((4,), torch.nan), "edm_std": std})
    with pytest.raises(CheckpointError, match=r"says noise levels from 0\.002 to 0\.0"):
        read(tmp_path, {"edm_vpred.sigma_max": torch.tensor(0.0)})


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"v_pred": NONE},
        {"v_pred": NONE, "ztsnr": NONE},
        {"edm_vpred.sigma_max": torch.tensor(80.0), "edm_vpred.sigma_min": torch.tensor(0.01)},
        {"edm_mean": torch.arange(4.0).reshape(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)},
    ],
    ids=lambda marks: "+".join(marks) or "none",
)
def test_marks_are_written_as_they_were_read(tmp_path, marks):
    found = read(tmp_path, marks).marks()
    assert found.keys() == marks.keys()
    assert all(torch.equal(found[name], value) for name, value in marks.items())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, Prediction(EPSILON, said=True)),
        ({"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction"}, (VELOCITY, False)),
        ({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, (VELOCITY, True)),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, None),
        ({"_class_name": "DDIMScheduler", "prediction_type": "sample"}, None),
    ],
)
def test_schedulers_say_the_same(tmp_path, caplog, config, expected):
    found = prediction_of(config)
    if isinstance(expected, tuple):
        assert found is not None
        assert (found.kind, found.zero_snr) == expected
    else:
        assert found == expected
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    assert scheduler_prediction(tmp_path) == (found or Prediction())
    assert ("which is not known" in caplog.text) == (found is None)


def test_options_of_a_scheduler_come_back_as_the_same_prediction(tmp_path):
    for marks in ({"v_pred": NONE, "ztsnr": NONE}, {"v_pred": NONE}):
        made = read(tmp_path, marks)
        again = prediction_of(made.scheduler_options())
        assert again == made
    assert (
        read(tmp_path, {"v_pred": NONE, "ztsnr": NONE}).scheduler_options()["timestep_spacing"] == "trailing"
    )

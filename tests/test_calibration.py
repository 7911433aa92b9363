"""The temperature: found again where it is known, fitted on val alone, and no label changes."""

import dataclasses

import numpy as np
import pytest

from terraloom.calibration import calibrate, fit_temperature, reliability
from terraloom.dataset.rows import train_rows, val_rows
from terraloom.errors import BadCheckpoint, RoleError
from terraloom.files import read_json, write_json
from terraloom.learning.device import make_fabric
from terraloom.segmenting import CALIBRATION, Recipe, load_segmenter, train_segmenter
from terraloom.testing import colour_labeller, tiny_training, toy_classes, write_real

FABRIC = make_fabric(1)


def pixels(temperature, count=60_000, classes=5, seed=0):
    """Logits that are `temperature` times too large, and labels drawn from the true chances."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, classes))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return (temperature * logits).astype(np.float32), np.minimum(truth, classes - 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.7])
def test_a_known_temperature_is_found_and_confidence_becomes_right(temperature):
    logits, truth = pixels(temperature)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.03)
    other, told = pixels(temperature, seed=1)
    before = reliability(other, told, np.ones(len(told)))
    after = reliability(other, told, np.full(len(told), found))
    assert after["ece"] < 0.01
    assert after["nll"] <= before["nll"] + 1e-4
    if temperature != 1.0:
        assert before["ece"] > 0.05


def test_the_error_is_the_weighted_gap_of_the_bins():
    # Two classes: 8 pixels 90 % sure and half right, 2 pixels 60 % sure and all right.
    logits = np.log(np.array([[0.9, 0.1]] * 8 + [[0.6, 0.4]] * 2, dtype=np.float32))
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0])
    found = reliability(logits, truth, np.ones(10))
    assert found["ece"] == pytest.approx(0.8 * 0.4 + 0.2 * 0.4)
    assert [entry["pixels"] for entry in found["bins"]] == [2, 8]
    assert found["nll"] == pytest.approx(
        -(4 * np.log(0.9) + 4 * np.log(0.1) + 2 * np.log(0.6)) / 10, rel=1e-5
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write_real(tmp_path_factory.mktemp("real"))


def test_a_labeller_is_calibrated_on_val_and_says_so(real, tmp_path):
    val = val_rows(real)
    found = calibrate(colour_labeller(FABRIC), val, tmp_path, 0, pixels=5000)
    assert read_json(tmp_path / CALIBRATION) == found
    assert found["pixels"] <= 5000 + len(val)
    assert found["rows"] == len(val)
    assert found["after_is_held_out"] == (found["places"] > 1)
    again = calibrate(colour_labeller(FABRIC), val, tmp_path / "again", 0, pixels=5000)
    assert again == found
    other = calibrate(colour_labeller(FABRIC), val, tmp_path / "other", 1, pixels=200)
    assert other["pixels"] <= 200 + len(val)


def test_a_temperature_changes_confidence_and_no_label(real):
    cool = colour_labeller(FABRIC)
    warm = dataclasses.replace(cool, temperature=3.0)
    image = val_rows(real)[0].image
    one, two = cool.probabilities([image])[0], warm.probabilities([image])[0]
    assert (one.argmax(axis=0) == two.argmax(axis=0)).all()
    assert two.max(axis=0).mean() < one.max(axis=0).mean()
    np.testing.assert_allclose(cool.logits([image]), warm.logits([image]))
    assert (warm.labels([image])[0].numpy() == one.argmax(axis=0)).all()


def test_only_val_rows_are_taken(real, tmp_path):
    with pytest.raises(RoleError, match="ValRows only"):
        calibrate(colour_labeller(FABRIC), train_rows(real), tmp_path, 0)


def test_unknown_pixels_do_not_count(real, tmp_path):
    val = val_rows(real)
    rows = []
    for row in val.rows:
        mask = row.mask.copy()
        mask[::2] = 255
        rows.append(dataclasses.replace(row, mask=mask))
    found = calibrate(
        colour_labeller(FABRIC), dataclasses.replace(val, rows=rows), tmp_path, 0, pixels=10**7
    )
    assert found["pixels"] == sum(int((row.mask != 255).sum()) for row in rows)


def test_the_temperature_is_loaded_with_the_weights_and_a_bad_one_is_told(real, tmp_path):
    recipe = Recipe("unet", {"weights": "none"}, "small", len(toy_classes()), tiny_training())
    trained = train_segmenter(
        train_rows(real), val_rows(real), recipe, tmp_path, seed=0, fabric=FABRIC, description="x"
    )
    assert trained.temperature == 1.0
    found = calibrate(trained, val_rows(real), tmp_path, 0, pixels=2000)
    assert load_segmenter(tmp_path, FABRIC).temperature == found["temperature"]
    for wrong in ({"temperature": "warm"}, {"temperature": -1}, {}):
        write_json(tmp_path / CALIBRATION, wrong)
        with pytest.raises(BadCheckpoint, match=r"calibration\.json holds .*terraloom segment"):
            load_segmenter(tmp_path, FABRIC)

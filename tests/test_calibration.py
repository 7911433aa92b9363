"""The temperature: found again where it is known, fitted on val alone, and no label changes."""

import dataclasses

import numpy as np
import pytest

from terraloom import calibration
from terraloom.calibration import (
    calibrate,
    calibrate_together,
    fit_temperature,
    reliability,
    told,
)
from terraloom.dataset.rows import ValRows, stream_rows, train_rows, val_rows
from terraloom.ensemble import Ensemble
from terraloom.errors import BadCheckpoint, RoleError
from terraloom.files import read_json, write_json
from terraloom.learning.device import make_fabric
from terraloom.samples import Sample
from terraloom.segmenting import (
    CALIBRATION,
    Recipe,
    TrainedSegmenter,
    evaluate,
    load_segmenter,
    train_segmenter,
)
from terraloom.testing import (
    ColourNetwork,
    colour_labeller,
    tiny_training,
    toy_classes,
    toy_pair,
    toy_rows,
    write_real,
    write_samples,
)

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


class Faint(ColourNetwork):
    """Knows the colours and is far too unsure of them."""

    def forward(self, images):
        return 0.05 * super().forward(images)


def faint_labeller():
    classes = toy_classes()
    return TrainedSegmenter(Faint(classes).eval(), FABRIC, len(classes), {})


def poisoned(folder, *roles):
    """The samples of `write_real`, but rows of these roles are turned around and mislabelled."""
    random = np.random.default_rng(99)
    samples = []
    for index, role in enumerate(["train"] * 8 + ["val"] * 4 + ["test"] * 6):
        image, mask = toy_pair(index)
        if role in roles:
            image, mask = 255 - image, random.permuted(mask)
        name, place = f"real-{index:03d}", f"{role}-{index // 2}"
        samples.append(Sample(name, image, mask, "real", split=role, place=place))
    return write_samples(folder, samples)


def test_poison_in_train_and_test_rows_moves_nothing_and_in_val_rows_it_does(real, tmp_path):
    def found(table, name):
        return calibrate(faint_labeller(), val_rows(table), tmp_path / name, 0, pixels=3000)

    clean = found(real, "clean")
    assert found(poisoned(tmp_path / "a"), "unpoisoned") == clean
    assert found(poisoned(tmp_path / "b", "train", "test"), "poisoned") == clean
    assert found(poisoned(tmp_path / "c", "val"), "val")["temperature"] != clean["temperature"]


def test_the_error_falls_on_places_that_had_no_part_in_the_temperature(real, tmp_path):
    found = calibrate(faint_labeller(), val_rows(real), tmp_path, 0, pixels=3000)
    assert found["after_is_held_out"]
    assert found["temperature"] < 1
    assert found["after"]["ece"] < 0.2 * found["before"]["ece"]
    assert found["after"]["nll"] < found["before"]["nll"]
    # What is named does not change, so neither does how often it is right.
    for one, other in zip(found["before"]["classes"], found["after"]["classes"], strict=True):
        assert (one["accuracy"], one["pixels"]) == (other["accuracy"], other["pixels"])
        assert one["confidence"] < other["confidence"]
    assert sum(entry["pixels"] for entry in found["after"]["classes"]) == found["pixels"]


def test_the_confusion_is_that_of_all_known_pixels(tmp_path):
    wrong = poisoned(tmp_path / "wrong", "val")
    found = calibrate(colour_labeller(FABRIC), val_rows(wrong), tmp_path, 0, pixels=50)
    whole = sum(evaluate(colour_labeller(FABRIC), stream_rows(wrong, "val")).values())
    assert found["confusion"] == whole.tolist() != whole.T.tolist()
    assert found["pixels"] < whole.sum()


class Watched:
    """A labeller that remembers how many images of which size it was shown at once."""

    num_classes = len(toy_classes())

    def __init__(self):
        self.shown = []
        self.labeller = faint_labeller()

    def logits(self, images):
        (size,) = {image.shape[:2] for image in images}
        self.shown.append((len(images), size))
        return self.labeller.logits(images)


def test_rows_are_shown_a_few_at_a_time_and_no_more_than_a_limit(tmp_path, monkeypatch):
    wide, tall = toy_rows(1, 40, 32, 64)[1], toy_rows(1, 3, 64, 32)[1]
    mixed = ValRows((*wide.rows[:20], *tall.rows, *wide.rows[20:]))
    watched = Watched()
    found = calibrate(watched, mixed, tmp_path, 0, pixels=4000)
    assert watched.shown == [
        (16, (32, 64)), (4, (32, 64)), (3, (64, 32)), (16, (32, 64)), (4, (32, 64)),
    ]  # fmt: skip
    assert found["rows"] == 43
    monkeypatch.setattr(calibration, "ROWS", 5)
    watched = Watched()
    found = calibrate(watched, mixed, tmp_path, 0, pixels=4000)
    assert sum(number for number, _ in watched.shown) == found["rows"] == 5
    assert found["pixels"] <= 4000


def test_val_without_a_known_pixel_leaves_the_temperature_and_says_so(real, tmp_path):
    rows = [
        dataclasses.replace(row, mask=np.full_like(row.mask, 255)) for row in val_rows(real).rows
    ]
    found = calibrate(colour_labeller(FABRIC), ValRows(rows), tmp_path, 0)
    assert (found["temperature"], found["pixels"], found["after"]) == (1.0, 0, None)
    assert told(found) == "not calibrated: val holds no known pixel"
    assert read_json(tmp_path / CALIBRATION) == found


def test_a_search_that_ends_at_its_limit_says_so():
    assert "limit" not in told(_calibrated(*pixels(1.5)))
    logits, truth = pixels(1.0)
    # Always right: the surer the better, without end.
    assert "(the limit of the search)" in told(_calibrated(logits, logits.argmax(axis=1)))
    assert "(the limit of the search)" in told(_calibrated(logits, (truth + 1) % 5))


def _calibrated(logits, truth):
    temperature = fit_temperature(logits, truth)
    ones = np.ones(len(truth))
    return {
        "temperature": temperature, "pixels": len(truth), "after_is_held_out": True,
        "before": reliability(logits, truth, ones),
        "after": reliability(logits, truth, temperature * ones),
    }  # fmt: skip


# Several looks, calibrated as one


def test_a_single_look_keeps_its_own_temperature_and_writes_nothing(real, tmp_path):
    alone = Ensemble((dataclasses.replace(colour_labeller(FABRIC), temperature=2.0),))
    assert calibrate_together(alone, val_rows(real), tmp_path, 0) is alone
    assert list(tmp_path.iterdir()) == []


def test_several_looks_get_one_temperature_and_their_labels_stay(real, tmp_path):
    val = val_rows(real)
    members = tuple(dataclasses.replace(faint_labeller(), temperature=t) for t in (1.0, 3.0))
    together = calibrate_together(Ensemble(members, flips=True), val, tmp_path, 0)
    found = read_json(tmp_path / CALIBRATION)
    assert together.temperature == found["temperature"] < 1
    assert found["after"]["ece"] < 0.5 * found["before"]["ece"]
    # Temperatures of the members, fitted on the same places, play no part.
    assert {member.temperature for member in together.members} == {1.0}
    images = [val[0].image]
    raw, agreed = dataclasses.replace(together, temperature=1.0).look(images)
    warm, same = together.look(images)
    assert (warm.argmax(axis=1) == raw.argmax(axis=1)).all()
    assert (agreed == same).all()
    assert warm.max(axis=1).mean() > raw.max(axis=1).mean()
    np.testing.assert_allclose(warm.sum(axis=1), 1, rtol=1e-5)


def test_a_resumed_stage_reads_the_temperature_that_it_left(real, tmp_path):
    looks = Ensemble((faint_labeller(),), flips=True)
    first = calibrate_together(looks, val_rows(real), tmp_path, 0)
    before = (tmp_path / CALIBRATION).read_bytes()
    assert calibrate_together(looks, val_rows(real), tmp_path, 0) == first
    (tmp_path / CALIBRATION).unlink()
    assert calibrate_together(looks, val_rows(real), tmp_path, 0) == first
    assert (tmp_path / CALIBRATION).read_bytes() == before
    write_json(tmp_path / CALIBRATION, {"temperature": 1.25})
    assert calibrate_together(looks, val_rows(real), tmp_path, 0).temperature == 1.25

"""Training a segmenter: it learns, resumes to the same bytes, refuses rows of other roles."""

import numpy as np
import pytest
import torch

from terraloom import segmenting
from terraloom.dataset.rows import Row, ValRows
from terraloom.errors import RoleError, StageMissing
from terraloom.files import read_json, sha256_of
from terraloom.learning.confusion import figures_of
from terraloom.learning.device import make_fabric
from terraloom.segmenting import Recipe, evaluate, load_segmenter, train_segmenter
from terraloom.testing import colour_labeller, tiny_training, toy_pair, toy_rows


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(1)


@pytest.fixture(scope="module")
def rows():
    return toy_rows(8, 4)


def recipe(**training):
    return Recipe("unet", {}, "small", 4, tiny_training(**training))


def train(rows, folder, fabric, seed=0, **training):
    return train_segmenter(
        *rows, recipe(**training), folder, seed=seed, fabric=fabric, description="a test"
    )


class Killed(Exception):
    """Stands for kill -9."""


@pytest.fixture
def die_after(monkeypatch):
    """Let the training die after so many updates."""

    def arm(updates):
        step = segmenting._SegmenterTrainee.step

        def fatal(self, random, progress):
            if self.updates == updates:
                raise Killed
            return step(self, random, progress)

        monkeypatch.setattr(segmenting._SegmenterTrainee, "step", fatal)
        return lambda: monkeypatch.setattr(segmenting._SegmenterTrainee, "step", step)

    return arm


def test_a_short_training_learns_far_more_than_chance(rows, tmp_path, fabric):
    trained = train(rows, tmp_path, fabric, images=400, batch_size=8, learning_rate=5e-3, ema=0.9)
    held_back = [Row(f"t{i}", f"p{i}", *toy_pair(500 + i), None) for i in range(4)]
    total = sum(evaluate(trained, [held_back]).values())
    # Four classes of equal share: chance is a quarter.
    assert float(figures_of(total).accuracy) > 0.7
    assert trained.summary["images"] == 400
    assert trained.summary["best_val_f1"] == max(
        entry["val_f1"] for entry in trained.summary["history"]
    )


@pytest.mark.parametrize("updates", [1, 3])
def test_an_interrupted_training_ends_with_the_same_bytes(
    updates, rows, tmp_path, fabric, die_after
):
    train(rows, tmp_path / "straight", fabric)
    revive = die_after(updates)
    with pytest.raises(Killed):
        train(rows, tmp_path / "torn", fabric)
    assert not (tmp_path / "torn" / "state.json").exists()
    revive()
    train(rows, tmp_path / "torn", fabric)
    for name in ("weights.safetensors", "state.json"):
        assert sha256_of(tmp_path / "torn" / name) == sha256_of(tmp_path / "straight" / name)
    assert sorted(p.name for p in (tmp_path / "torn").iterdir()) == [
        "log.jsonl",
        "state.json",
        "weights.safetensors",
    ]


def test_a_finished_training_is_loaded_not_repeated(rows, tmp_path, fabric, die_after):
    first = train(rows, tmp_path, fabric)
    die_after(0)
    again = train(rows, tmp_path, fabric)
    images = [rows[1][0].image]
    np.testing.assert_array_equal(first.probabilities(images), again.probabilities(images))


def test_training_state_that_a_kill_left_behind_is_dropped(rows, tmp_path, fabric):
    train(rows, tmp_path, fabric, images=8)
    (tmp_path / "images-000000008").mkdir()
    (tmp_path / "latest.json").write_text('{"folder": "images-000000008"}')
    train(rows, tmp_path, fabric, images=8)
    assert {path.name for path in tmp_path.iterdir()} == {
        "log.jsonl",
        "state.json",
        "weights.safetensors",
    }


def test_another_seed_gives_other_weights(rows, tmp_path, fabric):
    train(rows, tmp_path / "a", fabric, images=8)
    train(rows, tmp_path / "b", fabric, images=8, seed=1)
    digests = {sha256_of(tmp_path / name / "weights.safetensors") for name in "ab"}
    assert len(digests) == 2


def test_training_stops_early_where_val_stops_improving(rows, tmp_path, fabric, monkeypatch):
    worse = iter([0.5, 0.4, 0.3, 0.2, 0.1])

    class Falling:
        accuracy = 0.5

        def macro(self, name):
            return next(worse)

    monkeypatch.setattr(segmenting, "figures_of", lambda total: Falling())
    trained = train(rows, tmp_path, fabric, images=40, checks=5, patience=2)
    assert trained.summary["images"] == 24
    assert trained.summary["best_images"] == 8
    assert [entry["val_f1"] for entry in trained.summary["history"]] == [0.5, 0.4, 0.3]


def test_rows_of_another_role_are_refused(rows, tmp_path, fabric):
    train_part, val_part = rows
    for wrong in ((val_part, val_part), (train_part, train_part), (train_part.rows, val_part)):
        with pytest.raises(RoleError, match="fitted on TrainRows and steered by ValRows only"):
            train(wrong, tmp_path / "refused", fabric)
    assert not (tmp_path / "refused").exists()


def test_a_folder_without_a_segmenter_says_what_to_run(tmp_path, fabric):
    with pytest.raises(StageMissing, match="terraloom segment"):
        load_segmenter(tmp_path, fabric)


def test_the_record_tells_recipe_seed_and_history(rows, tmp_path, fabric):
    train(rows, tmp_path, fabric, seed=11)
    state = read_json(tmp_path / "state.json")
    assert state["seed"] == 11
    assert state["recipe"]["architecture"] == "unet"
    assert state["rows"] == {"train": 8, "val": 4}
    assert [entry["images"] for entry in state["summary"]["history"]] == [8, 16]


def test_odd_sizes_are_padded_and_cropped_back(fabric):
    labeller = colour_labeller(fabric)
    image, mask = toy_pair(3, 45, 61)
    chances = labeller.probabilities([image])
    assert chances.shape == (1, 4, 45, 61)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    known = mask != 255
    assert (chances[0].argmax(axis=0)[known] == mask[known]).mean() > 0.97


def test_evaluation_counts_every_known_pixel_at_its_place(fabric):
    rows = [
        Row("a1", "a", *toy_pair(1), None),
        Row("a2", "a", *toy_pair(2, 33, 70), None),
        Row("b", None, *toy_pair(3), None),
    ]
    found = evaluate(colour_labeller(fabric), [rows[:2], rows[2:]])
    assert set(found) == {"a", "b"}
    known = [int((row.mask != 255).sum()) for row in rows]
    assert int(found["a"].sum()) == known[0] + known[1]
    assert int(found["b"].sum()) == known[2]
    assert np.trace(found["a"]) / found["a"].sum() > 0.97


def test_val_rows_alone_choose_the_weights(rows, tmp_path, fabric):
    train_part, val_part = rows
    other = ValRows(toy_rows(1, 2)[1].rows[:1])
    train((train_part, val_part), tmp_path / "a", fabric, checks=4, ema=0.0)
    train((train_part, other), tmp_path / "b", fabric, checks=4, ema=0.0)
    first, second = (read_json(tmp_path / n / "state.json") for n in "ab")
    assert first["mean"] == second["mean"]
    assert first["summary"]["history"] != second["summary"]["history"]


def test_plateau_lowers_the_rate_after_three_checks_without_gain(
    rows, tmp_path, fabric, monkeypatch
):
    worse = iter([0.5, 0.4, 0.3, 0.2, 0.1])

    class Falling:
        accuracy = 0.5

        def macro(self, name):
            return next(worse)

    monkeypatch.setattr(segmenting, "figures_of", lambda total: Falling())
    rates = []
    step = segmenting._SegmenterTrainee.step

    def watched(self, random, progress):
        figures = step(self, random, progress)
        rates.append(figures["rate"])
        return figures

    monkeypatch.setattr(segmenting._SegmenterTrainee, "step", watched)
    train(rows, tmp_path, fabric, images=20, checks=5, schedule="plateau")
    assert rates[1:4] == pytest.approx([2e-3] * 3)
    assert rates[4] == pytest.approx(2e-4)
    assert torch.get_num_threads() == 1

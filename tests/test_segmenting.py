"""Training a segmenter: it learns, resumes to the same bytes, refuses rows of other roles."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from terraloom import segmenting
from terraloom.dataset.rows import Row, TrainRows, ValRows
from terraloom.errors import DivergedTraining, RoleError, StageMissing
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
    trained = train(rows, tmp_path, fabric, images=400, batch_size=8, learning_rate=5e-3, checks=4)
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
        "tensorboard",
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
        "tensorboard",
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


def test_plateau_lowers_the_rate_after_more_than_three_checks_without_gain(
    rows, tmp_path, fabric, monkeypatch
):
    worse = iter([0.5, 0.4, 0.3, 0.2, 0.1, 0.1])

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
    train(rows, tmp_path, fabric, images=24, checks=6, schedule="plateau")
    assert rates[1:5] == pytest.approx([2e-3] * 4)
    assert rates[5] == pytest.approx(2e-4)
    assert torch.get_num_threads() == 1


def test_a_loss_that_is_no_number_stops_and_says_at_which_image(
    rows, tmp_path, fabric, monkeypatch
):
    step = segmenting._SegmenterTrainee.step

    def poisoned(self, random, progress):
        if self.updates == 2:
            for parameter in self.network.parameters():
                parameter.data.fill_(float("nan"))
        return step(self, random, progress)

    monkeypatch.setattr(segmenting._SegmenterTrainee, "step", poisoned)
    with pytest.raises(
        DivergedTraining, match=r"became nan at image 8 \(samples toy-.*learning_rate"
    ):
        train(rows, tmp_path, fabric, images=16, checks=4)
    assert (tmp_path / "latest.json").exists()  # the checkpoint of the check before
    monkeypatch.setattr(segmenting._SegmenterTrainee, "step", step)
    train(rows, tmp_path, fabric, images=16, checks=4)
    train(rows, tmp_path / "straight", fabric, images=16, checks=4)
    assert sha256_of(tmp_path / "weights.safetensors") == sha256_of(
        tmp_path / "straight" / "weights.safetensors"
    )


def test_classes_that_train_never_shows_are_told(rows, tmp_path, fabric, capsys):
    train_part, val_part = rows
    without = TrainRows(
        tuple(replace(row, mask=np.where(row.mask == 2, 255, row.mask)) for row in train_part.rows)
    )
    train((without, val_part), tmp_path, fabric, images=8)
    assert "no training pixel of class 2" in capsys.readouterr().err
    assert read_json(tmp_path / "state.json")["absent_classes"] == [2]


def test_gradients_of_pieces_are_those_of_the_whole_batch(rows, tmp_path, fabric):
    # Batch norm looks at a piece, so the equality is that of the sums, not of whole trainings.
    whole = train(rows, tmp_path / "whole", fabric, images=8)
    pieces = train(rows, tmp_path / "pieces", fabric, images=8, accumulate=2)
    assert pieces.summary["images"] == whole.summary["images"]
    assert sha256_of(tmp_path / "pieces" / "weights.safetensors") != sha256_of(
        tmp_path / "whole" / "weights.safetensors"
    )


def test_balanced_weights_raise_rare_classes_and_have_mean_one_over_pixels():
    counts = np.array([900, 90, 10, 0])
    weights = segmenting.class_weights_of(counts, recipe(class_weights="balanced"))
    assert weights[0] < weights[1] < weights[2]
    assert weights[3] == 0
    assert float((weights * torch.tensor(counts / 1000)).sum()) == pytest.approx(1, abs=1e-6)
    assert float(weights[1] / weights[0]) == pytest.approx(10**0.5, rel=1e-5)
    assert segmenting.class_weights_of(counts, recipe()) is None


def test_curves_are_written_for_tensorboard(rows, tmp_path, fabric):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(rows, tmp_path, fabric, images=48, checks=2)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "rate", "val_f1", "val_accuracy"} <= set(events.Tags()["scalars"])
    assert [point.step for point in events.Scalars("val_f1")] == [24, 48]


def test_epochs_decide_the_budget(rows, tmp_path, fabric):
    trained = train(rows, tmp_path, fabric, epochs=1.5)
    assert trained.summary["images"] == 12  # eight rows

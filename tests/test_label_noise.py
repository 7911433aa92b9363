"""Label noise on train places held back: folds share no place, and the shares are counts."""

import numpy as np
import pytest

from terraloom import label_noise
from terraloom.dataset.rows import val_rows
from terraloom.errors import NothingLeft
from terraloom.files import read_json
from terraloom.label_noise import LABEL_NOISE, estimate_label_noise
from terraloom.learning.device import make_fabric
from terraloom.segmenting import Recipe
from terraloom.testing import colour_labeller, tiny_training, toy_classes, write_real

FABRIC = make_fabric(1)
RECIPE = Recipe("unet", {"weights": "none"}, "small", len(toy_classes()), tiny_training())


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write_real(tmp_path_factory.mktemp("real"))


def places_of(real, ids):
    place = {row["id"]: row["place"] or row["id"] for row in real.read(["id", "place"]).to_pylist()}
    return {place[name] for name in ids}


def test_no_labeller_is_judged_on_a_place_that_it_saw(real, tmp_path, monkeypatch):
    fitted, judged = [], []

    def train(rows, *_, **__):
        fitted.append(places_of(real, [row.id for row in rows.rows]))
        return colour_labeller(FABRIC)

    evaluate = label_noise.evaluate

    def watched(trained, batches):
        batches = list(batches)
        judged.append(places_of(real, [row.id for rows in batches for row in rows]))
        return evaluate(trained, batches)

    monkeypatch.setattr(label_noise, "train_segmenter", train)
    monkeypatch.setattr(label_noise, "evaluate", watched)
    found = estimate_label_noise(
        real, val_rows(real), RECIPE, tmp_path, folds=3, seed=0, fabric=FABRIC
    )
    light = real.read(["id", "split"]).to_pylist()
    train_places = places_of(real, [row["id"] for row in light if row["split"] == "train"])
    assert len(fitted) == len(judged) == 3
    for one, other in zip(fitted, judged, strict=True):
        assert not one & other
        assert one | other == train_places
    assert set.union(*judged) == train_places
    assert sum(len(places) for places in judged) == found["places"] == len(train_places)
    # A labeller that is right but for noise.
    assert found["wrong_of_all"]["mean"] < 0.05
    assert found["pixels"] == sum(entry["pixels"] for entry in found["wrong"])
    assert read_json(tmp_path / LABEL_NOISE) == found
    assert estimate_label_noise(
        real, val_rows(real), RECIPE, tmp_path, folds=3, seed=0, fabric=FABRIC
    ) == found  # fmt: skip
    assert len(fitted) == 3


def test_shares_are_counts_with_an_interval_over_places():
    right, wrong = np.diag([90, 10]), np.array([[0, 0], [30, 0]])
    matrices = np.stack([right, right + wrong, right, right])
    found = label_noise.noise_figures(matrices, 0)
    assert found["wrong"][0]["mean"] == pytest.approx(30 / 390, abs=1e-5)
    assert found["wrong"][0]["low"] == 0
    assert 0.1 < found["wrong"][0]["high"] < 0.25
    assert found["wrong"][1] == {"mean": 0.0, "low": 0.0, "high": 0.0, "pixels": 40, "places": 4}
    assert found["confusion"] == [[360, 0], [30, 40]]
    never = label_noise.noise_figures(np.array([[[5, 0], [1, 0]]]), 0)
    assert never["wrong"][1]["mean"] is None


def test_more_folds_than_places_are_told(real, tmp_path):
    with pytest.raises(NothingLeft, match=r"noise_folds = 99, but train has \d+ places"):
        estimate_label_noise(
            real, val_rows(real), RECIPE, tmp_path, folds=99, seed=0, fabric=FABRIC
        )


def test_a_real_training_per_fold_resumes_to_the_same_result(real, tmp_path):
    one = estimate_label_noise(
        real, val_rows(real), RECIPE, tmp_path, folds=2, seed=0, fabric=FABRIC
    )
    (tmp_path / LABEL_NOISE).unlink()
    two = estimate_label_noise(
        real, val_rows(real), RECIPE, tmp_path, folds=2, seed=0, fabric=FABRIC
    )
    assert one == two

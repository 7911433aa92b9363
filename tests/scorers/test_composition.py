"""Total variation and Jensen-Shannon distance in closed form."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon

from terraloom.scorers.composition import CompositionScorer
from terraloom.testing import toy_classes


def error(asked, seen):
    part = SimpleNamespace(labels=[{"asked_shares": asked, "seen_shares": seen}])
    return CompositionScorer(toy_classes(), 0).score(part)["composition_error"][0]


def test_shares_that_are_seen_as_asked_for_are_no_error():
    assert error([0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]) == 0


def test_shares_that_share_nothing_are_wholly_wrong():
    assert error([1, 0, 0, 0], [0, 0, 0, 1]) == 1


def test_a_tenth_moved_from_one_class_to_another_is_a_tenth():
    assert error([0.5, 0.5, 0, 0], [0.4, 0.6, 0, 0]) == pytest.approx(0.1)


def test_without_a_mask_asked_for_there_is_no_error():
    part = SimpleNamespace(labels=[None, {"asked_shares": None, "seen_shares": [1, 0, 0, 0]}])
    assert CompositionScorer(toy_classes(), 0).score(part) == {"composition_error": [None, None]}


class Fake:
    """A table of split or origin, place or parent, and shares."""

    def __init__(self, rows):
        names = ("id", "split", "origin", "place", "parent", "shares")
        self.rows = [
            {name: row.get(name) for name in names} | {"id": f"r{i}"} for i, row in enumerate(rows)
        ]

    def read(self, columns):
        return pa.Table.from_pylist([{name: row[name] for name in columns} for row in self.rows])

    def batches(self, columns, rows):
        yield from self.read(columns).to_batches(rows)


def summarise(synthetic):
    real = [
        {"split": "train", "shares": [0.5, 0.5, 0.0, 0.0]},
        {"split": "train", "shares": [0.5, 0.5, 0.0, 0.0]},
        {"split": "val", "shares": [0.5, 0.5, 0.0, 0.0]},
        {"split": "test", "shares": [0.0, 0.0, 0.0, 1.0]},
    ]
    made = [{"origin": "conditional", "shares": shares} for shares in synthetic]
    corpus = SimpleNamespace(real=Fake(real), synthetic=Fake(made))
    return CompositionScorer(toy_classes(), 0).summarise(corpus)


def test_distances_of_equal_and_disjoint_compositions_are_nought_and_one():
    assert summarise([[0.5, 0.5, 0, 0]])["origins"]["conditional"]["distance"] == 0
    assert summarise([[0, 0, 0.5, 0.5]])["origins"]["conditional"]["distance"] == 1


def test_floor_is_train_against_val_and_ceiling_the_rotated_classes():
    summary = summarise([[1, 0, 0, 0]])
    assert summary["floor"] == 0
    assert summary["floor_samples"] == 1
    # Rotations of (½, ½, 0, 0): two overlap by half, one not at all. An overlap of a half has
    # divergence ½, so distance √½.
    assert summary["ceiling"] == pytest.approx((2 * np.sqrt(0.5) + 1) / 3, abs=1e-4)


def test_a_quarter_of_the_mass_moved_has_its_known_distance():
    found = summarise([[0.75, 0.25, 0, 0]])["origins"]["conditional"]
    expected = jensenshannon([0.5, 0.5], [0.75, 0.25], base=2)
    assert found["distance"] == pytest.approx(expected, abs=1e-4)
    assert found["shares"] == [0.75, 0.25, 0, 0]


def test_samples_without_a_known_pixel_are_left_out_of_the_mean():
    found = summarise([[0, 0, 0, 0], [0.5, 0.5, 0, 0]])["origins"]["conditional"]
    assert found["samples"] == 1
    assert found["distance"] == 0


def test_test_rows_take_no_part():
    assert summarise([[1, 0, 0, 0]])["origins"]["real"]["shares"] == [0.5, 0.5, 0, 0]


def test_a_difference_that_means_hide_is_seen_in_the_distribution():
    # The real rows hold half of each of two classes; these hold one or the other.
    found = summarise([[1, 0, 0, 0], [0, 1, 0, 0]])["origins"]["conditional"]
    assert found["distance"] == 0
    first, _, third, _ = found["per_class"]
    assert first["wasserstein"] == pytest.approx(0.5)
    assert (first["difference"], first["quartiles"]) == (0, [0.25, 0.5, 0.75])
    assert (third["wasserstein"], third["present"]) == (0, 0)


def test_floor_and_origin_stand_at_one_number_of_samples():
    equal = summarise([[1, 0, 0, 0]] * 5)["origins"]["conditional"]["equal"]
    assert equal["samples"] == 1
    assert equal["floor"] == 0
    assert equal["distance"] == pytest.approx(jensenshannon([0.5, 0.5], [1, 0], base=2), abs=1e-4)

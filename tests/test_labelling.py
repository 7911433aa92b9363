"""Final masks in closed cases, and the tables that the labelling stage leaves."""

import numpy as np
import pytest

from terraloom.ensemble import Ensemble
from terraloom.labelling import final_mask, label_samples, measure_yardstick
from terraloom.learning.device import make_fabric
from terraloom.samples import decode
from terraloom.settings import LIKE_REAL, LabelSettings
from terraloom.testing import colour_labeller, toy_classes, toy_rows, write_real, write_synthetic
from terraloom.yardstick import ASKED, FREE, Yardstick

SETTINGS = LabelSettings(min_confidence=0.5, disagree_confidence=0.8)


def chances(*pixels):
    """Probabilities of three classes for a row of pixels, "class 1 pixel"."""
    return np.array(pixels, dtype=np.float32).T[:, None, :]


def final(asked, *pixels, settings=SETTINGS):
    mask, trust = final_mask(np.array([asked], dtype=np.uint8), chances(*pixels), settings)
    return mask[0].tolist(), trust[0].tolist()


def test_a_label_that_the_labeller_sees_too_is_kept_with_its_chance():
    assert final([1], (0.1, 0.9, 0.0)) == ([1], [230])


def test_a_confident_contradiction_makes_a_pixel_unknown_and_untrusted():
    assert final([1], (0.85, 0.15, 0.0)) == ([255], [0])


def test_an_unsure_contradiction_keeps_what_was_asked_for_with_little_trust():
    assert final([1], (0.79, 0.2, 0.01)) == ([1], [51])


def test_the_limit_itself_contradicts():
    assert final([1], (0.8, 0.2, 0.0)) == ([255], [0])


def test_where_nothing_was_asked_for_the_labeller_decides():
    assert final([255], (0.0, 0.4, 0.6)) == ([2], [153])


def test_where_nothing_was_asked_for_doubt_stays_unknown():
    assert final([255], (0.3, 0.49, 0.21)) == ([255], [0])
    assert final([255], (0.0, 0.5, 0.5)) == ([1], [128])


def test_each_pixel_is_judged_alone():
    asked = [0, 0, 255, 255]
    seen = [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0.4, 0.3, 0.3)]
    assert final(asked, *seen) == ([0, 255, 2, 255], [255, 0, 255, 0])


def test_thresholds_of_one_and_nought_do_what_they_say():
    never = LabelSettings(min_confidence=0.0, disagree_confidence=1.0)
    assert final([1, 255], (0.99, 0.01, 0), (0.4, 0.3, 0.3), settings=never)[0] == [1, 0]
    always = LabelSettings(min_confidence=1.0, disagree_confidence=0.0)
    assert final([1, 255], (0.4, 0.3, 0.3), (0.9, 0.1, 0), settings=always)[0] == [255, 255]


def test_masks_keep_their_shape_and_type():
    random = np.random.default_rng(0)
    seen = random.dirichlet(np.ones(3), size=(5, 9)).transpose(2, 0, 1).astype(np.float32)
    asked = random.choice([0, 1, 2, 255], size=(5, 9)).astype(np.uint8)
    mask, trust = final_mask(asked, seen, SETTINGS)
    assert mask.shape == trust.shape == (5, 9)
    assert mask.dtype == trust.dtype == np.uint8
    assert ((mask == asked) | (asked == 255) | (mask == 255)).all()
    assert (trust[mask == 255] == 0).all()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    real = write_real(folder / "real")
    made = write_synthetic(folder / "made", real.read(["id"])["id"].to_pylist()[:8])
    fabric = make_fabric(1)
    samples, labels = label_samples(
        made, Ensemble((colour_labeller(fabric),)), folder / "label",
        classes=toy_classes(), settings=SETTINGS, labeller_sha256="0" * 64,
    )  # fmt: skip
    return made, samples, labels, fabric


def test_samples_and_figures_follow_the_made_samples_row_by_row(labelled):
    made, samples, labels, _ = labelled
    ids = made.read(["id"])["id"].to_pylist()
    assert samples.read(["id"])["id"].to_pylist() == ids
    assert labels.read(["id"])["id"].to_pylist() == ids
    assert [e["rows"] for e in labels.manifest["shards"]] == [
        e["rows"] for e in made.manifest["shards"]
    ]


def test_labelling_changes_mask_trust_and_shares_and_nothing_else(labelled):
    made, samples, _, _ = labelled
    for before, after in zip(made.read().to_pylist(), samples.read().to_pylist(), strict=True):
        for name in before:
            if name not in ("mask", "trust", "shares"):
                assert before[name] == after[name], name
        np.testing.assert_allclose(after["shares"], toy_classes().shares(decode(after["mask"])))
        assert decode(after["trust"]).shape == decode(after["mask"]).shape


def test_a_right_labeller_agrees_with_what_was_asked_for(labelled):
    _, _, labels, _ = labelled
    for row in labels.read().to_pylist():
        assert 0.9 < row["confidence"] <= 1
        if "unconditional" in row["id"]:
            assert row["agreement"] is None
            assert row["asked_shares"] is None
            continue
        assert row["agreement"] > 0.97
        np.testing.assert_allclose(row["asked_shares"], row["seen_shares"], atol=0.1)


def test_figures_lost_with_a_killed_process_come_again_to_the_same_bytes(labelled, tmp_path):
    made, samples, labels, fabric = labelled

    def again():
        return label_samples(
            made, Ensemble((colour_labeller(fabric),)), tmp_path,
            classes=toy_classes(), settings=SETTINGS, labeller_sha256="0" * 64,
        )  # fmt: skip

    again()
    for name in ("part-00000.parquet", "manifest.json"):
        (tmp_path / "labels" / name).unlink()
    (tmp_path / "samples" / "manifest.json").unlink()
    (tmp_path / "samples" / "part-00001.parquet").unlink()
    second = again()
    assert second[0].sha256 == samples.sha256
    assert second[1].sha256 == labels.sha256


def test_real_windows_are_read_as_samples_would_be(tmp_path):
    _, val = toy_rows(1, 6)
    labeller = Ensemble((colour_labeller(make_fabric(1)),))
    settings = LabelSettings(yardstick=40)
    found = measure_yardstick(val, labeller, 32, settings=settings, seed=3)
    assert {k: set(v) for k, v in found.figures.items()} == {
        ASKED: set(LIKE_REAL),
        FREE: set(LIKE_REAL) - {"agreement"},
    }
    columns = [values for own in found.figures.values() for values in own.values()]
    assert all(len(values) == 40 and values == sorted(values) for values in columns)
    # The toy world's colours are its classes, but for noise.
    assert found.bound("agreement", 0.0, ASKED) > 0.8
    assert found.bound("agreement", 0.5, FREE) is None
    assert found == measure_yardstick(val, labeller, 32, settings=settings, seed=3)
    assert found != measure_yardstick(val, labeller, 32, settings=settings, seed=4)
    found.save(tmp_path)
    assert Yardstick.load(tmp_path) == found

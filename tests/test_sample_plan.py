"""What is planned: targets met as far as masks allow, repeats, layouts, impossible wishes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from terraloom.dataset.rows import Row, TrainRows
from terraloom.errors import SettingsError
from terraloom.sample_plan import Makes, asked_shares, balanced_weights, plan_samples, told_shares
from terraloom.settings import GenerateSettings
from terraloom.testing import toy_classes

CLASSES = toy_classes()
NAMES = CLASSES.names
MASKED = {"spade": Makes(frozenset({"conditional"}))}
SIZE = 32


def rows_of(*shares):
    """One 48 × 48 row per wish: a left part of one class, the rest of another."""
    rows = []
    for number, (label, other, share) in enumerate(shares):
        mask = np.full((48, 48), other, dtype=np.uint8)
        mask[:, : round(48 * share)] = label
        image = np.zeros((48, 48, 3), dtype=np.uint8)
        rows.append(Row(f"row-{number}", "p", image, mask, None))
    return TrainRows(rows)


def rare(count=20):
    """Mostly class 0; three rows of twenty hold class 2."""
    return rows_of(*[(2, 0, 0.6 if i % 7 == 3 else 0.0) for i in range(count)])


def wanted(**changes):
    return GenerateSettings(**({"size": SIZE, "conditional_per_row": 10} | changes))


def planned(rows, options, generators=MASKED, **more):
    return plan_samples(generators, rows, options, 4, CLASSES, **more)


def test_a_target_within_reach_is_met():
    rows = rare()
    orders = planned(rows, wanted(plan="toward", toward={NAMES[2]: 0.4}))
    shares = asked_shares(orders, rows, SIZE, len(CLASSES))
    assert shares[2] == pytest.approx(0.4, abs=0.03)
    real = asked_shares(planned(rows, wanted()), rows, SIZE, len(CLASSES))
    assert real[2] < 0.15
    assert {order.plan for order in orders} == {f"toward {NAMES[2]} 0.4"}


def test_a_target_out_of_reach_is_neared_without_resting_on_one_mask():
    rows = rare()
    orders = planned(rows, wanted(plan="toward", toward={NAMES[2]: 0.95}))
    shares = asked_shares(orders, rows, SIZE, len(CLASSES))
    assert shares[2] > 0.6
    assert len({order.parent for order in orders}) == 3  # every row that shows it


def test_balanced_brings_classes_together():
    rows = rows_of(*[(1 if i % 4 == 0 else 0, 0, 0.8) for i in range(24)])
    real = asked_shares(planned(rows, wanted()), rows, SIZE, len(CLASSES))
    even = asked_shares(planned(rows, wanted(plan="balanced")), rows, SIZE, len(CLASSES))
    assert abs(even[0] - even[1]) < 0.05 < abs(real[0] - real[1])


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=40),
    st.floats(0.05, 0.95),
)
@settings(max_examples=60, deadline=None)
def test_weights_are_a_distribution_and_never_farther_from_the_target_than_even_ones(parts, goal):
    shares = np.array([[a, (1 - a) * b, (1 - a) * (1 - b)] for a, b in parts])
    target = np.array([goal, np.nan, np.nan])
    weights = balanced_weights(shares, target)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    far = abs(shares[:, 0].mean() - goal)
    assert abs(weights @ shares[:, 0] - goal) <= far + 1e-4


def test_without_a_wish_weights_are_even():
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], 30)
    weights = balanced_weights(shares, np.full(3, np.nan))
    assert weights == pytest.approx(np.full(30, 1 / 30))


def test_several_images_of_a_mask_have_its_crop_and_seeds_of_their_own():
    orders = planned(rare(), wanted(images_per_mask=5))
    crops = Counter((o.parent, o.top, o.left) for o in orders)
    assert len(orders) == 200
    assert all(count % 5 == 0 for count in crops.values())
    assert len({order.seed for order in orders}) == len(orders)


def test_layouts_are_asked_for_the_target_and_share_a_mask_among_its_images():
    options = wanted(
        plan="toward", toward={NAMES[1]: 0.3}, images_per_mask=2, conditional_per_row=0,
    )  # fmt: skip
    assert planned(rows_of((1, 0, 0.2)), options) == []
    orders = planned(rows_of((1, 0, 0.2), (1, 0, 0.5)), options, layouts=True)
    assert [order.origin for order in orders] == ["layout", "layout"]
    assert orders[0].mask_seed == orders[1].mask_seed
    assert orders[0].seed != orders[1].seed
    assert orders[0].target[1] == 0.3
    assert np.isnan(orders[0].target[0])
    assert orders[0].parent is None


def test_balanced_layouts_ask_only_for_classes_that_train_masks_show():
    orders = planned(
        rows_of(*[(1, 0, 0.5)] * 40), wanted(plan="balanced", conditional_per_row=0), layouts=True
    )
    targets = np.array([order.target for order in orders])
    assert targets.sum(axis=1) == pytest.approx(1)
    assert (targets[:, 2:] == 0).all()
    assert targets[:, 0].mean() == pytest.approx(0.5, abs=0.15)


def test_free_samples_ask_for_shares_only_where_they_can():
    rows = rare()
    free = frozenset({"unconditional"})
    options = wanted(plan="toward", toward={NAMES[2]: 0.4}, unconditional_per_row=10)
    deaf = planned(rows, options, {"stylegan": Makes(free)})
    assert all(order.parent is None and order.plan == "as-real" for order in deaf)
    orders = planned(rows, options, {"stylegan": Makes(free, takes_shares=True)})
    assert asked_shares(orders, rows, SIZE, len(CLASSES))[2] == pytest.approx(0.4, abs=0.03)


def test_a_class_that_no_train_mask_shows_is_refused_by_name():
    with pytest.raises(SettingsError, match=f"asks for {NAMES[2]}, which no train mask shows"):
        planned(rows_of((1, 0, 0.5)), wanted(plan="toward", toward={NAMES[2]: 0.1}))
    with pytest.raises(SettingsError, match="is no class"):
        planned(rows_of((1, 0, 0.5)), wanted(plan="toward", toward={"lava": 0.1}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": "toward"}, "belong together"),
        ({"toward": {"a": 0.1}}, "belong together"),
        ({"plan": "toward", "toward": {"a": 0.7, "b": 0.6}}, "sum beyond 1"),
        ({"plan": "toward", "toward": {"a": -0.1}}, "between 0 and 1"),
    ],
)
def test_impossible_plans_are_refused_in_the_settings(changes, message):
    with pytest.raises(ValidationError, match=message):
        GenerateSettings(**changes)


def test_shares_are_told_largest_first():
    shares = np.zeros(len(CLASSES))
    shares[:2] = 0.25, 0.75
    assert told_shares(shares, CLASSES).startswith(f"{NAMES[1]} 75.0 %, {NAMES[0]} 25.0 %")

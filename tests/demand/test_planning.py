"""Plans toward weak classes: from train rows alone, in the numbers asked for."""

from collections import Counter

import numpy as np
import pytest

from terraloom.dataset.rows import TrainRows
from terraloom.demand.planning import label_of, plan_round, with_quotas
from terraloom.demand.weakness import Demand
from terraloom.errors import InputError, RoleError
from terraloom.sample_plan import Makes
from terraloom.settings import CurateQuota, CurateSettings, GenerateSettings
from terraloom.testing import toy_classes, toy_rows

SPADE = Makes(frozenset({"conditional"}))
FLOW = Makes(frozenset({"conditional", "unconditional"}))
FREE = Makes(frozenset({"unconditional"}))
DEMANDS = (Demand("tree", 2, 30), Demand("built-up", 3, 11))
SETTINGS = GenerateSettings(size=32, conditional_per_row=0.5, unconditional_per_row=0.3)


def planned(generators=None, rows=None, layouts=False, settings=SETTINGS, **changes):
    options = {"number": 1, "share": 0.5, "seed": 0} | changes
    return plan_round(
        generators or {"spade": SPADE, "flow": FLOW}, layouts, rows or toy_rows()[0], settings,
        DEMANDS, toy_classes(), **options,
    )  # fmt: skip


def test_each_class_gets_the_samples_that_it_was_given():
    orders = planned()
    assert Counter(label_of(order.id) for order in orders) == {2: 30, 3: 11}
    assert Counter(order.generator for order in orders if label_of(order.id) == 2) == {
        "flow": 15, "spade": 15,
    }  # fmt: skip
    assert {order.origin for order in orders} == {"conditional"}
    ids = [order.id for order in orders]
    assert ids == sorted(set(ids))
    assert ids[0].startswith("r01-02-flow-conditional-")
    assert {order.plan for order in orders} == {
        "round 1, toward tree 0.5", "round 1, toward built-up 0.5",
    }  # fmt: skip


def test_masks_show_more_of_the_class_than_train_rows_do():
    train, classes = toy_rows()[0], toy_classes()
    orders = planned()

    def mean(label, orders):
        return np.mean([
            classes.shares(train[o.parent].mask[o.top : o.top + 32, o.left : o.left + 32])[label]
            for o in orders
        ])  # fmt: skip

    for label in (2, 3):
        own = [order for order in orders if label_of(order.id) == label]
        real = np.mean([classes.shares(row.mask)[label] for row in train.rows])
        assert mean(label, own) > real + 0.1


def test_every_way_that_can_be_asked_is_used_in_proportion():
    shares = Makes(frozenset({"unconditional"}), takes_shares=True)
    settings = SETTINGS.model_copy(update={"layout_per_row": 0.5})
    orders = planned({"spade": SPADE, "stylegan": shares}, layouts=True, settings=settings)
    found = Counter((o.generator, o.origin) for o in orders if label_of(o.id) == 2)
    assert found == {
        ("spade", "conditional"): 12, ("spade", "layout"): 11, ("stylegan", "unconditional"): 7,
    }  # fmt: skip
    assert all(o.parent is not None for o in orders if o.origin == "unconditional")
    assert all(o.target[label_of(o.id)] == 0.5 for o in orders if o.origin == "layout")


def test_rounds_and_seeds_ask_for_other_samples():
    first, second, other = planned(), planned(number=2), planned(seed=1)
    assert planned() == first
    assert not {o.seed for o in first} & {o.seed for o in second}
    assert not {o.seed for o in first} & {o.seed for o in other}
    assert not {o.id for o in first} & {o.id for o in second}


def test_only_train_rows_can_be_planned_from():
    train, val = toy_rows()
    with pytest.raises(RoleError, match="made from TrainRows only"):
        planned(rows=val)
    with pytest.raises(RoleError, match="made from TrainRows only"):
        planned(rows=train.rows)


def test_a_class_that_no_row_of_the_scope_shows_is_left_out(capsys):
    rows = []
    for row in toy_rows()[0].rows:
        mask = np.where(row.mask == 3, 255, row.mask).astype(np.uint8)
        rows.append(type(row)(row.id, row.place, row.image, mask, row.trust))
    orders = planned(rows=TrainRows(tuple(rows)))
    assert {label_of(order.id) for order in orders} == {2}
    assert "no train row here shows built-up" in capsys.readouterr().err


def test_generators_that_nobody_can_ask_are_told():
    with pytest.raises(InputError, match=r"can be asked for a class: stylegan\. Use one that"):
        planned({"stylegan": FREE})
    none = SETTINGS.model_copy(update={"conditional_per_row": 0.0})
    with pytest.raises(InputError, match="can be asked for a class"):
        planned(settings=none)


def test_strong_classes_are_held_to_their_even_part():
    own = CurateQuota(class_name="water", most=3, by="confidence")
    settings = with_quotas(CurateSettings(quotas=(own,)), DEMANDS, toy_classes(), 41)
    assert settings.quotas == (own, CurateQuota(class_name="crop", most=11, by="agreement"))
    assert settings.rules == CurateSettings().rules

"""Groups to roles, so that every class is shared out as the roles are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.dataset.balance import Balance, share_out

SHARES = [0.2, 0.12]


def groups(number: int, classes: int, seed: int) -> np.ndarray:
    """Class pixels and patches of groups; most classes are rare, and many groups lack them."""
    random = np.random.default_rng(seed)
    patches = random.integers(1, 30, number)
    shares = random.dirichlet(np.full(classes, 0.2), number)
    shares[random.random((number, classes)) < 0.4] = 0
    weights = np.rint(shares * patches[:, None] * 1e6).astype(np.int64)
    return np.column_stack([weights, patches * 1_000_000])


def draws(weights: np.ndarray, counts: list[int], seed: int, attempts: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    roles = np.repeat([0, 1, 2], [*counts, len(weights) - sum(counts)]).astype(np.int8)
    drawn = []
    for _ in range(attempts):
        state = np.empty(len(weights), dtype=np.int8)
        state[random.permutation(len(weights))] = roles
        drawn.append(state)
    return drawn


@settings(max_examples=30, deadline=None)
@given(
    number=st.integers(4, 60),
    classes=st.integers(1, 11),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_end_is_never_worse_than_the_best_draw_and_keeps_the_numbers(
    number: int, classes: int, seed: int
) -> None:
    weights = groups(number, classes, seed)
    counts = [max(1, number // 5), max(1, number // 8)]
    balance = Balance(weights, np.array([*SHARES, 1 - sum(SHARES)]))
    made = share_out(weights, counts, SHARES, np.random.default_rng(seed), 16)
    best = min(balance.cost(state) for state in draws(weights, counts, seed, 16))
    assert balance.cost(made) <= best + 1e-9
    assert np.bincount(made, minlength=3).tolist() == [*counts, number - sum(counts)]


def test_exchanges_are_far_ahead_of_draws_alone() -> None:
    weights = groups(300, 11, 0)
    counts = [60, 36]
    balance = Balance(weights, np.array([*SHARES, 1 - sum(SHARES)]))
    made = share_out(weights, counts, SHARES, np.random.default_rng(1), 256)
    best = min(balance.cost(state) for state in draws(weights, counts, 1, 256))
    assert balance.cost(made) < 0.1 * best
    held = weights[made == 0].sum(axis=0) / weights.sum(axis=0)
    assert np.abs(held - 0.2).max() < 0.01


def test_a_class_of_three_groups_is_in_all_three_roles() -> None:
    weights = groups(80, 3, 2)
    weights = np.column_stack([weights[:, :-1], np.zeros(80, dtype=np.int64), weights[:, -1]])
    weights[[5, 40, 77], 3] = 1000
    for seed in range(5):
        made = share_out(weights, [16, 10], SHARES, np.random.default_rng(seed), 4)
        assert set(made[[5, 40, 77]]) == {0, 1, 2}


def test_the_cost_is_the_closed_form() -> None:
    weights = np.array([[10, 1], [30, 1], [60, 2]], dtype=np.int64)
    balance = Balance(weights, np.array([0.5, 0.5]))
    # Role 0 holds 0.4 of the class and 0.5 of the patches.
    state = np.array([0, 0, 1], dtype=np.int8)
    assert balance.cost(state) == pytest.approx(2 * 0.1**2 / 0.5)


def test_a_seed_decides() -> None:
    weights = groups(50, 5, 3)
    one = share_out(weights, [10, 6], SHARES, np.random.default_rng(9), 8)
    assert (one == share_out(weights, [10, 6], SHARES, np.random.default_rng(9), 8)).all()

"""Balancing: groups to roles, so that every class is shared out as the roles are."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from terraloom.types import Float64Array, Int64Array

_STARTS: Final = 3
"""Draws that are improved; the best end is taken."""
_PATIENCE: Final = 256
"""Groups looked at in a row that together lower the cost by less than `_LITTLE` of it: enough."""
_LITTLE: Final = 1e-2
_EVEN: Final = 1e-3
"""A class this near to its share, relative to it, needs no further exchange."""
_ABSENT: Final = 1e3
"""Cost of a class that a role lacks: above any unevenness that an exchange could bring."""
_LEAST_GAIN: Final = 1e-12

_State = NDArray[np.int8]


class Balance:
    """How evenly classes and patches are shared out among roles.

    Each class, rare or frequent, counts the same: what matters is which share of all its pixels a
    role holds. The cost is the sum over roles and classes of (share held − share wanted)² / share
    wanted, with the patches themselves as one class more; before all that, a class that as many
    groups as there are roles hold should be in every role.
    """

    def __init__(self, weights: Int64Array, wanted: Float64Array) -> None:
        """Take what is to be shared out.

        Args:
            weights: "group class" in whole numbers, so that sums do not depend on an order; the
                last column counts patches.
            wanted: share of each role, sum 1.
        """
        totals = weights.sum(axis=0)
        self.held: Float64Array = weights[:, totals > 0] / totals[totals > 0]
        self.wanted = wanted
        present = weights[:, :-1] > 0
        self.present: Int64Array = present[:, present.sum(axis=0) >= len(wanted)].astype(np.int64)
        self._length = (self.held**2).sum(axis=1)

    def cost(self, state: _State) -> float:
        """Unevenness of an assignment: 0 where every class is shared out just as wanted."""
        surplus, counts = self._sums(state)
        uneven = (surplus**2).sum(axis=1) / self.wanted
        return float(uneven.sum()) + _ABSENT * int((counts == 0).sum())

    def improve(self, state: _State) -> _State:
        """Exchange groups of two roles while that helps; each role keeps its number of groups.

        Groups outside the last role are taken in turn, and each is exchanged for the one of another
        role that helps most, until none does, all is even, or many in a row hardly help.
        """
        state = state.copy()
        surplus, counts = self._sums(state)
        cost = before = self.cost(state)
        looked = 0
        moved = True
        while moved:
            moved = False
            for group in np.flatnonzero(state < len(self.wanted) - 1):
                if (np.abs(surplus) <= _EVEN * self.wanted[:, None]).all() and counts.all():
                    return state
                looked += 1
                if looked % _PATIENCE == 0:
                    if before - cost < _LITTLE * before:
                        return state
                    before = cost
                partner, change = self._best_partner(int(group), state, surplus, counts)
                if change >= -_LEAST_GAIN:
                    continue
                moved = True
                cost += change
                mine, other = state[group], state[partner]
                step = self.held[partner] - self.held[group]
                surplus[mine] += step
                surplus[other] -= step
                classes = self.present[partner] - self.present[group]
                counts[mine] += classes
                counts[other] -= classes
                state[group], state[partner] = other, mine
        return state

    def _sums(self, state: _State) -> tuple[Float64Array, Int64Array]:
        """Per role: class shares above those wanted, and groups that hold each class."""
        roles = range(len(self.wanted))
        held = np.stack([self.held[state == role].sum(axis=0) for role in roles])
        counts = np.stack([self.present[state == role].sum(axis=0) for role in roles])
        return held - self.wanted[:, None], counts

    def _best_partner(
        self, group: int, state: _State, surplus: Float64Array, counts: Int64Array
    ) -> tuple[int, float]:
        """Whom to exchange a group for, and the change of the cost."""
        mine = int(state[group])
        # einsum, unlike a product by BLAS, adds in one order whatever the number of threads.
        common = np.einsum("gc,c->g", self.held, self.held[group])
        apart = self._length + self._length[group] - 2 * common
        best, change = group, 0.0
        scarce = bool((counts <= 1).any())
        for other in range(len(self.wanted)):
            if other == mine:
                continue
            rows = np.flatnonzero(state == other)
            slope = 2 * (surplus[mine] / self.wanted[mine] - surplus[other] / self.wanted[other])
            along = np.einsum("gc,c->g", self.held[rows] - self.held[group], slope)
            inverse = 1 / self.wanted[mine] + 1 / self.wanted[other]
            delta = along + apart[rows] * inverse
            if scarce:
                step = self.present[rows] - self.present[group]
                before = int((counts[[mine, other]] == 0).sum())
                after = ((counts[mine] + step) == 0).sum(axis=1)
                after += ((counts[other] - step) == 0).sum(axis=1)
                delta = delta + _ABSENT * (after - before)
            least = int(delta.argmin())
            if delta[least] < change:
                best, change = int(rows[least]), float(delta[least])
        return best, change


def share_out(
    weights: Int64Array,
    counts: list[int],
    wanted: list[float],
    random: np.random.Generator,
    attempts: int,
) -> _State:
    """Role of each group: the best of seeded draws, improved by exchanges.

    Args:
        weights: "group class" in whole numbers; the last column counts patches.
        counts: groups of each role; what is left goes to one role more, the last.
        wanted: share of all pixels and patches for each of those roles.
        random: seeded.
        attempts: draws.

    Returns:
        "group", 0 for the first role in `counts` and so on.
    """
    balance = Balance(weights, np.array([*wanted, 1.0 - sum(wanted)]))
    roles = np.repeat(np.arange(len(counts) + 1), [*counts, len(weights) - sum(counts)])
    drawn: list[tuple[float, int, _State]] = []
    for attempt in range(attempts):
        state = np.empty(len(weights), dtype=np.int8)
        state[random.permutation(len(weights))] = roles
        drawn.append((balance.cost(state), attempt, state))
        drawn = sorted(drawn, key=lambda entry: entry[:2])[:_STARTS]
    ends = [balance.improve(state) for _, _, state in drawn]
    return min(ends, key=balance.cost)

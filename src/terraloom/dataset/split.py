"""Roles by place or block: nothing that touches test is ever fitted on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terraloom.dataset.balance import share_out
from terraloom.dataset.footprints import Footprints, Squares
from terraloom.errors import InputError, NothingLeft
from terraloom.seeds import generator_at
from terraloom.settings import SplitSettings
from terraloom.types import ROLES, Float64Array, Int64Array, Role

LOSING: Final[tuple[tuple[Role, Role], ...]] = (
    ("val", "test"), ("train", "test"), ("train", "val"),
)  # fmt: skip
"""Of two patches too near to each other, the first role's goes."""
_MILLIONTHS: Final = 1_000_000
"""Shares are added in whole numbers, so that no sum depends on the order of the patches."""


@dataclass(frozen=True)
class Candidates:
    """What splitting needs to know of the patches, in one order."""

    ids: tuple[str, ...]
    places: tuple[str | None, ...]
    splits: tuple[str | None, ...]
    """Split names of the source's index."""
    shares: Float64Array
    """Class shares, "patch class"."""
    lonlat: Float64Array
    """Centres in degrees, "patch 2"; NaN where not georeferenced."""
    radius_m: Float64Array
    """Half the diagonal of each patch in metres; NaN where not georeferenced."""
    corners: Float64Array | None = None
    """Outlines in degrees, "patch 4 2"; left out, squares with a side to the north."""

    @cached_property
    def footprints(self) -> Footprints:
        """The ground that the patches cover."""
        return Footprints(self.lonlat, self.radius_m, self.corners)


@dataclass(frozen=True)
class Split:
    """A role and a place for every patch."""

    roles: tuple[Role | None, ...]
    """None where the buffer took the patch."""
    places: tuple[str, ...]


def split_candidates(
    candidates: Candidates,
    settings: SplitSettings,
    seed: int,
    together: Sequence[tuple[str, str]] = (),
    folds: Mapping[str, int] | None = None,
) -> Split:
    """Assign roles so that no place or block straddles two of them, and no ground is in two.

    Roles that the source's index names are kept; val is carved out of train where it names none.
    How many places a role gets is `settings.test_share` and `settings.val_share`; which ones is
    decided by their classes: among seeded draws the best are improved by exchanging places until
    each class, rare or frequent, is shared out as the roles are. Patches whose footprints overlap
    one of another role, or come closer to it than the buffer, get no role: train gives way to val,
    and both to test.

    Args:
        candidates: the patches.
        settings: shares, blocks and buffer.
        seed: of the draws.
        together: pairs of places that get one role, unless the index gives them two.
        folds: fold of each place, by `deal_folds`, where `settings.folds` asks for some: the places
            of fold `settings.fold` are test, whatever the index says, and val is carved out of the
            others.

    Raises:
        InputError: the index names a split that `split.roles` does not map, or one place carries
            two roles; or `by = "block"` without coordinates.
        NothingLeft: too few places for three roles.
    """
    places = _places(candidates, settings)
    if folds is None:
        given = _given_roles(candidates, settings, places)
    else:
        given = {
            place: "test" if fold == settings.fold else "train" for place, fold in folds.items()
        }
    group_of_place = _joined(places, given, together)
    names = np.array([group_of_place[place] for place in places])
    groups, group_of = np.unique(names, return_inverse=True)
    given = {group_of_place[place]: role for place, role in given.items()}
    roles = _assigned(
        [str(g) for g in groups], _weights(candidates, group_of), given, settings, seed
    )
    of_patch: list[Role | None] = [roles[group_of_place[place]] for place in places]
    of_patch = _without_neighbours(of_patch, candidates, settings.buffer_m)
    check_every_role(of_patch, len(groups))
    return Split(tuple(of_patch), places)


def deal_folds(
    candidates: Candidates, settings: SplitSettings, together: Sequence[tuple[str, str]] = ()
) -> dict[str, int]:
    """A fold for every place, 0 … `settings.folds` − 1, balanced over classes.

    The dealing depends on the places, on `settings.fold_seed` and on nothing else, so that runs of
    other folds or project seeds deal alike, and every place is test exactly once.

    Args:
        candidates: the patches.
        settings: folds, their seed, and draws.
        together: pairs of places that get one fold.

    Raises:
        NothingLeft: there are fewer groups of places than folds.
    """
    places = _places(candidates, settings)
    group_of_place = _joined(places, {}, together)
    groups, group_of = np.unique(
        np.array([group_of_place[place] for place in places]), return_inverse=True
    )
    if len(groups) < settings.folds:
        raise NothingLeft(
            f"split.folds = {settings.folds}, but there are {len(groups)} places that share no "
            "ground; use fewer folds, or smaller blocks."
        )
    count, more = divmod(len(groups), settings.folds)
    sizes = [count + (fold < more) for fold in range(settings.folds - 1)]
    state = share_out(
        _weights(candidates, group_of),
        sizes,
        [1 / settings.folds] * (settings.folds - 1),
        generator_at(settings.fold_seed, "folds"),
        settings.attempts,
    )
    fold_of_group = {str(group): int(fold) for group, fold in zip(groups, state, strict=True)}
    return {place: fold_of_group[group_of_place[place]] for place in sorted(set(places))}


def hold_back(
    candidates: Candidates, split: Split, settings: SplitSettings, seed: int
) -> frozenset[str]:
    """Train places that no stage shall see, for the arm "more-real": `settings.held_back_share`.

    They keep the role train, so that buffer and leak test treat them as such.

    Raises:
        NothingLeft: there is but one train place.
    """
    if not settings.held_back_share:
        return frozenset()
    train = np.array([role == "train" for role in split.roles])
    names = np.array(split.places)[train]
    groups, group_of = np.unique(names, return_inverse=True)
    if len(groups) < 2:
        raise NothingLeft(
            "split.held_back_share needs two train places or more; there is 1. Set it to 0, or use "
            "more data."
        )
    own = replace(candidates, shares=candidates.shares[train])
    count = min(max(1, round(settings.held_back_share * len(groups))), len(groups) - 1)
    state = share_out(
        _weights(own, group_of),
        [count],
        [settings.held_back_share],
        generator_at(seed, "held back"),
        settings.attempts,
    )
    return frozenset(str(group) for group, held in zip(groups, state == 0, strict=True) if held)


def check_every_role(roles: Sequence[Role | None], places: int) -> None:
    """Make sure that each role has a patch.

    Raises:
        NothingLeft: one has none.
    """
    for role in ROLES:
        if role not in roles:
            raise NothingLeft(
                f"split: no patch is left for {role} among {places} places. Use smaller "
                "blocks, a smaller buffer, or more data."
            )


def nearest_distance_m(
    candidates: Candidates, roles: Sequence[Role | None], first: Role, second: Role
) -> float | None:
    """Smallest gap in metres between patches of two roles, edge to edge.

    None where a role is empty or has no coordinates.
    """
    found = candidates.footprints.nearest(rows_of(roles, first), rows_of(roles, second))
    return None if found is None else found[0]


def rows_of(roles: Sequence[Role | None], wanted: Role) -> NDArray[np.intp]:
    """Positions of the patches of a role."""
    return np.array([i for i, role in enumerate(roles) if role == wanted], dtype=np.intp)


def _places(candidates: Candidates, settings: SplitSettings) -> tuple[str, ...]:
    named = None not in candidates.places
    if settings.by == "place" or (settings.by == "auto" and named):
        if not named:
            raise InputError(
                'split.by = "place", but the source names no places; use split.by = "block".'
            )
        return tuple(str(p) for p in candidates.places)
    if np.isnan(candidates.lonlat).any():
        raise InputError(
            'split.by = "block" needs coordinates, which these images lack; use split.by = "place".'
        )
    squares = Squares(settings.block_size_m).of(candidates.lonlat)
    return tuple(block_name(row, column) for row, column in squares.tolist())


def block_name(row: int, column: int) -> str:
    """The place that a square on the ground is; names sort from south to north, west to east.

    Example:
        >>> block_name(12, 345), squares_of("block-r0000012-c0000345")
        ('block-r0000012-c0000345', (12, 345))
    """
    return f"block-r{row:07d}-c{column:07d}"


def squares_of(name: str) -> tuple[int, int]:
    """Row and column of a block by its name."""
    row, column = name.removeprefix("block-r").split("-c")
    return int(row), int(column)


def _given_roles(
    candidates: Candidates, settings: SplitSettings, places: tuple[str, ...]
) -> dict[str, Role]:
    given: dict[str, Role] = {}
    names: dict[str, Role] = {**{role: role for role in ROLES}, **settings.roles}
    for place, split in zip(places, candidates.splits, strict=True):
        if split is None:
            continue
        if split not in names:
            raise InputError(
                f"the index names the split {split!r}, which split.roles does not map; "
                f'write for example roles = {{{split} = "test"}}.'
            )
        if given.setdefault(place, names[split]) != names[split]:
            raise InputError(
                f"place {place!r} is in {given[place]} and in {names[split]}: a place must not "
                "straddle roles. Correct the index."
            )
    return given


def _joined(
    places: Sequence[str], given: dict[str, Role], together: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """The first place, by name, of those that each place stays together with."""
    group = {place: place for place in places}
    members = {place: [place] for place in group}
    for first, second in sorted(together):
        one, two = sorted((group[first], group[second]))
        if one == two or given.get(one) != given.get(two):
            continue
        members[one] += members.pop(two)
        group |= dict.fromkeys(members[one], one)
    return group


def _weights(candidates: Candidates, group_of: NDArray[np.intp]) -> Int64Array:
    """Class shares and patches per group, "group class", the patches last; in millionths."""
    millionths = np.rint(candidates.shares * _MILLIONTHS).astype(np.int64)
    parts = np.column_stack([millionths, np.full(len(millionths), _MILLIONTHS, dtype=np.int64)])
    weights = np.zeros((int(group_of.max()) + 1, parts.shape[1]), dtype=np.int64)
    np.add.at(weights, group_of, parts)
    return weights


def _assigned(
    groups: list[str],
    weights: Int64Array,
    given: dict[str, Role],
    settings: SplitSettings,
    seed: int,
) -> dict[str, Role]:
    """A role for every group."""
    roles: dict[str, Role] = dict(given)
    free = [index for index, group in enumerate(groups) if group not in given]
    if free and set(given.values()) >= {"train", "test"}:
        names = ", ".join(groups[index] for index in free[:3])
        raise InputError(
            f"places {names} have no split in the index while others do; "
            "give all of them one, or none."
        )
    random = generator_at(seed, "split")
    test, val = settings.test_share, settings.val_share
    if free:
        # Val is carved from what test leaves, but both are drawn at once, or one would take the
        # rare classes that the other needs.
        together: list[tuple[Role, float]] = [("test", test)]
        if not given:
            together.append(("val", (1 - test) * val))
        roles |= _carved(groups, weights, free, together, random, settings.attempts)
    if "val" not in roles.values():
        pool = [index for index, group in enumerate(groups) if roles[group] == "train"]
        roles |= _carved(groups, weights, pool, [("val", val)], random, settings.attempts)
    return roles


def _carved(
    groups: list[str],
    weights: Int64Array,
    pool: list[int],
    wanted: list[tuple[Role, float]],
    random: np.random.Generator,
    attempts: int,
) -> dict[str, Role]:
    """Roles of the groups in `pool`: those wanted, by their shares of the whole, else train."""
    left = len(pool)
    counts = []
    rest = 1.0
    for role, share in wanted:
        if left < 2:
            raise NothingLeft(
                f"split: only {left} place to carve {role} from. Use smaller blocks or more data."
            )
        counts.append(min(max(1, round(share / rest * left)), left - 1))
        left -= counts[-1]
        rest -= share
    state = share_out(weights[pool], counts, [share for _, share in wanted], random, attempts)
    names: list[Role] = [*(role for role, _ in wanted), "train"]
    return {groups[index]: names[role] for index, role in zip(pool, state.tolist(), strict=True)}


def _without_neighbours(
    roles: list[Role | None], candidates: Candidates, buffer_m: float
) -> list[Role | None]:
    """Take out train patches on or near the ground of val or test, and val ones of test."""
    if buffer_m > 0 and np.isnan(candidates.lonlat).any():
        raise InputError("split.buffer_m needs coordinates, which these images lack; set it to 0.")
    kept = list(roles)
    for losing, holding in LOSING:
        lose, hold = rows_of(kept, losing), rows_of(kept, holding)
        for i, _ in candidates.footprints.overlapping(lose, hold):
            kept[i] = None
        if buffer_m > 0:
            for i, _, _ in candidates.footprints.closer(lose, hold, buffer_m):
                kept[i] = None
    return kept

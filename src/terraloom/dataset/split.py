"""Roles by place or block: nothing that touches test is ever fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from terraloom.errors import InputError, NothingLeft
from terraloom.raster.grid import metres_between
from terraloom.seeds import generator_at
from terraloom.settings import SplitSettings
from terraloom.types import ROLES, Float64Array, Role

_METRES_PER_DEGREE: Final = 111_320.0
"""Of latitude; of longitude times the cosine of the latitude. Good to 1 % for block sizes."""


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


@dataclass(frozen=True)
class Split:
    """A role and a place for every patch."""

    roles: tuple[Role | None, ...]
    """None where the buffer took the patch."""
    places: tuple[str, ...]


def split_candidates(candidates: Candidates, settings: SplitSettings, seed: int) -> Split:
    """Assign roles so that no place or block straddles two of them.

    Roles that the source's index names are kept; val is carved out of train where it names none.
    Among `settings.attempts` seeded assignments the one is taken whose class shares are closest
    to those of the whole.

    Raises:
        InputError: the index names a split that `split.roles` does not map, or one place carries
            two roles; or `by = "block"` without coordinates.
        NothingLeft: too few places for three roles.
    """
    places = _places(candidates, settings)
    given = _given_roles(candidates, settings, places)
    groups = sorted(set(places))
    group_of = _index(places)
    weight = np.zeros((len(groups), candidates.shares.shape[1]))
    np.add.at(weight, group_of, candidates.shares)
    roles: dict[str, Role] = dict(given)
    free = [g for g in groups if g not in given]
    if free:
        if given and set(given.values()) >= {"train", "test"}:
            raise InputError(
                f"places {', '.join(free[:3])} have no split in the index while others do; "
                "give all of them one, or none."
            )
        chosen = _choose(free, groups, weight, settings.test_share, settings, seed, "test")
        roles |= {g: ("test" if g in chosen else "train") for g in free}
    if "val" not in roles.values():
        pool = [g for g in groups if roles[g] == "train"]
        chosen = _choose(pool, groups, weight, settings.val_share, settings, seed, "val")
        roles |= dict.fromkeys(chosen, "val")
    of_patch: list[Role | None] = [roles[p] for p in places]
    if settings.buffer_m > 0:
        of_patch = _with_buffer(of_patch, candidates, settings.buffer_m)
    for role in ROLES:
        if role not in of_patch:
            raise NothingLeft(
                f"split: no patch is left for {role} among {len(groups)} places. Use smaller "
                "blocks, a smaller buffer, or more data."
            )
    return Split(tuple(of_patch), places)


def nearest_distance_m(
    candidates: Candidates, roles: Sequence[Role | None], first: Role, second: Role
) -> float | None:
    """Smallest gap in metres between patches of two roles, edge to edge (circles around them).

    None where a role is empty or has no coordinates.
    """
    held = np.array([role if role is not None else "" for role in roles])
    known = ~np.isnan(candidates.lonlat[:, 0])
    one, two = np.flatnonzero(known & (held == first)), np.flatnonzero(known & (held == second))
    if not len(one) or not len(two):
        return None
    gaps = _gaps(candidates, one, two)
    return float(gaps.min())


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
    x, y = _metres(candidates.lonlat)
    columns = np.floor(x / settings.block_size_m).astype(int)
    rows = np.floor(y / settings.block_size_m).astype(int)
    return tuple(f"block{r:+06d}{c:+06d}" for r, c in zip(rows, columns, strict=True))


def _metres(lonlat: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Easting and northing in metres; a degree of longitude shrinks with the mean latitude."""
    scale = np.cos(np.deg2rad(lonlat[:, 1].mean()))
    return lonlat[:, 0] * _METRES_PER_DEGREE * scale, lonlat[:, 1] * _METRES_PER_DEGREE


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


def _choose(
    pool: list[str],
    groups: list[str],
    weight: Float64Array,
    share: float,
    settings: SplitSettings,
    seed: int,
    role: str,
) -> set[str]:
    """The seeded subset of `pool`, `share` of it, whose class shares match the pool's best."""
    if len(pool) < 2:
        raise NothingLeft(
            f"split: only {len(pool)} place to carve {role} from. Use smaller blocks or more data."
        )
    rows = np.array([groups.index(g) for g in pool])
    total = weight[rows].sum(axis=0)
    count = min(max(1, round(share * len(pool))), len(pool) - 1)
    random = generator_at(seed, "split", role)
    best: tuple[float, NDArray[np.intp]] | None = None
    for _ in range(settings.attempts):
        take = random.permutation(len(pool))[:count]
        part = weight[rows[take]].sum(axis=0)
        difference = np.abs(part / part.sum() - total / total.sum())
        # Rare classes weigh as much as frequent ones: error relative to the root of the share.
        cost = float((difference / np.sqrt(total / total.sum() + 1e-3)).sum())
        cost += abs(part.sum() / total.sum() - share)
        if best is None or cost < best[0]:
            best = (cost, take)
    assert best is not None
    return {pool[i] for i in best[1]}


def _with_buffer(
    roles: list[Role | None], candidates: Candidates, buffer_m: float
) -> list[Role | None]:
    """Take train patches near val or test, and val patches near test, out."""
    if np.isnan(candidates.lonlat).any():
        raise InputError("split.buffer_m needs coordinates, which these images lack; set it to 0.")
    kept = list(roles)
    for losing, holding in (("val", "test"), ("train", "test"), ("train", "val")):
        lose = np.array([i for i, role in enumerate(kept) if role == losing], dtype=int)
        hold = np.array([i for i, role in enumerate(kept) if role == holding], dtype=int)
        if not len(lose) or not len(hold):
            continue
        near = _gaps(candidates, lose, hold) < buffer_m
        for i in lose[near]:
            kept[i] = None
    return kept


def _gaps(candidates: Candidates, one: NDArray[np.intp], two: NDArray[np.intp]) -> Float64Array:
    """For each of `one` the smallest gap in metres to any of `two`, edge to edge."""
    from scipy.spatial import cKDTree

    # On the globe, since a plane's metres are wrong away from its middle latitude.
    lon, lat = np.deg2rad(candidates.lonlat).T
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    _, nearest = cKDTree(points[two]).query(points[one])
    gaps = np.empty(len(one))
    for row, (i, j) in enumerate(zip(one, two[nearest], strict=True)):
        between = metres_between(tuple(candidates.lonlat[i]), tuple(candidates.lonlat[j]))
        gaps[row] = max(0.0, between - candidates.radius_m[i] - candidates.radius_m[j])
    return gaps


def _index(places: tuple[str, ...]) -> NDArray[np.intp]:
    """Position of each place in the sorted list of places."""
    return np.unique(np.array(places), return_inverse=True)[1]

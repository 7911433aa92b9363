"""Slices of a pool of synthetic samples: equal in number, different in what they hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Any, Final, Literal

import numpy as np

from terraloom.errors import InputError
from terraloom.seeds import generator_at
from terraloom.tables import Table
from terraloom.types import Float64Array

Kind = Literal["arm", "origin", "class", "place", "score", "random"]

LEAST_ROWS: Final = 4
"""Samples of a slice; fewer have no composition to speak of."""
_PARTS: Final = 4
"""By default a slice holds a quarter of the pool."""
_PLACE_GROUPS: Final = 6


@dataclass(frozen=True)
class Pool:
    """Everything that slices are cut from; one entry per synthetic sample, in id order."""

    ids: tuple[str, ...]
    origins: tuple[str, ...]
    """Generator and origin, such as "spade conditional"."""
    places: tuple[str | None, ...]
    """Place of the sample's parent."""
    kept: tuple[bool | None, ...]
    """What curation said; None where it has not run."""
    shares: Float64Array
    """Of the known pixels, "sample class"."""
    class_names: tuple[str, ...]
    scores: Mapping[str, Float64Array]
    """By column, "sample"; NaN where a sample has none."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Slice:
    """Some samples of the pool."""

    name: str
    """Unique; fit for a folder's name."""
    kind: Kind
    told: str
    """What it holds, in words."""
    ids: tuple[str, ...]
    """In id order."""


def read_pool(
    real: Table,
    synthetic: Table,
    scores: Table,
    verdicts: Table | None,
    class_names: Sequence[str],
) -> Pool:
    """The pool of a project: every sample that was made, kept or rejected.

    Args:
        real: real samples, which name the places of parents.
        synthetic: labelled samples.
        scores: of `synthetic`, row by row.
        verdicts: of `synthetic`, row by row; left out, unknown.
        class_names: in label order.
    """
    rows = synthetic.read(["id", "origin", "parent", "shares"]).to_pylist()
    home = {row["id"]: row["place"] or row["id"] for row in real.read(["id", "place"]).to_pylist()}
    columns = scores.read()
    kept: dict[str, bool] = {}
    if verdicts is not None:
        kept = {row["id"]: row["keep"] for row in verdicts.read(["id", "keep"]).to_pylist()}
    return Pool(
        tuple(row["id"] for row in rows),
        tuple(_origin(row) for row in rows),
        tuple(home.get(row["parent"]) for row in rows),
        tuple(kept.get(row["id"]) for row in rows),
        np.array([row["shares"] for row in rows], dtype=np.float64).reshape(
            len(rows), len(class_names)
        ),
        tuple(class_names),
        {
            name: np.array(columns.column(name).to_pylist(), dtype=np.float64)
            for name in columns.column_names
            if name != "id"
        },
    )


def default_rows(pool: Pool) -> int:
    """Samples of a slice where nobody asks for a number: a quarter of the pool."""
    return max(LEAST_ROWS, len(pool) // _PARTS)


def cut_slices(pool: Pool, count: int, rows: int, seed: int) -> list[Slice]:
    """Slices of one size, by turns of every kind, so that a few cover all kinds.

    Kinds: kept and rejected samples (arm); one generator and origin; most of a class; parents of
    some places; lowest, middle and highest of a score; and plain random draws, which also fill up
    what is missing. No two slices hold the same samples.

    Args:
        pool: of the project.
        count: of slices.
        rows: samples in each.
        seed: of the draws.

    Raises:
        InputError: the pool is too small for slices that differ.
    """
    if rows < LEAST_ROWS or count < 2 or len(pool) < 2 * rows:
        raise InputError(
            f"{count} slices of {rows} samples were asked of a pool of {len(pool)}; there must be "
            f"2 slices or more, of {LEAST_ROWS} samples or more, and twice as many samples in the "
            "pool as in a slice. Ask for fewer --rows, or make more samples."
        )
    kinds: list[Iterator[Slice]] = [
        iter(_arms(pool, rows, seed)),
        iter(_origins(pool, rows, seed)),
        iter(_classes(pool, rows)),
        iter(_places(pool, rows, seed)),
        iter(_scores(pool, rows)),
        _random(pool, rows, seed, count),
    ]
    found: list[Slice] = []
    seen: set[tuple[str, ...]] = set()
    for turn in zip_longest(*kinds):
        for made in turn:
            if made is not None and made.ids not in seen and len(found) < count:
                seen.add(made.ids)
                found.append(made)
    if len(found) < count:
        raise InputError(
            f"the pool of {len(pool)} samples gives {len(found)} different slices of {rows}; "
            f"{count} were asked for. Ask for fewer --slices or fewer --rows."
        )
    return found


def overlap(slices: Sequence[Slice]) -> float:
    """Mean share of samples that two slices have in common, of those in either, 0 … 1."""
    sets = [set(made.ids) for made in slices]
    return float(np.mean([len(a & b) / len(a | b) for a, b in combinations(sets, 2)]))


def _origin(row: Mapping[str, Any]) -> str:
    generator, found, _ = str(row["id"]).partition(f"-{row['origin']}-")
    return f"{generator} {row['origin']}" if found else str(row["origin"])


def _named(kind: Kind, name: str, told: str, pool: Pool, picks: np.ndarray) -> Slice:
    plain = "".join(c if c.isalnum() else "-" for c in name)
    return Slice(f"{kind}-{plain}", kind, told, tuple(pool.ids[i] for i in np.sort(picks)))


def _draw(members: np.ndarray, rows: int, seed: int, *address: str) -> np.ndarray | None:
    """So many of the members, or None where there are too few."""
    if len(members) < rows:
        return None
    return generator_at(seed, "slice", *address).permutation(members)[:rows]


def _arms(pool: Pool, rows: int, seed: int) -> Iterator[Slice]:
    for wanted, name in ((True, "kept"), (False, "rejected")):
        members = np.flatnonzero([kept is wanted for kept in pool.kept])
        picks = _draw(members, rows, seed, name)
        if picks is not None:
            yield _named("arm", name, f"drawn from the {len(members)} {name}", pool, picks)


def _origins(pool: Pool, rows: int, seed: int) -> Iterator[Slice]:
    for origin in sorted(set(pool.origins)):
        members = np.flatnonzero([o == origin for o in pool.origins])
        picks = _draw(members, rows, seed, origin)
        if picks is not None:
            yield _named("origin", origin, f"drawn from the {len(members)} {origin}", pool, picks)


def _classes(pool: Pool, rows: int) -> Iterator[Slice]:
    for label, name in enumerate(pool.class_names):
        picks = np.argsort(-pool.shares[:, label], kind="stable")[:rows]
        least = pool.shares[picks, label].min()
        if least > 0:
            # Two classes may have names that a folder cannot tell apart.
            told = f"most {name}, {100 * least:.0f} % or more each"
            yield _named("class", f"{label}-{name}", told, pool, picks)


def _places(pool: Pool, rows: int, seed: int) -> Iterator[Slice]:
    places = sorted({place for place in pool.places if place is not None})
    known = sum(place is not None for place in pool.places)
    groups = min(_PLACE_GROUPS, known // rows, len(places))
    if groups < 2:
        return
    dealt = generator_at(seed, "slice", "places").permutation(places)
    for group in range(groups):
        own = set(dealt[group::groups])
        members = np.flatnonzero([place in own for place in pool.places])
        picks = _draw(members, rows, seed, "place", str(group))
        if picks is not None:
            yield _named("place", str(group), f"parents of {len(own)} places", pool, picks)


def _scores(pool: Pool, rows: int) -> Iterator[Slice]:
    for part in ("highest", "lowest", "middle"):
        for name, values in pool.scores.items():
            known = np.flatnonzero(np.isfinite(values))
            spare = len(known) - rows
            if spare < rows or np.ptp(values[known]) == 0:
                continue
            order = known[np.argsort(values[known], kind="stable")]
            start = {"lowest": 0, "middle": spare // 2, "highest": spare}[part]
            picks = order[start : start + rows]
            low, high = values[picks].min(), values[picks].max()
            told = f"{part} {name}, {low:.3g} to {high:.3g}"
            yield _named("score", f"{name}-{part}", told, pool, picks)


def _random(pool: Pool, rows: int, seed: int, count: int) -> Iterator[Slice]:
    everything = np.arange(len(pool))
    for index in range(count):
        picks = _draw(everything, rows, seed, "random", str(index))
        if picks is not None:
            yield _named("random", str(index), "drawn from all", pool, picks)

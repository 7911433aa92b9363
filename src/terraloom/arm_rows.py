"""Training rows of the arms of a benchmark, out of real, held-back and synthetic samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from terraloom.arms import Arm
from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import TrainRows, train_rows
from terraloom.errors import NothingLeft
from terraloom.seeds import generator_at
from terraloom.tables import Table
from terraloom.types import MASK_FIRST

_SYNTHETIC: Final = ("conditional", "unconditional", "unfiltered", "candidates")


@dataclass(frozen=True)
class Inputs:
    """What the arms are made of."""

    real: Table
    synthetic: Table
    kept: frozenset[str]
    """Ids of curated synthetic samples."""
    cache: RowCache | None = None
    """How training rows are held; None keeps them in memory."""
    held_back: Table | None = None
    """Real rows that nothing was fitted on, for the arm "more-real"."""
    relabel: Callable[[TrainRows, int, int], TrainRows] | None = None
    """Makes so many rows of the arm "relabel" out of real rows, with a seed."""


@dataclass(frozen=True)
class _Synthetic:
    """One generated sample, as far as choosing needs it."""

    id: str
    origin: str
    parent: str | None


class ArmRows:
    """Rows of any arm. What is drawn at random is nested: more of an arm holds what less held.

    Args:
        inputs: tables.
        seed: of the draws.
    """

    def __init__(self, inputs: Inputs, seed: int) -> None:
        self.inputs = inputs
        self.seed = seed
        light = inputs.synthetic.read(["id", "origin", "parent"]).to_pylist()
        made = sorted((_Synthetic(**row) for row in light), key=lambda sample: sample.id)
        self._made = made
        self._kept = [sample for sample in made if sample.id in inputs.kept]
        self._real = [
            (row["id"], row["place"] or row["id"])
            for row in inputs.real.read(["id", "place", "split"]).to_pylist()
            if row["split"] == "train"
        ]

    def of(self, arm: Arm) -> TrainRows | str:
        """Rows of an arm, or why there are none."""
        inputs = self.inputs
        real_ids = self._real_ids(arm.share)
        parts = []
        if "real" in arm.rows:
            parts.append(self._rows(inputs.real, real_ids))
        if "held back" in arm.rows:
            if inputs.held_back is None:
                return "no real rows are held back; set split.held_back_share"
            parts.append(train_rows(inputs.held_back, cache=inputs.cache))
        if "relabelled" in arm.rows:
            if inputs.relabel is None or not self._kept:
                return "there is no labeller, or no curated sample whose number it could match"
            parts.append(inputs.relabel(parts[0], len(self._kept), self.seed))
        wanted = [kind for kind in arm.rows if kind in _SYNTHETIC]
        if wanted:
            chosen = self._chosen(wanted, arm, frozenset(real_ids))
            if isinstance(chosen, str):
                return chosen
            parts.append(
                train_rows(inputs.synthetic, real=inputs.real, only=chosen, cache=inputs.cache)
            )
        joined = parts[0]
        for part in parts[1:]:
            joined = joined + part
        return joined

    def _rows(self, table: Table, ids: Sequence[str]) -> TrainRows:
        everything = len(ids) == len(self._real)
        return train_rows(table, only=None if everything else ids, cache=self.inputs.cache)

    def _real_ids(self, share: float) -> list[str]:
        """Train rows of so large a share of the places, whole places only, at least one."""
        if share == 1.0:
            return [name for name, _ in self._real]
        places = sorted({place for _, place in self._real})
        order = generator_at(self.seed, "share of places").permutation(len(places))
        count = max(1, round(share * len(places)))
        held = {places[i] for i in order[:count]}
        return [name for name, place in self._real if place in held]

    def _chosen(self, kinds: Sequence[str], arm: Arm, real: frozenset[str]) -> list[str] | str:
        """Ids of the synthetic rows, or why there are none."""
        pool = self._pool(kinds)
        if not pool:
            return "it has no synthetic row to train on"
        if arm.share < 1.0:
            # What was made from other places is not there; what has no parent counts in part.
            free = [sample for sample in pool if sample.parent is None]
            count = round(arm.share * len(free))
            part = set(self._nested(free, "free")[:count])
            pool = [s for s in pool if s.parent in real or s.id in part]
            if not pool:
                return f"no sample was made from the {len(real)} real rows that it holds"
        ids = [sample.id for sample in pool]
        if arm.ratio is not None:
            count = round(arm.ratio * len(real))
            if count > len(ids):
                return (
                    f"it needs {count:,} curated samples ({arm.ratio:g} per real row), and there "
                    f"are {len(ids):,}; make more (generate.conditional_per_row)"
                )
            ids = self._nested(pool, "ratio")[:count]
            if not ids:
                return f"{arm.ratio:g} per real row is less than one sample"
        return sorted(ids)

    def _pool(self, kinds: Sequence[str]) -> list[_Synthetic]:
        pool: list[_Synthetic] = []
        for kind in kinds:
            match kind:
                case "conditional":
                    pool += [s for s in self._kept if s.origin in MASK_FIRST]
                case "unconditional":
                    pool += [s for s in self._kept if s.origin == "unconditional"]
                case "unfiltered":
                    drawn = self._nested(self._made, "unfiltered")[: len(self._kept)]
                    pool += self._by_id(drawn)
                case "candidates":
                    for origin in sorted({s.origin for s in self._kept}):
                        count = sum(s.origin == origin for s in self._kept)
                        own = [s for s in self._made if s.origin == origin]
                        pool += self._by_id(self._nested(own, f"candidates {origin}")[:count])
        return pool

    def _by_id(self, ids: Sequence[str]) -> list[_Synthetic]:
        wanted = set(ids)
        return [sample for sample in self._made if sample.id in wanted]

    def _nested(self, samples: Sequence[_Synthetic], draw: str) -> list[str]:
        """All ids in a random order of their own."""
        order = generator_at(self.seed, draw).permutation(len(samples))
        return [samples[i].id for i in np.asarray(order)]


def rows_by_arm(
    inputs: Inputs, arms: Mapping[str, Arm], seed: int
) -> tuple[dict[str, TrainRows], dict[str, str]]:
    """Training rows per arm, and why arms without them are left out.

    Raises:
        NothingLeft: no control is left.
    """
    maker = ArmRows(inputs, seed)
    rows: dict[str, TrainRows] = {}
    missing: dict[str, str] = {}
    for name, arm in arms.items():
        found = maker.of(arm)
        if isinstance(found, str):
            missing[name] = found
        else:
            rows[name] = found
    if not any(arms[name].is_control for name in rows):
        raise NothingLeft("the benchmark has no control arm left.")
    return rows, missing

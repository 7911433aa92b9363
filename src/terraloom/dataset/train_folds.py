"""Folds over the places of train: what is judged on one was fitted on the others."""

from dataclasses import dataclass

import numpy as np

from terraloom.errors import NothingLeft
from terraloom.tables import Table


@dataclass(frozen=True)
class TrainFold:
    """Train rows by id: those of a fold's places, and all others."""

    places: frozenset[str]
    held: tuple[str, ...]
    others: tuple[str, ...]


def deal_train_places(
    real: Table, folds: int, random: np.random.Generator, asked: str
) -> list[TrainFold]:
    """Deal the places of train into folds; val and test rows belong to none.

    Args:
        real: real samples; a row without a place is one of its own.
        folds: 2 or more.
        random: seeded.
        asked: how the folds were asked for, such as "segment.noise_folds = 5"; opens the error.

    Raises:
        NothingLeft: train has fewer places than folds.
    """
    light = real.read(["id", "split", "place"]).to_pylist()
    place_of = {r["id"]: r["place"] or r["id"] for r in light if r["split"] == "train"}
    places = sorted(set(place_of.values()))
    if len(places) < folds:
        raise NothingLeft(f"{asked}, but train has {len(places)} places; use fewer folds.")
    dealt = random.permutation(places)
    found = []
    for number in range(folds):
        own = frozenset(str(place) for place in dealt[number::folds])
        held = tuple(name for name, place in place_of.items() if place in own)
        others = tuple(name for name, place in place_of.items() if place not in own)
        found.append(TrainFold(own, held, others))
    return found

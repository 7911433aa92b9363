"""Class shares: of each synthetic sample against what was asked, and of the corpus against real."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from terraloom.classes import ClassTable
from terraloom.fidelity.shares import (
    Estimate,
    ShareComparison,
    compare_shares,
    share_distance,
)
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.seeds import generator_at
from terraloom.tables import Table
from terraloom.types import Float64Array

_DRAWS: Final = 20


class Settings(BaseModel):
    """This scorer has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CompositionScorer:
    """Total variation per sample, Jensen-Shannon distance per origin."""

    columns = (
        Column(
            "composition_error",
            "share",
            "total variation between the asked-for class shares and those the labeller sees",
        ),
    )

    def __init__(self, classes: ClassTable, seed: int) -> None:
        self.classes = classes
        self.seed = seed

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Half the sum of absolute differences, 0 … 1; None where no mask was asked for."""
        errors: list[float | None] = []
        for row in part.labels:
            if row is None or row["asked_shares"] is None:
                errors.append(None)
                continue
            apart = np.abs(np.array(row["asked_shares"]) - np.array(row["seen_shares"]))
            errors.append(float(apart.sum() / 2))
        return {"composition_error": errors}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Class shares per origin against real train rows, with intervals, floor and ceiling.

        Jensen-Shannon distance of mean shares, base 2, 0 … 1. Floor: real train against real val.
        Ceiling: mean over real train shares whose classes are rotated by 1 … N−1. "equal" holds
        distances of origin and floor at one number of samples, drawn several times; "per_class"
        mean, quartiles and Wasserstein distance of the shares. Intervals are 95 %, over places of
        real samples and parents of synthetic ones (single samples where there is none).
        """
        real, places = _shares(corpus.real, "split", "train", "place")
        val, val_places = _shares(corpus.real, "split", "val", "place")
        mean = real.mean(axis=0)
        rotated = [share_distance(mean, np.roll(mean, shift)) for shift in range(1, len(mean))]
        origins: dict[str, Any] = {
            "real": {
                "shares": _rounded(mean),
                "samples": len(real),
                "distance": 0.0,
                "per_class": self._classes(real),
            }
        }
        names = sorted(set(corpus.synthetic.read(["origin"]).column("origin").to_pylist()))
        for origin in names:
            shares, parents = _shares(corpus.synthetic, "origin", origin, "parent")
            if not len(shares):
                continue
            found = compare_shares(real, shares, places, parents, seed=self.seed)
            size = min(len(real), len(val), len(shares))
            origins[origin] = {
                "shares": _rounded(shares.mean(axis=0)),
                "samples": len(shares),
                "groups": len(set(parents)),
                "distance": round(found.jensen_shannon.value, 4),
                "interval": _interval(found.jensen_shannon),
                "equal": {
                    "samples": size,
                    "draws": _DRAWS,
                    "distance": self._drawn(real, shares, size, origin),
                    "floor": self._drawn(real, val, size, "floor"),
                },
                "per_class": self._classes(shares, found),
            }
        summary: dict[str, Any] = {
            "classes": list(self.classes.names),
            "origins": origins,
            "floor": round(share_distance(mean, val.mean(axis=0)), 4),
            "floor_samples": len(val),
            "ceiling": round(float(np.mean(rotated)), 4),
        }
        floor = compare_shares(real, val, places, val_places, seed=self.seed)
        summary["floor_per_class"] = self._classes(val, floor)
        return summary

    def _classes(
        self, shares: Float64Array, found: ShareComparison | None = None
    ) -> list[dict[str, Any]]:
        """One entry per class: how its share is spread over samples, and how far from real."""
        entries: list[dict[str, Any]] = []
        for label, name in enumerate(self.classes.names):
            values = shares[:, label]
            entry: dict[str, Any] = {
                "class": name,
                "mean": round(float(values.mean()), 5),
                "quartiles": _rounded(np.percentile(values, (25, 50, 75))),
                "present": round(float((values > 0).mean()), 4),
            }
            if found is not None:
                moved, gap = found.wasserstein[label], found.difference[label]
                entry["wasserstein"] = round(moved.value, 5)
                entry["wasserstein_interval"] = _interval(moved)
                entry["difference"] = round(gap.value, 5)
                entry["difference_interval"] = _interval(gap)
            entries.append(entry)
        return entries

    def _drawn(self, real: Float64Array, other: Float64Array, size: int, name: str) -> float:
        """Mean distance over draws of `size` samples of each."""
        values = []
        for draw in range(_DRAWS):
            random = generator_at(self.seed, "composition", name, size, draw)
            means = [s[random.permutation(len(s))[:size]].mean(axis=0) for s in (real, other)]
            values.append(share_distance(means[0], means[1]))
        return round(float(np.mean(values)), 4)


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; draws follow `seed`."""
    return CompositionScorer(classes, seed)


def _shares(table: Table, column: str, value: str, group: str) -> tuple[Float64Array, list[str]]:
    """Shares "sample class" of the samples that have a known pixel, and their groups."""
    shares: list[list[float]] = []
    groups: list[str] = []
    for batch in table.batches(["id", column, "shares", group], rows=2000):
        for row in batch.to_pylist():
            if row[column] == value and sum(row["shares"]) > 0:
                shares.append(row["shares"])
                groups.append(row[group] or row["id"])
    return np.array(shares, dtype=np.float64), groups


def _rounded(values: Float64Array) -> list[float]:
    return [round(float(v), 5) for v in values]


def _interval(estimate: Estimate) -> list[float]:
    return [round(estimate.low, 5), round(estimate.high, 5)]

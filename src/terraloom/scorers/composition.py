"""Class shares: of each synthetic sample against what was asked, and of the corpus against real."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.spatial.distance import jensenshannon

from terraloom.classes import ClassTable
from terraloom.scorers._face import Column, Corpus, Part, Scorer
from terraloom.tables import Table
from terraloom.types import Float64Array


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

    def __init__(self, classes: ClassTable) -> None:
        self.classes = classes

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
        """Mean shares per origin and their distance to real train rows, with floor and ceiling.

        Distance: Jensen-Shannon, base 2, 0 … 1. Floor: real train against real val. Ceiling: mean
        over real train shares whose classes are rotated by 1 … N−1.
        """
        real = _shares(corpus.real, "split", "train")
        val = _shares(corpus.real, "split", "val")
        mean = real.mean(axis=0)
        rotated = [
            jensenshannon(mean, np.roll(mean, shift), base=2) for shift in range(1, len(mean))
        ]
        origins: dict[str, Any] = {
            "real": {"shares": _rounded(mean), "samples": len(real), "distance": 0.0}
        }
        names = sorted(set(corpus.synthetic.read(["origin"]).column("origin").to_pylist()))
        for origin in names:
            shares = _shares(corpus.synthetic, "origin", origin)
            known = shares[shares.sum(axis=1) > 0]
            if not len(known):
                continue
            origins[origin] = {
                "shares": _rounded(known.mean(axis=0)),
                "samples": len(known),
                "distance": round(float(jensenshannon(mean, known.mean(axis=0), base=2)), 4),
            }
        return {
            "classes": list(self.classes.names),
            "origins": origins,
            "floor": round(float(jensenshannon(mean, val.mean(axis=0), base=2)), 4),
            "floor_samples": len(val),
            "ceiling": round(float(np.mean(rotated)), 4),
        }


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `seed` plays no part."""
    return CompositionScorer(classes)


def _shares(table: Table, column: str, value: str) -> Float64Array:
    rows = table.read([column, "shares"]).to_pylist()
    return np.array([row["shares"] for row in rows if row[column] == value], dtype=np.float64)


def _rounded(values: Float64Array) -> list[float]:
    return [round(float(v), 5) for v in values]

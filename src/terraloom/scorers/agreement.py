"""Does the labeller see in a synthetic image what was asked for, and how sure is it?"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from terraloom.classes import ClassTable
from terraloom.scorers._face import Column, Corpus, Part, Scorer

_NAMES: Final = ("agreement", "confidence", "unanimity", "known_share")


class Settings(BaseModel):
    """This scorer has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AgreementScorer:
    """Carries the figures of the labelling stage into the score table."""

    columns = (
        Column("agreement", "share", "asked-for pixels that the labeller sees the same"),
        Column("confidence", "probability", "mean probability of the labeller's choice"),
        Column(
            "unanimity",
            "share",
            "labellers and views that see the label which they choose together",
        ),
        Column("known_share", "share", "pixels of the final mask that are not unknown"),
    )

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """The columns; None for real samples."""
        return {
            name: [None if row is None else row[name] for row in part.labels] for name in _NAMES
        }

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Mean of each column and number of samples per origin."""
        origins = np.array(corpus.synthetic.read(["origin"]).column("origin").to_pylist())
        table = corpus.labels.read(list(_NAMES))
        summary: dict[str, Any] = {}
        for origin in sorted(set(origins)):
            rows = origins == origin
            entry: dict[str, Any] = {"samples": int(rows.sum())}
            for name in _NAMES:
                values = np.array(table.column(name).to_pylist(), dtype=np.float64)[rows]
                known = values[~np.isnan(values)]
                entry[name] = round(float(known.mean()), 4) if len(known) else None
            summary[str(origin)] = entry
        return summary


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; neither `classes` nor `seed` plays a part."""
    return AgreementScorer()

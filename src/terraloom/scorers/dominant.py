"""Do captions name the class that covers most of the image?"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from terraloom.classes import ClassTable
from terraloom.naming import names_class
from terraloom.scorers._face import Column, Corpus, Part, Scorer

_CLEAR_SHARE: Final = 0.35
_CLEAR_LEAD: Final = 0.05


class Settings(BaseModel):
    """This scorer has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DominantScorer:
    """A lexical test with negation: a first scorer, before claims are parsed."""

    columns = (
        Column("names_dominant", "share", "captions that name the class with the largest share"),
        Column("clear_dominant", "0 or 1", "largest share ≥ 0.35 and 0.05 ahead of the next"),
    )

    def __init__(self, classes: ClassTable) -> None:
        self.classes = classes

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Share of a sample's captions that name its dominant class; None without known pixels."""
        named: list[float | None] = []
        clear: list[float | None] = []
        for row, texts in zip(part.rows, part.captions, strict=True):
            shares = np.array(row["shares"])
            if not shares.sum() or not texts:
                named.append(None)
                clear.append(None)
                continue
            first, second = np.sort(shares)[::-1][:2]
            clear.append(float(first >= _CLEAR_SHARE and first - second >= _CLEAR_LEAD))
            land = self.classes.classes[int(shares.argmax())]
            hits = [names_class(text, land, self.classes) for text in texts]
            named.append(float(np.mean(hits)))
        return {"names_dominant": named, "clear_dominant": clear}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Mean over samples: all, and those with a clearly dominant class, by kind."""
        summary: dict[str, Any] = {}
        for kind, table in corpus.scores.items():
            scores = table.read(["names_dominant", "clear_dominant"])
            named = np.array(scores.column("names_dominant").to_pylist(), dtype=np.float64)
            clear = np.array(scores.column("clear_dominant").to_pylist(), dtype=np.float64)
            known, sure = named[~np.isnan(named)], named[clear == 1]
            summary[kind] = {
                "samples": len(known),
                "named": round(float(known.mean()), 4) if len(known) else None,
                "clear_samples": len(sure),
                "clear_named": round(float(sure.mean()), 4) if len(sure) else None,
            }
        return summary


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `seed` plays no part."""
    return DominantScorer(classes)

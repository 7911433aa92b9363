"""How often captions repeat: exactly, normalised, within an image, at equal counts."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pydantic import BaseModel, ConfigDict

from terraloom.classes import ClassTable
from terraloom.redundancy import norm_caption, rarefied_redundancy, split_redundancy
from terraloom.scorers._face import Column, Corpus, Part, Scorer


class Settings(BaseModel):
    """This scorer has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RedundancyScorer:
    """Redundancy = 1 − unique captions / captions; it grows with the corpus."""

    columns = (
        Column("repeated_captions", "count", "captions of the sample that repeat one of its own"),
    )

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Repeats within each sample, after folding case and punctuation."""
        counts: list[float | None] = []
        for texts in part.captions:
            counts.append(float(len(texts) - len({norm_caption(text) for text in texts})))
        return {"repeated_captions": counts}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Figures of real captions, synthetic ones, and both; rarefied to the smaller corpus."""
        sizes = {kind: sum(1 for _ in corpus.texts(kind)) for kind in corpus.captions}
        smallest = min((size for size in sizes.values() if size), default=0)
        summary: dict[str, Any] = {}
        for kind in (*corpus.captions, "all"):
            kinds = list(corpus.captions) if kind == "all" else [kind]
            figures = split_redundancy(chain.from_iterable(corpus.texts(k) for k in kinds))
            if not figures.exact.captions:
                continue
            texts = (text for k in kinds for _, text in corpus.texts(k))
            summary[kind] = {
                "captions": figures.exact.captions,
                "unique": figures.exact.unique,
                "exact": round(figures.exact.redundancy, 6),
                "normalised": round(figures.normalised.redundancy, 6),
                "within_image": round(figures.within, 6),
                "across_images": round(figures.across, 6),
                "rarefied_count": smallest,
                "rarefied": round(rarefied_redundancy(texts, smallest, seed=corpus.seed), 6),
                "with_digits": sum(
                    any(c.isdigit() for c in text) for k in kinds for _, text in corpus.texts(k)
                ),
            }
        return summary


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; neither `classes` nor `seed` plays a part."""
    return RedundancyScorer()

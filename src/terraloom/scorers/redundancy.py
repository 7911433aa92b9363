"""How often captions repeat: exactly, normalised, within an image, at equal counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from terraloom.caption_index import CaptionIndex, CorpusRedundancy
from terraloom.classes import ClassTable
from terraloom.redundancy import norm_caption
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
        """Figures of real captions, synthetic ones, and both; rarefied to the smaller corpus.

        Near-duplicates are those of `terraloom.near_duplicates`; where several writers wrote, the
        figures of each stand under "writers".
        """
        indices: dict[str, CaptionIndex] = {}
        for kind in (*corpus.captions, "all"):
            index = CaptionIndex()
            index.add(
                caption
                for part in (corpus.captions if kind == "all" else (kind,))
                for caption in corpus.written(part)
            )
            if len(index):
                indices[kind] = index
        smallest = min((len(index) for kind, index in indices.items() if kind != "all"), default=0)
        summary: dict[str, Any] = {}
        for kind, index in indices.items():
            summary[kind] = _figures(index.measure(curve=(smallest,)), smallest)
            summary[kind] |= {
                "with_digits": sum(
                    any(sign.isdigit() for sign in text)
                    for part in (corpus.captions if kind == "all" else (kind,))
                    for _, _, text in corpus.written(part)
                ),
                "vocabulary": index.vocabulary,
                "distinct_2": round(index.distinct(2), 6),
            }
            if len(index.writers) > 1:
                summary[kind]["writers"] = {
                    writer: _figures(index.measure(writer=writer, curve=()), None)
                    for writer in index.writers
                }
        return summary


def _figures(found: CorpusRedundancy, count: int | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "captions": found.exact.captions,
        "unique": found.exact.unique,
        "exact": round(found.exact.redundancy, 6),
        "normalised": round(found.normalised.redundancy, 6),
        "within_image": round(found.within, 6),
        "across_images": round(found.across, 6),
    }
    if found.near is not None and found.near_within is not None:
        figures |= {
            "near": round(found.near.redundancy, 6),
            "near_within_image": round(found.near_within, 6),
        }
    if count is not None:
        figures |= {
            "rarefied_count": count,
            "rarefied": round(dict(found.curve)[count], 6),
        }
    return figures


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; neither `classes` nor `seed` plays a part."""
    return RedundancyScorer()

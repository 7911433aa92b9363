"""What captions tell of class shares by text alone: quoted numbers, and a probe beside controls."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from terraloom.classes import ClassTable
from terraloom.leak_probe import probe_shares, quotes_in, why_not_probed
from terraloom.scorers._face import Column, Corpus, Part, Scorer


class Settings(BaseModel):
    """Options of `[scorers.leak]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_captions: int = Field(default=5000, ge=100)
    """Most captions of one writer that the probe reads, drawn evenly over the samples."""


class LeakScorer:
    """Quoted numbers per sample; what the text of each writer gives away, per corpus."""

    columns = (
        Column("captions_with_digits", "count", "captions of the sample that hold a digit"),
        Column(
            "captions_stating_shares",
            "count",
            "captions of the sample that quote a percentage which is the share of a class",
        ),
    )

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Counts per sample."""
        digits: list[float | None] = []
        stating: list[float | None] = []
        for row, texts in zip(part.rows, part.captions, strict=True):
            found = [quotes_in(text) for text in texts]
            digits.append(float(sum(quotes.digits for quotes in found)))
            stating.append(float(sum(quotes.state(row["shares"] or ()) for quotes in found)))
        return {"captions_with_digits": digits, "captions_stating_shares": stating}

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Per kind and writer: parts of captions that quote numbers, and the probe.

        The probe is fitted on real train rows, or on synthetic samples, by folds over places (of a
        synthetic sample: its parent's place; without a parent it stands for itself). Val and test
        rows take no part.
        """
        places = {
            row["id"]: row["place"] or row["id"]
            for row in corpus.real.read(["id", "place"]).to_pylist()
        }
        summary: dict[str, Any] = {}
        for kind in corpus.captions:
            facts = dict(_facts(corpus, kind, places))
            written: dict[str, list[tuple[str, str]]] = {}
            for sample_id, writer, text in corpus.written(kind):
                if sample_id in facts:
                    written.setdefault(writer, []).append((sample_id, text))
            for writer, captions in written.items():
                summary.setdefault(kind, {})[writer] = self._of_writer(captions, facts, corpus)
        return summary

    def _of_writer(
        self,
        captions: list[tuple[str, str]],
        facts: Mapping[str, tuple[list[float], str]],
        corpus: Corpus,
    ) -> dict[str, Any]:
        quotes = [(quotes_in(text), facts[sample_id][0]) for sample_id, text in captions]
        count = len(captions)
        figures: dict[str, Any] = {
            "captions": count,
            "with_digits": round(sum(q.digits for q, _ in quotes) / count, 6),
            "with_percentages": round(sum(q.percentages for q, _ in quotes) / count, 6),
            "stating_shares": round(sum(q.state(shares) for q, shares in quotes) / count, 6),
        }
        step = -(-count // self.settings.max_captions)
        probed = captions[::step]
        groups = [facts[sample_id][1] for sample_id, _ in probed]
        reason = why_not_probed(len(probed), len(set(groups)))
        if reason is not None:
            return figures | {"probe": None, "why_not_probed": reason}
        probe = probe_shares(
            [text for _, text in probed],
            np.array([facts[sample_id][0] for sample_id, _ in probed], dtype=np.float64),
            groups,
            corpus.classes.names,
            seed=self.seed,
        )
        return figures | {"probe": probe.to_json()}


def _facts(
    corpus: Corpus, kind: str, places: Mapping[str, str]
) -> Iterator[tuple[str, tuple[list[float], str]]]:
    """(id, (shares, group)) of the samples that the probe may be fitted on."""
    table = corpus.real if kind == "real" else corpus.synthetic
    for row in table.read(["id", "split", "shares", "place", "parent"]).to_pylist():
        if kind == "real" and row["split"] != "train":
            continue
        group = row["place"] or places.get(row["parent"] or "", row["id"])
        yield row["id"], (row["shares"], group)


def build(settings: Settings, classes: ClassTable, seed: int) -> Scorer:
    """The scorer; `seed` shuffles the control, `classes` plays no part."""
    return LeakScorer(settings, seed)

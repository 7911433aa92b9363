"""The face of a scorer: columns per sample, and a summary of the corpus."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from terraloom.classes import ClassTable
from terraloom.segmenting import TrainedSegmenter
from terraloom.tables import Table


@dataclass(frozen=True)
class Column:
    """One column of the score table."""

    name: str
    unit: str
    """Such as "share", "count"; told in docs and report."""
    meaning: str


@dataclass(frozen=True)
class Part:
    """One shard of samples with the shards of captions and label figures that belong to it."""

    samples_path: Path
    captions_path: Path
    labels_path: Path | None
    """None for real samples, which are not labelled by a model."""
    classes: ClassTable
    real: Table
    """All real samples, for scores that compare with train rows."""
    segmenter: Callable[[], TrainedSegmenter]
    """Loads the labeller once, whose features are measured in."""
    folder: Path
    """Where a scorer may keep a table of its own; the same as the corpus's."""
    real_captions: Table
    """Captions of all real samples, for scores that are fitted on those of train rows."""
    claims_path: Path
    """Claims of the captions, checked."""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """id, origin, split and shares of each sample."""
        columns = ["id", "origin", "split", "shares"]
        rows: list[dict[str, Any]] = pq.read_table(self.samples_path, columns=columns).to_pylist()
        return rows

    @cached_property
    def labels(self) -> list[dict[str, Any] | None]:
        """Label figures of each sample, in the same order; None for real samples."""
        if self.labels_path is None:
            return [None] * len(self.rows)
        found: list[dict[str, Any] | None] = pq.read_table(self.labels_path).to_pylist()
        return found

    @cached_property
    def captions(self) -> list[list[str]]:
        """Texts of each sample's captions, in the same order."""
        texts: dict[str, list[str]] = {row["id"]: [] for row in self.rows}
        for row in pq.read_table(self.captions_path, columns=["id", "text"]).to_pylist():
            texts[row["id"]].append(row["text"])
        return list(texts.values())

    @cached_property
    def claims(self) -> list[list[dict[str, Any]]]:
        """Claims of each sample's captions, in the same order; without spans and evidence."""
        columns = ["id", "caption", "kind", "classes", "hedged", "verdict"]
        found: dict[str, list[dict[str, Any]]] = {row["id"]: [] for row in self.rows}
        for row in pq.read_table(self.claims_path, columns=columns).to_pylist():
            found[row["id"]].append(row)
        return list(found.values())


@dataclass(frozen=True)
class Corpus:
    """Everything that a summary may read."""

    real: Table
    synthetic: Table
    captions: Mapping[str, Table]
    """By kind: "real", "synthetic"."""
    claims: Mapping[str, Table]
    """Of these captions, by kind."""
    labels: Table
    scores: Mapping[str, Table]
    """By kind; the columns of all scorers."""
    classes: ClassTable
    segmenter: Callable[[], TrainedSegmenter]
    """Loads the labeller, whose features are measured in."""
    folder: Path
    """Where a scorer may leave a table or file of its own."""
    seed: int

    def texts(self, kind: str) -> Iterator[tuple[str, str]]:
        """(id, text) of every caption of one kind, streamed."""
        for batch in self.captions[kind].batches(["id", "text"]):
            yield from zip(
                batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True
            )

    def written(self, kind: str) -> Iterator[tuple[str, str, str]]:
        """(id, writer, text) of every caption of one kind, streamed."""
        columns = ["id", "writer", "text"]
        for batch in self.captions[kind].batches(columns):
            yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


class Scorer(Protocol):
    """Measures; fits nothing on val or test."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns that it adds to the score table; may be none."""

    def score(self, part: Part) -> Mapping[str, Sequence[float | None]]:
        """Values of each column for the samples of one shard, in order; None where undefined."""

    def summarise(self, corpus: Corpus) -> dict[str, Any]:
        """Figures of the whole corpus, JSON-like."""

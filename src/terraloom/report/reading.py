"""What a project folder holds, read leniently: what is absent is None, and the page says so."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from terraloom.files import read_json, read_lines
from terraloom.ledger import LEDGER_NAME
from terraloom.samples import decode, decode_view
from terraloom.tables import MANIFEST, Table
from terraloom.types import ImageU8, LabelMask

STAGES: Final = (
    "build", "segment", "generate", "label", "caption", "score", "curate", "benchmark",
)  # fmt: skip
"""Folders of a project, in the order in which they are made."""


@dataclass(frozen=True)
class Training:
    """The history of one training, for a curve."""

    name: str
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class ProjectFiles:
    """Reads a project's results by the names of their files."""

    folder: Path

    def json(self, name: str) -> Any | None:  # noqa: ANN401 - JSON may hold anything
        """The value of a JSON file, or None where it is not there."""
        path = self.folder / name
        return read_json(path) if path.exists() else None

    def table(self, name: str) -> Table | None:
        """A finished table that holds rows, or None."""
        folder = self.folder / name
        if not (folder / MANIFEST).exists():
            return None
        table = Table.open(folder)
        return table if table.num_rows else None

    def rows(self, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Light columns of a whole table; no row where the table is not there."""
        table = self.table(name)
        if table is None:
            return []
        found: list[dict[str, Any]] = table.read(list(columns)).to_pylist()
        return found

    def rows_of(
        self, name: str, ids: Collection[str], columns: Sequence[str] | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """Whole rows of a few samples by id; row groups without them are not read."""
        table = self.table(name)
        found: dict[str, list[dict[str, Any]]] = {}
        if table is None or not ids:
            return found
        wanted = [("id", "in", sorted(ids))]
        for path in table.paths:
            chosen = None if columns is None else list(columns)
            part = pq.read_table(path, columns=chosen, filters=wanted)
            for row in part.to_pylist():
                found.setdefault(row["id"], []).append(row)
        return found

    def stage_record(self, stage: str) -> dict[str, Any] | None:
        """The record of a finished stage."""
        record: dict[str, Any] | None = self.json(f"{stage}/stage.json")
        return record

    @cached_property
    def results(self) -> dict[str, Any] | None:
        """The benchmark's results."""
        return self.json("benchmark/results.json")

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Summary by scorer; empty where nothing was scored."""
        return self.json("score/summary.json") or {}

    @cached_property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Keep or reject by id of synthetic sample."""
        columns = ["id", "keep", "rule", "reason"]
        return {row["id"]: row for row in self.rows("curate/verdicts", columns)}

    @cached_property
    def looks(self) -> list[dict[str, Any]]:
        """Every look at test, over all recipes that this project ever locked."""
        return read_lines(self.folder / LEDGER_NAME)

    @property
    def generators(self) -> list[str]:
        """Names of the generators whose training has finished."""
        states = (self.folder / "generate" / "models").glob("*/state.json")
        return sorted(path.parent.name for path in states)

    @property
    def cells(self) -> Iterator[Training]:
        """Trainings of the benchmark, named architecture-arm-seed, by name."""
        for path in sorted((self.folder / "benchmark" / "cells").glob("*/state.json")):
            yield Training(path.parent.name, tuple(read_json(path)["summary"]["history"]))

    def last_grid(self, generator: str) -> Path | None:
        """The newest picture grid of a generator."""
        grids = sorted((self.folder / "generate" / "models" / generator).glob("grid-*.png"))
        return grids[-1] if grids else None


def evenly(names: Sequence[str], number: int) -> list[str]:
    """At most `number` names, evenly spaced over their sorted order: nobody chooses examples.

    Example:
        >>> evenly(["a", "b", "c", "d", "e"], 3)
        ['a', 'c', 'e']
    """
    ordered = sorted(names)
    if len(ordered) <= number:
        return ordered
    places = np.linspace(0, len(ordered) - 1, number).round().astype(int)
    return [ordered[int(place)] for place in places]


def find_crop(mask: LabelMask, crop: LabelMask) -> tuple[int, int] | None:
    """Upper-left pixel at which `crop` was cut from `mask`, or None; the first of several.

    Sample tables keep a synthetic sample's parent, not the window of it, so the page looks for it.
    """
    height, width = crop.shape
    rows, columns = mask.shape[0] - height + 1, mask.shape[1] - width + 1
    if rows < 1 or columns < 1:
        return None
    # A few probes leave hardly any candidate for the whole comparison.
    possible = np.ones((rows, columns), dtype=np.bool_)
    for row in np.linspace(0, height - 1, 6).astype(int):
        for column in np.linspace(0, width - 1, 6).astype(int):
            window = mask[row : row + rows, column : column + columns]
            possible &= window == crop[row, column]
    for top, left in np.argwhere(possible):
        if np.array_equal(mask[top : top + height, left : left + width], crop):
            return int(top), int(left)
    return None


def image_of(row: dict[str, Any]) -> ImageU8:
    """The 8-bit RGB image of a sample row."""
    return decode_view(row["image"])


def mask_of(row: dict[str, Any]) -> LabelMask:
    """The label mask of a sample row."""
    return decode(row["mask"])

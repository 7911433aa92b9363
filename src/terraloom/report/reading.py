"""What a project folder holds, read leniently: what is absent is None, and the page says so.

Tables may hold hundreds of thousands of images and millions of captions. So whole columns are read
as Arrow arrays or in batches, never as Python rows, and pictures of the few samples shown only.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from terraloom.files import read_json, read_lines
from terraloom.ledger import LEDGER_NAME
from terraloom.samples import decode, decode_view
from terraloom.tables import MANIFEST, Table
from terraloom.types import ImageU8, Int64Array, LabelMask

STAGES: Final = (
    "build", "segment", "generate", "label", "caption", "score", "curate", "benchmark",
)  # fmt: skip
"""Folders of a project, in the order in which they are made."""
REAL: Final = "build/samples"
CHAINS: Final = "chains"
"""Where a cross-validation keeps the whole runs that it joins."""
_BATCH_ROWS: Final = 16384


@dataclass(frozen=True)
class CellRecord:
    """One training of the benchmark: where it stands, how it went, what it confused."""

    arm: str
    architecture: str
    history: tuple[dict[str, float], ...]
    """Checks on val; empty where they were not kept."""
    confusion: Int64Array
    """Pixels of all test places, "truth predicted"."""


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

    def count_rows(self, name: str) -> int:
        """Rows of a table; 0 where it is not there."""
        table = self.table(name)
        return 0 if table is None else table.num_rows

    def columns(self, name: str, columns: Sequence[str]) -> pa.Table | None:
        """Light columns of a whole table as Arrow arrays; None where there is no row."""
        table = self.table(name)
        return None if table is None else table.read(list(columns))

    def batches(self, name: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Light columns of a table, a piece at a time: for tables of millions of rows."""
        table = self.table(name)
        if table is not None:
            for batch in table.batches(list(columns), rows=_BATCH_ROWS):
                yield pa.Table.from_batches([batch])

    def ids(self, name: str) -> list[str]:
        """Ids of all samples of a table in order, each once; none where it is not there."""
        found = self.columns(name, ["id"])
        return [] if found is None else sorted(pc.unique(found.column("id")).to_pylist())

    def rows_of(
        self, name: str, ids: Collection[str], columns: Sequence[str] | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """Whole rows of a few samples by id; shards and row groups without them are not read."""
        table = self.table(name)
        found: dict[str, list[dict[str, Any]]] = {}
        if table is None or not ids:
            return found

        def look(path: Path, wanted: Sequence[str]) -> None:
            for row in _rows_with(path, wanted, columns):
                found.setdefault(row["id"], []).append(row)

        # Rows stand in the order of their ids, so that a shard's ends tell what it holds. A table
        # from elsewhere may not keep that order: whoever is missing is looked for in the rest.
        rest = []
        for path, entry in zip(table.paths, table.manifest["shards"], strict=True):
            first, last = entry["first_id"], entry["last_id"]
            own = [] if first is None else [name for name in sorted(ids) if first <= name <= last]
            if own:
                look(path, own)
            rest.append((path, set(own)))
        for path, seen in rest:
            missing = sorted(set(ids) - found.keys() - seen)
            if missing:
                look(path, missing)
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
    def source_files(self) -> list[dict[str, Any]]:
        """Distinct source files of the real samples; chains share theirs."""
        if self.chains:
            return ProjectFiles(self.folder / CHAINS / self.chains[0]).source_files
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for batch in self.batches(REAL, ["source"]):
            flat = pc.list_flatten(batch.column("source").combine_chunks())
            if not len(flat):
                continue
            names = [field.name for field in flat.type]
            distinct = pa.Table.from_struct_array(flat).group_by(names).aggregate([])
            for file in distinct.to_pylist():
                found[tuple(str(file[key]) for key in names)] = file
        return [file for _, file in sorted(found.items())]

    def verdicts_of(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Keep or reject of a few synthetic samples, by id."""
        columns = ["id", "keep", "rule", "reason"]
        return {
            name: rows[0] for name, rows in self.rows_of("curate/verdicts", ids, columns).items()
        }

    @cached_property
    def looks(self) -> list[dict[str, Any]]:
        """Every look at test, over all recipes that this project ever locked."""
        return read_lines(self.folder / LEDGER_NAME)

    @property
    def generators(self) -> list[str]:
        """Names of the generators whose training has finished."""
        states = (self.folder / "generate" / "models").glob("*/state.json")
        return sorted(path.parent.name for path in states)

    @cached_property
    def cells(self) -> list[CellRecord]:
        """Finished trainings of the benchmark, of all chains where there are several, by path."""
        found = []
        for path in self._cell_paths():
            result = read_json(path)
            if not {"arm", "architecture", "confusion"} <= result.keys():
                continue
            state = path.with_name("state.json")
            history = read_json(state)["summary"].get("history", []) if state.exists() else []
            matrices = list(result["confusion"].values())
            found.append(
                CellRecord(
                    result["arm"], result["architecture"], tuple(history),
                    np.sum(np.array(matrices, dtype=np.int64), axis=0),
                )
            )  # fmt: skip
        return found

    def _cell_paths(self) -> list[Path]:
        """Results of cells: of this project, or of the chains that its results are made of."""
        if not self.chains:
            return sorted((self.folder / "benchmark").rglob("result.json"))
        return [
            path
            for name in self.chains
            for path in sorted((self.folder / CHAINS / name / "benchmark").rglob("result.json"))
        ]

    @cached_property
    def chains(self) -> list[str]:
        """Folders of the chains that a cross-validation joined; empty for a single run."""
        cells = (self.results or {}).get("cells", ())
        names = {f"fold-{c['fold']}-seed-{c['chain']}" for c in cells if "fold" in c}
        return sorted(names)

    def last_grid(self, generator: str) -> Path | None:
        """The newest picture grid of a generator."""
        grids = sorted((self.folder / "generate" / "models" / generator).glob("grid-*.png"))
        return grids[-1] if grids else None


def _rows_with(
    path: Path, wanted: Sequence[str], columns: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Rows of one shard by id; one row group with pictures is held at a time."""
    with pq.ParquetFile(path) as shard:
        start = 0
        here = pc.is_in(shard.read(columns=["id"]).column("id"), pa.array(wanted, pa.string()))
        for group in range(shard.num_row_groups):
            rows = shard.metadata.row_group(group).num_rows
            chosen = here.slice(start, rows)
            start += rows
            if pc.any(chosen).as_py():
                read = shard.read_row_group(group, None if columns is None else list(columns))
                yield from read.filter(chosen).to_pylist()


def tally(pieces: Iterator[pa.Table], keys: Sequence[str]) -> Counter[tuple[Any, ...]]:
    """How many rows have each combination of values.

    Args:
        pieces: of a table, as `ProjectFiles.batches` gives them.
        keys: columns of plain values.
    """
    found: Counter[tuple[Any, ...]] = Counter()
    for piece in pieces:
        counted = piece.group_by(list(keys)).aggregate([([], "count_all")])
        columns = [counted.column(key).to_pylist() for key in (*keys, "count_all")]
        for *values, number in zip(*columns, strict=True):
            found[tuple(values)] += number
    return found


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

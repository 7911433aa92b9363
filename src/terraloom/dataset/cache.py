"""Rows for learning, decoded once into one mapped file: PNG decoding never starves a learner.

Three ways to hold rows, chosen by size: decoded in memory; decoded on disk and mapped, so that the
operating system keeps in memory what fits; or packed, as PNG and TIFF bytes on disk that are
decoded each time they are asked for. A file is made once per selection of rows, written under a
temporary name and renamed.
"""

import bisect
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from terraloom.files import make_folder, read_json, remove_folder, write_json
from terraloom.progress import console, meter
from terraloom.samples import decode, decode_view
from terraloom.types import ImageU8, LabelMask, TrustMap

Holding = Literal["auto", "memory", "mapped", "packed"]

IN_MEMORY_BYTES: Final = 2_000_000_000
"""Decoded rows up to this size stay in memory."""
_PIXEL_BYTES: Final = 5
"""Three channels, label and trust."""
_DATA, _INDEX, _KEY = "rows.bin", "index.parquet", "key.json"
_GIGA: Final = 1e9


@dataclass(frozen=True)
class Row:
    """One decoded sample."""

    id: str
    place: str | None
    image: ImageU8
    mask: LabelMask
    trust: TrustMap | None


@dataclass(frozen=True)
class PackedRow:
    """One sample as it is stored."""

    id: str
    place: str | None
    image: bytes
    mask: bytes
    trust: bytes | None

    def decoded(self) -> Row:
        """Its pixels."""
        trust = None if self.trust is None else decode(self.trust)
        return Row(self.id, self.place, decode_view(self.image), decode(self.mask), trust)


@dataclass(frozen=True)
class RowCache:
    """Where and how rows of one project are held.

    Args:
        folder: receives one sub-folder per selection of rows.
        holding: "auto" takes memory up to `IN_MEMORY_BYTES`, then a mapped file up to `limit_gb`,
            then a packed one; the others force one way.
        limit_gb: largest decoded file, in 10⁹ bytes.
    """

    folder: Path
    holding: Holding = "auto"
    limit_gb: float = 50.0

    def hold(
        self, owner: str, table: str, selection: str, count: int, rows: Iterable[PackedRow]
    ) -> Sequence[Row]:
        """Rows, decoded or to be decoded, in the order given.

        Args:
            owner: name of the rows' table, such as "build-samples"; files of its earlier contents
                are removed.
            table: checksum of the table.
            selection: checksum of what was selected from it.
            count: of rows.
            rows: read at most once, and not at all where the file stands.
        """
        name, key = f"{owner}-{selection[:12]}", f"{table}/{selection}"
        folder = self.folder / name
        if self.holding != "memory" and (folder / _KEY).exists():
            made = read_json(folder / _KEY)
            if made["key"] == key and self.holding in ("auto", made["holding"]):
                return MappedRows.open(folder)
        source = iter(rows)
        first = next(source, None)
        if first is None:
            return ()
        decoded = first.decoded()
        size = count * decoded.mask.size * _PIXEL_BYTES
        holding = self._chosen(size)
        source = itertools.chain([first], source)
        if holding == "memory":
            return tuple(row.decoded() for row in source)
        console.print(
            f"[dim]{name}: {count:,} rows, "
            + (
                f"about {size / _GIGA:.1f} GB decoded once into {folder}[/]"
                if holding == "mapped"
                else f"{size / _GIGA:.1f} GB decoded would pass cache_gb = {self.limit_gb:g}: kept "
                f"packed in {folder} and decoded image by image, which is slower[/]"
            ),
            soft_wrap=True,
        )
        for other in self.folder.glob(f"{owner}-*"):
            if not str(read_json(other / _KEY)["key"]).startswith(table):
                remove_folder(other)
        _write(folder, key, holding, count, source, name)
        return MappedRows.open(folder)

    def _chosen(self, size: int) -> Holding:
        if self.holding != "auto":
            return self.holding
        if size <= IN_MEMORY_BYTES:
            return "memory"
        return "mapped" if size <= self.limit_gb * _GIGA else "packed"


class _Rows(Sequence[Row]):
    """Rows that are made when they are asked for."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(index)
        return self._row(position)

    @abstractmethod
    def _row(self, index: int) -> Row:
        """The row at 0 … len − 1."""


@dataclass(frozen=True)
class MappedRows(_Rows):
    """Rows of one file; each is a view of it (mapped) or decoded when asked for (packed)."""

    data: NDArray[np.uint8] = field(repr=False)
    packed: bool
    ids: Sequence[str] = field(repr=False)
    places: Sequence[str | None] = field(repr=False)
    numbers: NDArray[np.int64] = field(repr=False)
    """Start, height, width and 1 with a trust map of each row; packed: start and the bytes of
    image, mask and trust; "row 4"."""

    @classmethod
    def open(cls, folder: Path) -> "MappedRows":
        """The rows of a finished file."""
        index = pq.read_table(folder / _INDEX)
        data = np.memmap(folder / _DATA, dtype=np.uint8, mode="r")
        numbers = np.stack([index.column(f"n{i}").to_numpy() for i in range(4)], axis=1)
        return cls(
            data,
            read_json(folder / _KEY)["holding"] == "packed",
            index.column("id").to_pylist(),
            index.column("place").to_pylist(),
            numbers,
        )

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        """Another process opens the file anew; a pickled map would be a copy of all of it."""
        assert isinstance(self.data, np.memmap)
        return MappedRows.open, (Path(str(self.data.filename)).parent,)

    def __len__(self) -> int:
        return len(self.ids)

    def _row(self, index: int) -> Row:
        start, second, third, fourth = (int(v) for v in self.numbers[index])
        name, place = self.ids[index], self.places[index]
        if self.packed:
            image, mask, trust = (
                self.data[begin:end].tobytes()
                for begin, end in itertools.pairwise(np.cumsum([start, second, third, fourth]))
            )
            return PackedRow(name, place, image, mask, trust or None).decoded()
        height, width, area = second, third, second * third
        planes = self.data[start : start + (4 + fourth) * area]
        return Row(
            name,
            place,
            planes[: 3 * area].reshape(height, width, 3),
            planes[3 * area : 4 * area].reshape(height, width),
            planes[4 * area :].reshape(height, width) if fourth else None,
        )


@dataclass(frozen=True)
class JoinedRows(_Rows):
    """Several sequences of rows, one after the other, none copied."""

    parts: tuple[Sequence[Row], ...]
    ends: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        lengths = np.cumsum([len(part) for part in self.parts])
        object.__setattr__(self, "ends", tuple(int(end) for end in lengths))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def _row(self, index: int) -> Row:
        part = bisect.bisect_right(self.ends, index)
        before = self.ends[part - 1] if part else 0
        return self.parts[part][index - before]


def _write(
    folder: Path, key: str, holding: Holding, count: int, rows: Iterable[PackedRow], name: str
) -> None:
    partial = folder.with_name(f".{folder.name}.part")
    remove_folder(partial)
    make_folder(partial)
    ids, places, numbers = [], [], []
    start = 0
    with (
        open(partial / _DATA, "wb") as file,
        meter(f"decoding {name} rows", count, "rows") as progress,
    ):
        for row in rows:
            if holding == "packed":
                parts = [row.image, row.mask, row.trust or b""]
                numbers.append((start, *map(len, parts)))
            else:
                decoded = row.decoded()
                height, width = decoded.mask.shape
                trust = decoded.trust
                arrays = [decoded.image, decoded.mask, *([] if trust is None else [trust])]
                parts = [np.ascontiguousarray(array).tobytes() for array in arrays]
                numbers.append((start, height, width, int(trust is not None)))
            for part in parts:
                file.write(part)
                start += len(part)
            ids.append(row.id)
            places.append(row.place)
            progress.advance()
    table = pa.table(
        {"id": pa.array(ids, pa.string()), "place": pa.array(places, pa.string())}
        | {f"n{i}": pa.array([n[i] for n in numbers], pa.int64()) for i in range(4)}
    )
    pq.write_table(table, partial / _INDEX)
    write_json(partial / _KEY, {"key": key, "holding": holding})
    remove_folder(folder)
    partial.rename(folder)

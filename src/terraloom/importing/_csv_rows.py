"""Rows of large CSV files by key: found once by their byte offset, read again where needed."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from terraloom.errors import InputError

_MARK: Final = b"\xef\xbb\xbf"


@dataclass
class CsvRows:
    """One CSV file, of which only the offsets of its rows are held in memory."""

    path: Path
    header: tuple[str, ...]
    offsets: dict[str, int] = field(default_factory=dict)
    """Byte at which the row of a key starts."""

    def read(self, keys: list[str]) -> dict[str, dict[str, str]]:
        """The rows of the keys that the file has, as text by column."""
        found = {}
        with open(self.path, "rb") as handle:
            for key in sorted(keys, key=lambda key: self.offsets.get(key, -1)):
                if key in self.offsets:
                    handle.seek(self.offsets[key])
                    _, values = next(_rows_from(handle, self.path))
                    found[key] = dict(zip(self.header, values, strict=False))
        return found


def read_header(path: Path) -> tuple[str, ...]:
    """Column names of a CSV file; empty where it has none.

    Raises:
        InputError: it is no CSV in UTF-8.
    """
    with open(path, "rb") as handle:
        _, header = next(_rows_from(handle, path), (0, []))
    return tuple(name.strip() for name in header)


def each_row(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Byte offset and values of every row below the header, one at a time.

    Raises:
        InputError: it is no CSV in UTF-8.
    """
    with open(path, "rb") as handle:
        rows = _rows_from(handle, path)
        header = [name.strip() for name in next(rows, (0, []))[1]]
        for offset, values in rows:
            if values:
                yield offset, dict(zip(header, values, strict=False))


def _rows_from(handle: BinaryIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows from where the handle stands; quoted values may hold line breaks."""
    position = handle.tell()

    def lines() -> Iterator[str]:
        nonlocal position
        for line in handle:
            text = line.removeprefix(_MARK) if position == 0 else line
            position += len(line)
            yield text.decode("utf-8")

    reader = csv.reader(lines(), strict=True)
    while True:
        start = position
        try:
            values = next(reader)
        except StopIteration:
            return
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                f"{path.name} is not a CSV file in UTF-8 (near byte {start}): {error}. Fetch it "
                "again."
            ) from error
        yield start, values

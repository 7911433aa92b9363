"""The index of a folder of pairs: a CSV with one line per pair."""

import csv
import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from terraloom.errors import InputError, SettingsError

_COLUMNS: Final = ("id", "place", "split", "date", "label_year", "image", "mask")


@dataclass(frozen=True)
class IndexEntry:
    """One line of the index; what it leaves empty is None."""

    id: str
    place: str | None = None
    split: str | None = None
    date: datetime.date | None = None
    label_year: int | None = None
    image: str | None = None
    mask: str | None = None


def read_pair_index(path: Path) -> list[IndexEntry]:
    """The entries of an index in the order of their ids.

    Raises:
        InputError: it is missing, no CSV in UTF-8, lacks the column id, or has ids twice or such
            that would lead out of a folder.
        SettingsError: a date or year cannot be read.
    """
    if not path.is_file():
        raise InputError(f"[sources.folder] index {path} does not exist.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns: Sequence[str] = reader.fieldnames or ()
            rows = [{key: (row.get(key) or "").strip() for key in _COLUMNS} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} is not a CSV file in UTF-8: {error}.") from error
    if "id" not in columns:
        raise InputError(
            f"{path.name} has columns {', '.join(columns) or 'none'}; a column 'id' is needed."
        )
    counts = Counter(row["id"] for row in rows)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise InputError(f"{path.name} lists id {twice[0]!r} more than once.")
    # Ids name files of exports: one that climbs out of its folder must not get so far.
    strange = [name for name in counts if name in ("", ".", "..") or set(name) & set("/\\\0")]
    if strange:
        raise InputError(
            f"{path.name} lists id {strange[0]!r}; an id is a plain name without slashes. Write "
            "paths in the columns image and mask."
        )
    return [_entry(row) for row in sorted(rows, key=lambda row: row["id"])]


def _entry(row: dict[str, str]) -> IndexEntry:
    return IndexEntry(
        id=row["id"],
        place=row["place"] or None,
        split=row["split"] or None,
        date=_day(row["date"], row["id"]),
        label_year=_year(row["label_year"], row["id"]),
        image=row["image"] or None,
        mask=row["mask"] or None,
    )


def _day(text: str, name: str) -> datetime.date | None:
    if not text:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"index, id {name}: date {text!r} is not YYYY-MM-DD.") from error


def _year(text: str, name: str) -> int | None:
    if not text:
        return None
    if not (text.isdecimal() and len(text) == 4):
        raise SettingsError(f"index, id {name}: label_year {text!r} is not a year such as 2021.")
    return int(text)

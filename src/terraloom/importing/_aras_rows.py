"""What stands beside the images of ARAS400k: ids, published class percentages, captions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from terraloom.captioners._face import Mode, Visible
from terraloom.classes import ClassTable
from terraloom.importing._csv_rows import CsvRows, each_row, read_header
from terraloom.progress import meter
from terraloom.sources._aras import SPLITS, SYNTHETIC_SPLIT, Listing, parse_patch
from terraloom.types import Origin

_SYNTHETIC_PREFIX: Final = "synth-"
_OTHER_NAMES: Final = {"synthetic": SYNTHETIC_SPLIT, "validation": "val"}
_PATCH_INSIDE: Final = re.compile(r"[NS]\d{2}[EW]\d{3}_\d{3}_\d{3}")
_SEED: Final = re.compile(r"seed[_-]?(\d+)")


@dataclass(frozen=True)
class Writer:
    """Who wrote a column of captions, and what it was shown."""

    column: str
    mode: Mode
    saw: tuple[Visible, ...]
    model: str
    decoding: str


# Prompts and decoding are those of the published captioner scripts.
WRITERS: Final = (
    Writer(
        "hybrid_gemma3-4b",
        "vision-language",
        ("image", "shares"),
        "google/gemma-3-4b-it",
        "greedy, at most 100 tokens",
    ),
    Writer(
        "hybrid_qwen3-vl-8b",
        "vision-language",
        ("image", "shares"),
        "Qwen/Qwen3-VL-8B-Instruct",
        "greedy, at most 100 tokens",
    ),
    Writer(
        "text_qwen3-4b",
        "language",
        ("shares",),
        "Qwen/Qwen3-4B-Instruct-2507",
        "temperature 0.7, top-p 0.8, at most 100 tokens",
    ),
    Writer(
        "vision_gemma3-4b",
        "vision",
        ("image",),
        "google/gemma-3-4b-it",
        "the model's own defaults, at most 100 tokens",
    ),
    Writer(
        "vision_qwen3-vl-8b",
        "vision",
        ("image",),
        "Qwen/Qwen3-VL-8B-Instruct",
        "at most 100 tokens",
    ),
)
"""The five columns of the published captions, in their order."""


def id_of(split: str, stem: str) -> str:
    """Id of a patch: its name; synthetic ones bear a prefix, as names may repeat real ones."""
    return f"{_SYNTHETIC_PREFIX}{stem}" if split == SYNTHETIC_SPLIT else stem


def origin_of(stem: str) -> tuple[Origin, bool]:
    """How a synthetic image was made, and whether its name tells so.

    A name that holds a real patch's name, or "cond", was made for a mask; "uncond" and "seed" stand
    for free generation, which is also what most of the published images are.
    """
    low = stem.lower()
    if "uncond" in low or _SEED.search(low):
        return "unconditional", True
    if "cond" in low or "spade" in low or _PATCH_INSIDE.search(stem):
        return "conditional", True
    return "unconditional", False


def parent_of(stem: str) -> str | None:
    """The real patch whose mask a synthetic image was made for, where its name tells one."""
    match = _PATCH_INSIDE.search(stem)
    return match[0] if match and parse_patch(match[0]) else None


def seed_of(stem: str) -> int | None:
    """The seed that a synthetic image's name tells, or None."""
    match = _SEED.search(stem.lower())
    # Beyond 18 digits it is no seed but a number that a 64-bit column cannot hold.
    return int(match[1]) if match and len(match[1]) <= 18 else None


@dataclass
class SideTables:
    """The CSV files of a data set, by what they hold."""

    captions: list[CsvRows] = field(default_factory=list)
    percentages: list[CsvRows] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    """CSV files without a column filename, or with neither captions nor percentages."""
    rows_without_image: dict[str, list[str]] = field(default_factory=dict)
    """Per CSV file, the file names that belong to no image."""
    repeated_rows: dict[str, int] = field(default_factory=dict)
    """Per CSV file, rows of a file name that came before; the first one counts."""


def csv_files(folder: Path) -> list[Path]:
    """Every CSV file in a folder and its sub-folders; image folders lie deeper."""
    return sorted([*folder.glob("*.csv"), *folder.glob("*/*.csv")])


def find_side_tables(
    folder: Path, listings: Mapping[str, Listing], classes: ClassTable
) -> SideTables:
    """Index every CSV file in a folder and its sub-folders.

    Which split a row belongs to is told by its column split, else by the file's or sub-folder's
    name, else by the only split that holds an image of that name.

    Raises:
        InputError: a file is no CSV in UTF-8.
    """
    found = SideTables()
    paths = csv_files(folder)
    with meter("reading tables", len(paths), "files") as progress:
        for path in paths:
            told = path.relative_to(folder).as_posix()
            rows = CsvRows(path, read_header(path))
            columns = set(rows.header)
            has_captions = any(writer.column in columns for writer in WRITERS)
            has_percentages = share_columns(rows.header, classes) is not None
            if "filename" not in columns or not (has_captions or has_percentages):
                found.ignored.append(told)
                progress.advance()
                continue
            strange, repeated = _index(rows, listings)
            if strange:
                found.rows_without_image[told] = strange
            if repeated:
                found.repeated_rows[told] = repeated
            if has_captions:
                found.captions.append(rows)
            if has_percentages:
                found.percentages.append(rows)
            progress.advance()
    return found


def share_columns(header: tuple[str, ...], classes: ClassTable) -> list[str] | None:
    """The columns of the classes in label order, whatever their capitals; None if one lacks."""
    by_name = {name.casefold(): name for name in header}
    columns = [by_name.get(name.casefold()) for name in classes.names]
    return [c for c in columns if c is not None] if None not in columns else None


def _index(rows: CsvRows, listings: Mapping[str, Listing]) -> tuple[list[str], int]:
    """Note the offset of each row; returns names without an image, and repeated rows."""
    default = next(
        (name for name in (rows.path.stem, rows.path.parent.name) if name in SPLITS), None
    )
    strange: list[str] = []
    repeated = 0
    for offset, row in each_row(rows.path):
        name = row.get("filename", "").strip()
        stem = name.removesuffix(".png")
        split = row.get("split", "").strip().lower() or default
        split = _OTHER_NAMES.get(split, split) if split else None
        if split is None:
            holders = [s for s, listing in listings.items() if stem in listing.images]
            split = holders[0] if len(holders) == 1 else None
        if split is None or split not in listings or stem not in listings[split].images:
            strange.append(name)
        elif (key := id_of(split, stem)) in rows.offsets:
            repeated += 1
        else:
            rows.offsets[key] = offset
    return strange, repeated

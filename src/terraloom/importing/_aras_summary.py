"""What an import of ARAS400k found: counts, and the first names of what does not fit."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from terraloom.importing._aras_rows import WRITERS, SideTables, id_of, origin_of
from terraloom.importing._aras_tables import SyntheticRows
from terraloom.sources import _aras
from terraloom.tables import Table

MISMATCH_POINTS: Final = 1.0
"""Percentages are published as whole numbers, so half a point is rounding and one is not."""
_NAMED: Final = 20
"""Names told per kind of trouble; all are counted."""


def file_summary(
    folder: Path, listings: Mapping[str, _aras.Listing], side: SideTables
) -> dict[str, Any]:
    """Files by split and their partners, neighbours across roles, and what the CSV files hold."""
    return {
        "splits": {
            split: {
                "images": len(listing.images),
                "masks": len(listing.masks),
                "pairs": len(listing.pairs),
            }
            for split, listing in listings.items()
        },
        "neighbours": _aras.neighbour_counts(
            {split: listings[split].pairs for split in _aras.REAL_SPLITS if split in listings}
        ),
        "image_without_mask": _named(
            f"{split}/{stem}" for s in listings.values() for split, stem in _lonely(s, "images")
        ),
        "mask_without_image": _named(
            f"{split}/{stem}" for s in listings.values() for split, stem in _lonely(s, "masks")
        ),
        "in_two_splits": _named(_repeated(listings)),
        "csv": {
            "captions": [_told_path(rows.path, folder) for rows in side.captions],
            "percentages": [_told_path(rows.path, folder) for rows in side.percentages],
            "ignored": side.ignored,
            "rows_without_image": {
                name: _named(rows) for name, rows in side.rows_without_image.items()
            },
            "repeated_rows": side.repeated_rows,
        },
    }


def _lonely(listing: _aras.Listing, kind: str) -> list[tuple[str, str]]:
    mine, other = (
        (listing.images, listing.masks) if kind == "images" else (listing.masks, listing.images)
    )
    return [(listing.split, stem) for stem in sorted(mine - other)]


def _repeated(listings: Mapping[str, _aras.Listing]) -> list[str]:
    """Real patches that stand in more than one split folder."""
    counts = Counter(
        stem for s in _aras.REAL_SPLITS if s in listings for stem in listings[s].images
    )
    return sorted(stem for stem, count in counts.items() if count > 1)


def synthetic_summary(samples: Table, pairs: SyntheticRows) -> dict[str, Any]:
    """Counts by origin, and the pairs that could not be read."""
    rows = samples.read(["id", "origin", "parent"])
    there = set(rows.column("id").to_pylist())
    missing = [s for s in pairs.stems if id_of(_aras.SYNTHETIC_SPLIT, s) not in there]
    return {
        "rows": samples.num_rows,
        "by_origin": dict(sorted(Counter(rows.column("origin").to_pylist()).items())),
        "origin_told_by_name": sum(origin_of(stem)[1] for stem in pairs.stems),
        "with_parent": samples.num_rows - rows.column("parent").null_count,
        "unreadable": {
            "count": len(missing),
            "first": {stem: pairs.problem_of(stem) for stem in missing[:_NAMED]},
        },
    }


def percentage_summary(table: Table) -> dict[str, Any]:
    """Agreement of published and measured percentages, and what could not be compared."""
    compared = mismatched = unpublished = 0
    worst, worst_id = 0.0, None
    first: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    troubled = 0
    columns = ["id", "published_percent", "largest_difference_points", "problem"]
    for batch in table.batches(columns):
        for row in batch.to_pylist():
            unpublished += row["published_percent"] is None
            if row["problem"] is not None:
                troubled += 1
                if len(problems) < _NAMED:
                    problems[row["id"]] = row["problem"]
            points = row["largest_difference_points"]
            if points is None:
                continue
            compared += 1
            if points > worst:
                worst, worst_id = points, row["id"]
            if points > MISMATCH_POINTS:
                mismatched += 1
                if len(first) < _NAMED:
                    first.append({"id": row["id"], "points": round(points, 2)})
    return {
        "images": table.num_rows,
        "compared": compared,
        "without_published": unpublished,
        "more_than_one_point_off": {"count": mismatched, "first": first},
        "largest_difference_points": round(worst, 3),
        "largest_difference_id": worst_id,
        "problems": {"count": troubled, "first": problems},
    }


def caption_summary(table: Table, ids: Sequence[str]) -> dict[str, Any]:
    """Captions, digits among them, and images without, per writer."""
    counts: Counter[str] = Counter()
    digits: Counter[str] = Counter()
    captioned: set[str] = set()
    for batch in table.batches(["id", "writer", "text"], rows=2000):
        counts.update(batch.column("writer").to_pylist())
        with_digit = pc.match_substring_regex(batch.column("text"), r"\d")
        digits.update(pc.filter(batch.column("writer"), with_digit).to_pylist())
        captioned.update(batch.column("id").to_pylist())
    return {
        "captions": sum(counts.values()),
        "by_writer": {
            writer.column: {
                "captions": counts[writer.column],
                "missing": len(ids) - counts[writer.column],
                "with_digits": digits[writer.column],
                "share_with_digits": round(
                    digits[writer.column] / max(counts[writer.column], 1), 4
                ),
            }
            for writer in WRITERS
        },
        "images_without_caption": _named(key for key in ids if key not in captioned),
    }


def _named(names: Iterable[str]) -> dict[str, Any]:
    """How many, and the first of them."""
    listed = list(names)
    return {"count": len(listed), "first": listed[:_NAMED]}


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The content of import.json in a few sentences."""
    splits = summary["splits"]
    pairs = {split: splits[split]["pairs"] for split in _aras.SPLITS if split in splits}
    captions, shares = summary["captions"], summary["percentages"]
    digits = ", ".join(
        f"{name} {100 * counts['share_with_digits']:.1f} %"
        for name, counts in captions["by_writer"].items()
    )
    lines = [
        "pairs: " + ", ".join(f"{count:,} {split}" for split, count in pairs.items()),
        f"archives with their published MD5: {', '.join(summary['archives_md5']) or 'none here'}",
        f"synthetic rows: {summary['synthetic']['rows']:,}, "
        f"unreadable {summary['synthetic']['unreadable']['count']:,}",
        f"captions: {captions['captions']:,}; with digits: {digits}",
        f"class percentages: {shares['compared']:,} compared with masks, "
        f"{shares['more_than_one_point_off']['count']:,} more than one point off",
    ]
    lines += [
        f"{role}: {counts['touch_train_by_edge']:,} of {counts['patches']:,} patches share an "
        f"edge with a train patch ({counts['touch_train_by_edge_or_corner']:,} with corners)"
        for role, counts in summary["neighbours"].items()
    ]
    lines += [
        f"{what.replace('_', ' ')}: {summary[what]['count']:,}, such as {summary[what]['first'][0]}"
        for what in ("image_without_mask", "mask_without_image", "in_two_splits")
        if summary[what]["count"]
    ]
    return lines


def _told_path(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()

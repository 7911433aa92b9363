"""The page as plain values: every number, note and source, for programs."""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any, Final

from terraloom.report.tracing import Tracer
from terraloom.report.views import (
    Block,
    Cell,
    FigureView,
    GalleryView,
    Section,
    TableView,
)

FORMAT: Final = "terraloom-report"
VERSION: Final = 1
_NUMBER: Final = re.compile(r"[+-]?\d[\d,]*(\.\d+)?")
_INTERVAL: Final = re.compile(r"\[(?P<low>[^,\]]+), (?P<high>[^,\]]+)\]")
_MINUS: Final = "\N{MINUS SIGN}"


def json_twin(title: str, shown: Sequence[Section], generated: str | None, trace: Tracer) -> str:
    """The page as JSON text, safe inside any page: it holds no "<", ">" or "&".

    Table cells carry the text that the page shows and, where that is a number or an interval, the
    same as numbers in the unit of the column.

    Args:
        title: of the page.
        shown: its sections.
        generated: when, or None.
        trace: finds file, run and checksum of a source.
    """
    value = {
        "format": FORMAT,
        "version": VERSION,
        "title": title,
        "generated": generated,
        "sections": [_section(section, trace) for section in shown],
    }
    # Some texts hold half a surrogate pair; JSON may, as an escape.
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=True)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text + "\n"


def parse_number(text: str) -> float | int | None:
    """The number that a cell shows, or None where it shows anything else.

    Example:
        >>> parse_number("2,001,200"), parse_number("−1.5"), parse_number("–")
        (2001200, -1.5, None)
    """
    plain = text.replace(_MINUS, "-")
    if not _NUMBER.fullmatch(plain):
        return None
    plain = plain.replace(",", "")
    return float(plain) if "." in plain else int(plain)


def _section(section: Section, trace: Tracer) -> dict[str, Any]:
    return {
        "id": section.id,
        "title": section.title,
        "blocks": [_block(block, trace) for block in section.blocks],
        "subsections": [_section(part, trace) for part in section.subsections],
    }


def _block(block: Block, trace: Tracer) -> dict[str, Any]:
    if isinstance(block, TableView):
        value: dict[str, Any] = {
            "kind": block.kind,
            "title": block.title,
            "headers": block.headers,
            "rows": [[_cell(cell) for cell in row] for row in block.rows],
            "notes": block.notes,
        }
    elif isinstance(block, FigureView):
        kinds = ("svg", "png") if block.drawing.svg else ("png",)
        value = {
            "kind": block.kind,
            "title": block.title,
            "alt": block.alt,
            "files": [f"figures/{block.name}.{kind}" for kind in kinds],
            "notes": block.notes,
        }
    elif isinstance(block, GalleryView):
        value = {
            "kind": block.kind,
            "title": block.title,
            "files": [f"figures/{block.name}.png"],
            "cards": [
                {
                    "title": card.title,
                    "pictures": [f"{p.heading}: {p.alt}" for p in card.pictures],
                    "lines": card.lines,
                    "captions": [
                        [_plain(dataclasses.asdict(piece)) for piece in item] for item in card.items
                    ],
                }
                for card in block.cards
            ],
            "notes": block.notes,
        }
    else:
        value = dataclasses.asdict(block)
    value["sources"] = [_plain(vars(trace(name))) for name in getattr(block, "sources", ())]
    return value


def _cell(cell: Cell) -> dict[str, Any]:
    value: dict[str, Any] = {"text": cell.text}
    if cell.detail:
        value["detail"] = cell.detail
    if cell.tone == "number":
        found = parse_number(cell.text)
        if found is not None:
            value["value"] = found
        bounds = _INTERVAL.fullmatch(cell.detail)
        if bounds:
            ends = [parse_number(bounds[key]) for key in ("low", "high")]
            if None not in ends:
                value["interval"] = ends
    return value


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {key: inner for key, inner in value.items() if inner not in ("", ())}

"""The ledger of looks at test: appended before every look, never rewritten, told in the report."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from terraloom.files import append_line, read_lines

LEDGER_NAME: Final = "test-looks.jsonl"
"""Stands in the project folder, outside the stages, so that it outlives every rerun."""


def record_look(ledger: Path, recipe_sha256: str, cell: str) -> None:
    """Append one look; call it before test is read, so that a cut-off look still counts."""
    append_line(
        ledger,
        {
            "recipe_sha256": recipe_sha256,
            "cell": cell,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def count_looks(looks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Locked recipes, cells of recipes, and looks; more looks than cells mean cut-off runs."""
    return {
        "recipes": len({look["recipe_sha256"] for look in looks}),
        "cells": len({(look["recipe_sha256"], look["cell"]) for look in looks}),
        "looks": len(looks),
    }


def looks_at_test(ledger: Path) -> dict[str, int]:
    """How often test was looked at, by `count_looks`; zeros where there is no ledger."""
    return count_looks(read_lines(ledger))

"""What several sections of the page tell: legend, sources, origins that lie apart."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from terraloom.classes import ClassTable
from terraloom.report.views import LegendView

APART: Final = 0.25
"""Silhouette with real above which an origin is said to lie apart."""


def legend(classes: ClassTable) -> LegendView:
    """Class colours, and black for unknown."""
    entries = [(land.name, "#{:02x}{:02x}{:02x}".format(*land.colour)) for land in classes.classes]
    return LegendView((*entries, ("unknown", "#000000")))


def outsiders(summary: Mapping[str, Any] | None) -> list[str]:
    """Origins that lie apart from the real rows."""
    if not summary:
        return []
    pairs = ((pair.split(", "), value) for pair, value in summary["pairwise"].items())
    return [
        pair[1]
        for pair, value in pairs
        if pair[0] == "real" and len(pair) == 2 and value is not None and value > APART
    ]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one, keys joined by dots."""
    found: dict[str, object] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found |= flat(inner, f"{prefix}{key}.")
        else:
            sequence = isinstance(inner, Sequence) and not isinstance(inner, str)
            found[f"{prefix}{key}"] = ", ".join(map(str, inner)) if sequence else inner
    return found


def strangers(summary: Mapping[str, Any] | None) -> list[str]:
    """Origins whose composition lies above the ceiling."""
    if summary is None:
        return []
    origins = summary["origins"].items()
    return [o for o, entry in origins if entry["distance"] > summary["ceiling"]]

"""Captions with their claims marked by verdict: told by colour, by line style, and in words."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from terraloom.report.views import Marked, MarkedView

_WORST_FIRST: Final = ("contradicted", "not checkable", "supported")


def marked(text: str, claims: Sequence[Mapping[str, Any]]) -> tuple[Marked, ...]:
    """A caption cut where claims begin and end.

    Claims overlap ("grass" is told in "dominated by grass"), so each piece takes the worst verdict
    of the claims that it is part of, and tells all of them.

    Args:
        text: the caption.
        claims: its rows of the table of claims.

    Returns:
        Pieces that make up the text, in order.
    """
    spans = [(claim, *claim["span"]) for claim in claims if claim["span"][0] < len(text)]
    cuts = sorted({0, len(text), *(at for _, start, end in spans for at in (start, end))})
    pieces = []
    for start, end in pairwise(cuts):
        over = [claim for claim, first, last in spans if first <= start and end <= last]
        over.sort(key=lambda claim: _WORST_FIRST.index(claim["verdict"]))
        pieces.append(
            Marked(
                text[start:end],
                over[0]["verdict"].replace(" ", "-") if over else "",
                "; ".join(_told(claim) for claim in over),
            )
        )
    return tuple(piece for piece in pieces if piece.text)


def _told(claim: Mapping[str, Any]) -> str:
    """A claim, its verdict and why, in one line."""
    value = f" {claim['value']}" if claim["value"] else ""
    denied = "not " if claim["negated"] else ""
    possible = ", held possible" if claim["hedged"] else ""
    classes = " and ".join(claim["classes"])
    return (
        f"{denied}{claim['kind']} of {classes}{value}{possible}: {claim['verdict']} "
        f"({claim['evidence']})"
    )


def claims_legend() -> MarkedView:
    """What the marks mean."""
    return MarkedView(
        (
            Marked("Claims: "),
            Marked("supported", "supported", "the mask bears it out"),
            Marked(" by the mask (solid line), "),
            Marked("contradicted", "contradicted", "the mask shows otherwise"),
            Marked(" by it (wavy line), "),
            Marked("not checkable", "not-checkable", "borderline, only held possible, or unknown"),
            Marked(" (dotted line). Point at a claim to read the measured figure."),
        )
    )

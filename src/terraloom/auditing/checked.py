"""Claims of captions against shares or masks, per writer, with examples to look at."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from terraloom.auditing.truth import Truth
from terraloom.claiming import claim_rows
from terraloom.claims import VERDICTS, CheckedCaption, check_caption
from terraloom.classes import ClassTable
from terraloom.facts import DOMINANT_LEAD, DOMINANT_SHARE, Facts, measure_facts
from terraloom.types import Float64Array

EXAMPLES: Final = 12
"""Captions per writer that are shown with their claims, contradicted ones first."""
_SHOWN: Final = 400
"""Signs of a caption that are shown."""


def told(writer: str) -> str:
    """A writer's name in the result, where "all" stands for the whole file."""
    return {"": "(not told)", "all": "writer all"}.get(writer, writer)


class _Counts:
    """Verdicts of one writer's captions."""

    def __init__(self) -> None:
        self.captions = self.contradicted = self.claims = self.clear = self.named = 0
        self.verdicts: Counter[str] = Counter()
        self.by_kind: dict[str, Counter[str]] = {}
        self.recall: list[float] = []

    def add(self, checked: CheckedCaption, shares: Float64Array) -> None:
        self.captions += 1
        self.contradicted += checked.is_contradicted
        for found in checked.claims:
            self.verdicts[found.verdict] += 1
            self.by_kind.setdefault(found.claim.kind, Counter())[found.verdict] += 1
        if checked.recall is not None:
            self.recall.append(checked.recall)
        first, second = np.sort(shares)[::-1][:2]
        if first >= DOMINANT_SHARE and first - second >= DOMINANT_LEAD:
            self.clear += 1
            self.named += checked.names_dominant is True

    def to_json(self) -> dict[str, Any]:
        decided = self.verdicts["supported"] + self.verdicts["contradicted"]
        return {
            "captions": self.captions,
            "contradicted_captions": self.contradicted,
            **{verdict: self.verdicts[verdict] for verdict in VERDICTS},
            "true_of_decided": round(self.verdicts["supported"] / decided, 6) if decided else None,
            "recall_of_main_classes": round(float(np.mean(self.recall)), 6)
            if self.recall
            else None,
            "clearly_dominant_captions": self.clear,
            "name_the_dominant_class": round(self.named / self.clear, 6) if self.clear else None,
            "kinds": {
                kind: {verdict: found[verdict] for verdict in VERDICTS}
                for kind, found in sorted(self.by_kind.items())
            },
        }


def claims_of(
    by_writer: Mapping[str, Sequence[tuple[str, str]]],
    truth: Truth,
    classes: ClassTable,
    *,
    compass: bool,
) -> dict[str, Any]:
    """Check every caption of images whose shares are known.

    With masks every kind of claim is checked; of shares alone places and neighbours are not.

    Args:
        by_writer: (image, text) of each writer's captions.
        truth: shares, and masks where there are any.
        classes: of the shares and masks.
        compass: whether row 0 of the masks is north.

    Returns:
        "against" (masks or shares), "writers" ("all" and, of several, each) with counts, and
        "examples": captions with the rows of their claims, contradicted ones first.
    """
    counts = {"all": _Counts()}
    if len(by_writer) > 1:
        counts |= {told(writer): _Counts() for writer in by_writer}
    examples: dict[str, list[dict[str, Any]]] = {}
    contradicted: dict[str, list[dict[str, Any]]] = {}
    by_image: dict[str, list[tuple[str, str]]] = {}
    for writer, rows in by_writer.items():
        for image, text in rows:
            by_image.setdefault(image, []).append((writer, text))
    for image, rows in by_image.items():
        facts = None
        if truth.mask_of is not None:
            facts = measure_facts(truth.mask_of(image), classes, compass=compass)
        for number, (writer, text) in enumerate(rows):
            checked = _check(text, facts, truth, image, classes)
            counts["all"].add(checked, truth.shares[image])
            if len(by_writer) > 1:
                counts[told(writer)].add(checked, truth.shares[image])
            shelf = contradicted if checked.is_contradicted else examples
            own = shelf.setdefault(told(writer), [])
            if len(own) < EXAMPLES:
                own.append(_example(image, writer, number, text, checked))
    shown = [
        example
        for writer in sorted({*examples, *contradicted})
        for example in (contradicted.get(writer, []) + examples.get(writer, []))[:EXAMPLES]
    ]
    return {
        "against": "masks" if truth.mask_of is not None else "shares",
        "writers": {writer: own.to_json() for writer, own in counts.items()},
        "examples": shown,
    }


def _check(
    text: str, facts: Facts | None, truth: Truth, image: str, classes: ClassTable
) -> CheckedCaption:
    if facts is not None:
        return check_caption(text, facts, classes)
    return check_caption(text, truth.shares[image].tolist(), classes, step=truth.step)


def _example(
    image: str, writer: str, number: int, text: str, checked: CheckedCaption
) -> dict[str, Any]:
    return {
        "image": image,
        "writer": told(writer),
        "text": text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…",
        "claims": [
            {key: value for key, value in row.items() if key not in ("id", "caption")}
            for row in claim_rows(image, number, checked)
            if row["span"][1] <= _SHOWN
        ],
    }

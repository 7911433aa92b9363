"""What one run said, as sums per place: all that tables, intervals and verdicts are made of.

Every figure of a caption set but redundancy is a function of sums over captions, so a draw of
places needs the sums of each place and nothing of the texts: memory does not grow with the images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from terraloom.caption_metrics import METRICS, CaptionScores
from terraloom.caption_metrics.bleu import BleuCounts
from terraloom.caption_metrics.meteor import MeteorCounts
from terraloom.caption_metrics.ngrams import ORDERS
from terraloom.claims.checking import MAIN_SHARE
from terraloom.tables import Table
from terraloom.types import Float64Array

CLAIM_FIGURES: Final = (
    "claim_precision", "main_recall", "names_dominant", "contradicted", "claims",
)  # fmt: skip
"""Supported among decided claims; main classes (10 % or more) that a caption names, mean; captions
that name the class with the largest share; captions with a contradicted claim; decided claims per
caption: who claims nothing is never wrong, which the last one shows."""
FIGURES: Final = (*CLAIM_FIGURES, *METRICS)
"""In reading order: claims first. Less is better of `contradicted` alone."""
_CLAIM_SUMS: Final = (
    "captions", "supported", "contradicted_claims", "contradicted_captions",
    "recall_known", "recall", "dominant_known", "dominant_named",
)  # fmt: skip
_BLEU_SUMS: Final = (
    *(f"bleu_met{order}" for order in range(1, ORDERS + 1)),
    *(f"bleu_there{order}" for order in range(1, ORDERS + 1)),
    "bleu_length", "bleu_closest",
)  # fmt: skip
_METEOR_SUMS: Final = tuple(f"meteor_{index}" for index in range(6))
SUMS: Final = (*_CLAIM_SUMS, *_BLEU_SUMS, *_METEOR_SUMS, "rouge_l", "cider_d")
"""Order of the statistics of a place."""
_AT: Final = {name: index for index, name in enumerate(SUMS)}


@dataclass(frozen=True)
class CheckedClaims:
    """What the masks say of one caption per image."""

    supported: int
    contradicted: int
    recall: float | None
    """Part of the main classes that it names; None where there is none."""
    names_dominant: bool | None
    """None where no pixel of the mask is known."""


def checked_claims(
    samples: Table, claims: Table, ids: Sequence[str], names: Sequence[str]
) -> dict[str, CheckedClaims]:
    """Counts of the claims of each image's caption, from the table of claims.

    Args:
        samples: whose shares say which classes are main.
        claims: of one caption per image.
        ids: images that have a caption.
        names: of the classes, in label order.
    """
    wanted = set(ids)
    verdicts = {key: {"supported": 0, "contradicted": 0} for key in ids}
    named: dict[str, set[str]] = {key: set() for key in ids}
    for batch in claims.batches(["id", "kind", "classes", "hedged", "verdict"]):
        for row in batch.to_pylist():
            key = row["id"]
            if row["verdict"] in verdicts[key]:
                verdicts[key][row["verdict"]] += 1
            if row["kind"] == "presence" and not row["hedged"]:
                named[key].update(row["classes"])
    found = {}
    for batch in samples.batches(["id", "shares"]):
        for row in batch.to_pylist():
            key = row["id"]
            if key not in wanted:
                continue
            shares = dict(zip(names, row["shares"], strict=True))
            largest = max(shares.values())
            main = {name for name, share in shares.items() if share >= MAIN_SHARE}
            top = {name for name, share in shares.items() if share >= largest}
            found[key] = CheckedClaims(
                verdicts[key]["supported"],
                verdicts[key]["contradicted"],
                len(named[key] & main) / len(main) if main else None,
                bool(named[key] & top) if largest > 0 else None,
            )
    return found


def place_statistics(
    scores: CaptionScores, checked: Mapping[str, CheckedClaims], places: Mapping[str, str]
) -> dict[str, list[float]]:
    """Sums of the captions of each place, in the order of `SUMS`.

    Args:
        scores: overlap of one run with the references.
        checked: claims of the same captions.
        places: place of each image.
    """
    own = [checked[key] for key in scores.ids]
    recall = np.array([np.nan if c.recall is None else c.recall for c in own])
    named = np.array([np.nan if c.names_dominant is None else c.names_dominant for c in own])
    contradicted = np.array([c.contradicted for c in own], dtype=np.float64)
    rows = np.column_stack(
        [
            np.ones(len(own)),
            np.array([c.supported for c in own], dtype=np.float64),
            contradicted,
            contradicted > 0,
            ~np.isnan(recall),
            np.nan_to_num(recall),
            ~np.isnan(named),
            np.nan_to_num(named),
            scores.bleu.met,
            scores.bleu.there,
            scores.bleu.length,
            scores.bleu.closest,
            scores.meteor.counts,
            scores.captions["rouge_l"],
            scores.captions["cider_d"],
        ]
    )
    found: dict[str, Any] = {}
    for key, row in zip(scores.ids, rows, strict=True):
        place = places[key]
        found[place] = row if place not in found else found[place] + row
    return {place: [float(v) for v in found[place]] for place in sorted(found)}


def figures_of_sums(sums: Float64Array, names: Sequence[str] = FIGURES) -> dict[str, Float64Array]:
    """Figures from sums over captions.

    Args:
        sums: "… sum", in the order of `SUMS`; repeats count as often as they were added.
        names: of `FIGURES`, those that are wanted.

    Returns:
        Per figure "…"; NaN where nothing could be decided.
    """
    flat = sums.reshape(-1, len(SUMS))
    found: dict[str, Float64Array] = {}
    if any(name.startswith("bleu") for name in names):
        found |= {f"bleu{order + 1}": v for order, v in enumerate(_bleu(flat).T)}
    if "meteor" in names:
        counts = MeteorCounts(_block(flat, "meteor_0", len(_METEOR_SUMS)))
        found["meteor"] = counts.captions()
    decided = _column(flat, "supported") + _column(flat, "contradicted_claims")
    captions = _column(flat, "captions")
    for name, part, whole in (
        ("claim_precision", _column(flat, "supported"), decided),
        ("main_recall", _column(flat, "recall"), _column(flat, "recall_known")),
        ("names_dominant", _column(flat, "dominant_named"), _column(flat, "dominant_known")),
        ("contradicted", _column(flat, "contradicted_captions"), captions),
        ("claims", decided, captions),
        ("rouge_l", _column(flat, "rouge_l"), captions),
        ("cider_d", _column(flat, "cider_d"), captions),
    ):
        if name in names:
            found[name] = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return {name: found[name].reshape(sums.shape[:-1]) for name in names}


def _bleu(flat: Float64Array) -> Float64Array:
    """BLEU-1 … 4, "row order"."""
    return BleuCounts(
        met=_block(flat, "bleu_met1", ORDERS),  # type: ignore[arg-type] # sums of counts
        there=_block(flat, "bleu_there1", ORDERS),  # type: ignore[arg-type]
        length=_column(flat, "bleu_length"),  # type: ignore[arg-type]
        closest=_column(flat, "bleu_closest"),  # type: ignore[arg-type]
    ).captions()


def _column(flat: Float64Array, name: str) -> Float64Array:
    return flat[:, _AT[name]]


def _block(flat: Float64Array, first: str, number: int) -> Float64Array:
    return flat[:, _AT[first] : _AT[first] + number]

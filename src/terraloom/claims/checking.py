"""Verdicts: each claim of a caption against what was measured on its mask.

A claim is *supported* inside the band in which a careful reader accepts the words, *contradicted*
where the measured figure lies clearly outside, and *not checkable* between the two (borderline),
where the measurement is missing (a place, of shares alone), or where the caption only held it
possible. Thresholds stand here, told in docs/claims.md; bands of amount words are those of
`terraloom.facts`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from terraloom.claims.amounts import slack, supported_band
from terraloom.claims.claim import (
    MAX_CHARACTERS,
    CheckedCaption,
    CheckedClaim,
    Claim,
    ClaimKind,
    ClaimVerdict,
)
from terraloom.claims.places import Blocks, part_inside
from terraloom.claims.reading import read_claims
from terraloom.classes import ClassTable
from terraloom.facts import ABSENCE_KNOWN, PRESENCE, ClassFacts, Facts

MAIN_SHARE: Final = 0.10
"""Least share of a main class, which a good caption names."""
DOMINANT_LEAST: Final = 0.35
"""Least share of what dominates."""
DOMINANT_NEVER: Final = 0.25
"""Below this share nothing dominates, even where it is the largest."""
MOSTLY_LEAST: Final = 0.50
"""Least share of what the scene mostly is."""
MOSTLY_NEVER: Final = 0.42
"""Below this share the scene is not mostly it."""
TIE: Final = 0.02
"""Difference of two shares that nobody could see."""
EQUAL: Final = 0.06
"""Largest difference of shares that are told as equal; twice as much contradicts."""
REGION_LEAST: Final = {"half": 0.65, "corner": 0.55, "centre": 0.50, "edge": 0.55}
"""Least part of a class inside a region that it is told to lie in, by kind of region."""
REGION_NEVER: Final = {"half": 0.50, "corner": 0.38, "centre": 0.34, "edge": 0.36}
"""Below this part it does not lie there."""
THROUGHOUT_LEAST: Final = 0.08
"""Least part of a class in each quadrant when it is told to be throughout."""
THROUGHOUT_NEVER: Final = 0.02
FILLS_LEAST: Final = 0.50
"""Least share of a half that is told to be mainly one class."""
FILLS_NEVER: Final = 0.42
BORDER_MAIN: Final = 0.50
"""Least part of a class's border that lies along its main neighbour."""
BORDER_NEVER: Final = 0.40
PIECE_LEAST: Final = 0.85
"""Least part of a class in its largest patch when it is told to be one piece."""
PIECE_NEVER: Final = 0.60
SCATTERED_MOST: Final = 0.50
"""Largest part of a class in one patch when it is told to be scattered."""
SCATTERED_NEVER: Final = 0.95
SINGLE_LARGEST: Final = 0.99
"""From this part in one compact patch on it does not lie in patches."""
ROUND_LARGEST: Final = 0.90
"""A class with this part in one patch that is no longer than `ROUND_ELONGATION` and fills
`ROUND_COMPACT` of the ellipse of its moments is round: no strip, and nothing that winds."""
ROUND_ELONGATION: Final = 1.5
ROUND_COMPACT: Final = 0.75
STRIP_ELONGATION: Final = 2.5
"""Least length over width of a strip that is no corridor."""
STRIP_LARGEST: Final = 0.50
"""Least part of the class in that strip."""
WINDING_LEAST: Final = 1.06
"""Least path over chord of a corridor that winds."""
WINDING_NEVER: Final = 1.02
STRAIGHT_MOST: Final = 1.04
"""Largest path over chord of a corridor that is straight."""
STRAIGHT_NEVER: Final = 1.10
_NEGLIGIBLE: Final = 1e-9

Shares = Sequence[float]
"""Class shares of the known pixels, by label, sum about 1; all zero where none is known."""


@dataclass(frozen=True)
class _Measured:
    """What claims are checked against: shares, and places and borders where a mask was seen."""

    shares: tuple[float, ...]
    facts: Facts | None
    names: tuple[str, ...]
    step: float
    """Rounding of the shares, 0 … 1; a share below half of it may be anything down to none."""

    @property
    def is_empty(self) -> bool:
        return sum(self.shares) < _NEGLIGIBLE

    @property
    def is_whole(self) -> bool:
        """Whether enough is known to say that something is absent."""
        return self.facts is None or self.facts.known >= ABSENCE_KNOWN

    def of(self, labels: Sequence[int]) -> float:
        """Share of the classes together."""
        return sum(self.shares[label] for label in labels)

    def named(self, labels: Sequence[int]) -> str:
        return " and ".join(self.names[label] for label in labels)

    def blocks(self, label: int) -> Blocks | None:
        """Distribution of a class over 4 × 4 blocks; None where it was not measured."""
        if self.facts is None or not self.facts.classes[label].blocks:
            return None
        return np.array(self.facts.classes[label].blocks, dtype=np.float64).reshape(4, 4)


_Checked = tuple[ClaimVerdict, str]


def check_caption(
    text: str, facts_or_shares: Facts | Shares, classes: ClassTable, *, step: float = 0.0
) -> CheckedCaption:
    """Read a caption's claims and check each.

    Args:
        text: any string (see `read_claims`).
        facts_or_shares: `terraloom.facts.measure_facts` of the mask, or class shares by label,
            0 … 1. With shares alone, claims of place and adjacency are not checkable.
        classes: the table that labels are of.
        step: to what the shares are rounded, such as 0.01 for whole percents; a claim that
            rounding could decide is not checkable.

    Returns:
        Claims with verdicts and evidence, and the caption's figures. An all-unknown mask, or
        shares that are all zero, leave every claim not checkable.

    Raises:
        ValueError: shares that do not fit the class table: another number of them, a value outside
            0 … 1, or a sum that is neither about 1 nor 0.
    """
    measured = _measured(facts_or_shares, classes, step)
    claims = read_claims(text, classes)
    checked = tuple(_check(claim, measured) for claim in claims)
    supported = sum(c.verdict == "supported" for c in checked)
    contradicted = sum(c.verdict == "contradicted" for c in checked)
    named = {c.classes[0] for c in claims if c.kind == "presence" and not c.hedged}
    main = [label for label, share in enumerate(measured.shares) if share >= MAIN_SHARE]
    largest = max(measured.shares, default=0.0)
    return CheckedCaption(
        claims=checked,
        precision=supported / (supported + contradicted) if supported + contradicted else None,
        recall=len(named & set(main)) / len(main) if main else None,
        names_dominant=None
        if measured.is_empty
        else any(measured.shares[label] >= largest - _NEGLIGIBLE for label in named),
        unread=max(len(text) - MAX_CHARACTERS, 0),
        names=classes.names,
    )


def _measured(given: Facts | Shares, classes: ClassTable, step: float) -> _Measured:
    if isinstance(given, Facts):
        shares = tuple(c.share for c in given.classes)
        return _Measured(shares, given, classes.names, 0.0)
    shares = tuple(float(share) for share in given)
    total = sum(shares)
    slack_of_sum = 0.01 + step * len(shares) / 2
    if len(shares) != len(classes) or not all(-1e-6 <= share <= 1 + 1e-6 for share in shares):
        raise ValueError(
            f"shares must be {len(classes)} numbers of 0 … 1, one per class, got {list(shares)}"
        )
    if total and abs(total - 1) > slack_of_sum:
        raise ValueError(
            f"shares must sum to 1 (or 0 where nothing is known), got {total:.3f}; "
            "percentages must be divided by 100"
        )
    return _Measured(shares, None, classes.names, step)


def check_claim(
    claim: Claim, facts_or_shares: Facts | Shares, classes: ClassTable, *, step: float = 0.0
) -> CheckedClaim:
    """The verdict on one claim; arguments and errors as of `check_caption`."""
    return _check(claim, _measured(facts_or_shares, classes, step))


def _check(claim: Claim, measured: _Measured) -> CheckedClaim:
    if measured.is_empty:
        return CheckedClaim(claim, "not checkable", "no pixel of the mask has a known class")
    verdict, evidence = _RULES[claim.kind](claim, measured)
    if claim.negated and verdict != "not checkable":
        verdict = "contradicted" if verdict == "supported" else "supported"
        evidence = f"denied in the caption; {evidence}"
    if claim.hedged and verdict == "contradicted":
        return CheckedClaim(claim, "not checkable", f"only held possible; {evidence}")
    if claim.fine and verdict == "contradicted" and claim.kind != "quantity":
        return CheckedClaim(claim, "not checkable", f"may be narrower than a pixel; {evidence}")
    return CheckedClaim(claim, verdict, evidence)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.995 or share == 1 else f"{100 * share:.2f} %"


def _by_band(value: float, least: float, never: float, told: str) -> _Checked:
    """Supported from `least` on, contradicted below `never`, else borderline."""
    if value >= least - _NEGLIGIBLE:
        return "supported", f"{told}, at least {_percent(least)} needed"
    if value < never:
        return "contradicted", f"{told}, below {_percent(never)}"
    return "not checkable", f"{told}: borderline, {_percent(never)} to {_percent(least)}"


def _presence(claim: Claim, measured: _Measured) -> _Checked:
    share = measured.of(claim.classes)
    name = measured.named(claim.classes)
    told = f"{name} covers {_percent(share)} of the known pixels"
    if share >= max(PRESENCE, measured.step / 2):
        return "supported", f"{told}, at least {_percent(PRESENCE)} needed"
    if share > 0 or measured.step:
        return "not checkable", f"{told}: too little to tell, or rounded away"
    if not measured.is_whole:
        return "not checkable", f"no pixel is {name}, but part of the mask is unknown"
    return "contradicted", f"no pixel is {name}"


def _absence(claim: Claim, measured: _Measured) -> _Checked:
    verdict, evidence = _presence(claim, measured)
    opposite: dict[ClaimVerdict, ClaimVerdict] = {
        "supported": "contradicted", "contradicted": "supported", "not checkable": "not checkable",
    }  # fmt: skip
    return opposite[verdict], evidence.replace(", at least", ", absent means none, from")


def _dominant(claim: Claim, measured: _Measured) -> _Checked:
    share = measured.of(claim.classes)
    others = [s for label, s in enumerate(measured.shares) if label not in claim.classes]
    rival = max(others, default=0.0)
    least = min(measured.shares[label] for label in claim.classes)
    told = f"{measured.named(claim.classes)} covers {_percent(share)}"
    if others:
        other = measured.names[measured.shares.index(rival)]
        told += f", {other} {_percent(rival)}"
    if claim.value == "mostly":
        return _by_band(share, MOSTLY_LEAST, MOSTLY_NEVER, told)
    # Of classes that dominate together, each must come before all others.
    if least < rival - TIE:
        return "contradicted", f"{told}, which is more"
    if claim.value == "largest":
        if least >= rival:
            return "supported", f"{told}: the largest"
        return "not checkable", f"{told}: nearly equal"
    if share < DOMINANT_NEVER:
        return "contradicted", f"{told}, below {_percent(DOMINANT_NEVER)}"
    if share < DOMINANT_LEAST or least < rival:
        return "not checkable", f"{told}: borderline, {_percent(DOMINANT_LEAST)} and a lead needed"
    return "supported", f"{told}, at least {_percent(DOMINANT_LEAST)} and a lead needed"


def _quantity(claim: Claim, measured: _Measured) -> _Checked:
    share = measured.of(claim.classes)
    assert claim.value is not None
    value = claim.value
    told = f"{measured.named(claim.classes)} covers {_percent(share)}"
    if value == "most of the rest":
        left = 1.0 - measured.of(claim.apart)
        if left < 0.02:
            return "not checkable", f"hardly anything is left: {_percent(left)}"
        part = share / left
        return _by_band(part, MOSTLY_LEAST, MOSTLY_NEVER, f"{told}, {_percent(part)} of the rest")
    low, high = supported_band(value)
    reach = slack(value) + measured.step / 2
    words = value + (" %" if value[-1].isdigit() else "")
    band = f"“{words}” needs {_percent(low)} to {_percent(high)}"
    if low - measured.step / 2 - _NEGLIGIBLE <= share <= high + measured.step / 2 + _NEGLIGIBLE:
        if low > 0 and share <= 0:
            return ("not checkable" if measured.step else "contradicted"), f"{told}; {band}"
        return "supported", f"{told}; {band}"
    is_none = share + measured.step / 2 < low / 4
    if share < low - reach or share > high + reach or is_none:
        return "contradicted", f"{told}; {band}"
    return "not checkable", f"{told}: borderline; {band}"


def _place(claim: Claim, measured: _Measured) -> _Checked:
    label = claim.classes[0]
    name, value = measured.names[label], claim.value
    assert value is not None
    if measured.facts is None:
        return "not checkable", "only class shares are known, no places"
    if measured.facts.classes[label].pixels == 0:
        if measured.is_whole:
            return "contradicted", f"no pixel is {name}"
        return "not checkable", f"no pixel is {name}, but part of the mask is unknown"
    blocks = measured.blocks(label)
    if blocks is None:
        return "not checkable", f"{name} covers too little to have a place"
    if value == "throughout":
        least = float(blocks.reshape(2, 2, 2, 2).sum(axis=(1, 3)).min())
        told = f"the quarter of the image with the least {name} holds {_percent(least)} of it"
        return _by_band(least, THROUGHOUT_LEAST, THROUGHOUT_NEVER, told)
    if value.startswith("fills "):
        return _fills(label, value.removeprefix("fills "), measured)
    if value.startswith("from "):
        return _course(label, value, measured, blocks)
    part = part_inside(blocks, value)
    kind = (
        "edge"
        if value.endswith("edge")
        else "centre"
        if value == "centre"
        else ("corner" if "-" in value else "half")
    )
    where = f"along the {value}" if kind == "edge" else f"in the {value}"
    told = f"{_percent(part)} of {name} lies {where}"
    return _by_band(part, REGION_LEAST[kind], REGION_NEVER[kind], told)


def _fills(label: int, region: str, measured: _Measured) -> _Checked:
    assert measured.facts is not None
    inside = [
        c.share * part_inside(blocks, region)
        if (blocks := measured.blocks(c.label)) is not None
        else 0.0
        for c in measured.facts.classes
    ]
    if sum(inside) < _NEGLIGIBLE:
        return "not checkable", f"nothing is known of the {region}"
    part = inside[label] / sum(inside)
    told = f"{measured.names[label]} covers {_percent(part)} of the {region}"
    if part >= FILLS_LEAST and inside[label] < max(inside):
        return "not checkable", told
    return _by_band(part, FILLS_LEAST, FILLS_NEVER, told)


def _course(label: int, value: str, measured: _Measured, blocks: Blocks) -> _Checked:
    """A band of a class that crosses the image from one end to another."""
    assert measured.facts is not None
    name = measured.names[label]
    first, second = value.removeprefix("from ").split(" to ")
    corridor = measured.facts.classes[label].corridor
    if corridor is not None and _COURSE_OF.get(corridor.words) == value:
        return "supported", f"a narrow band of {name} runs {corridor.words}"
    ends = [
        part_inside(blocks, f"{end} edge" if "-" not in end else end) for end in (first, second)
    ]
    told = f"the ends hold {_percent(ends[0])} and {_percent(ends[1])} of {name}"
    if min(ends) <= 0.0:
        return "contradicted", told
    if corridor is not None:
        return "contradicted", f"{name} runs {corridor.words}"
    return "not checkable", f"{told}; whether it runs from one to the other was not measured"


_COURSE_OF: Final = {
    "from west to east": "from west to east", "from left to right": "from west to east",
    "from north to south": "from north to south", "from top to bottom": "from north to south",
    "from the north-west to the south-east": "from north-west to south-east",
    "from the top left to the bottom right": "from north-west to south-east",
    "from the south-west to the north-east": "from south-west to north-east",
    "from the bottom left to the top right": "from south-west to north-east",
}  # fmt: skip


def _adjacency(claim: Claim, measured: _Measured) -> _Checked:
    one, other = claim.classes
    names = measured.named(claim.classes)
    if measured.facts is None:
        return "not checkable", "only class shares are known, no neighbours"
    for label in claim.classes:
        if measured.facts.classes[label].pixels == 0:
            if measured.is_whole:
                return "contradicted", f"no pixel is {measured.names[label]}"
            return "not checkable", f"no pixel is {measured.names[label]}, but part is unknown"
    border = next((b for b in measured.facts.borders if b.labels == (one, other)), None)
    if claim.value == "mainly":
        part = max(border.shares) if border else 0.0
        told = f"at most {_percent(part)} of the border of {names} is common"
        return _by_band(part, BORDER_MAIN, BORDER_NEVER, told)
    if border is not None:
        return "supported", f"{names} touch along {border.length} pixel sides"
    blocks = [measured.blocks(label) for label in (one, other)]
    if blocks[0] is None or blocks[1] is None:
        return "not checkable", f"{names} do not touch; too little of one to measure a distance"
    near = (blocks[0] > 0) & (blocks[1] > 0)
    if near.any():
        return "supported", f"{names} do not touch, but lie within one sixteenth of the image"
    if not (_grown(blocks[0] > 0) & (blocks[1] > 0)).any():
        return "contradicted", f"{names} lie at least a quarter of the image apart"
    return "not checkable", f"{names} do not touch: borderline"


def _grown(cells: np.ndarray) -> np.ndarray:
    padded = np.pad(cells, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    grown: np.ndarray = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return grown


def _comparison(claim: Claim, measured: _Measured) -> _Checked:
    one, other = claim.classes
    lead = measured.shares[one] - measured.shares[other]
    told = (
        f"{measured.names[one]} covers {_percent(measured.shares[one])}, "
        f"{measured.names[other]} {_percent(measured.shares[other])}"
    )
    if claim.value == "equal":
        return (
            ("supported", told)
            if abs(lead) <= EQUAL
            else ("contradicted", told)
            if abs(lead) > 2 * EQUAL
            else ("not checkable", f"{told}: borderline")
        )
    if lead > measured.step:
        return "supported", told
    if lead < -max(TIE / 2, measured.step):
        return "contradicted", told
    return "not checkable", f"{told}: nearly equal"


def _shape(claim: Claim, measured: _Measured) -> _Checked:
    label, value = claim.classes[0], claim.value
    name = measured.names[label]
    if measured.facts is None:
        return "not checkable", "only class shares are known, no shapes"
    of = measured.facts.classes[label]
    if of.pixels == 0:
        if measured.is_whole:
            return "contradicted", f"no pixel is {name}"
        return "not checkable", f"no pixel is {name}, but part of the mask is unknown"
    if not of.patches:
        return "not checkable", f"{name} covers too little to have a shape"
    largest = of.largest_patch
    told = f"{_percent(largest)} of {name} lies in its largest patch"
    if value == "one piece":
        return _by_band(largest, PIECE_LEAST, PIECE_NEVER, told)
    told += f", of {of.patches}"
    if value == "scattered":
        if largest <= SCATTERED_MOST:
            return "supported", f"{told}; at most {_percent(SCATTERED_MOST)} allowed"
        if largest >= SCATTERED_NEVER:
            return "contradicted", f"{told}; {_percent(SCATTERED_NEVER)} are one piece"
        return "not checkable", f"{told}: borderline"
    is_round = (
        largest >= ROUND_LARGEST
        and of.elongation <= ROUND_ELONGATION
        and of.compactness >= ROUND_COMPACT
    )
    if value == "patches":
        if of.patches > 2 or (of.patches == 2 and largest < SCATTERED_NEVER):
            return "supported", told
        # One patch with many bays looks like several.
        if is_round and largest >= SINGLE_LARGEST:
            return "contradicted", f"{told}, which is compact"
        return "not checkable", f"{told}: borderline"
    return _course_shape(value, of, told, is_round=is_round)


def _course_shape(value: str | None, of: ClassFacts, told: str, *, is_round: bool) -> _Checked:
    """Strip, winding, straight: of the largest patch, where it is a corridor or long."""
    told += f"; it is {of.elongation:.1f} times as long as wide"
    corridor = of.corridor
    if corridor is not None:
        told += f", and its path {corridor.sinuosity:.2f} times its chord"
    if is_round:
        return "contradicted", f"{told}, and compact"
    if value == "strip":
        is_long = of.elongation >= STRIP_ELONGATION and of.largest_patch >= STRIP_LARGEST
        if corridor is not None or is_long:
            return "supported", told
    elif corridor is not None and corridor.is_single:
        bends = corridor.sinuosity
        is_so = bends >= WINDING_LEAST if value == "winding" else bends <= STRAIGHT_MOST
        if is_so:
            return "supported", told
        is_all = of.largest_patch >= ROUND_LARGEST
        other = bends < WINDING_NEVER if value == "winding" else bends > STRAIGHT_NEVER
        if other and is_all:
            return "contradicted", told
    return "not checkable", f"{told}: borderline, or its course was not measured"


_RULES: Final[dict[ClaimKind, Callable[[Claim, _Measured], _Checked]]] = {
    "presence": _presence,
    "absence": _absence,
    "dominant": _dominant,
    "quantity": _quantity,
    "place": _place,
    "adjacency": _adjacency,
    "comparison": _comparison,
    "shape": _shape,
}

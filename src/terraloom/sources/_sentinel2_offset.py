"""The radiometric offset of Sentinel-2 L2A since processing baseline 04.00, decided per item.

From baseline 04.00 on, L2A digital numbers are reflectance x 10,000 + 1,000 (BOA_ADD_OFFSET is
-1,000); before, they had no offset. Archives differ in what they store and what they say:

- Planetary Computer stores the numbers as made; items tell `s2:processing_baseline`, no offset.
- Copernicus Data Space stores the numbers as made; items tell `processing:version` and
  `raster:offset` = -0.1.
- Earth Search `sentinel-2-c1-l2a` stores the numbers as made and declares -0.1; `sentinel-2-l2a`
  has the offset removed from most items, tells so in `earthsearch:boa_offset_applied`, and is
  known to be wrong about it in some (Element84/earth-search issues 66 and 71).

So nothing here is guessed: where an item's statements contradict each other, or say nothing, the
user decides with `baseline_offset`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from terraloom.errors import InputError

OFFSET: Final = -1000
"""BOA_ADD_OFFSET of baseline 04.00 and later, in digital numbers."""
SCALE: Final = 1e-4
"""Reflectance per digital number, in every baseline."""
FIRST_WITH_OFFSET: Final = (4, 0)

Rule = Literal["auto", "apply", "none"]
Baseline = tuple[int, int]

_BASELINE_KEYS: Final = (
    "s2:processing_baseline",
    "sentinel:processing_baseline",
    "processing:version",
    "processing:baseline",
)
_PRODUCT_KEYS: Final = ("s2:product_uri", "sentinel:product_id", "title")
_REMOVED_KEYS: Final = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_IN_PRODUCT: Final = re.compile(r"_N(\d{2})(\d{2})_")
_AS_NUMBER: Final = re.compile(r"N?(\d{1,2})(?:\.(\d{1,2}))?|N(\d{2})(\d{2})")
_UNOFFICIAL: Final = 99
"""Major number of products that were not made by the ground segment; it tells nothing."""


@dataclass(frozen=True)
class OffsetDecision:
    """What is added to an item's digital numbers, and why."""

    baseline: Baseline | None
    """Major and minor number, or None where the item tells none."""
    declared: int | None
    """Offset that the item's assets declare, in digital numbers; None where they are silent."""
    applied: int
    """Added to every valid digital number: -1000 or 0."""
    reason: str

    @property
    def baseline_text(self) -> str | None:
        """As ESA writes it, such as 04.00."""
        return None if self.baseline is None else "{:02d}.{:02d}".format(*self.baseline)

    @property
    def after_the_change(self) -> bool | None:
        """Whether the baseline is 04.00 or later; None where it is not known."""
        return None if self.baseline is None else self.baseline >= FIRST_WITH_OFFSET


def decide_offset(
    name: str,
    properties: Mapping[str, Any],
    assets: Iterable[Mapping[str, Any]],
    rule: Rule,
) -> OffsetDecision:
    """Decide what is added to the digital numbers of one item.

    Args:
        name: the item's id, named in errors and looked into for a baseline.
        properties: the item's properties.
        assets: the image bands' asset objects, as in the item.
        rule: "auto" believes the item where its statements agree; "apply" says that the numbers
            of every item still carry +1000; "none" says that none does.

    Raises:
        InputError: the statements contradict each other or are missing, and `rule` is "auto"; or
            `rule` is "apply" and the item is older than the offset.
    """
    told = _told_baselines(name, properties)
    removed = next((bool(properties[key]) for key in _REMOVED_KEYS if key in properties), None)
    offsets = {_declared_offset(name, asset) for asset in assets}
    declared = next(iter(offsets)) if len(offsets) == 1 else None
    newest = max(told.values()) if told else None
    if rule == "apply":
        if newest is not None and newest < FIRST_WITH_OFFSET:
            raise InputError(
                f'[sources.stac] baseline_offset = "apply", but item {name} is of baseline '
                f"{_text(newest)}, which has no offset. Narrow the dates to one side of 04.00, or "
                'set baseline_offset = "auto".'
            )
        return OffsetDecision(newest, declared, OFFSET, 'setting baseline_offset = "apply"')
    if rule == "none":
        return OffsetDecision(newest, declared, 0, 'setting baseline_offset = "none"')
    if newest is None:
        raise _undecided(name, "the item tells no processing baseline")
    sides = {baseline >= FIRST_WITH_OFFSET for baseline in told.values()}
    if len(sides) > 1:
        each = " and ".join(f"{key} says {_text(value)}" for key, value in told.items())
        raise _undecided(name, each)
    if len(offsets) > 1:
        raise _undecided(name, "its bands declare different offsets")
    if newest < FIRST_WITH_OFFSET:
        if declared == OFFSET:
            raise _undecided(
                name, f"baseline {_text(newest)} has no offset, but its bands declare {OFFSET}"
            )
        return OffsetDecision(newest, declared, 0, "baseline before 04.00 has no offset")
    if removed:
        if declared == OFFSET:
            raise _undecided(
                name, f"its provider says that the offset is removed, its bands declare {OFFSET}"
            )
        return OffsetDecision(newest, declared, 0, "removed by the provider")
    if declared == 0:
        raise _undecided(
            name,
            f"baseline {_text(newest)} carries +1000, its bands declare no offset, and nothing "
            "says that the provider removed it",
        )
    reason = "baseline 04.00 or later" + (", declared by the bands" if declared else "")
    return OffsetDecision(newest, declared, OFFSET, reason)


def refuse_mixture(decisions: Sequence[tuple[str, OffsetDecision]], *, harmonise: bool) -> None:
    """Make sure that all items lie on one side of baseline 04.00, unless they are harmonised.

    Args:
        decisions: item ids with their decisions.
        harmonise: whether both sides may meet; their offsets are decided one by one either way.

    Raises:
        InputError: both sides are there; names one item of each.
    """
    if harmonise:
        return
    before = [(n, d) for n, d in decisions if d.after_the_change is False]
    after = [(n, d) for n, d in decisions if d.after_the_change]
    if before and after:
        (old, old_decision), (new, new_decision) = before[0], after[0]
        raise InputError(
            f"[sources.stac] {len(before)} items are older than processing baseline 04.00 (such as "
            f"{old}, {old_decision.baseline_text}) and {len(after)} are not (such as {new}, "
            f"{new_decision.baseline_text}). Narrow start and end, or set harmonise = true to "
            "bring all to reflectance x 10,000 without offset."
        )


def _undecided(name: str, what: str) -> InputError:
    return InputError(
        f"[sources.stac] item {name}: {what}. Whether its numbers still carry +1000 cannot be "
        'told; look at a dark pixel and set baseline_offset = "apply" (they do) or "none" (they '
        "do not), or leave the item out by naming it in without."
    )


def _told_baselines(name: str, properties: Mapping[str, Any]) -> dict[str, Baseline]:
    """Every baseline that the item tells, by the place where it stands."""
    told = {}
    for key in _BASELINE_KEYS:
        baseline = _parsed(properties.get(key))
        if baseline is not None:
            told[key] = baseline
    for key, text in [("id", name), *((k, str(properties.get(k, ""))) for k in _PRODUCT_KEYS)]:
        match = _IN_PRODUCT.search(text)
        if match and int(match[1]) < _UNOFFICIAL:
            told[key] = (int(match[1]), int(match[2]))
    return told


def _parsed(value: object) -> Baseline | None:
    match = _AS_NUMBER.fullmatch(str(value).strip()) if value is not None else None
    if match is None:
        return None
    major, minor = (match[1], match[2] or "0") if match[1] else (match[3], match[4])
    if int(major) >= _UNOFFICIAL:
        return None
    return int(major), int(minor.ljust(2, "0"))


def _declared_offset(name: str, asset: Mapping[str, Any]) -> int | None:
    """The offset of an asset in digital numbers, wherever the versions of STAC put it."""
    bands = [*asset.get("raster:bands", ()), *asset.get("bands", ())]
    stated = [
        (band.get(f"{prefix}scale"), band[f"{prefix}offset"])
        for band in [asset, *bands]
        for prefix in ("raster:", "")
        if band.get(f"{prefix}offset") is not None
    ]
    if not stated:
        return None
    scale, offset = stated[0]
    digital = float(offset) / float(scale if scale else SCALE)
    if round(digital) not in (0, OFFSET) or abs(digital - round(digital)) > 1e-3:
        raise InputError(
            f"[sources.stac] item {name} declares offset {offset} at scale {scale}; Sentinel-2 L2A "
            f"has 0 or -0.1 at {SCALE}. Choose a collection of Sentinel-2 L2A surface reflectance."
        )
    return round(digital)


def _text(baseline: Baseline) -> str:
    return "{:02d}.{:02d}".format(*baseline)

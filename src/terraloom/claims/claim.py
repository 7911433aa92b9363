"""What a caption claims, and what a check of it found."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

ClaimKind = Literal[
    "presence", "absence", "dominant", "quantity", "place", "adjacency", "comparison", "shape"
]
KINDS: Final[tuple[ClaimKind, ...]] = get_args(ClaimKind)

ClaimVerdict = Literal["supported", "contradicted", "not checkable"]
VERDICTS: Final[tuple[ClaimVerdict, ...]] = get_args(ClaimVerdict)

MAX_CHARACTERS: Final = 20_000
"""A caption is read up to here; what follows is counted as unread, never dropped silently."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement about land cover that a caption makes, true or not."""

    kind: ClaimKind
    classes: tuple[int, ...]
    """Labels. One, but for classes that are told together (dominant, quantity; ascending), that
    are neighbours (adjacency; ascending), or that are compared (the larger first)."""
    value: str | None
    """What is claimed of them, by kind:

    * dominant: None ("dominates"), "mostly", or "largest" (only the first in rank);
    * quantity: an amount word ("most", "small part"), or percents, "86", "about 50", "over 60",
      "under 25", "nearly 50"; followed by " of the rest" where it is what remains;
    * place: a region ("north-west", "centre"), "… edge", "throughout", "fills north" (that half is
      mainly the class), or a course ("from west to east"); north is the top row;
    * adjacency: None or "mainly";
    * comparison: "more" or "equal";
    * shape: "scattered", "patches", "one piece", "strip" (long and narrow), "winding", "straight".
    """
    span: tuple[int, int]
    """Characters of the caption, start and end (exclusive), that make the claim."""
    negated: bool = False
    """The caption denies it: "not dominated by water"."""
    hedged: bool = False
    """The caption only holds it possible: "there may be a stream"."""
    fine: bool = False
    """Told of something that may be narrower than a pixel, such as a path or a brook."""
    apart: tuple[int, ...] = ()
    """Labels that "the rest" leaves out."""


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim, its verdict, and why."""

    claim: Claim
    verdict: ClaimVerdict
    evidence: str
    """The measured figure against the threshold, in words and figures."""


@dataclass(frozen=True, slots=True)
class CheckedCaption:
    """All claims of one caption with their verdicts."""

    claims: tuple[CheckedClaim, ...]
    """In the order of the text."""
    precision: float | None
    """Supported among the claims that could be decided, 0 … 1; None where none could."""
    recall: float | None
    """Part of the main classes that the caption names, 0 … 1; None where there is none."""
    names_dominant: bool | None
    """Whether it names the class with the largest share; None where no pixel is known."""
    unread: int
    """Characters beyond `MAX_CHARACTERS`, which were not read."""
    names: tuple[str, ...]
    """Of the classes, by label."""

    @property
    def contradictions(self) -> tuple[CheckedClaim, ...]:
        """The claims that the measurement contradicts."""
        return tuple(c for c in self.claims if c.verdict == "contradicted")

    @property
    def is_contradicted(self) -> bool:
        """Whether at least one claim is contradicted."""
        return bool(self.contradictions)

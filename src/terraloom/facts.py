"""Facts measured on a label mask: how much of what, where, next to what, in which shape.

Everything that the caption writers say in words is decided here from the pixels, with one home for
each threshold. Two bands belong to each claim: the *true* band, in which a careful reader accepts
the words, and the narrower *safe* band, in which a writer may use them; between the two nobody
speaks. Row 0 is north and column 0 west; for images without a georeference (`compass=False`) the
same places are told as top, bottom, left and right.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.shapes import (
    Corridor,
    Mixture,
    elongation_and_compactness,
    find_corridor,
    find_patches,
    measure_mixture,
)
from terraloom.types import LabelMask

PRESENCE: Final = 0.005
"""A class below this share of the known pixels is neither named as present nor as absent."""
DOMINANT_SHARE: Final = 0.35
"""Least share of a dominant class."""
DOMINANT_LEAD: Final = 0.05
"""Least lead of a dominant class over the next one, as a share of the known pixels."""
ABSENCE_KNOWN: Final = 0.99
"""Least known part of the mask for saying that a class without any pixel is absent."""
UNKNOWN_TOLD: Final = 0.05
"""From this unknown part on, amounts are told of the mapped area, not of the scene."""
HALF: Final = 0.80
"""Part of a class's pixels inside one half of the mask that places it there."""
CORNER: Final = 0.72
"""Part inside one quadrant that places it in that corner."""
CENTRE: Final = 0.72
"""Part inside the middle half of both axes (a quarter of the area) that places it there."""
EDGE: Final = 0.82
"""Part inside the outer quarter strip along one side that places it along that edge."""
FIRM: Final = 0.90
"""From this concentration on the place needs no "mainly"."""
SPREAD_QUADRANT: Final = 0.16
"""Least part in every quadrant of a class that is spread throughout."""
SPREAD_BLOCK: Final = 0.01
"""Least part in every sixteenth of the mask of a class that is spread throughout."""
HALF_COVER: Final = 0.65
"""Share of one half's known pixels that lets the half be called mainly that class."""
HALF_KNOWN: Final = 0.90
"""Least known part of a half that anything is said of."""
BORDER: Final = 0.62
"""Share of a class's border length that makes a neighbour its main one."""
BORDER_LENGTH: Final = 12
"""Shortest border, in pixel sides, that is worth telling."""
BLOCK: Final = 0.93
"""Part of a class in its largest patch that makes it one continuous block."""
FRAGMENTS: Final = 8
"""Least number of patches of a fragmented class."""
FRAGMENT_LARGEST: Final = 0.40
"""Largest part in one patch of a fragmented class."""
ELONGATED: Final = 3.5
"""Least length over width of an elongated patch."""
ROUNDISH: Final = 1.6
"""Largest length over width of a compact patch."""
COMPACT: Final = 0.88
"""Least part of the ellipse of its moments that a compact patch fills."""
SLIM: Final = 0.65
"""Least such part of an elongated patch: what is bent or full of holes has no length."""
CORRIDOR_LARGEST: Final = 0.60
"""Part of the class that lies in the corridor."""

Region = Literal[
    "north", "south", "west", "east",
    "north-west", "north-east", "south-west", "south-east", "centre", "throughout",
]  # fmt: skip
PlaceKind = Literal["half", "corner", "centre", "edge", "throughout"]


@dataclass(frozen=True, slots=True)
class Amount:
    """Words for a share, the band where they are true and the band where they are used."""

    words: tuple[str, ...]
    """Interchangeable phrases that read on with "of the scene"."""
    true: tuple[float, float]
    """Shares, both ends included, at which a reader accepts the words."""
    safe: tuple[float, float]
    """Shares, both ends included, at which a writer may use them; inside `true`."""


def _about(fraction: str) -> tuple[str, ...]:
    return tuple(f"{hedge} {fraction}" for hedge in ("about", "roughly", "around"))


AMOUNTS: Final = (
    Amount(("all",), (0.999, 1.0), (0.9999, 1.0)),
    Amount(("virtually all", "practically all"), (0.985, 1.0), (0.992, 1.0)),
    Amount(("almost all", "nearly all", "all but a fraction"), (0.90, 1.0), (0.93, 0.995)),
    Amount(("the vast majority", "by far the largest part"), (0.75, 1.0), (0.82, 0.97)),
    Amount(("most", "the bulk", "the greater part"), (0.53, 0.99), (0.60, 0.95)),
    Amount(_about("three quarters"), (0.68, 0.82), (0.72, 0.78)),
    Amount(_about("two thirds"), (0.60, 0.73), (0.63, 0.70)),
    Amount(("more than half", "over half"), (0.505, 0.80), (0.54, 0.70)),
    Amount((*_about("half"), "close to half"), (0.43, 0.57), (0.46, 0.54)),
    Amount(("nearly half", "just under half"), (0.40, 0.50), (0.43, 0.48)),
    Amount(("a large part", "much", "a large share"), (0.30, 0.75), (0.36, 0.60)),
    Amount(_about("a third"), (0.27, 0.40), (0.30, 0.365)),
    Amount(("a good part", "a sizeable part"), (0.18, 0.55), (0.25, 0.42)),
    Amount(_about("a quarter"), (0.20, 0.30), (0.225, 0.275)),
    Amount(_about("a fifth"), (0.15, 0.25), (0.178, 0.222)),
    Amount(("a modest part", "a smaller part"), (0.05, 0.30), (0.10, 0.24)),
    Amount(_about("a tenth"), (0.07, 0.135), (0.085, 0.118)),
    Amount(("a small part", "a small share", "a minor part"), (0.01, 0.16), (0.02, 0.12)),
    Amount(("a tiny part", "a very small part"), (0.001, 0.05), (PRESENCE, 0.03)),
)
"""Amount words, from all to next to nothing; bands overlap on purpose."""


def amount_words(share: float) -> tuple[str, ...]:
    """Every phrase that may be used for a share of 0 … 1; empty below `PRESENCE`."""
    return tuple(
        words
        for amount in AMOUNTS
        if amount.safe[0] <= share <= amount.safe[1]
        for words in amount.words
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pixels of a class lie."""

    kind: PlaceKind
    region: Region
    concentration: float
    """Part of the class's pixels inside the region, 0 … 1."""
    words: str
    """For instance "in the north-west", "along the top edge", "throughout"."""

    @property
    def is_firm(self) -> bool:
        """Whether the place may be told without "mainly"."""
        return self.kind == "throughout" or self.concentration >= FIRM


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """What the mask says of one class."""

    label: int
    name: str
    pixels: int
    share: float
    """Part of the known pixels, 0 … 1."""
    rank: int
    """1 for the largest share; ties in label order; classes without pixels come last."""
    patches: int
    """Connected patches (8 neighbours) of at least `SPECK` pixels; 0 when not `is_present`."""
    largest_patch: float
    """Part of the class's pixels in its largest patch, 0 … 1; 0 when not `is_present`."""
    elongation: float
    """Length over width of the largest patch from its second moments, at least 1."""
    compactness: float
    """Area of the largest patch over that of the ellipse of its second moments, 0 … 1: 1 for an
    ellipse, 0.95 for a rectangle, little for what is bent, branched or full of holes."""
    place: Place | None
    """None where the class is not clearly concentrated, nor clearly everywhere."""
    corridor: Corridor | None
    main_neighbour: int | None
    """Label on the other side of at least `BORDER` of its border, if there is one."""
    blocks: tuple[float, ...]
    """Part of the class's pixels in each sixteenth of the mask, 4 × 4 row by row, sum 1; empty
    without pixels."""

    @property
    def is_present(self) -> bool:
        """Whether the class is large enough to be named."""
        return self.share >= PRESENCE

    @property
    def is_fragmented(self) -> bool:
        """Whether the class lies in many patches, none of which holds most of it."""
        return self.patches >= FRAGMENTS and self.largest_patch <= FRAGMENT_LARGEST

    @property
    def is_block(self) -> bool:
        """Whether practically all of the class is one connected patch."""
        return self.largest_patch >= BLOCK

    @property
    def mean_patch(self) -> float:
        """Mean size of its patches, as a part of the known pixels; 0 without patches."""
        return self.share / self.patches if self.patches else 0.0

    @property
    def is_elongated(self) -> bool:
        """Whether practically all of it is one patch that is much longer than wide."""
        return self.is_block and self.elongation >= ELONGATED and self.compactness >= SLIM

    @property
    def is_compact(self) -> bool:
        """Whether practically all of it is one roundish patch without deep bays."""
        return self.is_block and self.elongation <= ROUNDISH and self.compactness >= COMPACT


@dataclass(frozen=True, slots=True)
class Border:
    """Common border of two classes."""

    labels: tuple[int, int]
    """Ascending."""
    length: int
    """Pixel sides between the two."""
    shares: tuple[float, float]
    """Part of each class's border with known classes that this border is, 0 … 1."""


@dataclass(frozen=True, slots=True)
class HalfFacts:
    """The class that covers most of one half of the mask."""

    region: Region
    label: int
    share: float
    """Of the half's known pixels, `HALF_COVER` … 1."""
    words: str
    """For instance "the northern half" or "the left half"."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything measured on one mask."""

    compass: bool
    """Whether places are told as compass directions."""
    known: float
    """Part of the mask that is not unknown, 0 … 1."""
    classes: tuple[ClassFacts, ...]
    """In label order."""
    ranked: tuple[int, ...]
    """Labels of the present classes (at least `PRESENCE`), the largest first."""
    dominant: int | None
    """The label with at least `DOMINANT_SHARE` and `DOMINANT_LEAD`, if there is one."""
    lead: float
    """Share of the largest class less that of the next, 0 … 1."""
    absent: tuple[int, ...]
    """Labels without a single pixel; empty where less than `ABSENCE_KNOWN` is known."""
    borders: tuple[Border, ...]
    """Longest first; only pairs that touch."""
    halves: tuple[HalfFacts, ...]
    mixture: Mixture | None
    """Texture of the whole; None where fewer than two classes are present."""


_HALF_WORDS: Final[dict[str, tuple[str, str]]] = {
    "north": ("in the north", "at the top"),
    "south": ("in the south", "at the bottom"),
    "west": ("in the west", "on the left"),
    "east": ("in the east", "on the right"),
    "north-west": ("in the north-west", "in the top left"),
    "north-east": ("in the north-east", "in the top right"),
    "south-west": ("in the south-west", "in the bottom left"),
    "south-east": ("in the south-east", "in the bottom right"),
    "centre": ("in the centre", "in the centre"),
    "throughout": ("throughout", "throughout"),
}
_EDGE_WORDS: Final[dict[str, tuple[str, str]]] = {
    "north": ("along the northern edge", "along the top edge"),
    "south": ("along the southern edge", "along the bottom edge"),
    "west": ("along the western edge", "along the left edge"),
    "east": ("along the eastern edge", "along the right edge"),
}
_HALVES_WORDS: Final[dict[str, tuple[str, str]]] = {
    "north": ("the northern half", "the top half"),
    "south": ("the southern half", "the bottom half"),
    "west": ("the western half", "the left half"),
    "east": ("the eastern half", "the right half"),
}

_SIDES: Final[tuple[Region, ...]] = ("north", "south", "west", "east")
_SIDE_BLOCKS: Final = {  # in a 4 × 4 grid of blocks
    "north": (slice(0, 2), slice(None)),
    "south": (slice(2, 4), slice(None)),
    "west": (slice(None), slice(0, 2)),
    "east": (slice(None), slice(2, 4)),
}
_EDGE_BLOCKS: Final = {
    "north": (slice(0, 1), slice(None)),
    "south": (slice(3, 4), slice(None)),
    "west": (slice(None), slice(0, 1)),
    "east": (slice(None), slice(3, 4)),
}
_CORNERS: Final[tuple[tuple[Region, slice, slice], ...]] = (
    ("north-west", slice(0, 2), slice(0, 2)),
    ("north-east", slice(0, 2), slice(2, 4)),
    ("south-west", slice(2, 4), slice(0, 2)),
    ("south-east", slice(2, 4), slice(2, 4)),
)


def measure_facts(labels: LabelMask, classes: ClassTable, *, compass: bool = True) -> Facts:
    """Facts of one mask; exact, without randomness.

    Args:
        labels: uint8 "height width", 0 … N−1 and 255 for unknown; row 0 is the north (or top).
            Any size from one pixel; an unknown pixel belongs to no class and to no border.
        classes: the table that the labels are of.
        compass: False for images without a georeference: top and left instead of north and west.

    Returns:
        Facts in which a mask that is unknown all over has no ranked, dominant or absent class.

    Raises:
        ValueError: `labels` has not two axes or holds a label that `classes` does not.
    """
    if labels.ndim != 2 or labels.size == 0:
        raise ValueError(f'labels must be "height width" and not empty, got {labels.shape}')
    num_classes = len(classes)
    blocks = _block_counts(labels)
    stray = np.flatnonzero(blocks[num_classes:UNKNOWN].any(axis=(1, 2)))
    if stray.size:
        raise ValueError(
            f"mask holds label {int(stray[0]) + num_classes}, the class table ends at "
            f"{num_classes - 1}; turn codes into labels first (ClassTable.labels_of_codes)"
        )
    counted = blocks.sum(axis=0)
    blocks = blocks[:num_classes]
    pixels = blocks.sum(axis=(1, 2))
    num_known = int(pixels.sum())
    shares = pixels / max(num_known, 1)
    order = sorted(range(num_classes), key=lambda label: (-int(pixels[label]), label))
    lead = float(shares[order[0]] - shares[order[1]])
    is_dominant = float(shares[order[0]]) >= DOMINANT_SHARE and lead >= DOMINANT_LEAD
    touching = _border_lengths(labels, num_classes)
    border_sums = touching.sum(axis=1)
    known = num_known / labels.size
    rank_of = {label: rank for rank, label in enumerate(order, start=1)}
    measured = tuple(
        _class_facts(
            labels, blocks[label], touching[label],
            label=label, name=classes.names[label], share=float(shares[label]),
            rank=rank_of[label], compass=compass,
        )
        for label in range(num_classes)
    )  # fmt: skip
    ranked = tuple(label for label in order if measured[label].is_present)
    return Facts(
        compass=compass,
        known=known,
        classes=measured,
        ranked=ranked,
        dominant=order[0] if is_dominant else None,
        lead=lead,
        absent=tuple(np.flatnonzero(pixels == 0).tolist()) if known >= ABSENCE_KNOWN else (),
        borders=_borders(touching, border_sums),
        halves=_halves(blocks, counted, compass),
        mixture=measure_mixture(
            blocks, int(border_sums.sum()) // 2, _known_pairs(labels), num_known**0.5
        )
        if len(ranked) > 1
        else None,
    )


def _block_counts(labels: LabelMask) -> NDArray[np.int64]:
    """Pixels by label and sixteenth of the mask, int64 "256 4 4"."""
    height, width = labels.shape
    rows = (np.arange(height, dtype=np.int32) * 4) // height
    columns = (np.arange(width, dtype=np.int32) * 4) // width
    code = labels.astype(np.int32) * 16
    code += rows[:, None] * 4
    code += columns[None, :]
    return np.bincount(code.ravel(), minlength=4096).reshape(256, 4, 4)


def _border_lengths(labels: LabelMask, num_classes: int) -> NDArray[np.int64]:
    """Pixel sides between each two different classes, symmetric int64 "class class"."""
    lengths = np.zeros((num_classes, num_classes), dtype=np.int64)
    for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        differ = (one != other) & (one != UNKNOWN) & (other != UNKNOWN)
        code = one[differ].astype(np.int32) * num_classes + other[differ]
        lengths += np.bincount(code, minlength=num_classes**2).reshape(num_classes, num_classes)
    return lengths + lengths.T


def _known_pairs(labels: LabelMask) -> int:
    """Pairs of neighbouring pixels (4 neighbours) that are both known."""
    height, width = labels.shape
    known = labels != UNKNOWN
    if known.all():
        return int((height - 1) * width + height * (width - 1))
    down = np.count_nonzero(known[1:] & known[:-1])
    return int(down + np.count_nonzero(known[:, 1:] & known[:, :-1]))


def _borders(touching: NDArray[np.int64], sums: NDArray[np.int64]) -> tuple[Border, ...]:
    firsts, seconds = np.nonzero(np.triu(touching))
    found = [
        Border(
            labels=(a, b),
            length=int(touching[a, b]),
            shares=(float(touching[a, b] / sums[a]), float(touching[a, b] / sums[b])),
        )
        for a, b in zip(firsts.tolist(), seconds.tolist(), strict=True)
    ]
    return tuple(sorted(found, key=lambda border: (-border.length, border.labels)))


def _halves(
    blocks: NDArray[np.int64], counted: NDArray[np.int64], compass: bool
) -> tuple[HalfFacts, ...]:
    """Halves with a main class; `counted` are all pixels by block, known or not."""
    found = []
    for side in _SIDES:
        counts = blocks[(slice(None), *_SIDE_BLOCKS[side])].sum(axis=(1, 2))
        known = int(counts.sum())
        label = int(counts.argmax())
        area = counted[_SIDE_BLOCKS[side]].sum()
        if area and known >= HALF_KNOWN * area and counts[label] >= HALF_COVER * known:
            share = float(counts[label] / known)
            found.append(HalfFacts(side, label, share, _HALVES_WORDS[side][not compass]))
    return tuple(found)


def _class_facts(
    labels: LabelMask,
    blocks: NDArray[np.int64],
    touching: NDArray[np.int64],
    *,
    label: int,
    name: str,
    share: float,
    rank: int,
    compass: bool,
) -> ClassFacts:
    pixels = int(blocks.sum())
    spread = tuple((blocks / pixels).ravel().tolist()) if pixels else ()
    if share < PRESENCE:
        return ClassFacts(
            label, name, pixels, share, rank, 0, 0.0, 1.0, 1.0, None, None, None, spread
        )  # fmt: skip
    patches = find_patches(labels == label)
    elongation, compactness = elongation_and_compactness(patches.cut)
    border = int(touching.sum())
    neighbour = int(touching.argmax())
    is_main = touching[neighbour] >= max(BORDER * border, BORDER_LENGTH)
    return ClassFacts(
        label=label,
        name=name,
        pixels=pixels,
        share=share,
        rank=rank,
        patches=patches.count,
        largest_patch=patches.largest,
        elongation=elongation,
        compactness=compactness,
        place=_place(blocks / pixels, compass),
        corridor=find_corridor(patches.cut, labels.shape, compass=compass)
        if patches.largest >= CORRIDOR_LARGEST
        else None,
        main_neighbour=neighbour if is_main else None,
        blocks=spread,
    )


def _place(blocks: NDArray[np.float64], compass: bool) -> Place | None:
    """Place of a class from its distribution over 4 × 4 blocks, sum 1."""
    told = int(not compass)
    for region, rows, columns in _CORNERS:
        part = float(blocks[rows, columns].sum())
        if part >= CORNER:
            return Place("corner", region, part, _HALF_WORDS[region][told])
    part = float(blocks[1:3, 1:3].sum())
    if part >= CENTRE:
        return Place("centre", "centre", part, _HALF_WORDS["centre"][told])
    for side in _SIDES:
        strip = blocks[_EDGE_BLOCKS[side]].ravel()
        # "Along" the edge: in all four blocks of the strip, not in one spot of it.
        if strip.sum() >= EDGE and strip.min() >= 0.08:
            return Place("edge", side, float(strip.sum()), _EDGE_WORDS[side][told])
    for side in _SIDES:
        part = float(blocks[_SIDE_BLOCKS[side]].sum())
        if part >= HALF:
            return Place("half", side, part, _HALF_WORDS[side][told])
    quadrants = blocks.reshape(2, 2, 2, 2).sum(axis=(1, 3))
    if quadrants.min() >= SPREAD_QUADRANT and blocks.min() >= SPREAD_BLOCK:
        return Place("throughout", "throughout", 1.0, _HALF_WORDS["throughout"][told])
    return None

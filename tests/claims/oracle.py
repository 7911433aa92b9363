"""A judge of single statements, on the mask alone: what is clearly true, what is clearly false.

It shares neither code nor thresholds with `terraloom.facts`, the grammar or `terraloom.claims`:
shares, places and neighbours are counted here by loops of its own. Between clearly true and clearly
false lies a band of tolerance, in which it says nothing. The bands, as shares or parts:

| statement | clearly true | clearly false |
|---|---|---|
| a class is there | at least 0.5 % | no pixel |
| a class is absent | no pixel | at least 1 % |
| an amount word | inside its band | 5 points above, or 5 points or half below |
| in a half | at least 70 % of the class there | at most 45 % |
| in a corner or the centre | at least 60 % | at most 30 % |
| along an edge (outer quarter) | at least 60 % | at most 30 % |
| dominates, is the largest | the largest, and a third | smaller than another by 5 points |
| mostly | at least 55 % | at most 38 % |
| one covers more than another | by 1 point | the other by 3 points |
| one piece | 90 % of the class hang together | at most 50 % |
| scattered | at most 40 % hang together | at least 97 % |
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

AMOUNTS: dict[str, tuple[float, float]] = {
    "virtually all": (0.98, 1.0), "practically all": (0.98, 1.0), "almost all": (0.88, 1.0),
    "nearly all": (0.88, 1.0), "all but a fraction": (0.88, 1.0),
    "the vast majority": (0.72, 1.0), "by far the largest part": (0.70, 1.0),
    "the bulk": (0.52, 1.0), "the greater part": (0.52, 1.0), "most": (0.52, 1.0),
    "three quarters": (0.67, 0.83), "two thirds": (0.59, 0.74),
    "more than half": (0.50, 1.0), "over half": (0.50, 1.0),
    "nearly half": (0.38, 0.51), "just under half": (0.38, 0.51), "half": (0.42, 0.58),
    "a large part": (0.28, 0.80), "a large share": (0.28, 0.80),
    "a third": (0.26, 0.41), "a good part": (0.15, 0.60), "a sizeable part": (0.15, 0.60),
    "a quarter": (0.19, 0.31), "a fifth": (0.14, 0.26), "a tenth": (0.06, 0.14),
    "a modest part": (0.04, 0.35), "a smaller part": (0.04, 0.48),
    "a small part": (0.005, 0.18), "a small share": (0.005, 0.18), "a minor part": (0.005, 0.18),
    "a tiny part": (0.0, 0.06), "a very small part": (0.0, 0.06),
}  # fmt: skip
"""Shares at which a careful reader lets an amount pass."""

REGIONS = {
    "n": lambda y, x: y < 0.5, "s": lambda y, x: y > 0.5,
    "w": lambda y, x: x < 0.5, "e": lambda y, x: x > 0.5,
    "N": lambda y, x: y < 0.25, "S": lambda y, x: y > 0.75,
    "W": lambda y, x: x < 0.25, "E": lambda y, x: x > 0.75,
    "c": lambda y, x: (abs(y - 0.5) < 0.25) & (abs(x - 0.5) < 0.25),
}  # fmt: skip


@dataclass
class MaskOracle:
    """Statements about one mask."""

    labels: np.ndarray
    num_classes: int = 7

    @cached_property
    def shares(self) -> list[float]:
        known = int((self.labels != 255).sum())
        return [float((self.labels == c).sum()) / max(known, 1) for c in range(self.num_classes)]

    @property
    def is_known(self) -> bool:
        return bool((self.labels != 255).all())

    def inside(self, c: int, region: str) -> float:
        """Part of class c inside a region: "nw" a corner, "n" a half, "N" an edge, "c" centre."""
        y, x = np.nonzero(self.labels == c)
        if not len(y):
            return 0.0
        height, width = self.labels.shape
        keep = np.ones(len(y), dtype=bool)
        for letter in region:
            keep &= REGIONS[letter]((y + 0.5) / height, (x + 0.5) / width)
        return float(keep.mean())

    def largest_part(self, c: int) -> float:
        """Part of class c that hangs together, over corners too; 0 where there is none.

        Filled from pixel to pixel.
        """
        left = {(int(y), int(x)) for y, x in np.argwhere(self.labels == c)}
        total, largest = len(left), 0
        while left:
            edge, size = [left.pop()], 0
            while edge:
                y, x = edge.pop()
                size += 1
                for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                    if near in left:
                        left.remove(near)
                        edge.append(near)
            largest = max(largest, size)
        return largest / max(total, 1)

    def place_is_true(self, c: int, region: str) -> bool:
        return self.inside(c, region) >= (0.70 if region in tuple("nswe") else 0.60)

    def place_is_false(self, c: int, region: str) -> bool:
        return self.inside(c, region) <= (0.45 if region in tuple("nswe") else 0.30)

    def amount_is_true(self, share: float, words: str) -> bool:
        low, high = AMOUNTS[words]
        return low <= share <= high

    def amount_is_false(self, share: float, words: str) -> bool:
        low, high = AMOUNTS[words]
        return (
            share < min(low - 0.05, low * 0.99)
            or share > high + max(0.05, high / 2 * 0.1)
            or (share < low / 2)
        )

    def is_dominant(self, c: int) -> bool:
        return self.shares[c] == max(self.shares) and self.shares[c] >= 1 / 3

    def cannot_dominate(self, c: int) -> bool:
        return self.shares[c] < max(self.shares) - 0.05

    def is_absent(self, c: int) -> bool:
        return self.is_known and not bool((self.labels == c).any())

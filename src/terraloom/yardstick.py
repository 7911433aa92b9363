"""What real images reach in the labeller's figures: the yardstick that synthetic ones are held to.

A fixed bound says little: a labeller that reads real images right in half of their pixels reads a
perfect generator's right in half, too. So a rule may ask for a quantile of real val images. Val
steers, nothing is fitted on it; the labeller was stopped and calibrated there, so that the
yardstick is a little long rather than short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from terraloom.files import read_json, write_json

YARDSTICK: Final = "yardstick.json"
ASKED: Final = "asked"
"""As if the image had been made for its mask."""
FREE: Final = "free"
"""As if it had been made without one."""


@dataclass(frozen=True)
class Yardstick:
    """Figures of real windows, by kind and column, each sorted."""

    figures: Mapping[str, Mapping[str, Sequence[float]]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that real images have a figure of, of either kind."""
        return tuple(dict.fromkeys(name for own in self.figures.values() for name in own))

    def bound(self, column: str, quantile: float, kind: str) -> float | None:
        """The value that a share `quantile` of real windows lies below; None where there is none.

        Args:
            column: of scores/.
            quantile: 0 … 1.
            kind: `ASKED` or `FREE`.
        """
        values = self.figures.get(kind, {}).get(column, ())
        return float(np.quantile(values, quantile)) if len(values) else None

    def save(self, folder: Path) -> Path:
        """Write `folder`/yardstick.json."""
        write_json(folder / YARDSTICK, {kind: dict(own) for kind, own in self.figures.items()})
        return folder / YARDSTICK

    @classmethod
    def load(cls, folder: Path) -> "Yardstick":
        """Read what `save` wrote."""
        return cls(read_json(folder / YARDSTICK))


def yardstick_of(rows: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Yardstick:
    """From the figures of each window, by kind; empty figures are left out."""
    found: dict[str, dict[str, list[float]]] = {}
    for kind, own in rows.items():
        for row in own:
            for name, value in row.items():
                if value is not None:
                    found.setdefault(kind, {}).setdefault(name, []).append(round(value, 6))
    return Yardstick(
        {kind: {name: sorted(v) for name, v in own.items()} for kind, own in found.items()}
    )

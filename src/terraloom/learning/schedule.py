"""Learning-rate curves as pure functions of progress."""

import math
from dataclasses import dataclass
from typing import Final, Literal

WARM_UP: Final = 0.03
_FLOOR: Final = 0.02
_RISE: Final = 1e-4

Schedule = Literal["cosine", "plateau", "constant"]


def rate_factor(schedule: Schedule, progress: float, warm_up: float = WARM_UP) -> float:
    """Factor on the peak rate after `progress` (0 … 1) of the images.

    Every schedule warms up linearly over the first `warm_up` of them (default 3 %). "cosine" then
    falls to 2 %; "constant" and "plateau" stay at 1 (the plateau's own factor comes on top).
    """
    if progress < warm_up:
        return max(progress / warm_up, 0.01)
    if schedule != "cosine":
        return 1.0
    along = (progress - warm_up) / (1 - warm_up)
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * min(along, 1.0)))


@dataclass
class Plateau:
    """Lowers the rate where a score stops rising, as torch's ReduceLROnPlateau (mode "max") does.

    The factor falls after more than `patience` checks in a row that did not beat the best by one
    part in 10,000; then the count begins anew.
    """

    patience: int = 3
    factor: float = 0.1
    best: float = -math.inf
    bad: int = 0
    rate: float = 1.0
    """Factor on the learning rate so far."""

    def step(self, score: float) -> None:
        """Take the score of one check."""
        if score > self.best * (1 + _RISE) if self.best > 0 else score > self.best:
            self.best, self.bad = score, 0
            return
        self.bad += 1
        if self.bad > self.patience:
            self.rate *= self.factor
            self.bad = 0

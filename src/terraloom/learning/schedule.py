"""Learning-rate curves as pure functions of progress."""

import math
from typing import Final, Literal

_WARM_UP: Final = 0.03
_FLOOR: Final = 0.02

Schedule = Literal["cosine", "plateau", "constant"]


def rate_factor(schedule: Schedule, progress: float) -> float:
    """Factor on the peak rate after `progress` (0 … 1) of the images.

    Every schedule warms up linearly over the first 3 %. "cosine" then falls to 2 %; "constant" and
    "plateau" stay at 1 (the plateau's own factor comes on top).
    """
    if progress < _WARM_UP:
        return max(progress / _WARM_UP, 0.01)
    if schedule != "cosine":
        return 1.0
    along = (progress - _WARM_UP) / (1 - _WARM_UP)
    return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * min(along, 1.0)))

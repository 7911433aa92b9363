"""Label trust from WorldCover's InputQuality layer: how often a place was seen before it was named.

The layer (int16, 60 m, −1 no data) counts the observations that each map pixel was classified from.
What comes out is a prior, not a fit: a label seen often in clear sky is believed more than one seen
rarely, and the curve's constants are chosen, not measured. It says nothing of how hard a class is.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from terraloom.types import TrustMap

UNRECORDED: Final = 128
"""Trust where the layer holds no data, such as open sea: neither believed nor disbelieved."""

_BANDS: Final = 3
_NO_DATA: Final = -1
_CLEAR_SCALE: Final = 8.0
"""Valid Sentinel-2 observations after which doubt has fallen to 1/e."""
_RADAR_SCALE: Final = 20.0
"""Sentinel-1 observations after which what radar can tell has mostly been told."""
_RADAR_SHARE: Final = 1 / 3
"""Largest share of the doubt that radar alone takes away: it knows water, forest and buildings
from open land, but not crops from grass or shrubs."""


def trust_of(observations: NDArray[np.int16], *, unrecorded: int = UNRECORDED) -> TrustMap:
    """Weight per pixel of how far a map label can be believed.

    With n = band 2 · (1 − band 3 / 100) valid Sentinel-2 observations and s Sentinel-1 observations

        trust = 255 · (1 − exp(−n / 8) · (1 − (1 − exp(−s / 20)) / 3)),

    rounded: two independent witnesses, each of whom takes away a part of the doubt. It rises with n
    and s and saturates in both; n = s = 0 gives 0, s alone at most 85, n = 8 alone 161, n = 24
    alone 242. A label whose observations were counted and found to be none is not believed; one
    whose observations were never recorded (−1 in band 2 or 3) gets `unrecorded`: nothing speaks
    against it. −1 in band 1 alone counts as no radar.

    Resample the weights, not the counts, if more than the nearest pixel is used: −1 is no number.

    Args:
        observations: int16, "3 height width": number of Sentinel-1 observations, number of
            Sentinel-2 observations, percentage (0 … 100) of the latter that were invalid.
        unrecorded: weight, 0 … 255, where nothing was recorded.

    Returns:
        uint8, "height width".

    Raises:
        ValueError: not three bands, or `unrecorded` is outside 0 … 255.
    """
    if observations.ndim != 3 or len(observations) != _BANDS:
        raise ValueError(f"InputQuality has 3 bands, not an array of shape {observations.shape}")
    if not 0 <= unrecorded <= 255:
        raise ValueError(f"unrecorded = {unrecorded} is no weight; use 0 … 255")
    radar, optical, invalid = observations.astype(np.float32)
    clear = np.maximum(optical, 0.0) * (1.0 - np.clip(invalid, 0.0, 100.0) / 100.0)
    doubt = np.exp(-clear / _CLEAR_SCALE)
    doubt *= 1.0 - _RADAR_SHARE * (1.0 - np.exp(-np.maximum(radar, 0.0) / _RADAR_SCALE))
    trust: TrustMap = np.rint(255.0 * (1.0 - doubt)).astype(np.uint8)
    trust[(observations[1:] == _NO_DATA).any(axis=0)] = unrecorded
    return trust

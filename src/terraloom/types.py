"""Names for arrays, roles and seeds, used throughout.

Axes are told in the alias: one order everywhere, `batch` first, then `band height width`.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

ImageU8: TypeAlias = NDArray[np.uint8]
"""8-bit image, "height width band", bands red, green, blue; as stored in PNG."""
LabelMask: TypeAlias = NDArray[np.uint8]
"""Labels 0 … N−1 and 255 for unknown, "height width"."""
TrustMap: TypeAlias = NDArray[np.uint8]
"""Per-pixel weight, "height width", 0 (no trust) … 255 (full trust)."""
Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
Int64Array: TypeAlias = NDArray[np.int64]

Role: TypeAlias = Literal["train", "val", "test"]
"""What a real row may be used for; synthetic rows have the empty role."""
ROLES: tuple[Role, ...] = ("train", "val", "test")

Origin: TypeAlias = Literal["real", "conditional", "unconditional", "joint", "layout"]
"""How a sample came to be: observed, made for a train row's mask, made freely and labelled after,
image and mask made together, or made for a mask that was made before."""
MASK_FIRST: tuple[Origin, ...] = ("conditional", "joint", "layout")
"""Synthetic samples that bring a mask along, which the labeller only checks."""

Channels: TypeAlias = tuple[float, float, float]
"""One value per channel: red, green, blue."""

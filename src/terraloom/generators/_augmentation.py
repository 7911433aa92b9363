"""Adaptive discriminator augmentation: what the discriminator sees, and how often it is changed.

After Karras et al. 2020 (ADA, arXiv 2006.06676): every image that the discriminator sees, real or
made, is changed with probability p per kind of change. As long as p stays below about 0.8 the
generator must still match the unchanged images (section 2.2), so changes do not leak. A controller
steers p by how far the discriminator has come to know the training images by heart (section 3).
"""

import math
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_MOST: Final = 0.8
"""Above about this probability, changes leak into what is made (section 2.2)."""
_EVERY: Final = 4
"""Updates between two moves of the controller, as in the paper."""


def augment(images: Tensor, strength: float, random: np.random.Generator) -> Tensor:
    """Each image turned, moved, scaled and recoloured, each with probability `strength`.

    The kinds and widths of appendix B: mirror images, quarter turns, moves by whole pixels up to an
    eighth of the side, scale 2^N(0, 0.2²), moves by N(0, (side / 8)²); brightness, contrast,
    mirrored luma, hue, saturation. Resampling is bilinear and mirrors at the edges (the paper's
    oversampled wavelet filter is left out). Differentiable in the images.

    Args:
        images: "batch 3 side side", standardised per channel.
        strength: probability p of each kind of change, 0 … 1.
        random: stream that the changes are drawn from.
    """
    if strength <= 0:
        return images
    count, _, side, _ = images.shape
    moved = _geometry(count, side, strength, random)
    if not np.array_equal(moved, np.tile(np.eye(3), (count, 1, 1))):
        theta = torch.from_numpy(moved[:, :2].astype(np.float32)).to(images.device)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(
            images, grid.to(images.dtype), "bilinear", "reflection", align_corners=False
        )
    colours = _colours(count, strength, random).astype(np.float32)
    matrix = torch.from_numpy(colours[:, :3, :3]).to(images.device, images.dtype)
    shift = torch.from_numpy(colours[:, :3, 3]).to(images.device, images.dtype)
    changed = torch.einsum("bij,bjhw->bihw", matrix, images) + shift[:, :, None, None]
    return changed.contiguous(memory_format=torch.channels_last)


class AdaptiveStrength:
    """Probability of changes, steered toward a target overfit.

    The overfit is r = E[sign(d)] (eq. 1 of the paper, r_t), where d is the discriminator's verdict
    on training images: 0 where it cannot tell them, 1 where it knows every one. Every four updates
    p moves by a fixed step, up if r is above the target and down if below, so that it could go from
    0 to 1 within `images` images.
    """

    def __init__(self, start: float, target: float, images: int) -> None:
        """`target` 0 holds the strength where it starts."""
        self.value = start
        self.target = target
        self.images = images
        self.overfit = 0.0
        """r of the last four updates."""
        self._signs = 0.0
        self._seen = 0
        self._updates = 0

    def observe(self, verdicts: Tensor) -> None:
        """Take the verdicts on one batch of training images; "batch", above 0 real."""
        self._signs += float(verdicts.detach().float().sign().sum())
        self._seen += len(verdicts)
        self._updates += 1
        if self._updates < _EVERY:
            return
        self.overfit = self._signs / self._seen
        if self.target > 0:
            step = math.copysign(self._seen / self.images, self.overfit - self.target)
            self.value = min(max(self.value + step, 0.0), _MOST)
        self._signs, self._seen, self._updates = 0.0, 0, 0

    def numbers(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "value": self.value,
            "overfit": self.overfit,
            "signs": self._signs,
            "seen": self._seen,
            "updates": self._updates,
        }

    def restore_numbers(self, numbers: dict[str, Any]) -> None:
        """Take `numbers` back."""
        self.value = float(numbers["value"])
        self.overfit = float(numbers["overfit"])
        self._signs = float(numbers["signs"])
        self._seen = int(numbers["seen"])
        self._updates = int(numbers["updates"])


Matrices = NDArray[np.float64]


def _geometry(count: int, side: int, p: float, random: np.random.Generator) -> Matrices:
    """Maps from output to input places, both −1 … 1, "batch 3 3"."""
    flip = _chosen(count, p, random, 1.0 - 2.0 * random.integers(2, size=count), 1.0)
    turn = _chosen(count, p, random, random.integers(4, size=count) * (math.pi / 2), 0.0)
    # Places run over 2 units per side: an eighth of the side is a quarter.
    whole = np.round(random.uniform(-0.125, 0.125, size=(2, count)) * side) * (2 / side)
    move = np.stack([_chosen(count, p, random, axis, 0.0) for axis in whole])
    scale = _chosen(count, p, random, np.exp2(0.2 * random.standard_normal(count)), 1.0)
    drift = 0.25 * random.standard_normal((2, count))
    drift *= random.random(count) < p  # both axes or none
    made = np.zeros((count, 3, 3))
    # Cosines of quarter turns are exact, so that such images stay sharp.
    cos, sin = np.round(np.cos(turn)), np.round(np.sin(turn))
    made[:, 0, 0], made[:, 0, 1] = flip * cos / scale, -flip * sin / scale
    made[:, 1, 0], made[:, 1, 1] = sin / scale, cos / scale
    made[:, :2, 2] = (move + drift).T
    made[:, 2, 2] = 1.0
    return made


def _colours(count: int, p: float, random: np.random.Generator) -> Matrices:
    """Affine maps of colours, "batch 4 4", made up of five changes in turn."""
    result = np.tile(np.eye(4), (count, 1, 1))
    grey = np.full(3, 1 / math.sqrt(3))
    along = np.outer(grey, grey)
    # Brightness: the paper's 0.2 of a range of −1 … 1, which is about 0.4 standard deviations.
    bright = np.tile(np.eye(4), (count, 1, 1))
    shift = _chosen(count, p, random, 0.4 * random.standard_normal(count), 0.0)
    bright[:, :3, 3] = shift[:, None]
    contrast = _chosen(count, p, random, np.exp2(0.5 * random.standard_normal(count)), 1.0)
    mirror = _chosen(count, p, random, random.integers(2, size=count).astype(float), 0.0)
    hue = _chosen(count, p, random, random.uniform(-math.pi, math.pi, size=count), 0.0)
    saturation = _chosen(count, p, random, np.exp2(random.standard_normal(count)), 1.0)
    cross = np.array([[0, -grey[2], grey[1]], [grey[2], 0, -grey[0]], [-grey[1], grey[0], 0]])
    eye = np.eye(3)
    linear = [
        contrast[:, None, None] * eye,
        eye - 2 * mirror[:, None, None] * along,
        # Rodrigues: a turn by the hue's angle about the grey axis.
        np.cos(hue)[:, None, None] * eye
        + np.sin(hue)[:, None, None] * cross
        + (1 - np.cos(hue))[:, None, None] * along,
        along + saturation[:, None, None] * (eye - along),
    ]
    result = bright @ result
    for matrix in linear:
        full = np.tile(np.eye(4), (count, 1, 1))
        full[:, :3, :3] = matrix
        result = full @ result
    return result


def _chosen(
    count: int, p: float, random: np.random.Generator, changed: NDArray[np.floating], neutral: float
) -> Matrices:
    """The drawn change where a coin of probability p says so, else the neutral one."""
    return np.where(random.random(count) < p, changed, neutral)

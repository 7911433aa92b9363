"""The network of `flow`: velocities at a noisy image and a time, for labels, shares, or neither."""

import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SPECTRUM_IMAGES: Final = 512
"""Training images whose patches are counted."""
_LEAST_VARIANCE: Final = 1e-4
"""Of a direction, where standardised channels have 1: about what rounding to 8 bits adds."""


class _TimedBlock(nn.Module):
    """Residual block whose channels are scaled and shifted by the time's embedding."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.GroupNorm(8, channels_in)
        self.conv_first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * channels_out)
        self.second = nn.GroupNorm(8, channels_out)
        self.conv_second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        nn.init.zeros_(self.conv_second.weight)
        self.skip = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Conv2d(channels_in, channels_out, 1)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv_first(F.silu(self.first(x)))
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, dim=1)
        y = self.conv_second(F.silu(self.second(y) * (1 + scale) + shift))
        out: Tensor = self.skip(x) + y
        return out


class PatchSpectrum(nn.Module):
    """How much data varies along each direction of a patch, and what follows for noisy data.

    With x = t · data + s · noise, s = 1 − t, noise white and uncorrelated with data of covariance
    C, the best linear estimate of data − noise along an eigenvector of C with variance λ is
    (tλ − s) / (t²λ + s²) · x, and what it leaves has variance λ / (t²λ + s²). Karras et al. 2022
    (EDM, arXiv 2206.00364, eq. 7 and appendix B.6) reason so with one variance for all; but land
    varies tens to thousands of times less from pixel to pixel than over a patch; noise does not.

    Args:
        channels: per pixel.
        patch: pixels per side.
        apart: channels of the first group; those of two groups are never seen together, so what
            they have in common is left out. None: one group.
    """

    together: Tensor
    covariance: Tensor
    basis: Tensor
    variances: Tensor
    seen: Tensor

    def __init__(self, channels: int, patch: int, apart: int | None = None) -> None:
        super().__init__()
        size = channels * patch**2
        first = torch.arange(size) < (channels if apart is None else apart) * patch**2
        self.patch = patch
        self.register_buffer("together", first[:, None] == first, persistent=False)
        self.register_buffer("covariance", torch.zeros(size, size))
        self.register_buffer("basis", torch.eye(size))
        self.register_buffer("variances", torch.ones(size))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def learn(self, data: Tensor) -> None:
        """Count in standardised training data "batch channel height width", until it is enough."""
        if int(self.seen) >= _SPECTRUM_IMAGES:
            return
        patches = F.pixel_unshuffle(data, self.patch).movedim(1, 0).flatten(1)
        fresh = patches @ patches.T / patches.shape[1] * self.together
        self.seen += len(data)
        self.covariance.lerp_(fresh, len(data) / int(self.seen))
        variances, basis = torch.linalg.eigh(self.covariance.double().cpu())
        self.basis.copy_(basis)
        self.variances.copy_(variances.clamp_min(_LEAST_VARIANCE))

    def turn(self, patches: Tensor) -> Tensor:
        """Coordinates along the eigenvectors, of patches "batch channel height width"."""
        return F.conv2d(patches, self.basis.T[:, :, None, None])

    def turn_back(self, coordinates: Tensor) -> Tensor:
        """Patches of coordinates."""
        return F.conv2d(coordinates, self.basis[:, :, None, None])


class VelocityUNet(nn.Module):
    """Velocity at (x, t); label planes enter at every level, shares along with the time.

    Args:
        widths: channels per level, finest first.
        patch: pixels per side that are folded into channels.
        planes: label planes that condition it.
        channels: of data and velocity.
        shares: length of the vector of class shares that conditions it; 0 for none.
        apart: channels of the first of two groups that are never made together, if there are two.
    """

    def __init__(
        self,
        widths: Sequence[int],
        patch: int,
        planes: int,
        channels: int = 3,
        shares: int = 0,
        *,
        apart: int | None = None,
    ) -> None:
        super().__init__()
        embedding = 4 * widths[0]
        planes = planes * patch**2
        self.patch = patch
        self.frequencies = widths[0]
        self.embed = nn.Sequential(
            nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(channels * patch**2 + planes, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        self.mask_down = nn.ModuleList()
        previous = widths[0]
        for width in widths:
            self.down.append(_TimedBlock(previous, width, embedding))
            self.mask_down.append(nn.Conv2d(planes, width, 1))
            previous = width
        self.middle = _TimedBlock(previous, previous, embedding)
        self.up = nn.ModuleList()
        for width in reversed(widths):
            self.up.append(_TimedBlock(previous + width, width, embedding))
            previous = width
        self.normal = nn.GroupNorm(8, previous)
        self.leave = nn.Conv2d(previous, channels * patch**2, 3, padding=1)
        # One variance for all places is a mean over smooth water and rough towns, so each place
        # says how much more or less of each direction is passed on there.
        self.weigh = nn.Conv2d(previous, channels * patch**2, 1)
        for values in (*self.leave.parameters(), *self.weigh.parameters()):
            nn.init.zeros_(values)
        self.spectrum = PatchSpectrum(channels, patch, apart)
        self.embed_shares = None
        if shares:
            self.embed_shares = nn.Sequential(
                nn.Linear(shares, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
            )

    def forward(
        self, x: Tensor, time: Tensor, planes: Tensor, shares: Tensor | None = None
    ) -> Tensor:
        """Velocity "batch channel height width".

        Args:
            x: "batch channel height width".
            time: "batch", 0 noise … 1 data.
            planes: "batch plane height width".
            shares: "batch class+1", the last 1 where shares are given, else all 0.
        """
        half = self.frequencies // 2
        rates = torch.exp(-math.log(1000.0) * torch.arange(half, device=x.device) / half)
        angles = 1000.0 * time[:, None] * rates
        embedding = self.embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        if self.embed_shares is not None:
            embedding = embedding + self.embed_shares(shares)
        t, spread = time[:, None, None, None], self.spectrum.variances[None, :, None, None]
        variance = t**2 * spread + (1 - t) ** 2
        along = self.spectrum.turn(F.pixel_unshuffle(x, self.patch))
        skip = (t * spread - (1 - t)) / variance * along
        noisy = along / variance.sqrt()
        start = self.spectrum.turn_back(noisy)
        planes = F.pixel_unshuffle(planes, self.patch)
        x = self.enter(torch.cat([start, planes], dim=1))
        passed = []
        for level, block in enumerate(self.down):
            if level:
                x = F.avg_pool2d(x, 2)
            x = block(x, embedding)
            planes = F.avg_pool2d(planes, 2) if level else planes
            x = x + self.mask_down[level](planes)
            passed.append(x)
        x = self.middle(x, embedding)
        for level, block in enumerate(self.up):
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, passed.pop()], dim=1), embedding)
        x = F.silu(self.normal(x))
        left = (self.spectrum.turn(self.leave(x)) + self.weigh(x) * noisy) * (
            spread / variance
        ).sqrt()
        velocity: Tensor = F.pixel_shuffle(self.spectrum.turn_back(skip + left), self.patch)
        return velocity

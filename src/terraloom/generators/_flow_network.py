"""The network of `flow`: velocities at a noisy image and a time, for labels, shares, or neither."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class _DirectPath(nn.Module):
    """The linear estimate of a Gaussian: directions, each weighed by the time, and back."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.turn = nn.Conv2d(channels, channels, 1, bias=False)
        self.weigh = nn.Linear(embedding, channels)
        self.turn_back = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.orthogonal_(self.turn.weight)
        nn.init.zeros_(self.turn_back.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.turn_back(self.turn(x) * self.weigh(embedding)[:, :, None, None])
        return out


class VelocityUNet(nn.Module):
    """Velocity at (x, t); label planes enter at every level, shares along with the time.

    Args:
        widths: channels per level, finest first.
        patch: pixels per side that are folded into channels.
        planes: label planes that condition it.
        channels: of data and velocity.
        shares: length of the vector of class shares that conditions it; 0 for none.
        direct: whether a linear path of full rank leads past the levels. Noise has as many
            directions as the data has channels and patch pixels together; where these outnumber the
            finest level, what does not fit through it stays in the samples.
    """

    def __init__(
        self,
        widths: Sequence[int],
        patch: int,
        planes: int,
        channels: int = 3,
        shares: int = 0,
        *,
        direct: bool = False,
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
        nn.init.zeros_(self.leave.weight)
        self.direct = _DirectPath(channels * patch**2, embedding) if direct else None
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
        # With x = t·data + s·noise, s = 1 − t, both of unit variance and uncorrelated, the best
        # linear estimate of data − noise is (t − s) / (t² + s²) · x, and what it leaves has
        # variance 1 / (t² + s²): skip, and scale of input and output.
        t = time[:, None, None, None]
        variance = t**2 + (1 - t) ** 2
        skip, start = (2 * t - 1) / variance * x, x / variance.sqrt()
        start = F.pixel_unshuffle(start, self.patch)
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
        rest = self.leave(F.silu(self.normal(x)))
        if self.direct is not None:
            rest = rest + self.direct(start, embedding)
        rest = F.pixel_shuffle(rest, self.patch)
        velocity: Tensor = skip + rest / variance.sqrt()
        return velocity

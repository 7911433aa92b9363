"""The network of `flow`: velocities at a noisy image and a time, for labels, shares, or neither."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terraloom.generators._flow_spectrum import PatchSpectrum, ToneSpectrum, tone_of


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
        # The tone is one vector for the whole image: convolutions and norms hardly see or say it.
        self.enter_tone = nn.Linear(channels, embedding)
        self.leave_tone = nn.Sequential(
            nn.Linear(widths[-1] + embedding, embedding), nn.SiLU(), nn.Linear(embedding, channels)
        )
        last = (self.leave, self.weigh, self.leave_tone[-1])
        for values in (value for layer in last for value in layer.parameters()):
            nn.init.zeros_(values)
        self.tone = ToneSpectrum(channels, apart)
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
        tone = tone_of(x)
        # Tones of data and noise vary alike, so that their linear estimate needs no directions.
        even = t**2 + (1 - t) ** 2
        tone_seen = self.tone.evened(tone) / even.sqrt()
        embedding = embedding + self.enter_tone(tone_seen.flatten(1))
        along = self.spectrum.turn(F.pixel_unshuffle(x - tone, self.patch))
        skip = (t * spread - (1 - t)) / variance * along
        noisy = along / variance.sqrt()
        start = self.spectrum.turn_back(noisy) + tone_seen.repeat_interleave(self.patch**2, dim=1)
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
        tone_left = self.leave_tone(torch.cat([x.mean(dim=(2, 3)), embedding], dim=1))
        for level, block in enumerate(self.up):
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, passed.pop()], dim=1), embedding)
        x = F.silu(self.normal(x))
        left = (self.spectrum.turn(self.leave(x)) + self.weigh(x) * noisy) * (
            spread / variance
        ).sqrt()
        velocity = F.pixel_shuffle(self.spectrum.turn_back(skip + left), self.patch)
        tone_velocity = (2 * t - 1) / even * tone + self.tone.dyed(
            tone_left[:, :, None, None] / even.sqrt()
        )
        whole: Tensor = velocity - tone_of(velocity) + tone_velocity
        return whole

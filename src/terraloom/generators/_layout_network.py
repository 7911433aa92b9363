"""U-Net that names the classes behind a noisy one-hot mask, told noise level and class shares."""

import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_VARIANCE: Final = 0.1
"""Of a one-hot plane, roughly: a class that covers an eighth of the pixels."""
_LEAST: Final = 1e-4
"""Share that a class which was not asked for is taken to have."""


class LayoutUNet(nn.Module):
    """Logits of p(class | noisy mask, noise level, class shares) per pixel."""

    def __init__(self, widths: Sequence[int], patch: int, num_classes: int) -> None:
        """`patch` pixels per side are folded into channels."""
        super().__init__()
        embedding = 4 * widths[0]
        self.patch = patch
        self.frequencies = widths[0]
        self.embed_noise = nn.Linear(widths[0], embedding)
        self.embed_shares = nn.Linear(2 * num_classes, embedding)
        self.embed = nn.Sequential(nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.enter = _convolution(num_classes * patch**2, widths[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        previous = widths[0]
        for width in widths:
            self.down.append(_Block(previous, width, embedding))
            previous = width
        self.middle = _Block(previous, previous, embedding)
        for width in reversed(widths):
            self.up.append(_Block(previous + width, width, embedding))
            previous = width
        self.normal = nn.GroupNorm(8, previous)
        self.leave = _convolution(previous, num_classes * patch**2)
        nn.init.zeros_(self.leave.weight)
        self.own = nn.Linear(embedding, num_classes)
        nn.init.zeros_(self.own.weight)
        nn.init.zeros_(self.own.bias)

    def forward(self, noisy: Tensor, sigma: Tensor, shares: Tensor) -> Tensor:
        """Logits "batch class height width".

        Args:
            noisy: one-hot planes plus noise, "batch class height width"; sides are multiples of
                `patch` times 2 per level.
            sigma: standard deviation of the noise, "batch".
            shares: class shares, "batch class".
        """
        half = self.frequencies // 2
        rates = torch.exp(-math.log(100.0) * torch.arange(half, device=noisy.device) / half)
        angles = 4.0 * sigma.log()[:, None] * rates  # EDM, table 1: the level enters by its log
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        # Roots beside the shares: a class of one percent must not look like none.
        wish = torch.cat([shares, shares.sqrt()], dim=1)
        embedding = self.embed(self.embed_noise(waves) + self.embed_shares(wish))
        scale = (sigma.square() + _VARIANCE).rsqrt()  # EDM, table 1: c_in
        x = self.enter(F.pixel_unshuffle(noisy * scale[:, None, None, None], self.patch))
        passed = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x, embedding)
            passed.append(x)
        x = self.middle(x, embedding)
        for level, block in enumerate(self.up):
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, passed.pop()], dim=1), embedding)
        learned = F.pixel_shuffle(self.leave(F.silu(self.normal(x))), self.patch)
        # Were pixels independent, Bayes' rule would give share · exp(−|x − e_c|² / 2σ²) for class
        # c, that is log share + x_c / σ² up to a constant. The shares are added as they are; how
        # much a pixel's own value counts beside its neighbours is learned per noise level.
        prior = shares.clamp_min(_LEAST).log()[:, :, None, None]
        evidence = noisy / sigma.square()[:, None, None, None]
        logits: Tensor = learned + prior + self.own(embedding)[:, :, None, None] * evidence
        return logits


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """3 × 3; edges are repeated: zeros make edges unsure, and moved pixels then gather there."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")


class _Block(nn.Module):
    """Residual block whose channels are scaled and shifted by the embedding."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.GroupNorm(8, channels_in)
        self.conv_first = _convolution(channels_in, channels_out)
        self.modulate = nn.Linear(embedding, 2 * channels_out)
        self.second = nn.GroupNorm(8, channels_out)
        self.conv_second = _convolution(channels_out, channels_out)
        nn.init.zeros_(self.conv_second.weight)
        same = channels_in == channels_out
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv_first(F.silu(self.first(x)))
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, dim=1)
        y = self.conv_second(F.silu(self.second(y) * (1 + scale) + shift))
        out: Tensor = self.skip(x) + y
        return out

"""Networks of the style-based generator and of its discriminator, in plain torch operations.

After Karras et al. 2019 (StyleGAN, arXiv 1812.04948) and 2020 (StyleGAN2, arXiv 1912.04958).
Learning rates are equalised as in Karras et al. 2018 (arXiv 1710.10196, section 4.1): weights are
drawn from N(0, 1) and scaled by 1/√(fan-in) where they are used. A leaky rectifier's gain of √2 is
taken by the layer before it (√2 · max(x, x/5) = max(√2 x, √2 x/5)), which spares a pass over all
features.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terraloom.generators._class_shares import SharesMemory

_START: Final = 4
"""Side of the learned constant that every image grows from."""
_GROUP: Final = 4
"""Images whose deviation the discriminator sees together."""
_GAIN: Final = math.sqrt(2.0)
"""Keeps the variance through a leaky rectifier."""
_STABLE: Final = 1e-8
_REMEMBERED: Final = 512
"""Class shares of training crops that are kept."""


class Linear(nn.Module):
    """Fully connected layer with equalised learning rate."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: float = 0.0, pace: float = 1.0, gain: float = 1.0
    ) -> None:
        """`pace` multiplies the learning rate (0.01 in the mapping network), `gain` the output."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / pace)
        self.bias = nn.Parameter(torch.full((outputs,), bias / pace))
        self.scale = gain * pace / math.sqrt(inputs)
        self.pace = gain * pace

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.pace)


class Convolution(nn.Module):
    """Convolution with equalised learning rate."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel**2)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        padding = self.weight.shape[-1] // 2
        bias = None if self.bias is None else self.bias * self.gain
        return F.conv2d(x, self.weight * self.scale, bias, padding=padding)


class ModulatedConvolution(nn.Module):
    """Convolution whose input channels are scaled per sample, then brought to unit variance.

    StyleGAN2, eqs. 1-3: w' = s_i · w and w'' = w' / √(Σ w'² + ε), with one weight per sample.
    Scaling the input channels by s and the output channels by 1 / √(Σ_i s_i² Σ_k w_ik² + ε) is the
    same map, since convolution is linear, and lets the whole batch share one weight: grouped
    convolutions are slow on CPUs.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, style: int, *, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.affine = Linear(style, inputs, bias=1.0)
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.demodulate = demodulate
        self.padding = kernel // 2

    def forward(self, x: Tensor, style: Tensor, *, double: bool = False) -> tuple[Tensor, Tensor]:
        """Convolve "batch channel height width"; `double` doubles the side before.

        Returns:
            The convolution of the scaled input, and what its channels are to be scaled by, "batch
            channel 1 1"; whoever goes over the features next multiplies both in passing.
        """
        scales = self.affine(style)
        weight = self.weight * self.scale
        x = x * scales[:, :, None, None]
        if double:
            x = doubled(x)
        x = F.conv2d(x, weight, padding=self.padding)
        if not self.demodulate:
            return x, x.new_ones(1, 1, 1, 1)
        power = scales.square() @ weight.square().sum(dim=(2, 3)).t()
        return x, (power + _STABLE).rsqrt()[:, :, None, None]


class Mapping(nn.Module):
    """Latent z (and class shares) to style w.

    Beside its weights it keeps the mean style, for truncation, and the class shares of the crops
    that it was shown last, from which samples draw theirs where none are asked for.
    """

    mean: Tensor

    def __init__(self, latent: int, layers: int, num_shares: int) -> None:
        """`num_shares` is the length of the shares vector, 0 without conditioning."""
        super().__init__()
        self.embed = Linear(num_shares, latent) if num_shares else None
        inputs = latent * (2 if num_shares else 1)
        sizes = [inputs] + [latent] * layers
        self.layers = nn.ModuleList(
            Linear(a, b, pace=0.01, gain=_GAIN) for a, b in itertools.pairwise(sizes)
        )
        self.register_buffer("mean", torch.zeros(latent))
        if num_shares:
            self.memory = SharesMemory(num_shares, _REMEMBERED)

    def forward(self, z: Tensor, shares: Tensor | None) -> Tensor:
        x = _unit(z)
        if self.embed is not None:
            assert shares is not None
            x = torch.cat([x, _unit(self.embed(shares))], dim=1)
        for layer in self.layers:
            x = _rectified(layer(x))
        return x

    @torch.no_grad()
    def track(self, styles: Tensor) -> None:
        """Move the mean style toward this batch's."""
        self.mean.lerp_(styles.detach().float().mean(dim=0), 0.005)


class _StyledLayer(nn.Module):
    """Modulated convolution, noise per pixel, bias, leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.convolution = ModulatedConvolution(inputs, outputs, 3, style)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor, *, double: bool = False) -> Tensor:
        x, scale = self.convolution(x, style, double=double)
        x = torch.addcmul(noise * (self.strength * _GAIN), x, scale * _GAIN)
        return _rectified(x + self.bias[None, :, None, None] * _GAIN)


class StyleGenerator(nn.Module):
    """Style and noise to a standardised image; every level adds to the image (skip outputs).

    StyleGAN2, section 4.1 and figure 7b. Per-pixel noise is given from outside, so that a sample's
    depends on nothing but its seed.
    """

    def __init__(
        self, size: int, width: int, most: int, latent: int, layers: int, num_shares: int
    ) -> None:
        super().__init__()
        self.mapping = Mapping(latent, layers, num_shares)
        self.sides = _sides(size)
        widths = [channels_at(side, size, width, most) for side in self.sides]
        self.constant = nn.Parameter(torch.randn(1, widths[0], _START, _START))
        self.first = nn.ModuleList(
            _StyledLayer(a, b, latent) for a, b in itertools.pairwise(widths)
        )
        self.second = nn.ModuleList(_StyledLayer(w, w, latent) for w in widths)
        self.to_image = nn.ModuleList(
            ModulatedConvolution(w, 3, 1, latent, demodulate=False) for w in widths
        )
        self.offset = nn.Parameter(torch.zeros(3))

    @property
    def noise_length(self) -> int:
        """Numbers of noise that one sample needs: a plane per styled layer."""
        return sum(side**2 for side in self.sides) + sum(side**2 for side in self.sides[1:])

    def forward(
        self, z: Tensor, noise: Tensor, shares: Tensor | None = None, truncation: float = 1.0
    ) -> Tensor:
        """Images "batch 3 height width" in standard deviations from the mean.

        Args:
            z: latent, "batch latent", standard normal.
            noise: "batch noise_length", standard normal.
            shares: class shares, "batch class"; None without conditioning.
            truncation: ψ of StyleGAN's appendix B: 1 leaves styles as they are, 0 is the mean.
        """
        style = self.mapping(z, shares)
        if self.training:
            self.mapping.track(style)
        if truncation < 1.0:
            style = torch.lerp(self.mapping.mean, style, truncation)
        planes = iter(self._planes(noise))
        x = self.constant.expand(len(z), -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for level, (layer, paint) in enumerate(zip(self.second, self.to_image, strict=True)):
            if level:
                x = self.first[level - 1](x, style, next(planes), double=True)
            x = layer(x, style, next(planes))
            drawn, _ = paint(x, style)
            image = drawn if image is None else doubled(image) + drawn
        assert image is not None
        return image + self.offset[None, :, None, None]

    def _planes(self, noise: Tensor) -> list[Tensor]:
        layers = [self.sides[0], *(side for side in self.sides[1:] for _ in range(2))]
        parts = torch.split(noise, [side**2 for side in layers], dim=1)
        return [p.reshape(-1, 1, side, side) for p, side in zip(parts, layers, strict=True)]


class _ResidualBlock(nn.Module):
    """Two convolutions with a halving between them, beside a linear path that halves as well.

    The paper's second convolution has a stride behind a blur; here it works on the halved features,
    a quarter of the operations.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Convolution(inputs, inputs, 3, gain=_GAIN)
        # Both paths add up to unit variance: the paper's division of the sum by √2, taken before.
        self.second = Convolution(inputs, outputs, 3)
        self.skip = Convolution(inputs, outputs, 1, bias=False, gain=1 / _GAIN)

    def forward(self, x: Tensor) -> Tensor:
        y = halved(_rectified(self.first(x)))
        y = _rectified(self.second(y))
        out: Tensor = y + self.skip(halved(x))
        return out


class ResidualDiscriminator(nn.Module):
    """How real an image looks, and, with conditioning, how well it fits its shares.

    Residual after StyleGAN2, figure 7c, with the deviation over the minibatch as a last feature.
    Shares enter by projection (Miyato and Koyama 2018, arXiv 1802.05637, eq. 3); a second output
    names the shares that it sees (as Odena et al. 2017, arXiv 1610.09585, do with classes).
    """

    def __init__(self, size: int, width: int, most: int, num_shares: int) -> None:
        super().__init__()
        sides = _sides(size)[::-1]
        widths = [channels_at(side, size, width, most) for side in sides]
        last = widths[-1]
        self.enter = Convolution(3, widths[0], 1, gain=_GAIN)
        self.blocks = nn.ModuleList(_ResidualBlock(a, b) for a, b in itertools.pairwise(widths))
        self.merge = Convolution(last + 1, last, 3, gain=_GAIN)
        self.hidden = Linear(last * _START**2, last, gain=_GAIN)
        self.verdict = Linear(last, 1)
        self.project = Linear(num_shares, last) if num_shares else None
        self.name = Linear(last, num_shares) if num_shares else None

    def forward(self, images: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Verdicts "batch" (above 0 real) and logits of shares "batch class" (empty without)."""
        x = _rectified(self.enter(images))
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x, _minibatch_deviation(x)], dim=1)
        x = _rectified(self.merge(x))
        features = _rectified(self.hidden(x.flatten(1)))
        verdict = self.verdict(features)[:, 0]
        if self.project is None or self.name is None:
            return verdict, verdict.new_zeros(len(verdict), 0)
        assert shares is not None
        match = (_unit(self.project(shares)) * features).sum(dim=1) / math.sqrt(features.shape[1])
        return verdict + match, self.name(features)


def channels_at(side: int, size: int, width: int, most: int) -> int:
    """Channels of the level of that side: `width` at full size, doubled per halving, capped."""
    return min(width * size // side, most)


def doubled(x: Tensor) -> Tensor:
    """Twice the side, blurred with 1 3 3 1: what bilinear interpolation between centres is."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def halved(x: Tensor) -> Tensor:
    """Half the side behind the low-pass 1 3 3 1 in both directions: no checkerboard, no aliases."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4).contiguous()
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def _sides(size: int) -> Sequence[int]:
    return [_START << level for level in range(int(math.log2(size // _START)) + 1)]


def _rectified(x: Tensor) -> Tensor:
    """Leaky rectifier, in place: the features before it are needed nowhere."""
    return F.leaky_relu(x, 0.2, inplace=True)


def _unit(x: Tensor) -> Tensor:
    """Scaled to a mean square of one (StyleGAN, section 4)."""
    return x * (x.square().mean(dim=1, keepdim=True) + _STABLE).rsqrt()


def _minibatch_deviation(x: Tensor) -> Tensor:
    """One plane per image: mean deviation of features within its group (arXiv 1710.10196, 3)."""
    count, channels, height, width = x.shape
    group = _GROUP if count % _GROUP == 0 else count
    parts = x.reshape(group, -1, channels, height, width)
    spread = (parts.var(dim=0, unbiased=False) + _STABLE).sqrt().mean(dim=(1, 2, 3))
    return spread.repeat(group).reshape(-1, 1, 1, 1).expand(-1, 1, height, width)

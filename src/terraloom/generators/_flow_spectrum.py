"""What `flow` knows of its data before it learns: how tones and patches vary, and what follows."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_COUNTED_IMAGES: Final = 512
"""Training images that are counted."""
_LEAST_VARIANCE: Final = 1e-4
"""Of a direction, where standardised channels have 1: about what rounding to 8 bits adds."""


def tone_of(x: Tensor) -> Tensor:
    """Mean per channel "batch channel 1 1" of "batch channel height width"."""
    return x.mean(dim=(2, 3), keepdim=True)


class ToneSpectrum(nn.Module):
    """How the tone of images, their mean per channel, varies; noise is given tones that vary so.

    The mean of white noise over n pixels has a variance of 1 / n, of images about a half. The tone
    of x = t · data + (1 − t) · noise is therefore that of the image from t = 0.03 on (64 by 64
    pixels): it would have to be decided within a sampler's first step, at times that hardly occur
    in training, so all samples would get the mean tone. With tones that vary alike it is decided
    over the whole path, as Falck et al. 2025 (arXiv 2505.11278) do for all frequencies;
    here the others keep white noise, so that a mask's shapes come before their texture.

    Masks in the making have a tone as well, the mean of their digits: which classes there are.

    Args:
        channels: per pixel.
        apart: channels of the first of two groups that are never made together; None: one group.
    """

    together: Tensor
    covariance: Tensor
    root: Tensor
    inverse: Tensor
    seen: Tensor

    def __init__(self, channels: int, apart: int | None = None) -> None:
        super().__init__()
        first = torch.arange(channels) < (channels if apart is None else apart)
        self.register_buffer("together", first[:, None] == first, persistent=False)
        self.register_buffer("covariance", torch.zeros(channels, channels))
        self.register_buffer("root", torch.eye(channels))
        self.register_buffer("inverse", torch.eye(channels))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def learn(self, data: Tensor) -> None:
        """Count in standardised training data "batch channel height width".

        What comes after the first images is not counted.
        """
        if int(self.seen) >= _COUNTED_IMAGES:
            return
        tones = tone_of(data).flatten(1)
        fresh = tones.T @ tones / len(tones) * self.together
        self.seen += len(data)
        self.covariance.lerp_(fresh, len(data) / int(self.seen))
        sizes, axes = torch.linalg.eigh(self.covariance.double().cpu())
        sizes = sizes.clamp_min(_LEAST_VARIANCE).sqrt()
        self.root.copy_(axes * sizes @ axes.T)
        self.inverse.copy_(axes / sizes @ axes.T)

    def given_to(self, noise: Tensor) -> Tensor:
        """White noise "batch channel height width" with the tones of images in place of its own.

        Nothing else is drawn: the tone's chance is that of the noise's mean.
        """
        mean = tone_of(noise)
        return noise - mean + self.dyed(mean * (noise.shape[2] * noise.shape[3]) ** 0.5)

    def dyed(self, tones: Tensor) -> Tensor:
        """Tones "batch channel 1 1" of variance 1 in every direction, brought to that of images."""
        return F.conv2d(tones, self.root[:, :, None, None])

    def evened(self, tones: Tensor) -> Tensor:
        """The other way round: tones scaled to variance 1 in every direction."""
        return F.conv2d(tones, self.inverse[:, :, None, None])


class PatchSpectrum(nn.Module):
    """How much data varies along each direction of a patch, and what follows for noisy data.

    Data and noise are taken without tones, which `ToneSpectrum` knows of. With
    x = t · data + s · noise, s = 1 − t, noise white and uncorrelated with data of covariance C,
    the best linear estimate of data − noise along an eigenvector of C with variance λ is
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
        """Count in standardised training data "batch channel height width" without its tone.

        What comes after the first images is not counted.
        """
        if int(self.seen) >= _COUNTED_IMAGES:
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

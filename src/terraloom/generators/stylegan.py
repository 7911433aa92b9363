"""Style-based GAN for images without masks: adaptive augmentation, class shares on demand.

Networks after StyleGAN2 (Karras et al. 2020, arXiv 1912.04958), adaptive augmentation of what the
discriminator sees after ADA (arXiv 2006.06676), gradient penalty R1 after Mescheder et al. 2018
(arXiv 1801.04406, eq. 9), and as another objective the regularised relativistic loss of R3GAN
(Huang et al. 2025, arXiv 2501.05441, eqs. 2-3). Written from the papers. Style mixing and the path
length penalty are left out, as in StyleGAN3 (arXiv 2106.12423), which found them of no use.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from terraloom.classes import UNKNOWN
from terraloom.errors import SettingsError
from terraloom.generators._augmentation import AdaptiveStrength, augment
from terraloom.generators._face import DataShape, GeneratorSettings, Making
from terraloom.generators._layers import class_shares, seeded_normal
from terraloom.generators._stylegan_networks import ResidualDiscriminator, StyleGenerator
from terraloom.learning.batches import Batch
from terraloom.learning.device import placed
from terraloom.learning.ema import averaged_copy, update_average
from terraloom.seeds import derive_seed

SAMPLES_MASKS: Final = False
"""Whether samples are made for masks."""
SAMPLES_FREELY: Final = True
"""Whether unconditional samples are made as well."""
TRAINING_RATE: Final = 50.0
"""Images of 64 pixels per second on two CPU cores at default width, for estimates of time."""
SAMPLING_RATE: Final = 400.0
"""As `TRAINING_RATE`, for sampling."""
SIZES: Final = (32, 64, 128, 256)
"""Sides of images that it can make."""


class Settings(GeneratorSettings):
    """Options of `[generators.stylegan]`."""

    images: int = Field(default=60_000, ge=1)
    """Images seen in training: updates times batch."""
    batch_size: int = Field(default=8, ge=4, multiple_of=4)
    """Images per update; small, since at short budgets many updates matter more."""
    width: int = Field(default=16, ge=8, multiple_of=8)
    """Channels at full resolution, doubled with every halving of the side."""
    widest: int = Field(default=128, ge=16, multiple_of=8)
    """Most channels of any level."""
    latent: int = Field(default=128, ge=8)
    """Length of latent and style."""
    mapping_layers: int = Field(default=2, ge=1)
    """Layers from latent to style."""
    objective: Literal["non-saturating", "relativistic"] = "non-saturating"
    """Loss: that of StyleGAN2 with R1, or R3GAN's with R1 and R2."""
    rate: float = Field(default=2.5e-3, gt=0)
    """Adam's rate for both networks."""
    penalty: float = Field(default=0.5, ge=0)
    """Weight γ of the gradient penalty on standardised images."""
    penalty_every: int = Field(default=16, ge=1)
    """Updates between two penalties, which then weigh as many times more."""
    augment_start: float = Field(default=0.0, ge=0, le=0.8)
    """Strength that augmentation starts with: the probability of each kind of change."""
    augment_target: float = Field(default=0.6, ge=0, lt=1)
    """Overfit of the discriminator that the strength is steered toward; 0 holds the strength."""
    augment_images: int = Field(default=50_000, ge=100)
    """Images within which the strength could go from 0 to 1: the paper's 500,000 suit trainings of
    25 million images."""
    shares: bool = False
    """Whether class shares can be asked for; free samples then draw theirs as training crops have
    them."""
    shares_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss by which the discriminator names the shares that it sees."""
    truncation: float = Field(default=1.0, ge=0, le=1)
    """Styles of samples are drawn in toward their mean below 1: cleaner, and less varied."""


class StyleganGenerator:
    """Networks, optimisers and losses of the method."""

    makes: frozenset[Making] = frozenset({"unconditional"})

    def __init__(self, settings: Settings, shape: DataShape, fabric: Fabric) -> None:
        if shape.size not in SIZES:
            raise SettingsError(
                f"generators.stylegan makes images of {', '.join(map(str, SIZES))} pixels, not of "
                f"{shape.size}. Set generate.size to one of these, or leave stylegan out."
            )
        self.settings = settings
        self.takes_shares = settings.shares
        self.num_classes = shape.num_classes
        self.fabric = fabric
        # Standardised images: colour changes and penalty then mean the same on any data.
        self.mean = fabric.to_device(torch.tensor(shape.mean).reshape(1, 3, 1, 1))
        self.std = fabric.to_device(torch.tensor(shape.std).reshape(1, 3, 1, 1))
        s, num_shares = settings, shape.num_classes if settings.shares else 0
        self.generator = placed(
            StyleGenerator(shape.size, s.width, s.widest, s.latent, s.mapping_layers, num_shares),
            fabric,
        )
        self.discriminator = placed(
            ResidualDiscriminator(shape.size, s.width, s.widest, num_shares), fabric
        )
        self.average = averaged_copy(self.generator)
        self._generator, self.generator_optimizer = fabric.setup(
            self.generator, Adam(self.generator.parameters(), s.rate, betas=(0.0, 0.99))
        )
        # StyleGAN2, appendix B: penalties are updates of their own, so all others slow down.
        ratio = s.penalty_every / (s.penalty_every + 1) if s.penalty > 0 else 1.0
        self._discriminator, self.discriminator_optimizer = fabric.setup(
            self.discriminator,
            Adam(self.discriminator.parameters(), s.rate * ratio, betas=(0.0, 0.99**ratio)),
        )
        self.strength = AdaptiveStrength(s.augment_start, s.augment_target, s.augment_images)
        self.updates = 0
        self.penalty = 0.0

    def modules(self) -> Mapping[str, nn.Module]:
        """Generator, discriminator and averaged generator."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
        }

    def sampling_modules(self) -> Mapping[str, nn.Module]:
        """The averaged generator."""
        return {"average": self.average}

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Both Adams."""
        return {
            "generator": self.generator_optimizer,
            "discriminator": self.discriminator_optimizer,
        }

    def numbers(self) -> dict[str, Any]:
        """Updates so far, the augmentation's controller, the last penalty."""
        return {
            "updates": self.updates,
            "augmentation": self.strength.numbers(),
            "penalty": self.penalty,
        }

    def restore_numbers(self, numbers: Mapping[str, Any]) -> None:
        """Take updates, controller and penalty back."""
        self.updates = int(numbers["updates"])
        self.strength.restore_numbers(numbers["augmentation"])
        self.penalty = float(numbers["penalty"])

    def step(self, batch: Batch, random: np.random.Generator, progress: float) -> dict[str, float]:
        """One update of the discriminator, a penalty when it is due, one of the generator."""
        real = (self.fabric.to_device(batch.images) - self.mean) / self.std
        count = len(real)
        shares = None
        if self.settings.shares:
            shares = self.fabric.to_device(class_shares(batch.labels, self.num_classes))
            self.generator.mapping.memory.remember(shares)
        z = random.standard_normal((count, self.settings.latent), dtype=np.float32)
        grain = random.standard_normal((count, self.generator.noise_length), dtype=np.float32)
        noise = (torch.from_numpy(z), torch.from_numpy(grain))
        self._generator.train()
        # One batch of fakes serves both updates: the generator's forward pass is half its cost.
        fake = self._generator(*map(self.fabric.to_device, noise), shares)

        strength = self.strength.value
        shown_real = augment(real, strength, random)
        self.discriminator_optimizer.zero_grad()
        on_real, named = self._discriminator(shown_real, shares)
        on_fake, _ = self._discriminator(augment(fake.detach(), strength, random), shares)
        loss_discriminator = self._discriminator_loss(on_real, on_fake)
        naming = _naming_loss(named, shares)
        self.fabric.backward(loss_discriminator + self.settings.shares_weight * naming)
        self.discriminator_optimizer.step()
        # Relative verdicts have no zero of their own: there the overfit is told between pairs.
        relative = self.settings.objective == "relativistic"
        self.strength.observe(on_real - on_fake if relative else on_real)
        if self.settings.penalty > 0 and self.updates % self.settings.penalty_every == 0:
            inputs = [shown_real] if not relative else [shown_real, augment(fake, strength, random)]
            self._penalise([shown.detach() for shown in inputs], shares)

        self.generator_optimizer.zero_grad()
        # The discriminator's own gradients are not needed here, which spares a third of its work.
        self.discriminator.requires_grad_(False)
        verdict, named = self._discriminator(augment(fake, strength, random), shares)
        reference = None
        if relative:
            with torch.no_grad():
                reference, _ = self._discriminator(shown_real, shares)
        loss_generator = self._generator_loss(verdict, reference)
        naming_fake = _naming_loss(named, shares)
        self.fabric.backward(loss_generator + self.settings.shares_weight * naming_fake)
        self.discriminator.requires_grad_(True)
        self.generator_optimizer.step()
        self.updates += 1
        update_average(self.average, self.generator, self.settings.ema, self.updates)
        figures = {
            "discriminator": float(loss_discriminator.detach()),
            "generator": float(loss_generator.detach()),
            "penalty": self.penalty,
            "augmentation": self.strength.value,
            "overfit": self.strength.overfit,
        }
        if shares is not None:
            figures |= {
                "naming": float(naming.detach()),
                "naming_fake": float(naming_fake.detach()),
            }
        return {key: round(value, 5) for key, value in figures.items()}

    @torch.inference_mode()
    def sample(self, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """One image per mask; see the face.

        A mask never says where something lies. With `shares`, known pixels of a mask ask for their
        class shares; a mask that is unknown everywhere leaves them to the seed.
        """
        if not self.settings.shares:
            return self._images(seeds, None)
        shares = class_shares(labels, self.num_classes)
        free = (labels == UNKNOWN).flatten(1).all(dim=1)
        known = self.average.mapping.memory.known().cpu()
        drawn = known[[derive_seed(seed, "shares") % len(known) for seed in seeds]]
        return self._images(seeds, torch.where(free[:, None], drawn, shares))

    @torch.inference_mode()
    def sample_shares(self, shares: Tensor, seeds: Sequence[int]) -> Tensor:
        """One image per vector of class shares, "batch class", each row 0 … 1 with the sum 1.

        Raises:
            SettingsError: it was trained without `shares`, or rows are no shares.
        """
        if not self.settings.shares:
            raise SettingsError(
                "this stylegan was trained without class shares, so none can be asked for. "
                "Set shares = true under [generators.stylegan] and train again."
            )
        sums = shares.sum(dim=1)
        fits = shares.shape == (len(seeds), self.num_classes) and bool((shares >= 0).all())
        if not fits or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise SettingsError(
                f"class shares must be {self.num_classes} numbers from 0 to 1 per sample that sum "
                f"to 1, got {shares.tolist()}."
            )
        return self._images(seeds, shares.float())

    def _images(self, seeds: Sequence[int], shares: Tensor | None) -> Tensor:
        z = self.fabric.to_device(seeded_normal(seeds, (self.settings.latent,), "latent"))
        noise = seeded_normal(seeds, (self.average.noise_length,), "grain")
        asked = None if shares is None else self.fabric.to_device(shares)
        pixels: Tensor = self.average(
            z, self.fabric.to_device(noise), asked, self.settings.truncation
        )
        return (pixels.float() * self.std + self.mean).clamp(0, 1).cpu()

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        if self.settings.objective == "relativistic":
            return F.softplus(fake - real).mean()  # R3GAN, eq. 2: f(D(real) − D(fake))
        return (F.softplus(-real) + F.softplus(fake)).mean()

    def _generator_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        if real is not None:
            return F.softplus(real - fake).mean()
        return F.softplus(-fake).mean()

    def _penalise(self, shown: Sequence[Tensor], shares: Tensor | None) -> None:
        """R1 on real images, and R2 on made ones where given: γ/2 · E‖∇D‖² (R3GAN, eq. 3).

        The gradient is taken at the augmented image, which is what the discriminator sees. Applying
        it seldom is StyleGAN2's (section 4.1); the weight makes up for it.
        """
        self.discriminator_optimizer.zero_grad()
        total = self.mean.new_zeros(())
        for images in shown:
            images.requires_grad_(True)
            verdict, _ = self._discriminator(images, shares)
            (slope,) = torch.autograd.grad(verdict.sum(), images, create_graph=True)
            total = total + slope.square().sum(dim=(1, 2, 3)).mean()
        self.penalty = float(total.detach())
        weight = self.settings.penalty / 2 * self.settings.penalty_every
        self.fabric.backward(weight * total)
        self.discriminator_optimizer.step()


def build(settings: Settings, shape: DataShape, fabric: Fabric) -> StyleganGenerator:
    """The generator with fresh weights, seeded by torch's state.

    Raises:
        SettingsError: the size is none of `SIZES`.
    """
    return StyleganGenerator(settings, shape, fabric)


def _naming_loss(named: Tensor, shares: Tensor | None) -> Tensor:
    """Cross-entropy between the shares that are named and those that are there, less its floor."""
    if shares is None:
        return named.new_zeros(())
    surprise = -(shares * F.log_softmax(named, dim=1)).sum(dim=1)
    entropy = -(shares * shares.clamp_min(1e-9).log()).sum(dim=1)
    return (surprise - entropy).mean()

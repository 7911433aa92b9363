"""How a generator does while it trains: label fidelity, diversity, likeness, copies, and alarms.

Everything is measured on a fixed set of val crops with fixed seeds, so that figures of one training
compare with one another; each stands beside what real images reach on the same crops. Val steers
(stop, alarm), nothing is fitted on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.rows import TrainRows, ValRows, random_crop
from terraloom.fidelity.diversity import vendi_score
from terraloom.fidelity.kernel import squared_discrepancy
from terraloom.fidelity.memorisation import Known
from terraloom.fidelity.moments import Moments, frechet_distance
from terraloom.learning.confusion import confusion_of, figures_of
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import TrainedSegmenter
from terraloom.types import Float32Array, Float64Array, ImageU8, LabelMask

JUDGED: Final = 64
"""Val crops, and samples, that figures are taken from."""
_KNOWN: Final = 256
"""Train crops that samples are compared with."""
_PAIRS: Final = 16
"""Masks that two seeds are tried on."""
_BATCH: Final = 32
_LEAST_CEILING: Final = 1e-3
"""Below this the distance of shuffled pixels is chance, and no unit."""

COLLAPSED_VARIETY: Final = 0.35
"""Below this share of the real crops' effective number, samples repeat one another."""
COLLAPSED_SEEDS: Final = 0.02
"""Below this share of the real images' spread, seeds do not change a mask's image."""
ONE_TONE: Final = 0.5
"""Below this share of the spread of real images' tones, samples have nearly one tone."""
_LEAST_TONES: Final = 0.02
"""Real tones that spread less than this, of the range, are one tone themselves."""
MANY_COPIES: Final = 0.1
"""Above this share of samples nearer to a train crop than train crops are to one another."""

Draw = Callable[[Sequence[LabelMask], Sequence[int]], list[ImageU8]]
"""Images for masks and seeds."""
DrawPairs = Callable[[Sequence[int]], tuple[list[ImageU8], list[LabelMask]]]
"""Images and masks for seeds."""


@dataclass(frozen=True)
class RunningFigures:
    """Figures of one check; None where a generator does not make such samples."""

    agreement: float | None
    """Share of asked-for pixels that the labeller sees the same, 0 … 1."""
    agreement_real: float
    """The same on the real images of those masks: the ceiling."""
    miou: float | None
    """Macro IoU between asked-for masks and what the labeller sees, 0 … 1."""
    miou_real: float
    """The same on the real images: the ceiling."""
    diversity: float | None
    """Mean absolute difference between two seeds for one mask, 0 … 1 of the range."""
    diversity_real: float
    """The same between real images of different masks: far above what one mask allows."""
    tones: float
    """How much the mean of an image differs from one to the next: standard deviation, mean over
    channels, 0 … 1 of the range."""
    tones_real: float
    """The same of val crops."""
    kernel: float
    """Unbiased kernel distance of samples to val crops in the labeller's features, each brought to
    one length, in units of `kernel_unit`: 0 alike, 1 no better than colours at random places; can
    be a little negative."""
    kernel_unit: float
    """The ceiling: distance of train crops whose pixels are shuffled. 1 where that is no farther
    than train crops are as they are (images of one colour, a labeller blind to places): distances
    have no scale then, and compare within one training alone."""
    kernel_floor: float
    """The same of as many train crops."""
    frechet: float
    """Fréchet distance likewise; with so few samples only its floor gives it a meaning."""
    frechet_floor: float
    variety: float
    """Effective number of unlike samples (Vendi score)."""
    variety_real: float
    """The same of as many train crops."""
    nearest: float
    """Distance to the nearest train crop, median, in units of the val crops' median."""
    copies: float
    """Share of samples nearer to a train crop than 99 of 100 train crops are to their nearest."""
    alarms: tuple[str, ...]
    """What is wrong, in words; empty where nothing is."""

    def log(self) -> dict[str, object]:
        """For log and history: rounded, undefined figures left out."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return {k: round(v, 5) if isinstance(v, float) else v for k, v in told.items()}


class GeneratorMonitor:
    """Fixed crops and seeds that one generator is looked at with.

    Args:
        train: rows that it is fitted on; copies are looked for among their crops.
        val: rows whose masks are asked for, and whose images are the yardstick.
        classes: class table.
        size: side of samples in pixels.
        labeller: segmenter that reads samples, and in whose features they are compared.
        seed: of crops and samples.
    """

    def __init__(
        self,
        train: TrainRows,
        val: ValRows,
        classes: ClassTable,
        size: int,
        labeller: TrainedSegmenter,
        seed: int,
    ) -> None:
        self.num_classes = len(classes)
        self.labeller = labeller
        self.size = size
        random = generator_at(seed, "monitor")
        real = [random_crop(val, random, size) for _ in range(JUDGED)]
        self.images, self.masks = [image for image, _ in real], [mask for _, mask in real]
        self.seeds = [derive_seed(seed, "monitor", i) for i in range(JUDGED)]
        self.free = [np.full((size, size), UNKNOWN, dtype=np.uint8)] * JUDGED
        known = [random_crop(train, random, size)[0] for _ in range(_KNOWN)]
        train_features, val_features = self._raw(known), self._raw(self.images)
        self.known = Known.of(Moments.of(train_features), train_features, val_features)
        # On one scale, that of train crops, and of one length: else a few large features, and a
        # few bright images (snow, roofs), decide every distance.
        self.val_features = _of_one_length(self.known.scaler(val_features))
        self.val_moments = Moments.of(self.val_features)
        alike = _of_one_length(self.known.scaler(train_features[:JUDGED]))
        shuffled = _of_one_length(
            self._features([_shuffled(image, random) for image in known[:JUDGED]])
        )
        ceiling = squared_discrepancy(shuffled, self.val_features)
        floor = squared_discrepancy(alike, self.val_features)
        self.has_ceiling = bool(ceiling > max(floor, _LEAST_CEILING))
        self.kernel_unit = ceiling if self.has_ceiling else 1.0
        self.floors = {
            "kernel_unit": self.kernel_unit,
            "kernel_floor": floor / self.kernel_unit,
            "frechet_floor": frechet_distance(Moments.of(alike), self.val_moments).value,
            "variety_real": _variety(alike),
        }
        self.agreement_real, self.miou_real = self._read(self.images, self.masks)
        stack = np.stack(self.images).astype(np.float32) / 255
        self.diversity_real = float(np.abs(stack[1:] - stack[:-1]).mean())
        self.spread = float(stack.std(axis=(0, 1, 2)).mean())
        self.tones_real = _tones(self.images)

    def figures(self, draw: Draw, *, conditional: bool) -> RunningFigures:
        """Make samples and measure them.

        Args:
            draw: makes images; masks of 255 alone ask for unconditional samples.
            conditional: whether masks steer it.
        """
        if not conditional:
            return self._judged(draw(self.free, self.seeds))
        images = draw(self.masks, self.seeds)
        others = draw(self.masks[:_PAIRS], [seed ^ 1 for seed in self.seeds[:_PAIRS]])
        apart = np.stack(images[:_PAIRS]).astype(np.float32) - np.stack(others)
        return self._judged(images, self.masks, float(np.abs(apart).mean() / 255))

    def figures_of_pairs(self, draw: DrawPairs) -> RunningFigures:
        """Make images with masks and measure them; agreement is with the masks that came along.

        Args:
            draw: makes images and masks.
        """
        images, masks = draw(self.seeds)
        return self._judged(images, masks)

    def _judged(
        self,
        images: Sequence[ImageU8],
        masks: Sequence[LabelMask] | None = None,
        diversity: float | None = None,
    ) -> RunningFigures:
        features = self._features(images)
        agreement, miou = (None, None) if masks is None else self._read(images, masks)
        ratios = self.known.ratios(features)
        variety, tones = _variety(features), _tones(images)
        directions = _of_one_length(features)
        copies = float(self.known.copies(ratios).mean())
        kernel = float(squared_discrepancy(directions, self.val_features) / self.kernel_unit)
        return RunningFigures(
            agreement=agreement,
            agreement_real=self.agreement_real,
            miou=miou,
            miou_real=self.miou_real,
            diversity=diversity,
            diversity_real=self.diversity_real,
            tones=tones,
            tones_real=self.tones_real,
            kernel=kernel,
            frechet=frechet_distance(Moments.of(directions), self.val_moments).value,
            variety=variety,
            nearest=float(np.median(ratios)),
            copies=copies,
            alarms=self._alarms(variety, diversity, tones, copies, kernel),
            **self.floors,
        )

    def _alarms(
        self,
        variety: float,
        diversity: float | None,
        tones: float,
        copies: float,
        kernel: float,
    ) -> tuple[str, ...]:
        found = []
        real = self.floors["variety_real"]
        if variety < COLLAPSED_VARIETY * real:
            found.append(
                f"mode collapse: {JUDGED} samples are as varied as {variety:.1f} unlike ones, "
                f"as many real crops as {real:.1f}"
            )
        if diversity is not None and diversity < COLLAPSED_SEEDS * self.spread:
            found.append(
                f"the seed hardly matters: two images of one mask differ by {diversity:.4f} of "
                f"the range, real pixels spread by {self.spread:.4f}"
            )
        if self.tones_real > _LEAST_TONES and tones < ONE_TONE * self.tones_real:
            found.append(
                f"one tone: the mean of an image varies by {tones:.3f} of the range over samples, "
                f"by {self.tones_real:.3f} over real crops"
            )
        if copies > MANY_COPIES:
            found.append(
                f"copies: {100 * copies:.0f} % of samples lie nearer to a train crop than train "
                "crops lie to one another"
            )
        if self.has_ceiling and kernel > 1.0:
            found.append(
                f"unlike land: samples lie {kernel:.1f} times as far from val as train crops with "
                "their pixels shuffled"
            )
        return tuple(found)

    def _read(self, images: Sequence[ImageU8], masks: Sequence[LabelMask]) -> tuple[float, float]:
        """Pixel agreement and macro IoU of the labeller's labels with masks."""
        counts = np.zeros((self.num_classes, self.num_classes), dtype=np.int64)
        for start in range(0, len(images), _BATCH):
            seen = self.labeller.labels(images[start : start + _BATCH]).cpu().numpy()
            asked = np.stack(masks[start : start + _BATCH])
            counts += confusion_of(asked, seen.astype(np.uint8), self.num_classes)
        if not counts.any():  # masks that ask for nothing
            return 0.0, 0.0
        found = figures_of(counts)
        return float(found.accuracy), float(found.macro("iou"))

    def _features(self, images: Sequence[ImageU8]) -> Float64Array:
        """In units of the train crops' deviation, about their mean."""
        return self.known.scaler(self._raw(images))

    def _raw(self, images: Sequence[ImageU8]) -> Float32Array:
        parts = [
            self.labeller.features(images[start : start + _BATCH])
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate(parts)


def _of_one_length(features: Float64Array) -> Float64Array:
    """Directions about the mean of train crops; an image at that very mean has none and stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Float64Array = features / np.where(lengths > 0, lengths, 1.0) * features.shape[1] ** 0.5
    return scaled


def _tones(images: Sequence[ImageU8]) -> float:
    means = np.array([image.mean(axis=(0, 1)) for image in images])
    return float(means.std(axis=0).mean() / 255)


def _variety(features: Float64Array) -> float:
    """Vendi score about the mean of train crops, which has no direction and is left out."""
    apart = features[np.linalg.norm(features, axis=1) > 0]
    return vendi_score(apart).value if len(apart) else 1.0


def _shuffled(image: ImageU8, random: np.random.Generator) -> ImageU8:
    """The same colours at random places."""
    pixels = image.reshape(-1, 3)
    mixed: ImageU8 = pixels[random.permutation(len(pixels))].reshape(image.shape)
    return mixed

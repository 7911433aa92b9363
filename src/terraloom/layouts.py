"""Made label masks: targets by name, their figures against real masks, and a picture of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from scipy import ndimage

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.rows import TrainRows, ValRows
from terraloom.errors import SettingsError
from terraloom.files import atomic_path, write_json
from terraloom.generators._class_shares import shares_target
from terraloom.generators._face import LayoutGenerator
from terraloom.seeds import derive_seed, generator_at
from terraloom.types import Float64Array, LabelMask

_POOL: Final = 2048
"""Train crops that made masks are compared with, and that the baseline picks from."""
_COARSE: Final = 16
"""Side that masks are compared at; at 64 pixels every fourth pixel of a row."""
_JUDGED: Final = 48
"""Masks that running figures are taken from."""


def layout_masks(
    generator: LayoutGenerator,
    wanted: Sequence[Mapping[str, float]],
    seeds: Sequence[int],
    classes: ClassTable,
) -> list[LabelMask]:
    """One new mask per wish.

    Args:
        generator: trained.
        wanted: share per class name, 0 … 1; classes left out take the rest as train masks with such
            shares have it; an empty wish draws the shares of a train crop.
        seeds: one per wish.
        classes: the table that the generator was trained with.

    Returns:
        Labels "height width", the shares met to the pixel.

    Raises:
        SettingsError: a wish that no mask can fulfil, a name that is no class, or a class that no
            train mask shows.
    """
    targets = [shares_target(wish, classes) for wish in wanted]
    return generator.masks(targets, seeds, classes.names)


@dataclass(frozen=True)
class MaskFigures:
    """How a set of masks looks, without saying what it should look like."""

    patches: float
    """Connected patches (four neighbours) per mask, mean."""
    median_patch: float
    """Median of patch areas, pixels."""
    border_density: float
    """Pixel sides between different classes, per pixel."""
    classes_per_mask: float
    """Classes that cover at least 1 % of a mask, mean."""
    diversity: float
    """Part of the pixels in which two masks of the set differ, mean over pairs."""
    nearest_train: float
    """Part of the pixels in which a mask differs from the train crop most like it, median; 0 is a
    copy. On a grid of 16 × 16 pixels, mirror images and turns counted as copies."""


@dataclass(frozen=True)
class LayoutFigures:
    """Made masks beside real ones of val and beside the nearest train crop for the same target."""

    ratio_error: float
    """Difference between asked-for (completed) and made shares, mean over masks and classes."""
    ratio_error_by_class: dict[str, float]
    """As above, per class."""
    ratio_error_before: float
    """The same before the shares are met to the pixel: what the network does by itself."""
    ratio_error_nearest: float
    """The same for the baseline: of the train crops, the one whose shares are nearest."""
    adjacency_distance: float
    """Total variation, 0 … 1, between which classes touch (by length) in made and train masks."""
    adjacency_floor: float
    """The same between val and train masks."""
    made: MaskFigures
    nearest: MaskFigures
    """Of the baseline's masks."""
    real: MaskFigures
    """Of val crops: the floor of what made masks can be asked for."""
    masks: int
    """In each of the three sets."""


def layout_figures(
    generator: LayoutGenerator,
    train: TrainRows,
    val: ValRows,
    classes: ClassTable,
    size: int,
    seed: int,
    count: int = _JUDGED,
) -> LayoutFigures:
    """Ask for the shares of val crops and compare what is made with real masks.

    Args:
        generator: trained, or in training.
        train: rows that it is trained on; the baseline's and the nearest masks are crops of them.
        val: rows that lend their shares as targets, and whose crops are the floor.
        classes: class table.
        size: side of masks in pixels.
        seed: of crops and masks.
        count: masks made.
    """
    random = generator_at(seed, "layout figures")
    pool = _crops(train, _POOL, size, random)
    real = _crops(val, count, size, random)
    targets = [_shares(mask, len(classes)) for mask in real]
    pool_shares = np.stack([_shares(mask, len(classes)) for mask in pool])
    # A class that val shows and train does not cannot be asked for.
    taught = pool_shares.max(axis=0) > 0
    targets = [_renormalised(np.where(taught, target, 0.0)) for target in targets]
    seeds = [derive_seed(seed, "layout figures", index) for index in range(count)]
    made = generator.masks(targets, seeds, classes.names)
    before = generator.masks(targets, seeds, classes.names, exact=False)
    apart = np.abs(pool_shares[None] - np.stack(targets)[:, None]).sum(axis=2)
    nearest = [pool[int(index)] for index in apart.argmin(axis=1)]
    by_class = _ratio_errors(made, targets)
    touching = _touching(pool, len(classes))
    coarse = _Coarse(pool)
    return LayoutFigures(
        ratio_error=float(by_class.mean()),
        ratio_error_by_class=dict(zip(classes.names, map(float, by_class), strict=True)),
        ratio_error_before=float(_ratio_errors(before, targets).mean()),
        ratio_error_nearest=float(_ratio_errors(nearest, targets).mean()),
        adjacency_distance=_total_variation(_touching(made, len(classes)), touching),
        adjacency_floor=_total_variation(_touching(real, len(classes)), touching),
        made=_mask_figures(made, coarse),
        nearest=_mask_figures(nearest, coarse),
        real=_mask_figures(real, coarse),
        masks=count,
    )


def layout_log(figures: LayoutFigures) -> dict[str, float]:
    """The figures that belong in a training's log, rounded."""
    told = {
        "ratio_error": figures.ratio_error,
        "ratio_error_before": figures.ratio_error_before,
        "ratio_error_nearest": figures.ratio_error_nearest,
        "adjacency_distance": figures.adjacency_distance,
        "diversity": figures.made.diversity,
        "nearest_train": figures.made.nearest_train,
        "patches": figures.made.patches,
        "patches_real": figures.real.patches,
    }
    return {name: round(value, 5) for name, value in told.items()}


def write_layout_figures(figures: LayoutFigures, path: Path) -> None:
    """All figures as JSON, atomically."""
    told: dict[str, Any] = asdict(figures)
    write_json(path, told)


def write_layout_grid(
    generator: LayoutGenerator,
    train: TrainRows,
    classes: ClassTable,
    size: int,
    seed: int,
    path: Path,
    columns: int = 8,
) -> None:
    """A picture of masks. Rows: real train crops, free masks, then 30 % of each taught class."""
    random = generator_at(seed, "layout grid")
    real = _crops(train, columns, size, random)
    seeds = [derive_seed(seed, "layout grid", index) for index in range(columns)]
    rows = [real, layout_masks(generator, [{}] * columns, seeds, classes)]
    for name in classes.names:
        try:
            rows.append(layout_masks(generator, [{name: 0.3}] * columns, seeds, classes))
        except SettingsError:  # no train mask shows the class, or none shows another
            continue
    drawn = [np.concatenate([classes.colour_image(m) for m in row], axis=1) for row in rows]
    picture = Image.fromarray(np.concatenate(drawn, axis=0))
    picture = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


class _Coarse:
    """Train crops at a coarse grid, in all eight positions, to find the one most like a mask."""

    def __init__(self, pool: Sequence[LabelMask]) -> None:
        small = np.stack([self._small(mask) for mask in pool])
        turned = [np.rot90(small, turns, (1, 2)) for turns in range(4)]
        turned += [view[:, :, ::-1] for view in turned]
        self.crops = np.concatenate(turned).reshape(8 * len(small), -1)

    @staticmethod
    def _small(mask: LabelMask) -> LabelMask:
        picks = (np.arange(_COARSE) * mask.shape[0]) // _COARSE
        return mask[np.ix_(picks, picks)]

    def distance(self, mask: LabelMask) -> float:
        """Part of the pixels in which the nearest crop differs, 0 … 1."""
        differs = self.crops != self._small(mask).reshape(1, -1)
        return float(differs.mean(axis=1).min())


def _crops(
    rows: TrainRows | ValRows, count: int, size: int, random: np.random.Generator
) -> list[LabelMask]:
    """Random crops; unknown pixels stay unknown."""
    found = []
    for _ in range(count):
        mask = rows[int(random.integers(len(rows)))].mask
        top, left = (int(random.integers(side - size + 1)) for side in mask.shape)
        found.append(mask[top : top + size, left : left + size])
    return found


def _shares(mask: LabelMask, num_classes: int) -> Float64Array:
    counts = np.bincount(mask[mask != UNKNOWN], minlength=num_classes)[:num_classes].astype(float)
    return _renormalised(counts)


def _renormalised(counts: Float64Array) -> Float64Array:
    total = counts.sum()
    result: Float64Array = counts / total if total > 0 else np.full(len(counts), np.nan)
    return result


def _ratio_errors(masks: Sequence[LabelMask], targets: Sequence[Float64Array]) -> Float64Array:
    """Mean absolute difference of shares per class; free targets have none."""
    apart = [
        np.abs(_shares(mask, len(target)) - target)
        for mask, target in zip(masks, targets, strict=True)
    ]
    result: Float64Array = np.nan_to_num(np.nanmean(np.stack(apart), axis=0))
    return result


def _touching(masks: Sequence[LabelMask], num_classes: int) -> Float64Array:
    """How the length of borders divides among pairs of classes: "class class", with the sum 1."""
    lengths = np.zeros((num_classes, num_classes))
    for mask in masks:
        for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            differ = (one != other) & (one != UNKNOWN) & (other != UNKNOWN)
            low, high = np.minimum(one, other)[differ], np.maximum(one, other)[differ]
            np.add.at(lengths, (low, high), 1)
    parts: Float64Array = lengths / max(lengths.sum(), 1.0)
    return parts


def _total_variation(one: Float64Array, other: Float64Array) -> float:
    return float(np.abs(one - other).sum() / 2)


def _mask_figures(masks: Sequence[LabelMask], coarse: _Coarse) -> MaskFigures:
    areas: list[int] = []
    borders, kinds, numbers = [], [], []
    for mask in masks:
        before = len(areas)
        for label in np.unique(mask[mask != UNKNOWN]):
            numbered, _ = ndimage.label(mask == label)
            areas += np.bincount(numbered.ravel())[1:].tolist()
        numbers.append(len(areas) - before)
        sides = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
        borders.append(sides / mask.size)
        kinds.append(
            int((np.bincount(mask.ravel(), minlength=256)[:UNKNOWN] >= mask.size / 100).sum())
        )
    pairs = [float((a != b).mean()) for i, a in enumerate(masks) for b in masks[:i]]
    return MaskFigures(
        patches=float(np.mean(numbers)),
        median_patch=float(np.median(areas)),
        border_density=float(np.mean(borders)),
        classes_per_mask=float(np.mean(kinds)),
        diversity=float(np.mean(pairs)) if pairs else 0.0,
        nearest_train=float(np.median([coarse.distance(mask) for mask in masks])),
    )

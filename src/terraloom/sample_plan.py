"""What to make: whose masks lend their shapes, which class shares are asked for, and why.

`as-real` takes every train mask about equally often. `balanced` and `toward` draw crops of train
masks with weights that bring the mean class shares to a target while staying as even as they can
(maximum entropy under linear constraints: weights exp(λ · shares), Jaynes 1957), so that a plan
never rests on one lucky crop where many would do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.rows import TrainRows
from terraloom.errors import SettingsError
from terraloom.generators._class_shares import shares_target
from terraloom.generators._face import Making
from terraloom.seeds import derive_seed, generator_at
from terraloom.settings import GenerateSettings
from terraloom.types import Float64Array, LabelMask, Origin

_POOL: Final = 4096
"""Crops of train masks, at most, that a steered plan chooses from."""
_CROPS_PER_ROW: Final = 8
_STIFFNESS: Final = 1e-3
"""Price of uneven weights: above 0, so that a target out of reach is neared and not chased."""
_SPARSE: Final = 0.5
"""Concentration of balanced targets for layouts: one to three classes make most of a mask."""


@dataclass(frozen=True)
class Order:
    """One sample to make."""

    id: str
    generator: str
    origin: Origin
    seed: int
    parent: int | None
    """Index of the train row whose mask, or whose class shares, are asked for."""
    top: int
    left: int
    """Upper-left pixel of the crop of that mask."""
    plan: str
    """Why it is made; stored with the sample."""
    target: tuple[float, ...] | None = None
    """For a layout: share per class that is asked for, NaN where free."""
    mask_seed: int | None = None
    """For a layout: seed of the mask, which several images may share."""


@dataclass(frozen=True)
class Makes:
    """What is planned for one generator."""

    makings: frozenset[Making]
    takes_shares: bool = False
    """Whether free samples can be asked for class shares."""


def plan_samples(
    generators: Mapping[str, Makes],
    train: TrainRows,
    settings: GenerateSettings,
    seed: int,
    classes: ClassTable,
    *,
    layouts: bool = False,
) -> list[Order]:
    """What to make, in id order.

    Args:
        generators: what each generator of images can make.
        train: rows that lend their masks.
        settings: numbers per real row, size, plan.
        seed: of the draw.
        classes: class table.
        layouts: whether made masks can be had.

    Raises:
        SettingsError: the plan asks for shares that no mask can have, or for a class that no train
            mask shows.
    """
    chosen = _Chosen(train, settings, seed, classes)
    orders = []
    for name, made in sorted(generators.items()):
        counts: dict[Origin, float] = {
            "conditional": settings.conditional_per_row if "conditional" in made.makings else 0.0,
            "unconditional": (
                settings.unconditional_per_row if "unconditional" in made.makings else 0.0
            ),
            "joint": settings.joint_per_row if "joint" in made.makings else 0.0,
            "layout": (
                settings.layout_per_row if layouts and "conditional" in made.makings else 0.0
            ),
        }
        for origin, per_row in counts.items():
            count = round(per_row * len(train))
            # Only where the mask is given do several images of one mask make sense.
            repeats = settings.images_per_mask if origin in ("conditional", "layout") else 1
            random = generator_at(seed, "plan", name, origin)
            masks = -(-count // repeats)
            crops = chosen.crops(masks, random) if origin != "layout" else [None] * masks
            targets = chosen.targets(masks, random) if origin == "layout" else [None] * masks
            for index in range(count):
                crop, target = crops[index // repeats], targets[index // repeats]
                asks = origin == "conditional" or (crop is not None and made.takes_shares)
                row, top, left = crop if crop is not None and asks else (None, 0, 0)
                orders.append(
                    Order(
                        id=f"{name}-{origin}-{index:06d}",
                        generator=name,
                        origin=origin,
                        seed=derive_seed(seed, name, origin, index),
                        parent=row,
                        top=top,
                        left=left,
                        plan=chosen.told if asks or target is not None else "as-real",
                        target=target,
                        mask_seed=(
                            derive_seed(seed, name, origin, "mask", index // repeats)
                            if target is not None
                            else None
                        ),
                    )
                )
    return sorted(orders, key=lambda order: order.id)


def asked_shares(
    orders: Sequence[Order], train: TrainRows, size: int, num_classes: int
) -> Float64Array | None:
    """Mean class shares of the train masks that are asked for, "class"; None where none is."""
    found = [
        _shares(_crop(train, order.parent, order.top, order.left, size), num_classes)
        for order in orders
        if order.parent is not None
    ]
    known = [shares for shares in found if shares.sum() > 0]
    mean: Float64Array | None = np.mean(known, axis=0) if known else None
    return mean


def told_shares(shares: Float64Array, classes: ClassTable) -> str:
    """Such as "tree 41 %, grass 32 %, …", the largest first."""
    order = np.argsort(-shares, kind="stable")
    return ", ".join(f"{classes.names[i]} {100 * shares[i]:.1f} %" for i in order)


class _Chosen:
    """Draws crops, or targets, as the plan has it."""

    def __init__(
        self, train: TrainRows, settings: GenerateSettings, seed: int, classes: ClassTable
    ) -> None:
        self.train = train
        self.size = settings.size
        self.plan = settings.plan
        self.told: str = settings.plan
        self.num_classes = len(classes)
        if settings.plan == "as-real":
            return
        random = generator_at(seed, "plan", "pool")
        rounds = max(1, min(_CROPS_PER_ROW, _POOL // max(len(train), 1)))
        rows = np.concatenate([random.permutation(len(train)) for _ in range(rounds)])[:_POOL]
        self.pool = [(int(row), *_place(train, int(row), self.size, random)) for row in rows]
        self.shares = np.stack(
            [_shares(_crop(train, *crop, self.size), self.num_classes) for crop in self.pool]
        )
        taught = self.shares.max(axis=0) > 0
        if settings.plan == "toward":
            self.target = shares_target(settings.toward, classes)
            self.told = "toward " + ", ".join(f"{n} {s:g}" for n, s in settings.toward.items())
            for label in np.flatnonzero(np.nan_to_num(self.target) > 0):
                if not taught[label]:
                    there = ", ".join(classes.names[i] for i in np.flatnonzero(taught))
                    raise SettingsError(
                        f"generate.toward asks for {classes.names[label]}, which no train mask "
                        f"shows. There are: {there}."
                    )
        else:
            self.target = np.where(taught, 1.0 / taught.sum(), 0.0)
        self.taught = taught
        self.weights = balanced_weights(self.shares, self.target)

    def crops(self, count: int, random: np.random.Generator) -> list[tuple[int, int, int]]:
        """Row, top and left of so many crops."""
        if self.plan != "as-real":
            # Evenly spaced quantiles: each crop comes as often as its weight says, to within one.
            steps = (np.arange(count) + random.random()) / max(count, 1)
            picks = np.searchsorted(np.cumsum(self.weights), steps, side="right")
            picks = np.minimum(picks, len(self.pool) - 1)
            return [self.pool[int(pick)] for pick in random.permutation(picks)]
        # Whole shuffles of the rows, one after another: each mask comes about equally often.
        rounds = [random.permutation(len(self.train)) for _ in range(-(-count // len(self.train)))]
        rows = [int(row) for order in rounds for row in order][:count]
        return [(row, *_place(self.train, row, self.size, random)) for row in rows]

    def targets(self, count: int, random: np.random.Generator) -> list[tuple[float, ...]]:
        """What so many layouts are asked for."""
        if self.plan == "as-real":
            return [(np.nan,) * self.num_classes] * count
        if self.plan == "toward":
            return [tuple(map(float, self.target))] * count
        drawn = np.zeros((count, self.num_classes))
        drawn[:, self.taught] = random.dirichlet([_SPARSE] * int(self.taught.sum()), count)
        return [tuple(map(float, row)) for row in drawn]


def balanced_weights(shares: Float64Array, target: Float64Array) -> Float64Array:
    """The most even weights of crops whose mean shares come near a target.

    Minimises the dual log Σ exp(λ · s) − λ · t + ε ‖λ‖² / 2, which is convex.

    Args:
        shares: "crop class"; rows of zeros (nothing known) weigh as if they had the mean shares.
        target: "class", NaN where free.

    Returns:
        "crop", ≥ 0, with the sum 1.
    """
    asked = ~np.isnan(target)
    known = shares.sum(axis=1) > 0
    apart = np.where(known[:, None], shares, shares[known].mean(axis=0) if known.any() else 0.0)
    apart = apart[:, asked] - target[asked]

    def dual(price: Float64Array) -> tuple[float, Float64Array]:
        scores = apart @ price
        top = scores.max()
        weights = np.exp(scores - top)
        total = weights.sum()
        value = top + np.log(total) + _STIFFNESS / 2 * price @ price
        return float(value), weights @ apart / total + _STIFFNESS * price

    found = minimize(dual, np.zeros(int(asked.sum())), jac=True, method="L-BFGS-B")
    scores = apart @ found.x
    weights = np.exp(scores - scores.max())
    even: Float64Array = weights / weights.sum()
    return even


def _place(train: TrainRows, row: int, size: int, random: np.random.Generator) -> tuple[int, int]:
    height, width = train[row].mask.shape
    return int(random.integers(height - size + 1)), int(random.integers(width - size + 1))


def _crop(train: TrainRows, row: int, top: int, left: int, size: int) -> LabelMask:
    return train[row].mask[top : top + size, left : left + size]


def _shares(mask: LabelMask, num_classes: int) -> Float64Array:
    counts = np.bincount(mask[mask != UNKNOWN], minlength=num_classes)[:num_classes].astype(float)
    shares: Float64Array = counts / max(counts.sum(), 1.0)
    return shares

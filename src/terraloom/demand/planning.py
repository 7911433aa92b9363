"""What a round asks for: samples toward each weak class, from every generator that can be asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from terraloom.classes import ClassTable
from terraloom.dataset.rows import TrainRows
from terraloom.demand.weakness import Demand
from terraloom.errors import InputError, RoleError
from terraloom.progress import console
from terraloom.sample_plan import Makes, Order, plan_samples
from terraloom.seeds import derive_seed
from terraloom.segmenting import label_counts
from terraloom.settings import CurateQuota, CurateSettings, GenerateSettings
from terraloom.types import Origin

_PER_ROW: Final[Mapping[Origin, str]] = {
    "conditional": "conditional_per_row",
    "unconditional": "unconditional_per_row",
    "joint": "joint_per_row",
    "layout": "layout_per_row",
}


def plan_round(
    generators: Mapping[str, Makes],
    layouts: bool,
    train: TrainRows,
    settings: GenerateSettings,
    demands: Sequence[Demand],
    classes: ClassTable,
    *,
    number: int,
    share: float,
    seed: int,
) -> list[Order]:
    """Everything that one round makes, in id order.

    Each demand is a plan of its own (`sample_plan`, toward the class), shared out over generators
    and origins in proportion to the numbers per row in the settings.

    Args:
        generators: of images, with what each can make.
        layouts: whether made masks can be had.
        train: rows that lend their masks; no others are looked at.
        settings: of the project; numbers per row decide proportions alone.
        demands: samples per weak class.
        classes: class table.
        number: of the round, which ids begin with.
        share: of the class in the masks, 0 … 1, that is aimed at on average.
        seed: of the draws.

    Raises:
        RoleError: `train` is not of the type that may be fitted on.
        InputError: no generator can be asked for a class.
    """
    if not isinstance(train, TrainRows):
        raise RoleError("a plan for weak classes is made from TrainRows only.")
    ways = _ways(generators, layouts, settings)
    shown = label_counts(train, len(classes))
    orders: list[Order] = []
    for demand in demands:
        if not shown[demand.label]:
            console.print(
                f"[yellow]  no train row here shows {demand.name}[/]: none is asked for",
                soft_wrap=True,
            )
            continue
        for (name, origin), count in _shared(ways, demand.samples).items():
            nothing = dict.fromkeys(_PER_ROW.values(), 0.0)
            own = settings.model_copy(
                update={
                    **nothing,
                    _PER_ROW[origin]: count / len(train),
                    "plan": "toward",
                    "toward": {demand.name: share},
                }
            )
            made = plan_samples(
                {name: generators[name]},
                train,
                own,
                derive_seed(seed, "demand", number, demand.label, name, origin),
                classes,
                layouts=layouts,
            )
            orders += [
                replace(
                    order,
                    id=f"r{number:02d}-{demand.label:02d}-{order.id}",
                    plan=f"round {number}, {order.plan}",
                )
                for order in made
            ]
    return sorted(orders, key=lambda order: order.id)


def label_of(sample_id: str) -> int:
    """Label of the weak class that a sample of a round was asked for."""
    return int(sample_id.split("-")[1])


def with_quotas(
    settings: CurateSettings, demands: Sequence[Demand], classes: ClassTable, samples: int
) -> CurateSettings:
    """The project's rules, and a quota for every class that is not weak: its even part at most.

    So that masks toward a weak class, which mostly show others beside it, bring in no more of these
    than they would of any. Quotas of the project stay as they are.
    """
    asked = {demand.name for demand in demands}
    named = {quota.class_name for quota in settings.quotas}
    most = -(-samples // len(classes))
    added = tuple(
        CurateQuota(class_name=name, most=most, by="agreement")
        for name in classes.names
        if name not in asked | named
    )
    return settings.model_copy(update={"quotas": (*settings.quotas, *added)})


def _ways(
    generators: Mapping[str, Makes], layouts: bool, settings: GenerateSettings
) -> dict[tuple[str, Origin], float]:
    """Generators and origins that can be asked for a class, with the settings' proportions."""
    found: dict[tuple[str, Origin], float] = {}
    for name, made in sorted(generators.items()):
        can: dict[Origin, bool] = {
            "conditional": "conditional" in made.makings,
            "unconditional": "unconditional" in made.makings and made.takes_shares,
            "joint": "joint" in made.makings and made.takes_shares,
            "layout": layouts and "conditional" in made.makings,
        }
        for origin, possible in can.items():
            weight = float(getattr(settings, _PER_ROW[origin]))
            if possible and weight > 0:
                found[name, origin] = weight
    if not found:
        raise InputError(
            "no generator of this project can be asked for a class: "
            f"{', '.join(sorted(generators)) or 'there is none'}. Use one that takes masks (spade, "
            "flow) with generate.conditional_per_row above 0, or set shares = true."
        )
    return found


def _shared(
    ways: Mapping[tuple[str, Origin], float], samples: int
) -> dict[tuple[str, Origin], int]:
    """Whole numbers in proportion, which sum to `samples`."""
    edges = np.rint(samples * np.cumsum(list(ways.values())) / sum(ways.values())).astype(int)
    counts = np.diff(edges, prepend=0)
    return {way: int(count) for way, count in zip(ways, counts, strict=True) if count}

"""The arms of a benchmark: which rows each trains on. Everything else is equal.

An arm's name may say how much: "real+both@0.5x" joins half as many synthetic rows as there are real
ones, "real+both@25%" is made of a quarter of the real places and what was made from them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from terraloom.errors import SettingsError

Ingredient = Literal[
    "real",
    "held back",
    "conditional",
    "unconditional",
    "unfiltered",
    "candidates",
    "relabelled",
]
"""Kinds of rows that are joined.

real, held back: real train rows, and those that `split.held_back_share` kept from every stage.
conditional, unconditional: curated samples made for a mask, and without one. unfiltered: a random
draw of all generated samples, as many as the curated ones. candidates: a random draw of all
generated samples, as many of each origin as the curated ones. relabelled: real images under strong
augmentation, labelled by the labeller, as many as the curated samples."""


@dataclass(frozen=True)
class Arm:
    """One arm by name."""

    name: str
    rows: tuple[Ingredient, ...]
    asks: str = ""
    """What its difference from the arms beside it tells."""
    strong: bool = False
    """Trained with the strongest standard augmentation."""
    ratio: float | None = None
    """Synthetic rows per real row; None takes all."""
    share: float = 1.0
    """Of the real train places, and of what was made from them."""

    @property
    def is_control(self) -> bool:
        """Whether the arm sees real train rows only, and all of them."""
        return self.rows == ("real",) and self.share == 1.0

    @property
    def is_synthetic(self) -> bool:
        """Whether curated synthetic samples are among its rows."""
        return bool({"conditional", "unconditional"} & set(self.rows))

    @property
    def without_samples(self) -> str | None:
        """The arm that it is where curation keeps nothing: real rows alone, as many of them.

        None where nothing is left without samples, and where they are promised (a ratio).
        """
        if "real" not in self.rows or self.rows == ("real",) or self.ratio is not None:
            return None
        if "held back" in self.rows:
            return None
        return "real" if self.share == 1.0 else f"real@{100 * self.share:g}%"


ARMS: Final = {
    arm.name: arm
    for arm in (
        Arm("real", ("real",)),
        Arm("real-strong", ("real",), strong=True),
        Arm("synthetic", ("conditional", "unconditional")),
        Arm("real+conditional", ("real", "conditional")),
        Arm("real+unconditional", ("real", "unconditional")),
        Arm("real+both", ("real", "conditional", "unconditional")),
        Arm("unfiltered", ("real", "unfiltered"), "does curation matter?"),
        Arm("random-curated-size", ("real", "candidates"), "does curation beat chance?"),
        Arm("relabel", ("real", "relabelled"), "is the gain more than the labeller's own labels?"),
        Arm("more-real", ("real", "held back"), "what would more real data have brought?"),
    )
}
"""By name, without amounts."""
COMPARED: Final = ("unfiltered", "random-curated-size", "relabel", "more-real")
"""Arms that ask a question of the arm "real+both"; none of them is a control."""
RECORDED: Final = "recorded:"
"""Prefix of a control that an earlier recipe of the project left behind."""
_AMOUNT: Final = re.compile(r"@(?:(?P<ratio>\d+(?:\.\d+)?)x|(?P<percent>\d+(?:\.\d+)?)%)$")


def arm_named(name: str) -> Arm:
    """The arm of that name, amounts included.

    Raises:
        SettingsError: there is none, or its amount is impossible.

    Example:
        >>> arm_named("real+both@0.5x").ratio, arm_named("real@25%").share
        (0.5, 0.25)
    """
    base, amounts = name, []
    while found := _AMOUNT.search(base):
        amounts.append(found)
        base = base[: found.start()]
    if base not in ARMS:
        raise SettingsError(
            f"benchmark.arms has no arm {name!r}; there are: {', '.join(ARMS)}; with an amount "
            "such as real+both@0.5x (synthetic rows per real row) or real@25% (of the real places)."
        )
    arm = replace(ARMS[base], name=name)
    for amount in amounts:
        if amount["ratio"] is not None:
            arm = replace(arm, ratio=float(amount["ratio"]))
            if arm.ratio == 0 or not arm.is_synthetic or "real" not in arm.rows:
                raise SettingsError(
                    f"benchmark.arms: {name!r} asks for synthetic rows per real row, more than 0, "
                    "of an arm that joins both, such as real+both@0.5x."
                )
        else:
            arm = replace(arm, share=float(amount["percent"]) / 100)
            if not 0 < arm.share <= 1 or "real" not in arm.rows or "held back" in arm.rows:
                raise SettingsError(
                    f"benchmark.arms: {name!r} asks for a share of the real places, above 0 and up "
                    "to 100 %, of an arm that trains on them, such as real@25%."
                )
    return arm


def is_control(name: str) -> bool:
    """Whether an arm of that name sees all real train rows and no other, recorded or not."""
    base = name.removeprefix(RECORDED)
    return base in ARMS and ARMS[base].is_control


def controls_of(name: str, arms: Sequence[str]) -> list[str]:
    """The arms of a run that one must beat: real rows only, and as many of them.

    Args:
        name: an arm, not a control itself.
        arms: of the run, recorded controls included.
    """
    share = arm_named(name).share
    if share == 1.0:
        return [arm for arm in arms if is_control(arm)]
    return [arm for arm in arms if not arm.startswith(RECORDED) and _is_partial(arm, share)]


def is_reference(name: str) -> bool:
    """Whether an arm sees real train rows only, all or a share of them: it gets no verdict."""
    return name.startswith(RECORDED) or arm_named(name).rows == ("real",)


def check_arms(names: tuple[str, ...]) -> None:
    """Make sure that every arm exists and that each has a control among them.

    Raises:
        SettingsError: lists the arms there are, or asks for a control.
    """
    for name in names:
        arm_named(name)
    if not any(is_control(name) for name in names):
        raise SettingsError(
            "benchmark.arms needs a control to compare with: add 'real' or 'real-strong'."
        )
    for name in names:
        if not is_reference(name) and not controls_of(name, names):
            percent = f"{100 * arm_named(name).share:g}%"
            raise SettingsError(
                f"benchmark.arms: {name!r} needs a control of as many real rows: add "
                f"'real@{percent}'."
            )


def _is_partial(name: str, share: float) -> bool:
    arm = arm_named(name)
    return arm.rows == ("real",) and arm.share == share

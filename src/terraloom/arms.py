"""The arms of a benchmark: which rows each trains on. Everything else is equal."""

from dataclasses import dataclass
from typing import Final, Literal

from terraloom.errors import SettingsError

Ingredient = Literal["real", "conditional", "unconditional", "unfiltered"]


@dataclass(frozen=True)
class Arm:
    """One arm by name."""

    name: str
    rows: tuple[Ingredient, ...]
    """Kinds of rows that are joined: "unfiltered" is a random draw of all generated samples, as
    many as the curated ones."""
    strong: bool = False
    """Trained with the strongest standard augmentation."""

    @property
    def is_control(self) -> bool:
        """Whether the arm sees real rows only."""
        return self.rows == ("real",)


ARMS: Final = {
    arm.name: arm
    for arm in (
        Arm("real", ("real",)),
        Arm("real-strong", ("real",), strong=True),
        Arm("synthetic", ("conditional", "unconditional")),
        Arm("real+conditional", ("real", "conditional")),
        Arm("real+unconditional", ("real", "unconditional")),
        Arm("real+both", ("real", "conditional", "unconditional")),
        Arm("unfiltered", ("real", "unfiltered")),
    )
}


RECORDED: Final = "recorded:"
"""Prefix of a control that an earlier recipe of the project left behind."""


def is_control(name: str) -> bool:
    """Whether an arm of that name sees real rows only; recorded controls included."""
    arm = ARMS.get(name.removeprefix(RECORDED))
    return arm is not None and arm.is_control


def check_arms(names: tuple[str, ...]) -> None:
    """Make sure that every arm exists and that a control is among them.

    Raises:
        SettingsError: lists the arms there are, or asks for a control.
    """
    for name in names:
        if name not in ARMS:
            raise SettingsError(
                f"benchmark.arms has no arm {name!r}; there are: {', '.join(ARMS)}."
            )
    if not any(ARMS[name].is_control for name in names):
        raise SettingsError(
            "benchmark.arms needs a control to compare with: add 'real' or 'real-strong'."
        )

"""How much synthetic, how much real? Macro F1 and gain over ratio and size arms, where they ran."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from terraloom.arms import is_control
from terraloom.report import benchmark_figures
from terraloom.report.reading import ProjectFiles
from terraloom.report.tables import RESULTS, name, number
from terraloom.report.views import Block, Cell, FigureView, Section, TableView
from terraloom.report.wording import ABSENT, count, interval, percent, points

_NAMED: Final = re.compile(r"(?P<base>.+)@(?P<value>\d+(?:\.\d+)?)(?P<unit>x|%)")


@dataclass(frozen=True)
class CurveArm:
    """An arm whose name says how much of something it trains on."""

    name: str
    base: str
    """The arm that it is a smaller or larger form of."""
    at: float
    """Synthetic images per real one, or percent of the real ones."""
    unit: str
    """ "x" for a ratio, "%" for a share of the real rows."""


def parse_arm(arm: str) -> CurveArm | None:
    """What an arm's name says of its size, or None.

    Example:
        >>> parse_arm("real+both@0.5x")
        CurveArm(name='real+both@0.5x', base='real+both', at=0.5, unit='x')
        >>> parse_arm("real+both") is None
        True
    """
    found = _NAMED.fullmatch(arm)
    if found is None:
        return None
    return CurveArm(arm, found["base"], float(found["value"]), found["unit"])


def curves_section(files: ProjectFiles) -> Section | None:
    """Curves over ratio arms ("real+both@0.5x") and size arms ("real@25%"); None without any."""
    results = files.results
    if results is None or not results["table"]:
        return None
    scope = results["table"][0]["architecture"]
    rows = {row["arm"]: row for row in results["table"] if row["architecture"] == scope}
    arms = [arm for arm in map(parse_arm, rows) if arm is not None]
    blocks: list[Block] = []
    gains = _gains(results, rows, scope)
    ratios, sizes = _ordered(arms, "x"), _ordered(arms, "%")
    if ratios:
        blocks += _ratio_blocks(results, rows, ratios, gains)
    if sizes:
        blocks += _size_blocks(results, rows, sizes, gains)
    if not blocks:
        return None
    return Section("curves", "How much synthetic, how much real?", tuple(blocks))


def _ordered(arms: Sequence[CurveArm], unit: str) -> dict[str, list[CurveArm]]:
    """Arms of one unit by what they are a form of, smallest first."""
    found: dict[str, list[CurveArm]] = {}
    for arm in sorted(arms, key=lambda arm: arm.at):
        if arm.unit == unit:
            found.setdefault(arm.base, []).append(arm)
    return found


def _ratio_blocks(
    results: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, Any]],
    ratios: Mapping[str, Sequence[CurveArm]],
    gains: Mapping[str, Mapping[str, Any]],
) -> list[Block]:
    controls = {arm: row["f1"] for arm, row in rows.items() if is_control(arm)}
    best = max(controls, key=lambda arm: controls[arm]["mean"]) if controls else None
    told = f" Dashed, with its interval: {best}, the strongest control." if best else ""
    across = "synthetic images per real image (each step doubles)"
    return [
        FigureView(
            "ratio-curve", "Macro F1 over synthetic images per real image",
            "Lines with intervals over the ratio of synthetic to real images.",
            benchmark_figures.curve(
                _lines(ratios, {arm: row["f1"] for arm, row in rows.items()}), across=across,
                along="macro F1 on test, %", doubling=True,
                level=controls[best] if best else None,
            ),
            (RESULTS,),
            (
                f"Every arm sees the same number of images; 95 % intervals.{told} Intervals of "
                "single arms say less than those of the gains.",
            ),
        ),
        *_gain_figure("ratio-gain", "synthetic images per real image", across, ratios, gains),
        _curve_table("Ratios", "images per real image", ratios, results, rows, gains),
    ]  # fmt: skip


def _size_blocks(
    results: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, Any]],
    sizes: Mapping[str, Sequence[CurveArm]],
    gains: Mapping[str, Mapping[str, Any]],
) -> list[Block]:
    whole = {
        base: [*arms, CurveArm(base, base, 100.0, "%")]
        if base in rows and all(arm.at < 100 for arm in arms)
        else list(arms)
        for base, arms in sizes.items()
    }
    across = "share of the real train places, % (each step doubles)"
    return [
        FigureView(
            "size-curve", "Macro F1 over the share of the real places",
            "Lines with intervals over the share of real places that the arm trains on.",
            benchmark_figures.curve(
                _lines(whole, {arm: row["f1"] for arm, row in rows.items()}), across=across,
                along="macro F1 on test, %", doubling=True,
            ),
            (RESULTS,),
            (
                "Every arm sees the same number of images, a smaller set more often; 95 % "
                "intervals. Where the line of real rows still rises at 100 %, more real images "
                "would help. Generators and labeller of this run had seen all places, so that "
                "arms of few places profit from more than they hold.",
            ),
        ),
        *_gain_figure("size-gain", "share of the real places", across, whole, gains),
        _curve_table("Sizes", "% of real places", whole, results, rows, gains),
    ]  # fmt: skip


def _gain_figure(
    name: str,
    what: str,
    across: str,
    curves: Mapping[str, Sequence[CurveArm]],
    gains: Mapping[str, Mapping[str, Any]],
) -> list[Block]:
    lines = _lines(curves, gains)
    if not lines:
        return []
    return [
        FigureView(
            name, f"Gain over the strongest control, by {what}",
            "Lines of paired differences with intervals.",
            benchmark_figures.curve(
                lines, across=across, along="difference of macro F1, points", doubling=True,
                level={"mean": 0.0, "low": 0.0, "high": 0.0},
            ),
            (RESULTS,),
            (
                "Paired by run and test place; the control trains on as many real images. The best "
                "point of a curve was picked after looking: its interval is not corrected for "
                "that, so it is a hint for the next run, not a result.",
            ),
        )
    ]  # fmt: skip


def _lines(
    curves: Mapping[str, Sequence[CurveArm]], estimates: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, float]]]:
    """Points of each curve that has any: at, mean, low, high."""
    found = {
        base: [
            {"at": arm.at, **{key: estimates[arm.name][key] for key in ("mean", "low", "high")}}
            for arm in arms
            if arm.name in estimates
        ]
        for base, arms in curves.items()
    }
    return {base: line for base, line in found.items() if line}


def _gains(
    results: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], scope: str
) -> dict[str, Mapping[str, Any]]:
    """Difference of each arm's macro F1 to the strongest of its controls."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in results["differences"]:
        if row["architecture"] != scope or row["metric"] != "f1":
            continue
        known = found.get(row["arm"])
        strength = rows[row["control"]]["f1"]["mean"]
        if known is None or strength > rows[known["control"]]["f1"]["mean"]:
            found[row["arm"]] = row
    return found


def _curve_table(
    title: str,
    what: str,
    curves: Mapping[str, Sequence[CurveArm]],
    results: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, Any]],
    gains: Mapping[str, Mapping[str, Any]],
) -> TableView:
    cells: list[tuple[Cell, ...]] = []
    for arms in curves.values():
        for arm in arms:
            row, gain = rows[arm.name], gains.get(arm.name)
            cells.append(
                (
                    name(arm.name),
                    number(f"{arm.at:g}"),
                    number(count(results.get("rows", {}).get(arm.name))),
                    number(
                        percent(row["f1"]["mean"]), interval(row["f1"]["low"], row["f1"]["high"])
                    ),
                    number(ABSENT)
                    if gain is None
                    else number(
                        points(gain["mean"]), interval(gain["low"], gain["high"], signed=True)
                    ),
                    Cell("" if gain is None else gain["control"]),
                )
            )
    return TableView(
        title,
        ("arm", what, "training rows", "macro F1, %", "gain, points", "over"),
        tuple(cells),
        (RESULTS,),
    )

"""Figures of the benchmark: differences, curves and confusions of arms, as PNG and SVG."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from terraloom.report.drawing import (
    GREY,
    MARKERS,
    arm_colour,
    arm_marker,
    canvas,
    draw_matrix,
    drawn,
)
from terraloom.report.reading import CellRecord
from terraloom.report.vector import INK, PAPER, WASH
from terraloom.report.views import Drawing
from terraloom.types import Int64Array

_MANY_RUNS: Final = 5


def paired_differences(rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """Forest plot of differences in macro F1, arm minus control, with 95 % intervals.

    Args:
        rows: entries of "differences", of one metric.
    """
    with canvas(0.62 + 0.34 * len(rows)) as figure:
        axes = figure.subplots()
        controls = list(dict.fromkeys(row["control"] for row in rows))
        scopes = {row["architecture"] for row in rows}
        labels = []
        for place, row in enumerate(rows):
            colour = arm_colour(row["control"])
            mean, low, high = (100 * row[key] for key in ("mean", "low", "high"))
            smallest = 100 * row["minimum_detectable"]
            axes.barh(place, 2 * smallest, left=-smallest, height=0.56, color=WASH, zorder=1)
            axes.plot([low, high], [place, place], color=colour, linewidth=2.2, zorder=3)
            marker = MARKERS[controls.index(row["control"]) % len(MARKERS)]
            axes.plot(mean, place, marker, color=colour, markersize=7, zorder=4)
            scope = f" ({row['architecture']})" if len(scopes) > 1 else ""
            labels.append(f"{row['arm']} − {row['control']}{scope}")
        axes.axvline(0, color=INK, linewidth=1, zorder=2)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("difference of macro F1 on test, percentage points")
        axes.grid(axis="y", visible=False)
        return drawn(figure)


def class_differences(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Drawing:
    """One panel per arm: difference of each class's F1 to the best control, with intervals.

    Args:
        rows: entries of "per_class", of one architecture scope.
        class_names: in label order.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    with canvas(0.85 + 0.27 * len(class_names)) as figure:
        panels = figure.subplots(1, len(arms), sharex=True, sharey=True, squeeze=False)[0]
        for axes, arm in zip(panels, arms, strict=True):
            own = {row["class"]: row for row in rows if row["arm"] == arm}
            control = next(iter(own.values()))["control"]
            for place, name in enumerate(class_names):
                if name not in own:
                    axes.text(0, place, "absent", ha="center", va="center", color=GREY)
                    continue
                row = own[name]
                clear = row["verdict"] != "no evidence"
                colour = arm_colour(arm)
                axes.plot([100 * row["low"], 100 * row["high"]], [place] * 2, color=colour, lw=2)
                axes.plot(
                    100 * row["mean"], place, "o", color=colour, markersize=6.5,
                    markerfacecolor=colour if clear else PAPER,
                )  # fmt: skip
            axes.axvline(0, color=INK, linewidth=1)
            axes.set_title(f"{arm} − {control}")
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(range(len(class_names)), list(class_names))
        panels[0].set_ylim(len(class_names) - 0.4, -0.6)
        figure.supxlabel("difference of F1, percentage points", fontsize=9)
        return drawn(figure)


def validation_curves(cells: Sequence[CellRecord]) -> Drawing:
    """Macro F1 on val of every benchmark training; of many runs their mean stands out.

    Args:
        cells: with their history, in drawing order.
    """
    arms: dict[str, list[CellRecord]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    with canvas(max(2.9, 0.5 + 0.2 * len(arms))) as figure:
        axes = figure.subplots()
        for arm, own in arms.items():
            many = len(own) > _MANY_RUNS
            colour, marker = arm_colour(arm), arm_marker(arm)
            for place, cell in enumerate(own):
                images = [entry["images"] for entry in cell.history]
                values = [100 * entry["val_f1"] for entry in cell.history]
                axes.plot(
                    images, values, color=colour, linewidth=0.6 if many else 1.3,
                    marker=None if many else marker, markersize=4, alpha=0.3 if many else 0.85,
                    label=arm if place == 0 and not many else None,
                )  # fmt: skip
            if many:
                checks: dict[float, list[float]] = {}
                for cell in own:
                    for entry in cell.history:
                        checks.setdefault(entry["images"], []).append(100 * entry["val_f1"])
                means = {n: float(np.mean(values)) for n, values in sorted(checks.items())}
                axes.plot(
                    list(means), list(means.values()), color=colour, linewidth=2, marker=marker,
                    markersize=4, label=f"{arm}, mean of {len(own)}",
                )  # fmt: skip
        axes.set_xlabel("training images seen")
        axes.set_ylabel("macro F1 on val, %")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return drawn(figure)


def arm_confusions(totals: Mapping[str, Int64Array], names: Sequence[str]) -> Drawing:
    """One matrix per arm, two beside each other: percent of what is really there.

    Args:
        totals: by arm, pixels "truth predicted".
        names: of the classes.
    """
    lines = -(-len(totals) // 2)
    with canvas(lines * (0.9 + 0.29 * len(names))) as figure:
        columns = min(2, len(totals))
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes, (arm, total) in zip(panels.flat, totals.items(), strict=False):
            counts = total.astype(np.float64)
            there = counts.sum(axis=1, keepdims=True)
            shares = np.divide(counts, there, out=np.full_like(counts, np.nan), where=there > 0)
            draw_matrix(axes, shares, names, letters=7.5)
            axes.set_title(arm)
        for axes in panels.flat[len(totals) :]:
            axes.set_visible(False)
        figure.supxlabel("the arm says", fontsize=9)
        figure.supylabel("really there", fontsize=9)
        return drawn(figure)


def curve(
    lines: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    across: str,
    along: str,
    doubling: bool,
    level: Mapping[str, float] | None = None,
) -> Drawing:
    """A figure with its interval over the size of a training set, one line per kind of rows.

    Args:
        lines: by name, points with at, mean, low and high; `at` as a factor or share.
        across: what the horizontal axis counts.
        along: what the vertical axis measures, in percent or points.
        doubling: whether each step of the horizontal axis doubles.
        level: mean, low and high of what the lines are compared with; a band behind them.
    """
    with canvas(3.1) as figure:
        axes = figure.subplots()
        if level is not None:
            axes.axhspan(100 * level["low"], 100 * level["high"], color=WASH, zorder=0)
            axes.axhline(100 * level["mean"], color=INK, linewidth=1, linestyle="--", zorder=1)
        ticks: dict[float, None] = {}
        for place, (name, points) in enumerate(lines.items()):
            at = [point["at"] for point in points]
            mean = np.array([100 * point["mean"] for point in points])
            below = mean - [100 * point["low"] for point in points]
            above = [100 * point["high"] for point in points] - mean
            # Lines that share their places are told apart by a small step to the side.
            step = 1 + 0.012 * (place - (len(lines) - 1) / 2)
            axes.errorbar(
                [value * step for value in at], mean, yerr=[below, above], label=name,
                color=arm_colour(name), marker=arm_marker(name), markersize=5, capsize=3,
                linewidth=1.5,
            )  # fmt: skip
            ticks |= dict.fromkeys(at)
        if doubling:
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(ticks), [f"{value:g}" for value in ticks])
        axes.minorticks_off()
        axes.set_xlabel(across)
        axes.set_ylabel(along)
        if len(lines) > 1 or level is not None:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return drawn(figure)

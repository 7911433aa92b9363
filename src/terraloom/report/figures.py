"""Figures of data, labeller, generators, scores: values in, a drawing as PNG and SVG out."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from terraloom.classes import ClassTable
from terraloom.report.drawing import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    LIGHT,
    MARKERS,
    ORANGE,
    PINK,
    SKY,
    WORDS_PER_LINE,
    YELLOW,
    canvas,
    class_colour,
    draw_matrix,
    drawn,
    is_dark,
    legend_columns,
    ordered_origins,
    origin_looks,
)
from terraloom.report.vector import INK, PAPER
from terraloom.report.views import Drawing
from terraloom.types import Float64Array


def labeller_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    losses: Mapping[str, Sequence[tuple[int, float]]],
) -> Drawing:
    """Training loss, and macro F1 and accuracy on val, over the images that labellers have seen.

    Args:
        histories: by labeller, entries with images, val_f1 and val_accuracy (0 … 1).
        losses: by labeller, (images, loss); without any, the panel is left out.
    """
    with canvas(2.7) as figure:
        panels = figure.subplots(1, 2 if losses else 1, squeeze=False)[0]
        right = panels[-1]
        for place, (name, history) in enumerate(histories.items()):
            colour = (BLUE, GREEN, PINK, YELLOW, SKY, GREY)[place % 6]
            marker = MARKERS[place % len(MARKERS)]
            several = f"{name}, " if len(histories) > 1 else ""
            if name in losses:
                images, values = zip(*losses[name], strict=True)
                panels[0].plot(images, values, color=colour, marker=marker, markersize=3.5)
            images = tuple(entry["images"] for entry in history)
            scores = [100 * entry["val_f1"] for entry in history]
            right.plot(
                images, scores, color=colour, marker=marker, markersize=3.5,
                label=f"{several}macro F1",
            )  # fmt: skip
            if all("val_accuracy" in entry for entry in history):
                exact = [100 * entry["val_accuracy"] for entry in history]
                right.plot(
                    images, exact, color=colour, linestyle="--", linewidth=1.1,
                    label=f"{several}accuracy",
                )  # fmt: skip
            best = int(np.argmax(scores))
            right.plot(
                images[best], scores[best], "o", color=ORANGE, markersize=7, zorder=4,
                label="kept" if place == len(histories) - 1 else None,
            )  # fmt: skip
        if losses:
            panels[0].set_title("loss of a training batch")
            panels[0].set_ylim(bottom=0)
        right.set_title("on val, %")
        for axes in panels:
            axes.set_xlabel("training images seen")
        figure.legend(
            loc="outside upper center",
            ncols=min(4, len(histories) + 1) if len(histories) > 1 else 3,
        )
        return drawn(figure)


def reliability(calibration: Mapping[str, Any]) -> Drawing:
    """Accuracy over confidence before and after the temperature; on the diagonal is right.

    Args:
        calibration: content of calibration.json.
    """
    with canvas(3.2) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, key in zip(panels, ("before", "after"), strict=True):
            part = calibration[key]
            bins = part["bins"]
            sure = [100 * entry["confidence"] for entry in bins]
            true = [100 * entry["accuracy"] for entry in bins]
            most = max(entry["pixels"] for entry in bins)
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--")
            axes.plot(sure, true, color=BLUE, linewidth=1.2)
            axes.scatter(
                sure, true, s=[8 + 90 * entry["pixels"] / most for entry in bins], color=BLUE
            )
            axes.set_title(f"{key} the temperature, error {100 * part['ece']:.1f} points")
            axes.set_xlabel("confidence, %")
            axes.set_xlim(0, 102)
            axes.set_ylim(0, 102)
        panels[0].set_ylabel("right, %")
        return drawn(figure)


def confusion(total: Sequence[Sequence[int]], classes: ClassTable) -> Drawing:
    """Shares of what is really there, per class that is named; columns sum to 100 %.

    Args:
        total: "truth predicted" in pixels.
        classes: class table.
    """
    counts = np.array(total, dtype=np.float64)
    named = counts.sum(axis=0, keepdims=True)
    shares = np.divide(counts, named, out=np.zeros_like(counts), where=named > 0)
    with canvas(0.8 + 0.42 * len(classes)) as figure:
        axes = figure.subplots()
        draw_matrix(axes, shares, classes.names, letters=8)
        axes.set_xlabel("the labeller says")
        axes.set_ylabel("really there")
        return drawn(figure)


def generator_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Drawing:
    """Agreement with asked-for val masks and diversity across seeds, while generators train."""
    with canvas(2.8) as figure:
        left, right = figure.subplots(1, 2)
        for place, (name, history) in enumerate(histories.items()):
            colour = (BLUE, ORANGE, GREEN, PINK, YELLOW)[place % 5]
            for axes, key in ((left, "agreement"), (right, "diversity")):
                known = [entry for entry in history if key in entry]
                axes.plot(
                    [entry["images"] for entry in known],
                    [100 * entry[key] for entry in known],
                    marker=MARKERS[place % len(MARKERS)], color=colour, label=name,
                )  # fmt: skip
        left.set_title("agreement with the asked-for mask")
        left.set_ylabel("pixels, %")
        left.set_ylim(0, 100)
        right.set_title("diversity across seeds, one mask")
        right.set_ylabel("difference, % of range")
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xlabel("training images seen")
        handles, names = left.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=4)
        return drawn(figure)


def retention(funnel: Mapping[str, Mapping[str, Any]]) -> Drawing:
    """Kept and rejected samples per origin, by the rule that rejected them."""
    rules = list(dict.fromkeys(rule for entry in funnel.values() for rule in entry["rejected"]))
    shades = {rule: str(0.45 + 0.4 * i / max(1, len(rules) - 1)) for i, rule in enumerate(rules)}
    hatches = dict(zip(rules, ("", "///", "xx", "\\\\\\", "++") * len(rules), strict=False))
    with canvas(0.85 + 0.11 * (2 + len(rules)) + 0.42 * len(funnel)) as figure:
        axes = figure.subplots()
        for place, (_origin, entry) in enumerate(funnel.items()):
            parts = [("kept", entry["kept"], GREEN, "")]
            parts += [
                (f"rejected: not {rule}", entry["rejected"].get(rule, 0), shades[rule],
                 hatches[rule])
                for rule in rules
            ]  # fmt: skip
            left = 0
            for name, value, colour, hatch in parts:
                axes.barh(
                    place, value, left=left, height=0.6, color=colour, hatch=hatch,
                    edgecolor=LIGHT, label=name if place == 0 else None,
                )  # fmt: skip
                if value >= 0.04 * entry["made"]:
                    ink = LIGHT if is_dark(to_rgb(colour)) else DARK
                    box = {"boxstyle": "round,pad=0.15", "fc": colour, "ec": "none"}
                    axes.text(
                        left + value / 2, place, f"{value}", ha="center", va="center",
                        color=ink, fontsize=8.5, bbox=box,
                    )  # fmt: skip
                left += value
        axes.set_yticks(range(len(funnel)), list(funnel))
        axes.set_ylim(len(funnel) - 0.5, -0.5)
        axes.set_xlabel("synthetic samples made")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper center", ncols=2)
        return drawn(figure)


def score_histograms(
    values: Mapping[str, Mapping[str, Float64Array]],
    bounds: Mapping[str, Sequence[float]],
) -> Drawing:
    """One panel per score in 0 … 1, one outline per origin, and the bounds that curation used.

    Args:
        values: per column, per origin.
        bounds: per column.
    """
    with canvas(2.3) as figure:
        panels = figure.subplots(1, len(values), squeeze=False)[0]
        edges = np.linspace(0, 1, 26)
        handles = {}
        for axes, (column, groups) in zip(panels, values.items(), strict=True):
            for origin, group in groups.items():
                if not len(group):
                    continue
                colour, _, hatch = origin_looks(origin, list(groups))
                shares = np.histogram(group, edges)[0] / len(group)
                axes.stairs(
                    100 * shares, edges, color=colour, linewidth=1.4, hatch=hatch or None,
                    fill=False,
                )  # fmt: skip
                handles[origin] = Patch(
                    facecolor=PAPER, edgecolor=colour, hatch=hatch, label=origin
                )
            for bound in bounds.get(column, ()):
                axes.axvline(bound, color=INK, linestyle="--", linewidth=1.1)
            axes.set_title(column)
            axes.set_xlim(0, 1)
        panels[0].set_ylabel("samples of the origin, %")
        figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=4)
        return drawn(figure)


def composition(origins: Mapping[str, Mapping[str, Any]], classes: ClassTable) -> Drawing:
    """Mean share of each class: real plain, each synthetic origin hatched, class colours."""
    with canvas(3.1) as figure:
        axes = figure.subplots()
        width = 0.82 / len(origins)
        names = ordered_origins(origins)
        for index, origin in enumerate(names):
            _, _, hatch = origin_looks(origin, names)
            offset = (index - (len(names) - 1) / 2) * width
            for label, share in enumerate(origins[origin]["shares"]):
                colour = class_colour(classes, label)
                axes.bar(
                    label + offset, 100 * share, width * 0.94, color=colour, hatch=hatch or None,
                    edgecolor=LIGHT if is_dark(colour) else DARK, linewidth=0,
                )  # fmt: skip
                # The outline is drawn apart, so that hatches of dark classes may be light.
                axes.bar(
                    label + offset, 100 * share, width * 0.94, fill=False, edgecolor=INK,
                    linewidth=0.8,
                )  # fmt: skip
        # Names that would run into each other are turned.
        longest = max(map(len, classes.names))
        turned = 25 if longest * len(classes) > WORDS_PER_LINE else 0
        side: Literal["right", "center"] = "right" if turned else "center"
        axes.set_xticks(range(len(classes)), list(classes.names), rotation=turned, ha=side)
        axes.set_ylabel("mean share of known pixels, %")
        axes.grid(axis="x", visible=False)
        handles = [
            Patch(facecolor=PAPER, edgecolor=INK, hatch=origin_looks(o, names)[2], label=o)
            for o in names
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(names))
        return drawn(figure)


def embedding(maps: Mapping[str, Float64Array], origins: Sequence[str]) -> Drawing:
    """Scatter of images in each two-dimensional map, by origin.

    Args:
        maps: by title, "point 2".
        origins: of the points.
    """
    names = ordered_origins(dict.fromkeys(origins))
    origin = np.array(origins)
    with canvas(3.9 if len(maps) > 1 else 4.6) as figure:
        panels = figure.subplots(1, len(maps), squeeze=False)[0]
        # A fixed shuffle, or the origin drawn last would hide the others.
        order = np.random.default_rng(0).permutation(len(origin))
        for axes, (title, xy) in zip(panels, maps.items(), strict=True):
            for piece in np.array_split(order, min(40, len(order))):
                for name in names:
                    colour, marker, _ = origin_looks(name, names)
                    rows = piece[origin[piece] == name]
                    axes.scatter(
                        xy[rows, 0], xy[rows, 1], s=17, marker=marker, color=colour, alpha=0.7,
                        linewidths=0, rasterized=True,
                    )  # fmt: skip
            axes.set_title(title)
            axes.set_aspect("equal", "datalim")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[["top", "right"]].set_visible(True)
        for name in names:
            colour, marker, _ = origin_looks(name, names)
            number = int((origin == name).sum())
            panels[0].scatter([], [], s=26, marker=marker, color=colour, label=f"{name} ({number})")
        figure.legend(loc="outside upper center", ncols=len(names))
        return drawn(figure)


def class_shares(shares: Mapping[str, Float64Array], classes: ClassTable) -> Drawing:
    """Stacked bars: mean class shares of each role of the real data."""
    columns = legend_columns(classes.names)
    height = 0.75 + 0.2 * -(-len(classes) // columns) + 0.34 * len(shares)
    with canvas(height) as figure:
        axes = figure.subplots()
        for place, values in enumerate(shares.values()):
            left = 0.0
            for label, share in enumerate(values):
                colour = class_colour(classes, label)
                axes.barh(
                    place, 100 * share, left=left, height=0.62, color=colour,
                    edgecolor=LIGHT, linewidth=0.8,
                )  # fmt: skip
                if share >= 0.05:
                    axes.text(
                        left + 50 * share, place, f"{100 * share:.0f}", ha="center", va="center",
                        color=LIGHT if is_dark(colour) else DARK, fontsize=8.5,
                    )  # fmt: skip
                left += 100 * share
        axes.set_yticks(range(len(shares)), list(shares))
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("mean share of known pixels, %")
        axes.grid(visible=False)
        handles = [
            Patch(facecolor=class_colour(classes, label), edgecolor=INK, label=name)
            for label, name in enumerate(classes.names)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        return drawn(figure)

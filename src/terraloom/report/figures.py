"""One function per figure: values in, PNG bytes out; equal values give equal bytes.

Matplotlib's object interface alone is used, under its own defaults, so that neither a user's
matplotlibrc nor another thread's pyplot changes a pixel.
"""

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import numpy as np
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from terraloom.classes import ClassTable
from terraloom.report.reading import Training
from terraloom.types import Float64Array

_DPI: Final = 150
_WIDTH: Final = 7.6
"""Inches: 1140 pixels, shown at about two thirds of that."""
_WORDS_PER_LINE: Final = 85
"""Letters that fit the width, gaps counted."""
_STYLE: Final = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.8,
    # A class may be called "$x": text is text.
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
}

# Okabe and Ito's colours, told apart with every common form of colour blindness.
_BLUE, _ORANGE, _GREEN, _SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
_YELLOW, _PINK, _GREY = "#E69F00", "#CC79A7", "#777777"
ARM_COLOURS: Final = {
    "real": _BLUE,
    "real-strong": _SKY,
    "synthetic": _ORANGE,
    "real+conditional": _YELLOW,
    "real+unconditional": _PINK,
    "real+both": _GREEN,
    "unfiltered": _GREY,
}
_ORIGIN_LOOKS: Final = {
    "real": (_BLUE, "o", ""),
    "conditional": (_ORANGE, "^", "///"),
    "unconditional": (_GREEN, "s", "..."),
}
_OTHER_LOOKS: Final = ((_PINK, "D", "xxx"), (_YELLOW, "v", "+++"), (_GREY, "P", "ooo"))
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")


def paired_differences(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Forest plot of differences in macro F1, arm minus control, with 95 % intervals.

    Args:
        rows: entries of "differences", of one metric.
    """
    with _figure(0.62 + 0.34 * len(rows)) as figure:
        axes = figure.subplots()
        controls = list(dict.fromkeys(row["control"] for row in rows))
        scopes = {row["architecture"] for row in rows}
        labels = []
        for place, row in enumerate(rows):
            colour = ARM_COLOURS.get(row["control"], _GREY)
            mean, low, high = (100 * row[key] for key in ("mean", "low", "high"))
            smallest = 100 * row["minimum_detectable"]
            axes.barh(place, 2 * smallest, left=-smallest, height=0.56, color="#efefef", zorder=1)
            axes.plot([low, high], [place, place], color=colour, linewidth=2.2, zorder=3)
            marker = _MARKERS[controls.index(row["control"]) % len(_MARKERS)]
            axes.plot(mean, place, marker, color=colour, markersize=7, zorder=4)
            scope = f" ({row['architecture']})" if len(scopes) > 1 else ""
            labels.append(f"{row['arm']} − {row['control']}{scope}")
        axes.axvline(0, color="#222222", linewidth=1, zorder=2)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("difference of macro F1 on test, percentage points")
        axes.grid(axis="y", visible=False)
        return _png(figure)


def class_differences(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> bytes:
    """One panel per arm: difference of each class's F1 to the best control, with intervals.

    Args:
        rows: entries of "per_class", of one architecture scope.
        class_names: in label order.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    with _figure(0.85 + 0.27 * len(class_names)) as figure:
        panels = figure.subplots(1, len(arms), sharex=True, sharey=True, squeeze=False)[0]
        for axes, arm in zip(panels, arms, strict=True):
            own = {row["class"]: row for row in rows if row["arm"] == arm}
            control = next(iter(own.values()))["control"]
            for place, name in enumerate(class_names):
                if name not in own:
                    axes.text(0, place, "absent", ha="center", va="center", color="#777777")
                    continue
                row = own[name]
                clear = row["verdict"] != "no evidence"
                colour = ARM_COLOURS.get(arm, _GREY)
                axes.plot([100 * row["low"], 100 * row["high"]], [place] * 2, color=colour, lw=2)
                axes.plot(
                    100 * row["mean"], place, "o", color=colour, markersize=6.5,
                    markerfacecolor=colour if clear else "white",
                )  # fmt: skip
            axes.axvline(0, color="#222222", linewidth=1)
            axes.set_title(f"{arm} − {control}")
            axes.grid(axis="y", visible=False)
        panels[0].set_yticks(range(len(class_names)), list(class_names))
        panels[0].set_ylim(len(class_names) - 0.4, -0.6)
        figure.supxlabel("difference of F1, percentage points", fontsize=9)
        return _png(figure)


def validation_curves(cells: Sequence[tuple[str, Training]]) -> bytes:
    """Macro F1 on val of every benchmark training.

    Args:
        cells: (arm, training), in drawing order.
    """
    with _figure(2.9) as figure:
        axes = figure.subplots()
        named = set()
        for arm, cell in cells:
            images = [entry["images"] for entry in cell.history]
            values = [100 * entry["val_f1"] for entry in cell.history]
            arms = list(ARM_COLOURS)
            marker = _MARKERS[arms.index(arm) % len(_MARKERS)] if arm in arms else "."
            axes.plot(
                images, values, color=ARM_COLOURS.get(arm, _GREY), linewidth=1.3, marker=marker,
                markersize=4, alpha=0.85, label=None if arm in named else arm,
            )  # fmt: skip
            named.add(arm)
        axes.set_xlabel("training images seen")
        axes.set_ylabel("macro F1 on val, %")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _png(figure)


def labeller_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    losses: Mapping[str, Sequence[tuple[int, float]]],
) -> bytes:
    """Training loss, and macro F1 and accuracy on val, over the images that labellers have seen.

    Args:
        histories: by labeller, entries with images, val_f1 and val_accuracy (0 … 1).
        losses: by labeller, (images, loss); without any, the panel is left out.
    """
    with _figure(2.7) as figure:
        panels = figure.subplots(1, 2 if losses else 1, squeeze=False)[0]
        right = panels[-1]
        for place, (name, history) in enumerate(histories.items()):
            colour = (_BLUE, _GREEN, _PINK, _YELLOW, _SKY, _GREY)[place % 6]
            marker = _MARKERS[place % len(_MARKERS)]
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
                images[best], scores[best], "o", color=_ORANGE, markersize=7, zorder=4,
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
        return _png(figure)


def reliability(calibration: Mapping[str, Any]) -> bytes:
    """Accuracy over confidence before and after the temperature; on the diagonal is right.

    Args:
        calibration: content of calibration.json.
    """
    with _figure(3.2) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, key in zip(panels, ("before", "after"), strict=True):
            part = calibration[key]
            bins = part["bins"]
            sure = [100 * entry["confidence"] for entry in bins]
            true = [100 * entry["accuracy"] for entry in bins]
            most = max(entry["pixels"] for entry in bins)
            axes.plot([0, 100], [0, 100], color=_GREY, linewidth=1, linestyle="--")
            axes.plot(sure, true, color=_BLUE, linewidth=1.2)
            axes.scatter(
                sure, true, s=[8 + 90 * entry["pixels"] / most for entry in bins], color=_BLUE
            )
            axes.set_title(f"{key} the temperature, error {100 * part['ece']:.1f} points")
            axes.set_xlabel("confidence, %")
            axes.set_xlim(0, 102)
            axes.set_ylim(0, 102)
        panels[0].set_ylabel("right, %")
        return _png(figure)


def confusion(total: Sequence[Sequence[int]], classes: ClassTable) -> bytes:
    """Shares of what is really there, per class that is named; columns sum to 100 %.

    Args:
        total: "truth predicted" in pixels.
        classes: class table.
    """
    counts = np.array(total, dtype=np.float64)
    named = counts.sum(axis=0, keepdims=True)
    shares = np.divide(100 * counts, named, out=np.zeros_like(counts), where=named > 0)
    with _figure(0.8 + 0.42 * len(classes)) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        axes.grid(visible=False)
        axes.set_xticks(range(len(classes)), classes.names, rotation=30, ha="right")
        axes.set_yticks(range(len(classes)), classes.names)
        axes.set_xlabel("the labeller says")
        axes.set_ylabel("really there")
        for row in range(len(classes)):
            for column in range(len(classes)):
                if named[0, column] > 0 and shares[row, column] >= 0.5:
                    dark = shares[row, column] > 60
                    axes.text(
                        column, row, f"{shares[row, column]:.0f}", ha="center", va="center",
                        fontsize=8, color="white" if dark else "#333333",
                    )  # fmt: skip
        return _png(figure)


def generator_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Agreement with asked-for val masks and diversity across seeds, while generators train."""
    with _figure(2.8) as figure:
        left, right = figure.subplots(1, 2)
        for place, (name, history) in enumerate(histories.items()):
            colour = (_BLUE, _ORANGE, _GREEN, _PINK, _YELLOW)[place % 5]
            for axes, key in ((left, "agreement"), (right, "diversity")):
                known = [entry for entry in history if key in entry]
                axes.plot(
                    [entry["images"] for entry in known],
                    [100 * entry[key] for entry in known],
                    marker=_MARKERS[place % len(_MARKERS)], color=colour, label=name,
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
        return _png(figure)


def retention(funnel: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Kept and rejected samples per origin, by the rule that rejected them."""
    rules = list(dict.fromkeys(rule for entry in funnel.values() for rule in entry["rejected"]))
    shades = {rule: str(0.45 + 0.4 * i / max(1, len(rules) - 1)) for i, rule in enumerate(rules)}
    hatches = dict(zip(rules, ("", "///", "xx", "...", "++") * len(rules), strict=False))
    with _figure(0.85 + 0.11 * (2 + len(rules)) + 0.42 * len(funnel)) as figure:
        axes = figure.subplots()
        for place, (_origin, entry) in enumerate(funnel.items()):
            parts = [("kept", entry["kept"], _GREEN, "")]
            parts += [
                (f"rejected: not {rule}", entry["rejected"].get(rule, 0), shades[rule],
                 hatches[rule])
                for rule in rules
            ]  # fmt: skip
            left = 0
            for name, value, colour, hatch in parts:
                axes.barh(
                    place, value, left=left, height=0.6, color=colour, hatch=hatch,
                    edgecolor="white", label=name if place == 0 else None,
                )  # fmt: skip
                if value >= 0.04 * entry["made"]:
                    ink = "white" if colour == _GREEN else "#111111"
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
        return _png(figure)


def score_histograms(
    values: Mapping[str, Mapping[str, Float64Array]],
    bounds: Mapping[str, Sequence[float]],
) -> bytes:
    """One panel per score in 0 … 1, one outline per origin, and the bounds that curation used.

    Args:
        values: per column, per origin.
        bounds: per column.
    """
    with _figure(2.3) as figure:
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
                    facecolor="white", edgecolor=colour, hatch=hatch, label=origin
                )
            for bound in bounds.get(column, ()):
                axes.axvline(bound, color="#222222", linestyle="--", linewidth=1.1)
            axes.set_title(column)
            axes.set_xlim(0, 1)
        panels[0].set_ylabel("samples of the origin, %")
        figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=4)
        return _png(figure)


def composition(origins: Mapping[str, Mapping[str, Any]], classes: ClassTable) -> bytes:
    """Mean share of each class: real plain, each synthetic origin hatched, class colours."""
    with _figure(3.1) as figure:
        axes = figure.subplots()
        width = 0.82 / len(origins)
        names = ordered_origins(origins)
        for index, origin in enumerate(names):
            _, _, hatch = origin_looks(origin, names)
            offset = (index - (len(names) - 1) / 2) * width
            for label, share in enumerate(origins[origin]["shares"]):
                colour = _colour(classes, label)
                axes.bar(
                    label + offset, 100 * share, width * 0.94, color=colour, hatch=hatch or None,
                    edgecolor="white" if _is_dark(colour) else "#333333", linewidth=0,
                )  # fmt: skip
                # The outline is drawn apart, so that hatches of dark classes may be white.
                axes.bar(
                    label + offset, 100 * share, width * 0.94, fill=False, edgecolor="#333333",
                    linewidth=0.8,
                )  # fmt: skip
        # Names that would run into each other are turned.
        longest = max(map(len, classes.names))
        turned = 25 if longest * len(classes) > _WORDS_PER_LINE else 0
        side: Literal["right", "center"] = "right" if turned else "center"
        axes.set_xticks(range(len(classes)), list(classes.names), rotation=turned, ha=side)
        axes.set_ylabel("mean share of known pixels, %")
        axes.grid(axis="x", visible=False)
        handles = [
            Patch(facecolor="white", edgecolor="#333333", hatch=origin_looks(o, names)[2], label=o)
            for o in names
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(names))
        return _png(figure)


def embedding(maps: Mapping[str, Float64Array], origins: Sequence[str]) -> bytes:
    """Scatter of images in each two-dimensional map, by origin.

    Args:
        maps: by title, "point 2".
        origins: of the points.
    """
    names = ordered_origins(dict.fromkeys(origins))
    origin = np.array(origins)
    with _figure(3.9 if len(maps) > 1 else 4.6) as figure:
        panels = figure.subplots(1, len(maps), squeeze=False)[0]
        # A fixed shuffle, or the origin drawn last would hide the others.
        order = np.random.default_rng(0).permutation(len(origin))
        for axes, (title, xy) in zip(panels, maps.items(), strict=True):
            for piece in np.array_split(order, min(40, len(order))):
                for name in names:
                    colour, marker, _ = origin_looks(name, names)
                    rows = piece[origin[piece] == name]
                    axes.scatter(
                        xy[rows, 0], xy[rows, 1], s=13, marker=marker, color=colour, alpha=0.7,
                        linewidths=0.25, edgecolors="white",
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
        return _png(figure)


def class_shares(shares: Mapping[str, Float64Array], classes: ClassTable) -> bytes:
    """Stacked bars: mean class shares of each role of the real data."""
    columns = _columns(classes.names)
    height = 0.75 + 0.2 * -(-len(classes) // columns) + 0.34 * len(shares)
    with _figure(height) as figure:
        axes = figure.subplots()
        for place, values in enumerate(shares.values()):
            left = 0.0
            for label, share in enumerate(values):
                colour = _colour(classes, label)
                axes.barh(
                    place, 100 * share, left=left, height=0.62, color=colour,
                    edgecolor="white", linewidth=0.8,
                )  # fmt: skip
                if share >= 0.05:
                    axes.text(
                        left + 50 * share, place, f"{100 * share:.0f}", ha="center", va="center",
                        color="white" if _is_dark(colour) else "#111111", fontsize=8.5,
                    )  # fmt: skip
                left += 100 * share
        axes.set_yticks(range(len(shares)), list(shares))
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("mean share of known pixels, %")
        axes.grid(visible=False)
        handles = [
            Patch(facecolor=_colour(classes, label), edgecolor="#999999", label=name)
            for label, name in enumerate(classes.names)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=columns)
        return _png(figure)


def ordered_origins(origins: Iterable[str]) -> list[str]:
    """Origins with the real one first and the known ones before others."""
    known = list(_ORIGIN_LOOKS)
    return sorted(origins, key=lambda o: (known.index(o) if o in known else len(known), o))


def origin_looks(origin: str, origins: Sequence[str]) -> tuple[str, str, str]:
    """Colour, marker and hatch of an origin, the same in every figure."""
    if origin in _ORIGIN_LOOKS:
        return _ORIGIN_LOOKS[origin]
    others = [name for name in origins if name not in _ORIGIN_LOOKS]
    return _OTHER_LOOKS[others.index(origin) % len(_OTHER_LOOKS)]


def _columns(names: Sequence[str]) -> int:
    """Legend columns that fit the figure's width."""
    return max(1, min(len(names), 8, (_WORDS_PER_LINE + 20) // (7 + max(map(len, names)))))


def _colour(classes: ClassTable, label: int) -> tuple[float, float, float]:
    red, green, blue = classes.colours[label]
    return red / 255, green / 255, blue / 255


def _is_dark(colour: tuple[float, float, float]) -> bool:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # Names in other scripts than the bundled font's show as boxes; the tables hold them whole.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(_WIDTH, height), dpi=_DPI)
        FigureCanvasAgg(figure)
        yield figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Matplotlib would write its version into the file.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()

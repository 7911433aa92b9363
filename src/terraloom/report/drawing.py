"""Canvas of every figure: one style, one palette; PNG for files, SVG for files and the page.

Matplotlib's object interface alone is used, under its own defaults, so that neither a user's
matplotlibrc nor another thread's pyplot changes a pixel. Equal values give equal bytes.
"""

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from terraloom.classes import ClassTable
from terraloom.report.vector import GRID, INK, PAPER, SOFT, clean_svg
from terraloom.report.views import Drawing
from terraloom.types import Float64Array

DPI: Final = 150
WIDTH: Final = 7.6
"""Inches: 1140 pixels of the PNG."""
WORDS_PER_LINE: Final = 85
"""Letters that fit the width, gaps counted."""
_STYLE: Final = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.8,
    # A class may be called "$x": text is text.
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
    # Letters stay letters: the page's own type, and a reader's search finds them.
    "svg.fonttype": "none",
    "svg.hashsalt": "terraloom",
}

# Okabe and Ito's colours, told apart with every common form of colour blindness.
BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
YELLOW, PINK, GREY = "#E69F00", "#CC79A7", "#777777"
LIGHT, DARK = "#fefefe", "#333333"
"""Ink on coloured ground: it follows that ground, not the page."""
ARM_COLOURS: Final = {
    "real": BLUE,
    "real-strong": SKY,
    "synthetic": ORANGE,
    "real+conditional": YELLOW,
    "real+unconditional": PINK,
    "real+both": GREEN,
    "unfiltered": GREY,
    "random-curated-size": "#8C6D31",
    "relabel": "#7B5EA7",
    "more-real": "#17508A",
}
_ORIGIN_LOOKS: Final = {
    "real": (BLUE, "o", ""),
    "conditional": (ORANGE, "^", "///"),
    "unconditional": (GREEN, "s", "\\\\\\"),
}
_OTHER_LOOKS: Final = ((PINK, "D", "xxx"), (YELLOW, "v", "+++"), (GREY, "P", "---"))
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")


@contextmanager
def canvas(height: float, width: float = WIDTH) -> Iterator[Figure]:
    """An empty figure in the report's style; sizes in inches."""
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # Names in other scripts than the bundled font's show as boxes; the tables hold them whole.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(figure)
        yield figure


def drawn(figure: Figure) -> Drawing:
    """The figure as PNG and as SVG; call it inside `canvas`."""
    picture = io.BytesIO()
    # Matplotlib would write its version and the hour into the files.
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    # What the first drawing laid out holds for the second.
    figure.set_layout_engine("none")
    lines = io.StringIO()
    figure.savefig(lines, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    return Drawing(picture.getvalue(), clean_svg(lines.getvalue()))


def arm_colour(arm: str) -> str:
    """Colour of an arm, the same in every figure; an arm of a curve takes that of its base."""
    base = arm.removeprefix("recorded:").split("@", 1)[0]
    return ARM_COLOURS.get(base, GREY)


def arm_marker(arm: str) -> str:
    """Marker of an arm."""
    arms = list(ARM_COLOURS)
    base = arm.removeprefix("recorded:").split("@", 1)[0]
    return MARKERS[arms.index(base) % len(MARKERS)] if base in arms else "."


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


def legend_columns(names: Sequence[str]) -> int:
    """Legend columns that fit the figure's width."""
    return max(1, min(len(names), 8, (WORDS_PER_LINE + 20) // (7 + max(map(len, names)))))


def class_colour(classes: ClassTable, label: int) -> tuple[float, float, float]:
    """Red, green and blue of a class, 0 … 1."""
    red, green, blue = classes.colours[label]
    # A shade off white: pure white is the paper's colour, and follows the page into the dark.
    blue = min(blue, 254)
    return red / 255, green / 255, blue / 255


def is_dark(colour: tuple[float, float, float]) -> bool:
    """Whether light ink reads better on a colour."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.5


def draw_matrix(axes: Axes, shares: Float64Array, names: Sequence[str], *, letters: float) -> None:
    """A square matrix of shares 0 … 1 as tinted cells with their percent.

    Args:
        axes: to draw on; rows run downwards.
        shares: "row column"; NaN stays empty, and below half a percent only the tint is drawn.
        names: of rows and columns.
        letters: size of the figures in points.
    """
    axes.grid(visible=False)
    for row, column in np.ndindex(*shares.shape):
        share = float(shares[row, column])
        if np.isnan(share):
            continue
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=BLUE, alpha=share, linewidth=0))
        if share >= 0.005:
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=letters,
                color=LIGHT if share > 0.85 else INK, in_layout=False,
            )  # fmt: skip
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks(range(len(names)), list(names), rotation=30, ha="right")
    axes.set_yticks(range(len(names)), list(names))
    axes.spines[["top", "right"]].set_visible(True)

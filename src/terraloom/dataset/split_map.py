"""A picture of where the roles lie: footprints on the globe in the colours of their roles."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from terraloom.dataset.split import Candidates
from terraloom.types import ROLES, Float64Array, Role

_COLOURS: Final = {"train": "#0072B2", "val": "#E69F00", "test": "#D55E00", None: "#c9c9c9"}
"""Okabe and Ito's, told apart with every common form of colour blindness."""
_DPI: Final = 150
_WIDTH: Final = 7.6
_HEIGHTS: Final = (2.2, 8.0)
_DOTS_DEG: Final = 1 / 400
"""Share of the picture below which a footprint is drawn as a dot, or it could not be seen."""


def split_map(candidates: Candidates, roles: Sequence[Role | None]) -> bytes | None:
    """Draw the footprints of all kept patches by role; those that a buffer took are grey.

    Equal values give equal bytes.

    Returns:
        PNG, or None where no patch has coordinates.
    """
    known = np.flatnonzero(candidates.footprints.known)
    if not len(known):
        return None
    corners = _unrolled(candidates.footprints.corners[known])
    of_role = np.array([roles[int(row)] or "" for row in known])
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    span = np.maximum(high - low, 1e-6)
    stretch = 1.0 / max(0.05, float(np.cos(np.deg2rad((low[1] + high[1]) / 2))))
    height = float(np.clip(_WIDTH * span[1] / span[0] * stretch + 1.0, *_HEIGHTS))
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    drawn = []
    for role in (None, *ROLES):
        own = corners[of_role == (role or "")]
        if len(own):
            _draw(axes, own, _COLOURS[role], float(span.max()))
            name = role or "left out"
            drawn.append(Patch(color=_COLOURS[role], label=f"{name} ({len(own):,})"))
    axes.set_xlim(low[0] - 0.02 * span[0], high[0] + 0.02 * span[0])
    axes.set_ylim(low[1] - 0.02 * span[1], high[1] + 0.02 * span[1])
    axes.set_aspect(stretch)
    axes.xaxis.set_major_formatter(lambda lon, _: f"{(lon + 180.0) % 360.0 - 180.0:g}°")
    axes.yaxis.set_major_formatter(lambda lat, _: f"{lat:g}°")
    axes.tick_params(labelsize=8)
    figure.legend(
        handles=drawn, loc="outside upper left", ncols=4, frameon=False, fontsize=9
    )  # fmt: skip
    target = io.BytesIO()
    figure.savefig(target, format="png", metadata={"Software": None})
    return target.getvalue()


def _draw(axes: Axes, corners: Float64Array, colour: str, span: float) -> None:
    sides = np.ptp(corners, axis=1).max(axis=1)
    small: NDArray[np.bool_] = sides < span * _DOTS_DEG
    outlines = PolyCollection(list(corners[~small]), facecolors=colour, linewidths=0)
    axes.add_collection(outlines)
    if small.any():
        lon, lat = corners[small].mean(axis=1).T
        axes.scatter(lon, lat, s=3.0, color=colour, linewidths=0)


def _unrolled(corners: Float64Array) -> Float64Array:
    """Longitudes counted on from the widest empty stretch, so that no area is torn in two."""
    lon = corners[..., 0]
    first = lon[:, :1]
    lon = first + (lon - first + 180.0) % 360.0 - 180.0
    middles = np.unique(lon.mean(axis=1) % 360.0)
    gaps = np.diff(np.append(middles, middles[0] + 360.0))
    start = middles[(int(gaps.argmax()) + 1) % len(middles)]
    shift = (lon.mean(axis=1) - start + 1e-9) % 360.0 + start - lon.mean(axis=1)
    lon = lon + shift[:, None]
    turn = 360.0 * np.round(lon.mean() / 360.0)
    return np.stack([lon - turn, corners[..., 1]], axis=-1)

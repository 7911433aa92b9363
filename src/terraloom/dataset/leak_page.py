"""The leak test to be read: one self-contained page with a map and the pairs that were found."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from terraloom.classes import ClassTable
from terraloom.dataset.leaks import KINDS, Finding, LeakReport
from terraloom.dataset.split import Candidates, Split, rows_of
from terraloom.types import ROLES, ImageU8

_MOST_SHOWN: Final = 24
_SIDE: Final = 256

Pictures = Callable[[Sequence[int]], dict[int, ImageU8]]
"""Images of candidates by their rows; grey or in colour, of any size."""


def leak_page(
    report: LeakReport,
    candidates: Candidates,
    split: Split,
    classes: ClassTable,
    pictures: Pictures,
    drawn_map: bytes | None,
) -> str:
    """The page as HTML; needs no network and holds no script, and every text in it is escaped.

    Args:
        report: what was found.
        candidates: the patches.
        split: their roles.
        classes: class table of the shares.
        pictures: brings the images to be shown.
        drawn_map: PNG of the split, if there are coordinates.
    """
    found = [
        (meaning.capitalize(), [f for f in report.findings if f.kind == kind], report.found[kind])
        for kind, meaning in KINDS.items()
    ]
    found.append(("Left out", list(report.left_out), len(report.left_out)))
    shown = [(title, findings[:_MOST_SHOWN], count) for title, findings, count in found if findings]
    images = pictures(sorted({row for _, part, _ in shown for f in part for row in f.rows}))
    environment = Environment(
        loader=PackageLoader("terraloom.dataset", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("leaks.html.j2").render(
        report=report,
        kinds=KINDS,
        total=sum(report.found.values()),
        classes=classes.names,
        shares=_shares(candidates, split),
        map=None if drawn_map is None else _data(drawn_map),
        galleries=[
            (title, [_shown(finding, images) for finding in part], count)
            for title, part, count in shown
        ],
    )


def _shown(finding: Finding, images: dict[int, ImageU8]) -> dict[str, str]:
    first, second = (_data(_png(images[row])) for row in finding.rows)
    return {"first": first, "second": second, "text": str(finding)}


def _shares(candidates: Candidates, split: Split) -> list[dict[str, object]]:
    """Places, patches and mean class shares of each role."""
    lines: list[dict[str, object]] = []
    for role in ROLES:
        rows = rows_of(split.roles, role)
        if len(rows):
            places = len({split.places[row] for row in rows})
            mean = np.nanmean(candidates.shares[rows], axis=0).tolist()
            lines.append({"role": role, "places": places, "patches": len(rows), "shares": mean})
    return lines


def _png(image: ImageU8) -> bytes:
    target = io.BytesIO()
    picture = Image.fromarray(image)
    picture.thumbnail((_SIDE, _SIDE))
    picture.save(target, "PNG")
    return target.getvalue()


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"

"""Which patches are left out, and why; every candidate is counted."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.errors import NothingLeft
from terraloom.settings import CutSettings
from terraloom.types import Float32Array, LabelMask

KEPT = "kept"
UNREADABLE = "unreadable"
"""An input of the patch is damaged or ends early."""
DISAGREE = "inputs disagree"
"""Two inputs hold different values for the same pixels."""


def reason_to_drop(
    image: NDArray[np.generic],
    labels: LabelMask,
    classes: ClassTable,
    settings: CutSettings,
    *,
    shares: Float32Array | None = None,
    cloud_share: float | None = None,
    year_gap: int | None = None,
    shifted: bool = False,
) -> str:
    """The first filter that a patch fails, or "kept".

    Filters in order: years apart, blank image, unknown pixels, clouds, share of one class, number
    of classes, shifted labels.

    Args:
        image: "height width band".
        labels: "height width".
        classes: class table.
        settings: limits.
        shares: of the classes, where they are measured already.
        cloud_share: of the pixels, 0 … 1; None where nobody looked.
        year_gap: years between image and labels; None where one is not known.
        shifted: whether the labels clearly lie off the image.
    """
    if year_gap is not None and year_gap > settings.max_year_gap:
        return "image and labels years apart"
    if settings.drop_blank and image.min() == image.max():
        return "blank image"
    unknown = float((labels == UNKNOWN).mean())
    if unknown > settings.max_unknown_share or unknown == 1.0:
        return "unknown pixels"
    if cloud_share is not None and cloud_share > settings.max_cloud_share:
        return "clouds"
    shares = classes.shares(labels) if shares is None else shares
    for name, limit in settings.max_class_share.items():
        if shares[classes.names.index(name)] > limit:
            return f"too much {name}"
    if int(np.count_nonzero(shares)) < settings.min_classes:
        return "too few classes"
    if shifted and settings.drop_shifted:
        return "shifted labels"
    return KEPT


def funnel(reasons: Iterable[str]) -> dict[str, int]:
    """Candidates per reason, "kept" included, most frequent first."""
    return dict(Counter(reasons).most_common())


def check_something_left(counts: dict[str, int], settings: CutSettings) -> None:
    """Raise where the filters left nothing.

    Raises:
        NothingLeft: names the filters, their counts and the keys to loosen.
    """
    if counts.get(KEPT, 0) > 0:
        return
    if not counts:
        raise NothingLeft(
            f"no scene is as large as cut.patch_size = {settings.patch_size}, or no patch lies in "
            "the area asked for. Use smaller patches or a larger area."
        )
    told = ", ".join(f"{reason!r} took {count}" for reason, count in counts.items())
    raise NothingLeft(
        f"no patch left of {sum(counts.values())}: {told}. Loosen cut.max_unknown_share "
        f"(now {settings.max_unknown_share}), cut.max_class_share, cut.min_classes or "
        "cut.drop_blank, or choose another area."
    )

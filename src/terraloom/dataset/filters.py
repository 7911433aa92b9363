"""Which patches are left out, and why; every candidate is counted."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.errors import NothingLeft
from terraloom.settings import CutSettings
from terraloom.types import ImageU8, LabelMask

KEPT = "kept"


def reason_to_drop(
    image: ImageU8, labels: LabelMask, classes: ClassTable, settings: CutSettings
) -> str:
    """The first filter that a patch fails, or "kept".

    Filters in order: blank image, unknown pixels, share of one class, number of classes.
    """
    if settings.drop_blank and image.min() == image.max():
        return "blank image"
    unknown = float((labels == UNKNOWN).mean())
    if unknown > settings.max_unknown_share or unknown == 1.0:
        return "unknown pixels"
    shares = classes.shares(labels)
    for name, limit in settings.max_class_share.items():
        if shares[classes.names.index(name)] > limit:
            return f"too much {name}"
    if int(np.count_nonzero(shares)) < settings.min_classes:
        return "too few classes"
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
            f"no scene is as large as cut.patch_size = {settings.patch_size}. Use smaller patches."
        )
    told = ", ".join(f"{reason!r} took {count}" for reason, count in counts.items())
    raise NothingLeft(
        f"no patch left of {sum(counts.values())}: {told}. Loosen cut.max_unknown_share "
        f"(now {settings.max_unknown_share}), cut.max_class_share, cut.min_classes or "
        "cut.drop_blank, or choose another area."
    )

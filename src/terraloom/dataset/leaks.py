"""The leak test: a gate that no split passes with one place or one image in two roles."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from terraloom.dataset.split import Candidates, Split, nearest_distance_m
from terraloom.errors import LeakFound
from terraloom.settings import SplitSettings
from terraloom.types import Float32Array, Role

_PAIRS: tuple[tuple[Role, Role], ...] = (("train", "val"), ("train", "test"), ("val", "test"))
_CHUNK = 4096


@dataclass(frozen=True)
class LeakReport:
    """What the leak test found; kept beside the samples."""

    straddling_places: int
    """Places in more than one role."""
    nearest_m: dict[str, float | None]
    """Smallest gap in metres per pair of roles; None without coordinates."""
    largest_correlation: dict[str, float]
    """Most alike pair of images per pair of roles: correlation of their thumbnails."""
    rows: dict[str, int]
    """Patches per role."""

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


def check_leaks(
    candidates: Candidates,
    split: Split,
    thumbnails: Float32Array,
    settings: SplitSettings,
    digests: Sequence[str] = (),
) -> LeakReport:
    """Look for one place, one neighbourhood or one image in two roles.

    Args:
        candidates: the patches.
        split: their roles.
        thumbnails: "patch feature", rows of length 1 (or 0 where without contrast).
        settings: buffer and limit.
        digests: one per patch, of its pixels: finds copies that are too plain for a thumbnail.

    Raises:
        LeakFound: names the pair.
    """
    _check_copies(candidates, split, digests)
    held: dict[str, set[str]] = {}
    for place, role in zip(split.places, split.roles, strict=True):
        if role is not None:
            held.setdefault(place, set()).add(role)
    straddling = sorted(place for place, roles in held.items() if len(roles) > 1)
    if straddling:
        raise LeakFound(f"place {straddling[0]!r} is in {sorted(held[straddling[0]])}.")
    nearest: dict[str, float | None] = {}
    alike: dict[str, float] = {}
    for first, second in _PAIRS:
        key = f"{first}-{second}"
        nearest[key] = nearest_distance_m(candidates, split.roles, first, second)
        gap = nearest[key]
        if settings.buffer_m > 0 and gap is not None and gap < settings.buffer_m:
            raise LeakFound(
                f"{first} and {second} patches lie {gap:.0f} m apart; "
                f"split.buffer_m is {settings.buffer_m:.0f}."
            )
        one = _rows(split.roles, first)
        two = _rows(split.roles, second)
        value, pair = _most_alike(thumbnails, one, two)
        alike[key] = value
        if value >= settings.duplicate_limit:
            ids = (candidates.ids[pair[0]], candidates.ids[pair[1]])
            raise LeakFound(
                f"{ids[0]} ({first}) and {ids[1]} ({second}) show nearly the same image "
                f"(correlation {value:.4f} ≥ split.duplicate_limit {settings.duplicate_limit}). "
                "Give both one place, remove one, or raise the limit if you have looked at them."
            )
    counts = {role: int(sum(r == role for r in split.roles)) for role in ("train", "val", "test")}
    return LeakReport(0, nearest, alike, counts)


def _check_copies(candidates: Candidates, split: Split, digests: Sequence[str]) -> None:
    """Raise where the very same pixels stand in two roles."""
    first: dict[str, int] = {}
    for index, digest in enumerate(digests):
        role = split.roles[index]
        if role is None:
            continue
        other = first.setdefault(digest, index)
        if split.roles[other] != role:
            raise LeakFound(
                f"{candidates.ids[other]} ({split.roles[other]}) and {candidates.ids[index]} "
                f"({role}) are the same image to the last pixel. Give both one place, or remove "
                "one."
            )


def _rows(roles: Sequence[Role | None], wanted: Role) -> list[int]:
    return [i for i, role in enumerate(roles) if role == wanted]


def _most_alike(
    thumbnails: Float32Array, one: list[int], two: list[int]
) -> tuple[float, tuple[int, int]]:
    """Largest dot product between two groups of rows, in bounded memory."""
    best, pair = -1.0, (one[0], two[0])
    for start in range(0, len(one), _CHUNK):
        rows = one[start : start + _CHUNK]
        for other in range(0, len(two), _CHUNK):
            columns = two[other : other + _CHUNK]
            products = thumbnails[rows] @ thumbnails[columns].T
            i, j = np.unravel_index(int(products.argmax()), products.shape)
            if products[i, j] > best:
                best, pair = float(products[i, j]), (rows[int(i)], columns[int(j)])
    return round(best, 6), pair

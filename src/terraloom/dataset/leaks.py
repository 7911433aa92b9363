"""The leak test: a gate that no split passes with one place, ground or image in two roles."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from terraloom.dataset.alike import Previews
from terraloom.dataset.split import (
    LOSING,
    Candidates,
    Split,
    deal_folds,
    nearest_distance_m,
    rows_of,
    split_candidates,
)
from terraloom.errors import LeakFound, NothingLeft
from terraloom.settings import SplitSettings
from terraloom.types import ROLES, Float32Array, Role

Kind = Literal["place", "overlap", "distance", "same pixels", "near duplicate", "shared ground"]
KINDS: Final[dict[Kind, str]] = {
    "place": "one place in two roles",
    "overlap": "footprints of two roles share ground",
    "distance": "footprints of two roles are closer than split.buffer_m",
    "same pixels": "the very same image in two roles",
    "near duplicate": "nearly the same image in two roles",
    "shared ground": "images of two roles show a part of the same ground",
}
"""What the test looks for, from the surest sign to the faintest."""
PAIRS: Final[tuple[tuple[Role, Role], ...]] = (
    ("train", "val"), ("train", "test"), ("val", "test"),
)  # fmt: skip
_CHUNK: Final = 4096
_SAME_FRAME: Final = 0.8
"""Share of an image above which another view of its ground is a near-duplicate."""
_MOST_JOINED: Final = 10_000
"""Pairs of places that are kept together at most."""
_ROUNDING: Final = 1e-3
"""Gaps are right to 1 part in 10,000: one this much below the buffer may be the buffer itself."""


@dataclass(frozen=True)
class Looks:
    """What the leak test knows of the images, in the order of the candidates."""

    thumbnails: NDArray[np.floating[Any]]
    """Rows "patch feature" of length 1, or 0 where an image has no contrast."""
    previews: Iterable[NDArray[np.uint8]]
    """Grey images by `patches.preview`, in blocks "patch 32 32"."""
    digests: Sequence[bytes]
    """Of each image's pixels: finds copies that are too plain to be compared otherwise."""


@dataclass(frozen=True)
class Finding:
    """Two patches of different roles that ought not to be there together."""

    kind: Kind
    rows: tuple[int, int]
    """Positions among the candidates."""
    ids: tuple[str, str]
    roles: tuple[Role, Role]
    value: float | None = None
    """Gap in metres, or correlation of the images; None for places, overlaps, copies and where the
    first patch only shows the same frame as one that was found."""
    share: float | None = None
    """Share of an image that both show; None where that was not measured."""

    def __str__(self) -> str:
        (first, second), (one, two) = self.ids, self.roles
        pair = f"{first} ({one}) and {second} ({two})"
        match self.kind:
            case "place":
                return f"{pair} are of one place"
            case "overlap":
                return f"{pair} cover some of the same ground"
            case "distance":
                return f"{pair} lie {self.value:.0f} m apart"
            case "same pixels":
                return f"{pair} are the same image to the last pixel"
            case _ if self.value is None:
                return f"{first} ({one}) shows the frame of one whose ground {second} ({two}) shows"
            case "near duplicate":
                return f"{pair} show nearly the same image (correlation {self.value:.4f})"
            case "shared ground":
                shared = 100 * (self.share or 0.0)
                return f"{pair} share {shared:.0f} % of their ground (correlation {self.value:.3f})"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        plain = asdict(self)
        del plain["rows"]
        return plain


@dataclass(frozen=True)
class LeakReport:
    """What the leak test measured and found; kept beside the samples."""

    rows: dict[str, int]
    """Patches per role; those that are held back count as train, whose ground they share."""
    nearest_m: dict[str, float | None]
    """Smallest gap in metres per pair of roles; None without coordinates."""
    largest_correlation: dict[str, float]
    """Most alike pair of images per pair of roles: correlation of their thumbnails."""
    without_detail: int
    """Images too plain to be recognised when shifted or mirrored."""
    found: dict[str, int]
    """Leaks per kind; the gate lets none pass."""
    findings: tuple[Finding, ...] = field(repr=False)
    """The first of each kind."""
    left_out: tuple[Finding, ...] = field(repr=False)
    """Patches, each first in its pair, that were left out because of what the second shows."""
    limits: dict[str, Any] = field(default_factory=dict)
    """Settings that decide what counts."""
    together: tuple[tuple[str, str], ...] = ()
    """Places that got one role since their images show the same ground."""

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not any(self.found.values())

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **asdict(replace(self, findings=(), left_out=())),
            "together": [list(pair) for pair in self.together],
            "passed": self.passed,
            "straddling_places": self.found["place"],
            "findings": [finding.to_json() for finding in self.findings],
            "left_out": [finding.to_json() for finding in self.left_out],
        }

    def check(self) -> None:
        """Be the gate.

        Raises:
            LeakFound: says how many leaks of which kind there are, and names the first.
        """
        if self.passed:
            return
        told = "; ".join(f"{KINDS[f.kind]}: {self.found[f.kind]}" for f in _firsts(self.findings))
        raise LeakFound(
            f"the split leaks: {told}. First: {self.findings[0]}. {self._remedy()}", self
        )

    def _remedy(self) -> str:
        kind = self.findings[0].kind
        if kind in ("place", "overlap", "distance"):
            return "Give both one place or role in the index."
        return (
            'Give both one place, set split.near_duplicates = "drop" to leave the one of the '
            "lesser role out, or raise split.duplicate_limit if you have looked at them."
        )


def split_without_leaks(
    candidates: Candidates, looks: Looks, settings: SplitSettings, seed: int
) -> tuple[Split, LeakReport]:
    """Split, and look for leaks; named places that turn out to share ground get one role.

    Places that the source names may lie side by side, which only their images tell. Where the index
    does not give them two roles, they stay together, and nothing need be left out.

    Raises:
        InputError: as `split_candidates` and `check_leaks`.
    """
    previews = Previews(looks.previews)
    folds = _folds_without_leaks(candidates, looks, settings, previews) if settings.folds else None
    together: list[tuple[str, str]] = []
    while True:
        split = split_candidates(candidates, settings, seed, together, folds)
        checked, report = check_leaks(candidates, split, looks, settings, previews)
        more = {
            (min(one, two), max(one, two))
            for finding in report.left_out
            if finding.kind == "shared ground" and finding.value is not None
            for one, two in [[split.places[row] for row in finding.rows]]
        } - set(together)
        if None in candidates.places or len(together) >= _MOST_JOINED or not more:
            role = dict(zip(split.places, split.roles, strict=True))
            kept = sorted(pair for pair in together if role[pair[0]] == role[pair[1]])
            return checked, replace(report, together=tuple(kept))
        together += sorted(more)


def _folds_without_leaks(
    candidates: Candidates, looks: Looks, settings: SplitSettings, previews: Previews
) -> dict[str, int]:
    """Folds of which no two show the same ground, as far as images tell.

    Each fold is compared with all others, whichever is test in this run: the dealing must be the
    same in every run.
    """
    together: list[tuple[str, str]] = []
    while True:
        folds = deal_folds(candidates, settings, together)
        if None in candidates.places or len(together) >= _MOST_JOINED:
            return folds
        places = tuple(str(place) for place in candidates.places)
        more: set[tuple[str, str]] = set()
        for fold in range(settings.folds):
            roles: tuple[Role, ...] = tuple(
                "test" if folds[place] == fold else "train" for place in places
            )
            for found in _alike(candidates, Split(roles, places), looks, previews, settings):
                one, two = (places[row] for row in found.rows)
                more.add((min(one, two), max(one, two)))
        more -= set(together)
        if not more:
            return folds
        together += sorted(more)


def check_leaks(
    candidates: Candidates,
    split: Split,
    looks: Looks,
    settings: SplitSettings,
    previews: Previews | None = None,
) -> tuple[Split, LeakReport]:
    """Look for one place, one neighbourhood, one ground or one image in two roles.

    Images that share a part of their ground are left out of the lesser role (train gives way to
    val, and both to test), as overlapping footprints are; so are near-duplicates where
    `settings.near_duplicates` is "drop". With them go other images of their place that show the
    same frame, of whatever date.

    Args:
        candidates: the patches.
        split: their roles.
        looks: of their images.
        settings: buffer and limits.
        previews: of the images; left out, made anew.

    Returns:
        The split without what was left out, and what was found in it.

    Raises:
        NothingLeft: what was left out was all of a role.
    """
    previews = Previews(looks.previews) if previews is None else previews
    left_out: list[Finding] = []
    while True:
        found = _alike(candidates, split, looks, previews, settings)
        losing = [finding for finding in found if _gives_way(finding, settings)]
        if not losing:
            break
        split, gone = _without(candidates, split, losing, previews)
        left_out += gone
    for role in ROLES if left_out else ():
        if role not in split.roles:
            raise NothingLeft(
                f"split: the images of every {role} patch show ground of another role; the first: "
                f"{left_out[0]}. Give such places one role in the index; or, if they do not show "
                "the same ground, raise split.shared_ground_limit (1 turns the search off)."
            )
    found = [*_straddling(candidates, split), *_too_near(candidates, split, settings), *found]
    counts = Counter(finding.kind for finding in found)
    listed = {kind: [f for f in found if f.kind == kind][: settings.max_findings] for kind in KINDS}
    alike, nearest = {}, {}
    for first, second in PAIRS:
        one, two = rows_of(split.roles, first), rows_of(split.roles, second)
        best, _ = _most_alike(looks.thumbnails, one, two)
        alike[f"{first}-{second}"] = round(float(best.max(initial=-1.0)), 6)
        nearest[f"{first}-{second}"] = nearest_distance_m(candidates, split.roles, first, second)
    having_role = np.array([role is not None for role in split.roles])
    report = LeakReport(
        rows={role: split.roles.count(role) for role in ROLES},
        nearest_m=nearest,
        largest_correlation=alike,
        without_detail=int((having_role & ~previews.detailed).sum()),
        found={kind: counts[kind] for kind in KINDS},
        findings=tuple(finding for findings in listed.values() for finding in findings),
        left_out=tuple(left_out),
        limits={
            "buffer_m": settings.buffer_m,
            "duplicate_limit": settings.duplicate_limit,
            "shared_ground_limit": settings.shared_ground_limit,
            "near_duplicates": settings.near_duplicates,
        },
    )
    return split, report


def _firsts(findings: Sequence[Finding]) -> list[Finding]:
    """The first finding of each kind."""
    firsts: dict[str, Finding] = {}
    for finding in findings:
        firsts.setdefault(finding.kind, finding)
    return list(firsts.values())


def _finding(
    kind: Kind,
    candidates: Candidates,
    split: Split,
    rows: tuple[int, int],
    value: float | None = None,
    share: float | None = None,
) -> Finding:
    """A finding with the patch of the lesser role first."""
    first, second = rows
    one, two = split.roles[first], split.roles[second]
    if one is None or two is None or one == two:
        raise ValueError(f"patches {rows} are of the roles {one} and {two}: no leak.")
    if (one, two) not in LOSING:
        first, second, one, two = second, first, two, one
    ids = candidates.ids[first], candidates.ids[second]
    return Finding(kind, (first, second), ids, (one, two), value, share)


def _straddling(candidates: Candidates, split: Split) -> list[Finding]:
    """Places in two roles, each with a patch of either."""
    held: dict[str, dict[Role, int]] = {}
    for row, (place, role) in enumerate(zip(split.places, split.roles, strict=True)):
        if role is not None:
            held.setdefault(place, {}).setdefault(role, row)
    return [
        _finding("place", candidates, split, (rows[0], rows[1]))
        for place in sorted(held)
        if len(rows := list(held[place].values())) > 1
    ]


def _too_near(candidates: Candidates, split: Split, settings: SplitSettings) -> list[Finding]:
    """Patches that overlap one of another role, or lie within the buffer around it."""
    found = []
    for first, second in PAIRS:
        one, two = rows_of(split.roles, first), rows_of(split.roles, second)
        over = candidates.footprints.overlapping(one, two)
        found += [_finding("overlap", candidates, split, pair) for pair in over]
        least = settings.buffer_m * (1 - _ROUNDING)
        if least > 0:
            found += [
                _finding("distance", candidates, split, (i, j), round(gap, 1))
                for i, j, gap in candidates.footprints.closer(one, two, least)
            ]
    return found


def _alike(
    candidates: Candidates, split: Split, looks: Looks, previews: Previews, settings: SplitSettings
) -> list[Finding]:
    """Patches of two roles whose images are copies, near-duplicates or show the same ground."""
    found: dict[tuple[int, int], Finding] = {}

    def note(kind: Kind, rows: tuple[int, int], value: float | None, share: float | None) -> None:
        finding = _finding(kind, candidates, split, rows, value, share)
        found.setdefault(finding.rows, finding)

    for pair in _copies(split, looks.digests):
        note("same pixels", pair, None, 1.0)
    for first, second in PAIRS:
        one, two = rows_of(split.roles, first), rows_of(split.roles, second)
        best, partner = _most_alike(looks.thumbnails, one, two)
        for i in np.flatnonzero(best >= settings.duplicate_limit):
            pair = int(one[i]), int(partner[i])
            # Two plain images may have one course of brightness and yet other detail.
            if not previews.contradict(*pair):
                note("near duplicate", pair, round(float(best[i]), 6), None)
    if settings.shared_ground_limit < 1:
        for ground in previews.shared_ground(split.roles, settings.shared_ground_limit):
            whole = ground.share >= _SAME_FRAME
            kind: Kind = "near duplicate" if whole else "shared ground"
            note(kind, (ground.first, ground.second), ground.correlation, ground.share)
    return sorted(found.values(), key=lambda f: (list(KINDS).index(f.kind), f.rows))


def _gives_way(finding: Finding, settings: SplitSettings) -> bool:
    return finding.kind == "shared ground" or settings.near_duplicates == "drop"


def _without(
    candidates: Candidates, split: Split, losing: Sequence[Finding], previews: Previews
) -> tuple[Split, list[Finding]]:
    """The split without the first patch of each finding and others of its frame."""
    roles = list(split.roles)
    members: dict[str, list[int]] = {}
    for row, place in enumerate(split.places):
        members.setdefault(place, []).append(row)
    gone: list[Finding] = []
    for finding in losing:
        row, other = finding.rows
        if roles[row] is None or roles[other] is None:
            continue
        roles[row] = None
        gone.append(finding)
        for near in members[split.places[row]]:
            if roles[near] == finding.roles[0] and previews.agree(row, near):
                roles[near] = None
                gone.append(
                    replace(
                        finding, rows=(near, other), ids=(candidates.ids[near], finding.ids[1]),
                        value=None, share=finding.share,
                    )
                )  # fmt: skip
    return Split(tuple(roles), split.places), gone


def _copies(split: Split, digests: Sequence[bytes]) -> list[tuple[int, int]]:
    """Patches whose very pixels stand in a role that theirs gives way to, each with one such."""
    holding: dict[bytes, dict[Role, int]] = {}
    for row, (digest, role) in enumerate(zip(digests, split.roles, strict=True)):
        if role is not None:
            holding.setdefault(digest, {}).setdefault(role, row)
    found = []
    for row, (digest, role) in enumerate(zip(digests, split.roles, strict=True)):
        others = holding.get(digest, {})
        stronger = [others[two] for one, two in LOSING if one == role and two in others]
        found += [(row, other) for other in stronger[:1]]
    return found


def _most_alike(
    thumbnails: NDArray[np.floating[Any]], one: NDArray[np.intp], two: NDArray[np.intp]
) -> tuple[Float32Array, NDArray[np.intp]]:
    """Per patch of `one` the largest correlation with one of `two`, and which; bounded memory."""
    best = np.full(len(one), -1.0, dtype=np.float32)
    partner = np.zeros(len(one), dtype=np.intp)
    for start in range(0, len(one), _CHUNK):
        part = slice(start, start + _CHUNK)
        mine = thumbnails[one[part]].astype(np.float32)
        for other in range(0, len(two), _CHUNK):
            columns = two[other : other + _CHUNK]
            products = mine @ thumbnails[columns].astype(np.float32).T
            chosen = products.argmax(axis=1)
            value = products[np.arange(len(chosen)), chosen]
            better = value > best[part]
            best[part] = np.where(better, value, best[part])
            partner[part] = np.where(better, columns[chosen], partner[part])
    return best, partner

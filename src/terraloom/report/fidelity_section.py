"""Fidelity, diversity, copies: each figure between a floor and a ceiling of equal size."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from terraloom.report.reading import ProjectFiles
from terraloom.report.tables import SUMMARY, name, number
from terraloom.report.views import Block, Cell, Section, TableView, TextView, missing
from terraloom.report.wording import ABSENT, count, distance, listed, percent, plural

_FIGURES: Final = ("frechet", "kernel", "precision", "recall", "density", "coverage", "vendi")
_HEADERS: Final = (
    "samples of",
    "each set",
    "Fréchet ↓",
    "kernel ↓",
    "precision ↑",
    "recall ↑",
    "density ↑",
    "coverage ↑",
    "Vendi ↑",
)
_COLLAPSED: Final = 0.5
"""Share of the floor below which coverage or diversity is said to be lost."""
_MANY: Final = 3
"""How many times the floor's rate of flagged images makes a warning."""


def fidelity_section(files: ProjectFiles) -> Section:
    """How like real and how varied the synthetic images are, and whether they are copies."""
    title = "How like real, how varied, how new?"
    blocks: list[Block] = []
    summary = files.scores.get("fidelity")
    if summary:
        for network in summary["networks"]:
            blocks += _network(network)
    else:
        blocks.append(missing("score", "figure of fidelity"))
    nearest = files.scores.get("nearest")
    if nearest and nearest.get("origins"):
        blocks += [copies_table(nearest), *_copy_warnings(nearest)]
    return Section("fidelity", title, tuple(blocks))


def equal_table(network: Mapping[str, Any]) -> TableView:
    """Every figure of floor, origins and ceilings, sets of one size beside one another."""
    rows: list[tuple[Cell, ...]] = []
    sizes: dict[int, list[str]] = {}
    for origin, entry in network["origins"].items():
        if entry["equal"] is not None:
            sizes.setdefault(entry["equal"]["samples"], []).append(origin)
    for size, origins in sorted(sizes.items(), reverse=True):
        shared = network["origins"][origins[0]]["equal"]["rows"]
        ceilings = [key for key in shared if key not in ("floor", origins[0])]
        rows.append(_row("floor: real val", size, shared["floor"]))
        for origin in origins:
            found = network["origins"][origin]["equal"]["rows"][origin]
            rows.append(_row(origin, size, found))
        rows += [_row(f"ceiling: {key}", size, shared[key]) for key in ceilings]
    draws = {e["equal"]["draws"] for e in network["origins"].values() if e["equal"] is not None}
    few = [o for o, e in network["origins"].items() if e["equal"] is None]
    return TableView(
        f"Against real train images, in {network['features']}",
        _HEADERS,
        tuple(rows),
        (f"{SUMMARY}, fidelity",),
        (
            f"Each set, and the real train rows beside it, drawn to one size; mean of "
            f"{', '.join(map(str, sorted(draws)))} draws, below it the smallest and the largest. "
            "Floor: what real images of other places score. Ceiling: real val images with their "
            "pixels shuffled (colours stay, all else is lost), and another region where one was "
            f"given. {count(network['num_features'])} features; real rows: "
            f"{count(network['train'])} train, {count(network['val'])} val.",
            "Precision, recall, coverage: shares, in percent; density about 1 for one source. "
            "Vendi: effective number of unlike images, about the train rows' mean.",
            *([f"Too few samples for any figure: {listed(few)}."] if few else []),
        ),
    )


def whole_table(network: Mapping[str, Any]) -> TableView:
    """Figures of all samples: to compare with the same counts elsewhere, with nothing above."""
    rows = []
    for origin, entry in network["origins"].items():
        whole = entry["whole"]
        interval = whole.get("kernel_interval")
        told = f"[{_short(interval[0])}, {_short(interval[1])}]" if interval else ""
        rows.append(
            (
                name(origin),
                number(count(entry["samples"])),
                number(_short(whole["frechet"]), "singular" if whole.get("singular") else ""),
                number(_short(whole["kernel"]), told),
                number(_short(whole["vendi"])),
            )
        )
    return TableView(
        f"All samples, in {network['features']}",
        ("origin", "samples", "Fréchet", "kernel", "Vendi"),
        tuple(rows),
        (f"{SUMMARY}, fidelity",),
        (
            f"Against {count(network['train'])} real train rows. These figures depend on the "
            "counts: they tell nothing beside a floor of another size. Kernel with its 95 % "
            "interval over blocks.",
        ),
        folded=True,
    )


def apart_table(network: Mapping[str, Any]) -> TableView | None:
    """Silhouettes in this network's features, or None where they could not be taken."""
    found = network["silhouettes"]
    if found is None:
        return None
    counts = found["counts"]
    rows = [
        (
            name("floor: real train, real val"),
            number(count(sum(found["floor_counts"].values()))),
            number(distance(found["floor"])),
        ),
        (
            name("train and all origins"),
            number(count(sum(counts.values()))),
            number(distance(found["overall"])),
        ),
    ]
    for pair, value in found["pairwise"].items():
        own = [counts[group] for group in pair.split(", ") if group in counts]
        rows.append((name(pair), number(count(sum(own))), number(distance(value))))
    thinned = " Groups were thinned by a seeded draw." if found["sampled"] else ""
    return TableView(
        f"Silhouettes, in {network['features']}",
        ("groups", "images", "silhouette, −1 … 1"),
        tuple(rows),
        (f"{SUMMARY}, fidelity",),
        (f"Near 0 groups mix, near 1 they lie apart.{thinned}",),
        folded=True,
    )


def copies_table(nearest: Mapping[str, Any]) -> TableView:
    """Distances to the nearest train image, and how many count as copies."""
    floor, reference = nearest["floor"], nearest["reference"]
    rows = [
        (
            name("floor: real val"),
            number(count(floor["samples"])),
            *_quartiles(floor["quartiles"]),
            _flagged(floor["copies"], floor["samples"]),
            number(ABSENT),
        )
    ]
    for origin, entry in nearest["origins"].items():
        rows.append(
            (
                name(origin),
                number(count(entry["samples"])),
                *_quartiles(entry["quartiles"]),
                _flagged(entry["copies"], entry["samples"]),
                _flagged(entry["duplicates"], entry["samples"]),
            )
        )
    left = [
        f"{count(reference[kind])} of {count(reference[f'{kind}_total'])} {kind} images"
        for kind in ("train", "synthetic")
        if reference[kind] < reference[f"{kind}_total"]
    ]
    return TableView(
        "Distance to the nearest real train image",
        (
            "origin",
            "samples",
            "lower quartile",
            "median",
            "upper quartile",
            "copies of train",
            "duplicates",
        ),
        tuple(rows),
        (f"{SUMMARY}, nearest", f"score/{nearest['table']}"),
        (
            f"Features: {nearest['features']}. In units of the median distance of real val images: "
            "about 1 for real images, near 0 for copies of train images, large for images unlike "
            "any that was seen.",
            f"Copy: nearer to a train image than {nearest['threshold']:.3f}, which is nearer than "
            f"{percent(1 - nearest['quantile'])} % of the train images lie to their nearest other "
            "one. Duplicate: as near to another synthetic image. What real val images show is the "
            "rate of false alarms.",
            *([f"Compared with {listed(left)}, drawn evenly."] if left else []),
        ),
    )


def _network(network: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [equal_table(network), *_warnings(network), whole_table(network)]
    apart = apart_table(network)
    return blocks if apart is None else [*blocks, apart]


def _warnings(network: Mapping[str, Any]) -> list[Block]:
    """What the table says, in words, where it says something bad."""
    lost: dict[str, list[str]] = {}
    singular = False
    for origin, entry in network["origins"].items():
        equal = entry["equal"]
        if equal is None:
            continue
        singular |= equal["singular"]
        own, floor = equal["rows"][origin], equal["rows"]["floor"]
        for figure in ("recall", "coverage", "vendi"):
            if own[figure]["high"] < _COLLAPSED * floor[figure]["low"]:
                lost.setdefault(origin, []).append(figure)
    told: list[Block] = []
    for origin, names in lost.items():
        listing = listed([n.capitalize() if n == "vendi" else n for n in names])
        told.append(
            TextView(
                f"{origin}: {listing} below half of what real val images reach in every draw. "
                "Much of what is real is not among these samples: the generator collapsed on part "
                "of it, or makes another kind of image.",
                "warning",
            )
        )
    if singular:
        told.append(
            TextView(
                "With no more samples than features covariances lack full rank, so that Fréchet "
                "distances are mostly bias; the floor has the same bias, the kernel distance none.",
                "small",
            )
        )
    return told


def _copy_warnings(nearest: Mapping[str, Any]) -> list[Block]:
    floor = nearest["floor"]
    rate = max(floor["copies"] / floor["samples"], nearest["quantile"])
    found = {
        origin: entry["copies"]
        for origin, entry in nearest["origins"].items()
        if entry["samples"] and entry["copies"] / entry["samples"] > _MANY * rate
    }
    return [
        TextView(
            f"{origin}: {plural(copies, 'image')} flagged as copies of train images, more than "
            f"{_MANY} times the rate of real val images. A gain from copies is no gain from "
            "synthetic data.",
            "warning",
        )
        for origin, copies in found.items()
    ]


def _row(label: str, size: int, figures: Mapping[str, Mapping[str, float]]) -> tuple[Cell, ...]:
    cells = [name(label), number(count(size))]
    for figure in _FIGURES:
        spread = figures[figure]
        shares = figure in ("precision", "recall", "coverage")
        form = percent if shares else _short
        cells.append(
            number(form(spread["mean"]), f"{form(spread['low'])} to {form(spread['high'])}")
        )
    return tuple(cells)


def _quartiles(values: Sequence[float]) -> tuple[Cell, ...]:
    return tuple(number(f"{v:.2f}") for v in values) or (number(ABSENT),) * 3


def _flagged(flagged: int, samples: int) -> Cell:
    return number(count(flagged), f"{percent(flagged / samples)} %" if samples else "")


def _short(value: float | None) -> str:
    """Three digits, as figures of unknown scale need them."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")

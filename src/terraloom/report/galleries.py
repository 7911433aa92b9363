"""Cards of samples: real ones, masks with what was made for them, rejected ones, captions.

Examples are evenly spaced over the sorted ids, never chosen by eye, and the page says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from terraloom.classes import ClassTable
from terraloom.report.marking import marked
from terraloom.report.pictures import mask_picture, photo
from terraloom.report.reading import REAL, ProjectFiles, evenly, find_crop, image_of, mask_of
from terraloom.report.views import Card, GalleryView, Picture
from terraloom.report.wording import listed, percent
from terraloom.types import LabelMask

ASKED: Final = "generate/samples"
LABELLED: Final = "label/samples"
_CAPTIONS: Final = {"real": "caption/real", "synthetic": "caption/synthetic"}
CLAIMS: Final = {"real": "score/claims/real", "synthetic": "score/claims/synthetic"}
_COLUMNS: Final = ("id", "split", "origin", "place", "image", "mask", "parent", "seed")
_MOST_SIBLINGS: Final = 3
_MOST_READ: Final = 24
"""Samples of one parent whose masks are compared."""
EVENLY: Final = "Examples are evenly spaced over the sorted ids; nobody chose them."


def real_gallery(files: ProjectFiles, classes: ClassTable, number: int = 8) -> GalleryView | None:
    """Real samples with their masks."""
    rows = files.rows_of(REAL, evenly(files.ids(REAL), number), _COLUMNS)
    if not rows:
        return None
    cards = []
    for sample_id, (row,) in sorted(rows.items()):
        pictures = (_image(row, "image"), mask_picture(mask_of(row), classes, "mask"))
        cards.append(Card(sample_id, pictures, (f"{row['split']}, place {row['place']}",)))
    return GalleryView("real-samples", "Real samples", tuple(cards), (REAL,), (EVENLY,))


def sample_grid(files: ProjectFiles, classes: ClassTable, number: int = 6) -> GalleryView | None:
    """Real crop, asked-for mask, a conditional image of that mask, and an unconditional image."""
    parents = _parents(files)
    chosen = evenly(list(parents), number)
    asked = files.rows_of(ASKED, chosen, ["id", "mask"])
    made = files.rows_of(LABELLED, chosen, _COLUMNS)
    real = files.rows_of(REAL, {parents[name] for name in chosen}, _COLUMNS)
    free = files.rows_of(LABELLED, evenly(_freely_made(files), number), _COLUMNS)
    if not made and not free:
        return None
    freely = [row for _, (row,) in sorted(free.items())]
    pairs = [name for name in chosen if name in asked and name in made]
    cards = []
    for index in range(max(len(pairs), len(freely))):
        pictures: list[Picture] = []
        lines = []
        if index < len(pairs):
            name = pairs[index]
            mask = mask_of(asked[name][0])
            row = real.get(parents[name], [None])[0]
            if row is not None:
                pictures.append(_parent_picture(row, mask))
            pictures.append(mask_picture(mask, classes, "mask"))
            pictures.append(_image(made[name][0], "conditional"))
            lines.append(f"mask of {parents[name]}; conditional: {name}")
        if index < len(freely):
            pictures.append(_image(freely[index], "unconditional"))
            lines.append(f"unconditional: {freely[index]['id']}")
        cards.append(Card(f"{index + 1}", tuple(pictures), tuple(lines)))
    left = "" if free else " No generator of this run made images without a mask."
    left += "" if made else " No generator of this run made images for masks."
    return GalleryView(
        "sample-grid", "Real, mask, conditional, unconditional", tuple(cards),
        (REAL, ASKED, LABELLED),
        (
            f"{EVENLY} Unconditional images belong to no mask: they stand beside the others only "
            f"to be compared by eye. Kept and rejected samples alike.{left}",
        ),
        wide=True,
    )  # fmt: skip


def conditional_gallery(
    files: ProjectFiles, classes: ClassTable, number: int = 6
) -> GalleryView | None:
    """Real crop, the mask that was asked for, what was made for it, and the final mask."""
    parents = _parents(files)
    if not parents:
        return None
    chosen = evenly(list(parents), number)
    wanted = {parents[name] for name in chosen}
    siblings: dict[str, list[str]] = {parent: [] for parent in wanted}
    for name, parent in parents.items():
        if parent in wanted and len(siblings[parent]) < _MOST_READ:
            siblings[parent].append(name)
    near = sorted({*chosen, *(name for names in siblings.values() for name in names)})
    asked = files.rows_of(ASKED, near, ["id", "mask", "parent"])
    same = {
        name: _same_mask(name, siblings[parents[name]], asked)
        for name in chosen
        if name in asked
    }  # fmt: skip
    shown = {other for others in same.values() for other in others}
    real = files.rows_of(REAL, wanted, _COLUMNS)
    final = files.rows_of(LABELLED, shown, _COLUMNS)
    labels = files.rows_of("label/labels", shown, ["id", "agreement"])
    verdicts = files.verdicts_of(shown)
    cards = []
    for sample_id, others in same.items():
        if sample_id not in final:
            continue
        mask = mask_of(asked[sample_id][0])
        pictures = []
        row = real.get(parents[sample_id], [None])[0]
        if row is not None:
            pictures.append(_parent_picture(row, mask))
        pictures.append(mask_picture(mask, classes, "asked-for mask"))
        lines = []
        for mark, other in zip("ABCD", others, strict=False):
            pictures.append(_image(final[other][0], f"{mark}, made"))
            pictures.append(mask_picture(mask_of(final[other][0]), classes, f"{mark}, final mask"))
            told = [f"{mark}: {other}"]
            agreement = labels[other][0]["agreement"] if other in labels else None
            if agreement is not None:
                told.append(f"agreement {percent(agreement)} %")
            verdict = verdicts.get(other)
            if verdict is not None:
                told.append("kept" if verdict["keep"] else f"rejected ({verdict['rule']})")
            lines.append(", ".join(told))
        cards.append(Card(f"mask of {parents[sample_id]}", tuple(pictures), tuple(lines)))
    if not cards:
        return None
    notes = (
        f"{EVENLY} Where other samples were made for the very same mask, by another seed or "
        "generator, they stand beside it.",
        "The real crop is found again by matching the asked-for mask in its parent; a uniform "
        "mask matches in several places, and the first is shown. In the final mask, pixels are "
        "unknown (black) where a confident labeller contradicts the asked-for class.",
    )
    sources = (REAL, ASKED, LABELLED, "label/labels", "curate/verdicts")
    title = "Conditional samples: real crop, asked-for mask, image made for it, final mask"
    return GalleryView("conditional-samples", title, tuple(cards), sources, notes, wide=True)


def unconditional_gallery(
    files: ProjectFiles, classes: ClassTable, number: int = 12
) -> GalleryView | None:
    """Samples made freely, with the labeller's mask."""
    rows = files.rows_of(LABELLED, evenly(_freely_made(files), number), _COLUMNS)
    if not rows:
        return None
    verdicts = files.verdicts_of(rows.keys())
    cards = [
        Card(
            sample_id,
            (_image(row, "made"), mask_picture(mask_of(row), classes, "label")),
            tuple(_verdict(verdicts.get(sample_id))),
            tone=_tone(verdicts, sample_id),
        )
        for sample_id, (row,) in sorted(rows.items())
    ]
    notes = (EVENLY, "No mask was asked for: the label is what the labeller reads.")
    return GalleryView(
        "unconditional-samples", "Unconditional samples and their labels", tuple(cards),
        (LABELLED, "curate/verdicts"), notes,
    )  # fmt: skip


def rejected_gallery(
    files: ProjectFiles, classes: ClassTable, per_rule: int = 3
) -> GalleryView | None:
    """A few rejected samples of each rule, with the reason."""
    by_rule: dict[str, list[str]] = {}
    for piece in files.batches("curate/verdicts", ["id", "keep", "rule"]):
        rejected = piece.filter(pc.invert(piece.column("keep")))
        names, rules = (rejected.column(key).to_pylist() for key in ("id", "rule"))
        for name, rule in zip(names, rules, strict=True):
            by_rule.setdefault(rule or "", []).append(name)
    chosen = [i for rule in sorted(by_rule) for i in evenly(by_rule[rule], per_rule)]
    rows = files.rows_of(LABELLED, chosen, _COLUMNS)
    verdicts = files.verdicts_of(chosen)
    cards = []
    for sample_id in chosen:
        if sample_id not in rows:
            continue
        row = rows[sample_id][0]
        verdict = verdicts[sample_id]
        pictures = (_image(row, "made"), mask_picture(mask_of(row), classes, "final mask"))
        lines = (f"{verdict['reason']} (rule {verdict['rule']})",)
        cards.append(Card(sample_id, pictures, lines, tone="bad"))
    if not cards:
        return None
    return GalleryView(
        "rejected-samples", "Rejected samples, with the reason", tuple(cards),
        (LABELLED, "curate/verdicts"), (f"Up to {per_rule} per rule. {EVENLY}",),
    )  # fmt: skip


def caption_gallery(
    files: ProjectFiles, classes: ClassTable, kind: str, number: int = 3
) -> GalleryView | None:
    """Samples of one kind with all their captions, their claims marked, and what the writer saw."""
    samples = REAL if kind == "real" else LABELLED
    cards = _caption_cards(files, classes, kind, evenly(files.ids(samples), number))
    if not cards:
        return None
    notes: tuple[str, ...] = (EVENLY,)
    if kind != "real":
        notes += (
            "A writer that saw the mask tells what the mask says; where image and mask disagree, "
            "so do image and caption.",
        )
    return GalleryView(
        f"captions-{kind}", f"Captions of {kind} samples", tuple(cards),
        (samples, _CAPTIONS[kind], CLAIMS[kind]), notes, wide=True,
    )  # fmt: skip


def contradicted_gallery(
    files: ProjectFiles, classes: ClassTable, number: int = 3
) -> GalleryView | None:
    """Samples with a caption that the mask contradicts; None where there is none."""
    cards: list[Card] = []
    sources: list[str] = []
    for kind, table in CLAIMS.items():
        found: set[str] = set()
        for piece in files.batches(table, ["id", "verdict"]):
            wrong = piece.filter(pc.equal(piece.column("verdict"), "contradicted"))
            found.update(pc.unique(wrong.column("id")).to_pylist())
        own = _caption_cards(files, classes, kind, evenly(list(found), number))
        cards += own
        sources += [table, _CAPTIONS[kind]] if own else []
    if not cards:
        return None
    return GalleryView(
        "captions-contradicted", "Captions that the mask contradicts", tuple(cards),
        tuple(sources), (f"Up to {number} samples of each kind. {EVENLY}",), wide=True,
    )  # fmt: skip


def _caption_cards(
    files: ProjectFiles, classes: ClassTable, kind: str, chosen: Sequence[str]
) -> list[Card]:
    samples = REAL if kind == "real" else LABELLED
    rows = files.rows_of(samples, chosen, _COLUMNS)
    captions = files.rows_of(_CAPTIONS[kind], chosen)
    claims = files.rows_of(CLAIMS[kind], chosen)
    cards = []
    for sample_id in chosen:
        if sample_id not in captions or sample_id not in rows:
            continue
        row = rows[sample_id][0]
        own = sorted(captions[sample_id], key=lambda caption: caption["index"])
        pictures = (_image(row, "image"), mask_picture(mask_of(row), classes, "mask"))
        items = tuple(
            marked(
                caption["text"],
                [c for c in claims.get(sample_id, ()) if c["caption"] == caption["index"]],
            )
            for caption in own
        )
        writers = dict.fromkeys(_writer(caption) for caption in own)
        cards.append(Card(sample_id, pictures, tuple(writers), items))
    return cards


def _parents(files: ProjectFiles) -> dict[str, str]:
    """Parent of each sample that was made for a mask."""
    made = files.columns(LABELLED, ["id", "parent"])
    if made is None:
        return {}
    made = made.filter(pc.is_valid(made.column("parent")))
    columns = (made.column(key).to_pylist() for key in ("id", "parent"))
    return dict(sorted(zip(*columns, strict=True)))


def _freely_made(files: ProjectFiles) -> list[str]:
    """Ids of the samples that were made for no mask."""
    made = files.columns(LABELLED, ["id", "parent"])
    if made is None:
        return []
    names: list[str] = made.filter(pc.is_null(made.column("parent"))).column("id").to_pylist()
    return names


def _same_mask(
    name: str, siblings: Sequence[str], asked: Mapping[str, Sequence[dict[str, Any]]]
) -> list[str]:
    """The sample and at most two others that were made for the very same mask."""
    mask = mask_of(asked[name][0])
    others = (
        other
        for other in siblings
        if other != name and other in asked and np.array_equal(mask_of(asked[other][0]), mask)
    )
    return [name, *others][:_MOST_SIBLINGS]


def _parent_picture(row: Mapping[str, Any], crop: LabelMask) -> Picture:
    image, mask = image_of(dict(row)), mask_of(dict(row))
    found = find_crop(mask, crop)
    if found is None:
        return photo(image, "real, whole parent", f"real image {row['id']}")
    top, left = found
    window = image[top : top + crop.shape[0], left : left + crop.shape[1]]
    return photo(window, "real", f"real image {row['id']}, crop")


def _image(row: Mapping[str, Any], heading: str) -> Picture:
    return photo(image_of(dict(row)), heading, f"image {row['id']}")


def _verdict(verdict: Mapping[str, Any] | None) -> list[str]:
    if verdict is None:
        return []
    return ["kept"] if verdict["keep"] else [f"rejected: {verdict['reason']}"]


def _tone(verdicts: Mapping[str, Mapping[str, Any]], sample_id: str) -> str:
    verdict = verdicts.get(sample_id)
    return "bad" if verdict is not None and not verdict["keep"] else ""


def _writer(caption: Mapping[str, Any]) -> str:
    saw: Sequence[str] = caption["saw"] or []
    model = f", {caption['model']}" if caption.get("model") else ""
    seen = listed([_SEEN.get(item, item) for item in saw]) or "nothing"
    return f"writer {caption['writer']}{model} ({caption['mode']}); saw: {seen}"


_SEEN: Final = {
    "image": "the image",
    "shares": "the class shares",
    "layout": "the label mask",
    "feedback": "contradictions found before",
}

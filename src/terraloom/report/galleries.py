"""Cards of samples: real ones, masks with what was made for them, rejected ones, captions.

Examples are evenly spaced over the sorted ids, never chosen by eye, and the page says so.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.report.marking import marked
from terraloom.report.reading import ProjectFiles, evenly, find_crop, image_of, mask_of
from terraloom.report.views import Card, GalleryView, Picture
from terraloom.report.wording import listed, percent
from terraloom.samples import encode_image
from terraloom.types import ImageU8, LabelMask

REAL: Final = "build/samples"
ASKED: Final = "generate/samples"
LABELLED: Final = "label/samples"
_CAPTIONS: Final = {"real": "caption/real", "synthetic": "caption/synthetic"}
CLAIMS: Final = {"real": "score/claims/real", "synthetic": "score/claims/synthetic"}
_COLUMNS: Final = ("id", "split", "origin", "place", "image", "mask", "parent", "seed")
_MOST_SIBLINGS: Final = 3
_EVENLY: Final = "Examples are evenly spaced over the sorted ids; nobody chose them."
_GAP: Final = 4


def real_gallery(files: ProjectFiles, classes: ClassTable, number: int = 8) -> GalleryView | None:
    """Real samples with their masks."""
    names = [row["id"] for row in files.rows(REAL, ["id"])]
    rows = files.rows_of(REAL, evenly(names, number), _COLUMNS)
    if not rows:
        return None
    cards = []
    for sample_id, (row,) in sorted(rows.items()):
        pictures = (_image(row, "image"), _mask(mask_of(row), classes, "mask"))
        cards.append(Card(sample_id, pictures, (f"{row['split']}, place {row['place']}",)))
    return GalleryView("real-samples", "Real samples", tuple(cards), (REAL,), (_EVENLY,))


def conditional_gallery(
    files: ProjectFiles, classes: ClassTable, number: int = 6
) -> GalleryView | None:
    """Real crop, the mask that was asked for, what was made for it, and the final mask."""
    made = [row for row in files.rows(LABELLED, ["id", "parent"]) if row["parent"] is not None]
    if not made:
        return None
    chosen = evenly([row["id"] for row in made], number)
    parent = {row["id"]: row["parent"] for row in made}
    wanted = {parent[sample_id] for sample_id in chosen}
    siblings = [row["id"] for row in made if row["parent"] in wanted]
    asked = files.rows_of(ASKED, siblings, ["id", "mask", "parent"])
    parents = files.rows_of(REAL, wanted, _COLUMNS)
    final = files.rows_of(LABELLED, siblings, _COLUMNS)
    agreement = {row["id"]: row["agreement"] for row in files.rows("label/labels",
                 ["id", "agreement"])}  # fmt: skip
    cards = []
    for sample_id in chosen:
        if sample_id not in asked or sample_id not in final:
            continue
        mask = mask_of(asked[sample_id][0])
        pictures = []
        row = parents.get(parent[sample_id], [None])[0]
        if row is not None:
            pictures.append(_parent_picture(row, mask))
        pictures.append(_mask(mask, classes, "asked-for mask"))
        same = [sample_id] + [
            other
            for other in sorted(asked)
            if other != sample_id
            and parent[other] == parent[sample_id]
            and np.array_equal(mask_of(asked[other][0]), mask)
        ]
        lines = []
        for index, other in enumerate(same[:_MOST_SIBLINGS]):
            mark = "ABCD"[index]
            pictures.append(_image(final[other][0], f"{mark}, made"))
            pictures.append(_mask(mask_of(final[other][0]), classes, f"{mark}, final mask"))
            told = [f"{mark}: {other}"]
            if agreement.get(other) is not None:
                told.append(f"agreement {percent(agreement[other])} %")
            verdict = files.verdicts.get(other)
            if verdict is not None:
                told.append("kept" if verdict["keep"] else f"rejected ({verdict['rule']})")
            lines.append(", ".join(told))
        cards.append(Card(f"mask of {parent[sample_id]}", tuple(pictures), tuple(lines)))
    if not cards:
        return None
    notes = (
        f"{_EVENLY} Where other samples were made for the very same mask, by another seed or "
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
    made = [row for row in files.rows(LABELLED, ["id", "parent"]) if row["parent"] is None]
    rows = files.rows_of(LABELLED, evenly([row["id"] for row in made], number), _COLUMNS)
    if not rows:
        return None
    cards = [
        Card(
            sample_id,
            (_image(row, "made"), _mask(mask_of(row), classes, "label")),
            tuple(_verdict(files.verdicts.get(sample_id))),
            tone=_tone(files.verdicts, sample_id),
        )
        for sample_id, (row,) in sorted(rows.items())
    ]
    notes = (_EVENLY, "No mask was asked for: the label is what the labeller reads.")
    return GalleryView(
        "unconditional-samples", "Unconditional samples and their labels", tuple(cards),
        (LABELLED, "curate/verdicts"), notes,
    )  # fmt: skip


def rejected_gallery(
    files: ProjectFiles, classes: ClassTable, per_rule: int = 3
) -> GalleryView | None:
    """A few rejected samples of each rule, with the reason."""
    by_rule: dict[str, list[str]] = {}
    for sample_id, verdict in files.verdicts.items():
        if not verdict["keep"]:
            by_rule.setdefault(verdict["rule"], []).append(sample_id)
    chosen = [i for rule in sorted(by_rule) for i in evenly(by_rule[rule], per_rule)]
    rows = files.rows_of(LABELLED, chosen, _COLUMNS)
    cards = []
    for sample_id in chosen:
        if sample_id not in rows:
            continue
        row = rows[sample_id][0]
        verdict = files.verdicts[sample_id]
        pictures = (_image(row, "made"), _mask(mask_of(row), classes, "final mask"))
        lines = (f"{verdict['reason']} (rule {verdict['rule']})",)
        cards.append(Card(sample_id, pictures, lines, tone="bad"))
    if not cards:
        return None
    return GalleryView(
        "rejected-samples", "Rejected samples, with the reason", tuple(cards),
        (LABELLED, "curate/verdicts"), (f"Up to {per_rule} per rule. {_EVENLY}",),
    )  # fmt: skip


def caption_gallery(
    files: ProjectFiles, classes: ClassTable, kind: str, number: int = 3
) -> GalleryView | None:
    """Samples of one kind with all their captions, their claims marked, and what the writer saw."""
    samples = REAL if kind == "real" else LABELLED
    names = [row["id"] for row in files.rows(samples, ["id"])]
    cards = _caption_cards(files, classes, kind, evenly(names, number))
    if not cards:
        return None
    notes: tuple[str, ...] = (_EVENLY,)
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
        found = sorted(
            {
                row["id"]
                for row in files.rows(table, ["id", "verdict"])
                if row["verdict"] == "contradicted"
            }
        )
        own = _caption_cards(files, classes, kind, evenly(found, number))
        cards += own
        sources += [table, _CAPTIONS[kind]] if own else []
    if not cards:
        return None
    return GalleryView(
        "captions-contradicted", "Captions that the mask contradicts", tuple(cards),
        tuple(sources), (f"Up to {number} samples of each kind. {_EVENLY}",), wide=True,
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
        pictures = (_image(row, "image"), _mask(mask_of(row), classes, "mask"))
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


def read_grid(path: Path) -> bytes:
    """A generator's picture grid; an enlargement by two is undone without loss."""
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB"))
    small = pixels[::2, ::2]
    if np.array_equal(small.repeat(2, axis=0).repeat(2, axis=1), pixels):
        pixels = small
    return encode_compact(pixels)


def contact_sheet(gallery: GalleryView) -> bytes:
    """All pictures of a gallery in one PNG, a card per row."""
    rows = []
    for card in gallery.cards:
        pictures = []
        for picture in card.pictures:
            with Image.open(io.BytesIO(picture.png)) as image:
                pictures.append(np.asarray(image.convert("RGB")))
        rows.append(pictures)
    width = max(sum(p.shape[1] + _GAP for p in row) for row in rows)
    height = sum(max(p.shape[0] for p in row) + _GAP for row in rows)
    sheet = np.full((height + _GAP, width + _GAP, 3), 255, dtype=np.uint8)
    top = _GAP
    for row in rows:
        left = _GAP
        for pixels in row:
            sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
            left += pixels.shape[1] + _GAP
        top += max(p.shape[0] for p in row) + _GAP
    return encode_compact(sheet)


def encode_compact(pixels: ImageU8) -> bytes:
    """PNG of an RGB image, as small as it gets: it travels in the page."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _parent_picture(row: Mapping[str, Any], crop: LabelMask) -> Picture:
    image, mask = image_of(dict(row)), mask_of(dict(row))
    found = find_crop(mask, crop)
    if found is None:
        return Picture("real, whole parent", f"real image {row['id']}", encode_image(image))
    top, left = found
    window = image[top : top + crop.shape[0], left : left + crop.shape[1]]
    return Picture("real", f"real image {row['id']}, crop", encode_image(window))


def _image(row: Mapping[str, Any], heading: str) -> Picture:
    return Picture(heading, f"image {row['id']}", encode_compact(image_of(dict(row))))


def _mask(mask: LabelMask, classes: ClassTable, heading: str) -> Picture:
    present = [label for label in np.unique(mask).tolist() if label < len(classes)]
    told = listed([classes.names[label] for label in present]) or "nothing known"
    if (mask == UNKNOWN).any():
        told += ", and unknown pixels"
    return Picture(heading, f"mask: {told}", encode_compact(classes.colour_image(mask)))


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

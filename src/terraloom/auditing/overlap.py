"""A file of candidate captions against a file of references: claims first, then overlap."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

from terraloom.auditing.reading import CaptionFile, open_captions
from terraloom.auditing.truth import MaskStyle, truth_of_masks
from terraloom.caption_comparison import CLAIMS, score_run
from terraloom.caption_metrics import METRICS, evaluate_captions
from terraloom.classes import ClassTable
from terraloom.errors import CaptionFileError
from terraloom.facts import measure_facts
from terraloom.redundancy import exact_redundancy
from terraloom.report.tables import name, number
from terraloom.report.views import Cell, TableView

_TOLD: Final = {
    "claim_precision": ("claim precision", "claims that the masks support, of those decided"),
    "names_dominant": ("names dominant", "captions that name the class with the largest share"),
    "contradicted": ("contradicted", "captions with a contradicted claim; less is better"),
    "claims": ("claims", "decided claims per caption"),
    "redundancy": ("redundancy", "of the candidates, exact; less is better"),
}


def score_files(
    candidates: Path,
    references: Path,
    *,
    classes: ClassTable,
    masks: Path | None = None,
    mask_style: str = "auto",
    only_candidates: bool = False,
) -> dict[str, Any]:
    """Score a caption file against one of references, as plain values.

    Args:
        candidates: one caption per image, in any layout that `open_captions` knows; an empty one
            counts, and scores 0.
        references: captions that count as right, in any such layout; empty ones are left out and
            counted.
        classes: class table of the masks.
        masks: folder of masks, or a samples table, for the claims of the candidates.
        mask_style: as of `truth_of_masks`.
        only_candidates: leave out images of `references` without a candidate, and count them.

    Raises:
        CaptionFileError: a file or an option is wrong; an image has several candidates.
        InputError: images of the two files do not match, or as `evaluate_captions` has it.
    """
    if mask_style not in get_args(MaskStyle):
        raise CaptionFileError(
            f"--mask-style {mask_style!r} is unknown; there are {', '.join(get_args(MaskStyle))}."
        )
    reference_file = open_captions(references)
    known: dict[str, list[str]] = {}
    for row in reference_file.rows():
        known.setdefault(row.image, []).append(row.text)
    candidate_file = open_captions(candidates)
    spoken = _one_each(candidate_file, reference_file.names)
    unheard = [image for image in known if image not in spoken]
    if only_candidates:
        known = {image: texts for image, texts in known.items() if image in spoken}
    found: dict[str, Any] = {
        "candidates": str(candidates),
        "references": str(references),
        "captions": len(spoken),
        "references_per_caption": round(sum(map(len, known.values())) / max(len(known), 1), 3),
        "references_left_out": dict(reference_file.left_out),
        "images_without_candidate_left_out": len(unheard) if only_candidates else 0,
    }
    if masks is None:
        scores = evaluate_captions(spoken, known, synonyms=classes)
        values = {**scores.corpus, "redundancy": exact_redundancy(spoken.values()).redundancy}
    else:
        truth = truth_of_masks(masks, spoken, classes, cast(MaskStyle, mask_style))
        assert truth.mask_of is not None
        facts = {
            image: measure_facts(truth.mask_of(image), classes, compass=True)
            for image in truth.shares
        }
        run = score_run(spoken, known, facts, classes)
        scores, values = run.scores, run.values()
        found["masks"] = truth.source
    return {
        **found,
        "values": {
            key: None if value != value else round(value, 6) for key, value in values.items()
        },
        "variants": dict(scores.variants),
    }


def overlap_table(found: Mapping[str, Any]) -> TableView:
    """The values in reading order: claims, overlap, redundancy."""
    values = found["values"]
    rows = [
        (name(short), number(_shown(values[key])), Cell(told))
        for key in (*CLAIMS, *METRICS, "redundancy")
        if key in values
        for short, told in [_TOLD.get(key) or found["variants"][key].split(": ", 1)]
    ]
    notes = [f"{found['captions']} captions, {found['references_per_caption']} references each"]
    if "masks" in found:
        notes.append(f"claims against {found['masks']}")
    else:
        notes.append("no masks, so no claim was checked: overlap does not tell true from false")
    if found["images_without_candidate_left_out"]:
        notes.append(
            f"{found['images_without_candidate_left_out']} images of the references have no "
            "candidate and were left out"
        )
    notes += [
        f"references left out: {n} × {why}" for why, n in found["references_left_out"].items()
    ]
    return TableView(
        "Captions against references",
        ("figure", "value", "what exactly"),
        tuple(rows),
        (),
        tuple(notes),
    )


def _one_each(file: CaptionFile, names: Mapping[str, str]) -> dict[str, str]:
    spoken: dict[str, str] = {}
    for number_or_name, text in file.entries():
        image = names.get(number_or_name, number_or_name)
        if image in spoken:
            raise CaptionFileError(
                f"{file.path} has several captions of image {image!r}; a candidate is one caption "
                "per image."
            )
        spoken[image] = text
    return spoken


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"

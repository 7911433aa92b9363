"""From a path to an audit: what is given with the file, and what lies beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast, get_args

from terraloom.auditing.audit import TruthOf, audit_captions
from terraloom.auditing.reading import CaptionFile, open_captions
from terraloom.auditing.truth import MaskStyle, holds_shares, shares_in_file, truth_of_masks
from terraloom.auditing.views import audit_sections
from terraloom.classes import ClassTable
from terraloom.errors import CaptionFileError
from terraloom.files import write_text
from terraloom.report.page import render_page
from terraloom.tables import MANIFEST

# The samples that a project's captions tables tell of.
_SAMPLES_OF: Final = {"real": ("build", "samples"), "synthetic": ("label", "samples")}


def audit_file(
    path: Path,
    *,
    classes: ClassTable,
    masks: Path | None = None,
    mask_style: str = "auto",
    text_columns: Sequence[str] | None = None,
    image_column: str | None = None,
    max_images: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Audit a caption file with what is known of its images.

    Shares or masks come from `masks`, else from the file's own share columns, else (for a captions
    table of a project) from the samples beside it; the result names where they came from.

    Args:
        path: caption file, or folder of a captions table.
        classes: class table of shares and masks.
        masks: folder of masks, or a samples table.
        mask_style: "auto", "labels", "codes" or "colours".
        text_columns: of a CSV file; left out, those named like captions.
        image_column: of a CSV file; left out, the one named like an image.
        max_images: most images compared with shares or masks.
        seed: of the probe's control.

    Raises:
        CaptionFileError: the file, its layout, the masks or an option is wrong.
    """
    if mask_style not in get_args(MaskStyle):
        raise CaptionFileError(
            f"--mask-style {mask_style!r} is unknown; there are {', '.join(get_args(MaskStyle))}."
        )
    captions = open_captions(path, text_columns=text_columns, image_column=image_column)
    style = cast(MaskStyle, mask_style)
    return audit_captions(
        captions,
        classes=classes,
        truth_of=_truth_of(captions, masks, style, classes),
        max_images=max_images,
        seed=seed,
    )


def write_audit_page(path: Path, found: dict[str, Any]) -> None:
    """The audit as one self-contained HTML page: no script, no request, every text escaped."""
    write_text(path, render_page(f"Captions of {found['file']}", audit_sections(found)))


def _truth_of(
    captions: CaptionFile, masks: Path | None, style: MaskStyle, classes: ClassTable
) -> TruthOf | None:
    if masks is not None:
        return lambda images: truth_of_masks(masks, images, classes, style)
    if holds_shares(captions, classes):
        return lambda images: shares_in_file(captions, images, classes)
    beside = _SAMPLES_OF.get(captions.path.name)
    if captions.path.is_dir() and beside is not None:
        samples = captions.path.resolve().parents[1].joinpath(*beside)
        if (samples / MANIFEST).exists():
            return lambda images: truth_of_masks(samples, images, classes, style)
    return None

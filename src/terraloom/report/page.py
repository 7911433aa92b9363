"""Face of the report: one self-contained HTML page, and its figures as files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from terraloom.classes import ClassTable
from terraloom.files import write_bytes, write_text
from terraloom.report import sections
from terraloom.report.caption_benchmark_section import caption_benchmark_sections
from terraloom.report.composition_section import composition_section
from terraloom.report.fidelity_section import fidelity_section
from terraloom.report.floors_section import floors_section
from terraloom.report.galleries import contact_sheet
from terraloom.report.labeller_section import labeller_section
from terraloom.report.reading import ProjectFiles
from terraloom.report.synthetic_section import synthetic_section
from terraloom.report.verdict_section import verdict_section
from terraloom.report.views import Block, FigureView, GalleryView, Section

PAGE: Final = "report.html"
_FIGURES: Final = "figures"


def write_report(
    project: Path,
    folder: Path,
    *,
    title: str,
    classes: ClassTable,
    provenance: dict[str, Any],
) -> Path:
    """Write `folder`/report.html and `folder`/figures/*.png from what `project` holds.

    The page needs no network and holds no script; every text in it is escaped, and a content
    policy forbids both. Equal inputs give equal bytes. Stages that have not run are named as such.

    Args:
        project: folder of the stages; only read.
        folder: receives page and figures, each atomically, the page last.
        title: name of the project.
        classes: class table that the masks follow.
        provenance: terraloom, settings_sha256, generated, device, versions, seed; what is None or
            left out is not shown.

    Returns:
        The path of the page.
    """
    files = ProjectFiles(project)
    shown = (
        verdict_section(files),
        sections.data_section(files, classes),
        sections.pipeline_section(files),
        floors_section(files),
        labeller_section(files, classes),
        synthetic_section(files, classes),
        composition_section(files, classes),
        sections.embedding_section(files),
        fidelity_section(files),
        sections.captions_section(files, classes),
        *caption_benchmark_sections(files, classes),
        sections.published_section(files),
        sections.provenance_section(files, provenance),
    )
    for block in _blocks(shown):
        if isinstance(block, FigureView):
            write_bytes(folder / _FIGURES / f"{block.name}.png", block.png)
        elif isinstance(block, GalleryView):
            write_bytes(folder / _FIGURES / f"{block.name}.png", contact_sheet(block))
    path = folder / PAGE
    write_text(path, render_page(title, shown, provenance.get("generated")))
    return path


def _blocks(shown: Sequence[Section]) -> Iterator[Block]:
    for section in shown:
        yield from section.blocks
        yield from _blocks(section.subsections)


def render_page(title: str, shown: Sequence[Section], generated: str | None = None) -> str:
    """The HTML of one self-contained page: no script, no request, every text escaped."""
    environment = Environment(
        loader=PackageLoader("terraloom.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title, sections=shown, generated=generated
    )
    # Half a surrogate pair can stand in a JSON text, and no UTF-8 file can hold it.
    return page.encode("utf-8", "replace").decode("utf-8")
